"""How far each host is followed: nouns of the watch, apart from what logs and hosts say."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far the log of a host has been read: the detector, its cursor and when the host last answered.

    `cursor` is None until this detector has caught up once; what happened before `baselined_s`, the host's own time
    when it was first looked at, is history.
    """

    host: str
    detector: str
    cursor: str | None
    baselined_s: float | None
    last_seen_s: float | None
    problem: str = ""
