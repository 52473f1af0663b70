# Two stages: build a wheel with its pinned dependencies, then run it as nobody in particular, without a shell entry.
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --disable-pip-version-check -c .ci/constraints.txt .

FROM python:3.12-slim-bookworm
RUN useradd --system --create-home --home-dir /var/lib/oombot --uid 10001 oombot
COPY --from=build /venv /venv
USER oombot
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin STATE_DIRECTORY=/var/lib/oombot OOMBOT_CONFIG=/etc/oombot/oombot.yaml
VOLUME ["/var/lib/oombot"]
ENTRYPOINT ["oombot"]
CMD ["run"]
