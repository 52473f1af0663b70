"""How far each host is followed: nouns of the watch, apart from what logs and hosts say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from oombot.model import Draft, Incident

Card = Callable[[], Draft]
"""Draws the card of a kill, when the store has decided that it gets one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far the log of a host has been read: the detector, its cursor and when the host last answered.

    `cursor` is None until this detector has caught up once; what happened before `baselined_s`, the host's own time
    when it was first looked at, is history. `detector` is "" while no log of it could be read.
    """

    host: str
    detector: str
    cursor: str | None
    baselined_s: float | None
    last_seen_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reckoning:
    """How many of a boot's counted kills no log has shown, as far as that is settled and, where it was news, told."""

    host: str
    boot_id: str
    unseen: int
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StormRule:
    """When kills of one channel go into digests: after `cards` cards within `within_s`, until it is quiet that long.

    A digest takes kills for `longest_s` at most, then another one begins.
    """

    cards: int = 5
    within_s: float = 60.0
    longest_s: float = 3600.0


STORM = StormRule()


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestLine:
    """The kills of one process name on one host, within a digest."""

    host: str
    comm: str
    kills: int
    first_s: float
    last_s: float
    pid: int | None = None  # of the one kill


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """A message that names the kills of a storm: the largest groups, and how many more there are."""

    key: str
    channel: str
    kills: int
    hosts: int
    late: int  # of the kills: seen long after they happened
    began_s: float
    last_s: float
    lines: tuple[DigestLine, ...]

    @property
    def more(self) -> int:
        """Kills that no line names."""
        return self.kills - sum(line.kills for line in self.lines)


NewKill = tuple[Incident, Card | None]
"""A kill to store; without a card it is history."""


UNCOUNTED = "uncounted"
"""The cause of an outage where no log can be read and the kernel counts no kills either (before Linux 4.13)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Hosts of one place that went unheard for one cause, said in one message; `hosts` maps each to its return.

    `place` is the jump host or group they share; `blind`: they answer, but their log can not be read.
    """

    key: str
    channel: str
    place: str
    cause: str
    problem: str
    fix: str
    since_s: float
    blind: bool = False
    hosts: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def counted(self) -> bool:
        """Whether a kill there is told all the same, from the kernel's counter."""
        return self.blind and self.cause != UNCOUNTED

    @property
    def away(self) -> tuple[str, ...]:
        """Hosts that are still unheard."""
        return tuple(sorted(host for host, back_s in self.hosts.items() if back_s is None))
