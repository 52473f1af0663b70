"""Messages of all channels and the ephemeral ones, in the order they were posted."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ephemeral:
    """A message only one person sees; it is never part of a channel's history."""

    user_id: str
    channel_id: str
    message: dict[str, Any]

    @property
    def ts(self) -> str:
        """Return the message's ts."""
        return str(self.message["ts"])


class Timeline:
    """All messages; a message is the JSON object Slack would return, and is replaced, never changed."""

    def __init__(self, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        """Take the clock that ts values come from and a callback that is told of every change."""
        self._clock = clock
        self._changed = changed
        self._last_us = 0
        self._channels: dict[str, list[dict[str, Any]]] = {}
        self._ephemerals: list[Ephemeral] = []

    def next_ts(self) -> str:
        """Return a ts later than every earlier one."""
        now_us = int(self._clock() * MICRO) // 100 * 100
        self._last_us = max(now_us, self._last_us + 100)
        return f"{self._last_us // MICRO}.{self._last_us % MICRO:06d}"

    def add(self, channel_id: str, message: dict[str, Any]) -> dict[str, Any]:
        """Store a message and return it with its ts."""
        stored = {"type": "message", **message, "ts": self.next_ts()}
        self._channels.setdefault(channel_id, []).append(stored)
        self._changed()
        return stored

    def find(self, channel_id: str, ts: str) -> dict[str, Any] | None:
        """Return one message with its reply counters, or nothing."""
        found = next((m for m in self._channels.get(channel_id, []) if m["ts"] == ts), None)
        return None if found is None else self._with_counters(channel_id, found)

    def put(self, channel_id: str, message: dict[str, Any]) -> None:
        """Replace the message that has the same ts."""
        kept = self._channels[channel_id]
        kept[[m["ts"] for m in kept].index(message["ts"])] = message
        self._changed()

    def remove(self, channel_id: str, ts: str) -> None:
        """Delete a message."""
        self._channels[channel_id] = [m for m in self._channels.get(channel_id, []) if m["ts"] != ts]
        self._changed()

    def messages(self, channel_id: str) -> list[dict[str, Any]]:
        """Return a channel's messages, replies included, oldest first."""
        return [self._with_counters(channel_id, m) for m in self._channels.get(channel_id, [])]

    def replies(self, channel_id: str, parent_ts: str) -> list[dict[str, Any]]:
        """Return the replies of a thread without its parent."""
        return [m for m in self._channels.get(channel_id, []) if _is_reply(m) and m["thread_ts"] == parent_ts]

    def add_ephemeral(self, user_id: str, channel_id: str, message: dict[str, Any]) -> dict[str, Any]:
        """Show a message to one person only."""
        stored = {"type": "message", **message, "ts": self.next_ts(), "is_ephemeral": True}
        self._ephemerals.append(Ephemeral(user_id=user_id, channel_id=channel_id, message=stored))
        self._changed()
        return stored

    def find_ephemeral(self, ts: str) -> Ephemeral | None:
        """Return an ephemeral message by ts, or nothing."""
        return next((e for e in self._ephemerals if e.ts == ts), None)

    def put_ephemeral(self, message: dict[str, Any]) -> None:
        """Replace the ephemeral message that has the same ts."""
        self._ephemerals = [
            replace(e, message=message) if e.ts == message["ts"] else e for e in self._ephemerals
        ]
        self._changed()

    def remove_ephemeral(self, ts: str) -> None:
        """Take an ephemeral message off the screen."""
        self._ephemerals = [e for e in self._ephemerals if e.ts != ts]
        self._changed()

    def ephemerals(self, user_id: str) -> list[Ephemeral]:
        """Return what one person was shown ephemerally."""
        return [e for e in self._ephemerals if e.user_id == user_id]

    def _with_counters(self, channel_id: str, message: dict[str, Any]) -> dict[str, Any]:
        replies = [] if _is_reply(message) else self.replies(channel_id, message["ts"])
        if not replies:
            return message
        authors = list(dict.fromkeys(reply.get("user", "") for reply in replies))
        counters = {"thread_ts": message["ts"], "reply_count": len(replies), "reply_users": authors}
        latest = {"reply_users_count": len(authors), "latest_reply": replies[-1]["ts"]}
        return message | counters | latest


def _is_reply(message: dict[str, Any]) -> bool:
    return message.get("thread_ts") not in {None, message["ts"]}
