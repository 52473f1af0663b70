"""Switchable faults: everything that goes wrong with the real Slack, on demand."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from oombot.workspace.errors import RateLimitedError, SlackError
from oombot.workspace.state import RESPONSE_URL_USES, TRIGGER_LIFE_S, State

Disconnect = Callable[[str, bool], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One way a call is answered instead of being served."""

    error: str
    status: int = 200
    retry_after_s: int | None = None


class Faults:
    """The switches; each one counts down by itself, `clear` turns all of them off."""

    def __init__(self, state: State, disconnect: Disconnect) -> None:
        """Start with every fault off."""
        self._state = state
        self._disconnect = disconnect
        self._failures: dict[str, list[Failure]] = {}
        self._delays: dict[str, float] = {}
        self._counts: Counter[str] = Counter()

    def clear(self) -> None:
        """Turn every fault off."""
        self._failures.clear()
        self._delays.clear()
        self._counts.clear()
        self._state.trigger_life_s = TRIGGER_LIFE_S
        self._state.response_url_uses = RESPONSE_URL_USES

    def fail(self, method: str, error: str = "fatal_error", *, times: int = 1, status: int = 200) -> None:
        """Refuse the next calls of a method with an error code, e.g. `fatal_error` with HTTP 500."""
        self._failures.setdefault(method, []).extend([Failure(error=error, status=status)] * times)

    def rate_limit(self, method: str = "chat.postMessage", *, times: int = 1, retry_after_s: int = 1) -> None:
        """Answer the next calls of a method with HTTP 429 and `Retry-After`."""
        limited = Failure(error="ratelimited", status=429, retry_after_s=retry_after_s)
        self._failures.setdefault(method, []).extend([limited] * times)

    def delay(self, method: str, seconds: float) -> None:
        """Serve a method late until `clear` or a delay of 0."""
        self._delays[method] = seconds

    def accept_then_drop(self, method: str = "chat.postMessage", *, times: int = 1) -> None:
        """Carry out the next calls of a method, then cut the connection instead of answering."""
        self._counts[f"drop {method}"] += times

    def drop_acks(self, times: int = 1) -> None:
        """Lose the next acknowledgements of Socket Mode envelopes."""
        self._counts["ack"] += times

    def lose_events(self, times: int = 1) -> None:
        """Lose the next events before they reach a socket, with no redelivery."""
        self._counts["event"] += times

    def expire_triggers(self) -> None:
        """Hand out triggers that are already too old, until `clear`."""
        self._state.trigger_life_s = -1.0

    def spend_response_urls(self) -> None:
        """Hand out response_urls with no use left, until `clear`; those handed out earlier are spent as well."""
        self._state.response_url_uses = 0
        self._state.spend_response_urls()

    async def disconnect(self, reason: str = "refresh_requested", *, announced: bool = True) -> None:
        """Close every socket now, after a `disconnect` message or without a word."""
        await self._disconnect(reason, announced)

    def delay_of(self, method: str) -> float:
        """Return how many seconds a method is late."""
        return self._delays.get(method, 0.0)

    def raise_failure(self, method: str) -> None:
        """Raise the next failure planned for a method, if any."""
        planned = self._failures.get(method)
        if not planned:
            return
        failure = planned.pop(0)
        if failure.retry_after_s is not None:
            raise RateLimitedError(failure.retry_after_s)
        raise SlackError(failure.error, status=failure.status)

    def takes_drop(self, method: str) -> bool:
        """Tell whether this answer is to be cut off."""
        return self._takes(f"drop {method}")

    def takes_ack(self) -> bool:
        """Tell whether this acknowledgement is to be lost."""
        return self._takes("ack")

    def takes_event(self) -> bool:
        """Tell whether this event is to be lost."""
        return self._takes("event")

    def _takes(self, name: str) -> bool:
        if self._counts[name] < 1:
            return False
        self._counts[name] -= 1
        return True
