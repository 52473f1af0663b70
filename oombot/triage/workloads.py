"""A cgroup path, as the unit, container, pod or session that a person knows.

Runtimes nest (Kubernetes in LXC, systemd in Docker), so segments are read from left to right and the last
one that is known wins.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

from oombot.triage.amounts import shorten

Kind = Literal["none", "cgroup", "slice", "scope", "unit", "session", "container", "pod"]

# cgroupfs: pod<UID>; systemd driver: kubepods-burstable-pod<UID with _>.slice
_POD = re.compile(r"^(?:kubepods.*-)?pod(?P<uid>[0-9a-f]{8}[0-9a-f_-]{24,28})(?:\.slice)?$")
_CONTAINER = re.compile(
    r"^(?:cri-containerd|docker|crio|libpod|containerd|nerdctl)-(?P<id>[0-9a-f]{12,64})\.scope$"
)
_BARE_ID = re.compile(
    r"^(?P<id>[0-9a-f]{64}|[0-9a-f]{32}-\d+)$"
)  # /docker/<id>, /kubepods/…/<id>, /ecs/<task>/<id>
_LXC_PAYLOAD = re.compile(r"^lxc\.payload\.(?P<id>.+)$")
_USER_MANAGER = re.compile(r"^user@(?P<uid>\d+)\.service$")
_USER_SLICE = re.compile(r"^user-(?P<uid>\d+)\.slice$")
_SESSION = re.compile(r"^session-[^/]+\.scope$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a cgroup path stands for; `label` is how a sentence names it.

    `unit` is set only for a service of the host's own systemd: one inside a container or under a user's
    manager can not be asked for by that name.
    """

    kind: Kind
    name: str
    path: str
    unit: str | None = None
    container: str | None = None
    pod: str | None = None
    user: int | None = None

    @property
    def short(self) -> str:
        """Name it where its surroundings are already told."""
        return (
            f"container {self.container[:12]}" if self.kind == "container" and self.container else self.label
        )

    @property
    def label(self) -> str:
        """Name it in a sentence: `payments.service`, `container 3f2a9c…`, `pod 1b4e…`."""
        if self.kind == "container":
            pod = f" of pod {self.pod}" if self.pod else ""
            return f"container {(self.container or self.name)[:12]}{pod}"
        if self.kind == "pod":
            return f"pod {self.pod}"
        if self.kind == "session":
            return "a login session" if self.user is None else f"a login session of uid {self.user}"
        if self.kind == "unit" and self.container:
            return f"{self.name} in container {self.container[:12]}"
        if self.kind in ("unit", "slice", "scope") and self.user is not None:
            return f"{shorten(self.name, 60)} of uid {self.user}"
        return {"none": "no unit", "cgroup": f"cgroup {shorten(self.name, 60)}"}.get(
            self.kind, shorten(self.name, 60)
        )


def workload(path: str | None) -> Workload:
    """Read a cgroup path; the last segment that is known wins."""
    segments = [part for part in (path or "").split("/") if part]
    if not segments:
        return Workload(kind="none", name="", path=path or "")
    found = Workload(kind="cgroup", name="/" + "/".join(segments), path=path or "")
    for above, segment in zip(["", *segments], segments, strict=False):
        found = _read(found, above, segment)
    return found


def _read(so_far: Workload, above: str, segment: str) -> Workload:
    """Let one more segment of the path change what is known."""
    if pod := _POD.match(segment):
        return replace(so_far, kind="pod", name=segment, unit=None, pod=pod["uid"].replace("_", "-"))
    if container := _container(above, segment):
        return replace(so_far, kind="container", name=segment, unit=None, container=container)
    if user := _USER_MANAGER.match(segment) or _USER_SLICE.match(segment):
        uid = int(user["uid"])
        return replace(so_far, kind="session", name=segment, unit=None, user=uid)
    if _SESSION.match(segment):
        return replace(so_far, kind="session", name=segment, unit=None)
    if segment.endswith(".service"):
        own = segment if so_far.container is None and so_far.user is None else None
        return replace(so_far, kind="unit", name=segment, unit=own)
    managed = so_far.kind == "session" and _USER_MANAGER.match(so_far.name)
    if segment.endswith((".slice", ".scope")) and (managed or so_far.kind in ("cgroup", "slice", "none")):
        kind: Kind = "slice" if segment.endswith(".slice") else "scope"
        return replace(so_far, kind=kind, name=segment)
    return so_far


def _container(above: str, segment: str) -> str | None:
    """Find the container id that a segment names, or None."""
    if found := _CONTAINER.match(segment) or _BARE_ID.match(segment) or _LXC_PAYLOAD.match(segment):
        return found["id"]
    return segment if above == "lxc" else None
