"""What the workspace says no with: refusals of the Web API, and things a person cannot do."""

from collections.abc import Sequence
from typing import Any


class SlackError(Exception):
    """A refusal of the Web API: a code, and where Slack gives them, reasons in `response_metadata.messages`."""

    def __init__(self, code: str, *, messages: Sequence[str] = (), status: int = 200, **fields: Any) -> None:
        """Keep the code, the HTTP status and every further field of the answer."""
        super().__init__(code)
        self.code = code
        self.status = status
        self.fields = fields
        self.messages = tuple(messages)

    def as_json(self) -> dict[str, Any]:
        """Return the body of the answer."""
        body: dict[str, Any] = {"ok": False, "error": self.code, **self.fields}
        if self.messages:
            body["response_metadata"] = {"messages": list(self.messages)}
        return body


class RateLimitedError(SlackError):
    """Too many calls: HTTP 429 with `Retry-After`."""

    def __init__(self, retry_after_s: int) -> None:
        """Remember after how many whole seconds the caller may try again."""
        super().__init__("ratelimited", status=429)
        self.retry_after_s = retry_after_s


class NotOnScreenError(LookupError):
    """The person does not see the thing they want to use."""


class NotAllowedError(RuntimeError):
    """Slack's own screen would not let the person do this, e.g. submit with a required field left empty."""
