"""A fleet in one view: who was killed, who is closest to it, who could not be asked and why. Ranked, and bounded."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from oombot.model import HostSnapshot, OomKill
from oombot.triage.amounts import age, plural
from oombot.triage.evidence import doubt_about
from oombot.triage.headroom import headroom
from oombot.triage.verdicts import brief

Phase = Literal["asking", "done", "late"]

KILLED, CLOSEST, REASONS, NAMES = 12, 8, 5, 6  # how many of each are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of one host: an answer, or why there is none (`reason`); never both.

    `kills` are those in the span, `doubt` says why "none" or "so many" is not certain. `share` ranks how close the
    host is to the next kill; None where that could not be read.
    """

    host: str
    kills: int = 0
    last_s: float | None = None
    last_approximate: bool = False
    last: str = ""
    doubt: str = ""
    share: float | None = None
    state: str = ""
    reason: str = ""
    fix: str = ""
    replayed: bool = False
    late: bool = False  # its time was over

    @property
    def answered(self) -> bool:
        """Whether the host itself has answered; else what is told of it is from the store."""
        return not self.reason

    @property
    def percent(self) -> int | None:
        """The share as people read it; 99 % until nothing at all is left."""
        return None if self.share is None else int(100 * self.share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Hosts that are alike in what went wrong, with the words of the first of them."""

    count: int
    names: tuple[str, ...]
    more: int
    text: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What is shown of a fleet; every list is cut to what a message holds, and says how many it leaves out."""

    pattern: str
    command: str  # what shows all of it on the command line
    span: str
    phase: Phase
    total: int
    answered: int
    failed: int
    waiting: int
    waiting_names: tuple[str, ...]
    missing: tuple[str, ...]
    missing_more: int
    kills: int
    killed_hosts: int
    killed: tuple[Seen, ...]
    closest: tuple[Seen, ...]
    closest_more: int
    unread: int
    unasked: tuple[Reason, ...]
    unasked_more: int
    unsure: tuple[Reason, ...]
    unsure_hosts: int
    unsure_more: int
    replayed: bool
    took_s: float

    @property
    def hidden(self) -> bool:
        """Whether something is left out, so that the command that shows all is worth naming."""
        shown = self.killed_hosts <= len(self.killed) and not self.closest_more
        return not (shown and not self.unasked_more and not self.unsure_more)

    @property
    def took(self) -> str:
        """How long it took."""
        return age(self.took_s)

    @property
    def progress(self) -> str:
        """How far it is."""
        failed = f", {self.failed} could not be asked" if self.failed else ""
        return f"{self.answered} of {self.total} answered{failed}"

    @property
    def headline(self) -> str:
        """The whole in one sentence or two, as a phone shows it."""
        parts = [f"{self.pattern}: {self.progress}."]
        if self.killed:
            first = self.killed[0]
            on = (
                f"on {first.host}"
                if self.killed_hosts == 1
                else f"on {self.killed_hosts} hosts, the last on {first.host}"
            )
            least = "At least " if self.unsure_hosts else ""
            parts.append(f"{least}{plural(self.kills, 'OOM kill')} {self.span} {on}.")
        elif self.answered:
            parts.append(self.none)
        if self.closest:
            parts.append(f"Closest to the next: {self.closest[0].host} ({self.closest[0].percent} %).")
        return " ".join(parts)

    @property
    def none(self) -> str:
        """What "nobody was killed" rests on: only on those that answered, and whose log is whole."""
        sure = self.answered - self.unsure_hosts
        if not self.answered:
            return "No host has answered: nothing is known of kills now."
        if not self.unsure_hosts:
            return f"No OOM kill {self.span} on the {plural(sure, 'host')} that answered."
        if not sure:
            return (
                f"No OOM kill {self.span} is known, but no log of {plural(self.answered, 'host')} proves it."
            )
        return f"No OOM kill {self.span} on {plural(sure, 'host')}; of {self.unsure_hosts} it is not certain."


def observed(snapshot: HostSnapshot, kills: Sequence[OomKill], *, since_s: float) -> Seen:
    """Reduce a reading and the known kills of its host to what the ranking needs."""
    inside = _inside(kills, since_s)
    doubt = doubt_about(snapshot, kills, since_s)
    room = headroom(snapshot)
    return Seen(
        host=snapshot.host,
        **_last(inside),
        doubt="" if doubt is None else doubt.reason,
        fix="" if doubt is None else doubt.fix,
        share=room.share,
        state=room.text,
        replayed=snapshot.replayed,
    )


def unheard(
    host: str, reason: str, kills: Sequence[OomKill], *, since_s: float, fix: str = "", late: bool = False
) -> Seen:
    """A host that could not be asked, with the kills that are on record."""
    why = reason or "it was not asked"
    return Seen(host=host, **_last(_inside(kills, since_s)), reason=why, fix=fix, late=late)


def ranked(seen: Sequence[Seen]) -> list[Seen]:
    """Everybody in one order: killed ones with the newest first, then the closest, then those not asked."""
    killed = [one for one in seen if one.kills]
    rest = [one for one in seen if not one.kills]
    return [
        *sorted(killed, key=lambda one: (-(one.last_s or 0.0), -one.kills, one.host)),
        *_closest([one for one in rest if one.answered]),
        *[one for one in rest if not one.answered],
    ]


def overview(
    pattern: str,
    hosts: Sequence[str],
    seen: Mapping[str, Seen],
    *,
    phase: Phase,
    span_s: float,
    took_s: float,
    missing: Sequence[str] = (),
    command: str,
) -> Overview:
    """Rank what is known so far of these hosts."""
    known = [seen[host] for host in hosts if host in seen]
    answered = [one for one in known if one.answered]
    killed = ranked([one for one in known if one.kills])
    closest = [one for one in _closest(answered) if one.share is not None]
    waiting = [host for host in hosts if host not in seen]
    unasked = _reasons([(one, one.reason) for one in known if not one.answered])
    doubted = [(one, one.doubt) for one in answered if one.doubt]
    unsure = _reasons(doubted)
    return Overview(
        pattern=pattern,
        command=command,
        span=f"in the last {age(span_s)}",
        phase=phase,
        total=len(hosts),
        answered=len(answered),
        failed=len(known) - len(answered),
        waiting=len(waiting),
        waiting_names=tuple(waiting[:NAMES]),
        missing=tuple(missing[:NAMES]),
        missing_more=max(0, len(missing) - NAMES),
        kills=sum(one.kills for one in killed),
        killed_hosts=len(killed),
        killed=tuple(killed[:KILLED]),
        closest=tuple(closest[:CLOSEST]),
        closest_more=max(0, len(closest) - CLOSEST),
        unread=len(answered) - len(closest),
        unasked=tuple(unasked[:REASONS]),
        unasked_more=sum(reason.count for reason in unasked[REASONS:]),
        unsure=tuple(unsure[:REASONS]),
        unsure_hosts=len(doubted),
        unsure_more=sum(reason.count for reason in unsure[REASONS:]),
        replayed=any(one.replayed for one in known),
        took_s=took_s,
    )


def _closest(seen: Sequence[Seen]) -> list[Seen]:
    return sorted(seen, key=lambda one: (one.share is None, -(one.share or 0.0), one.host))


def _inside(kills: Sequence[OomKill], since_s: float) -> list[OomKill]:
    """The kills of the span, newest first; one without a time may lie in it."""
    inside = [kill for kill in kills if kill.time_s is None or kill.time_s >= since_s - 2]
    return sorted(inside, key=lambda kill: kill.time_s or 0.0, reverse=True)


def _last(inside: Sequence[OomKill]) -> dict[str, Any]:
    if not inside:
        return {}
    last = inside[0]
    return {
        "kills": len(inside),
        "last": brief(last),
        "last_s": last.time_s,
        "last_approximate": last.time_approximate,
    }


def _reasons(seen: Sequence[tuple[Seen, str]]) -> list[Reason]:
    """Fold hosts whose trouble differs in names and numbers only; the largest group first."""
    groups: dict[str, list[tuple[Seen, str]]] = {}
    for one, text in seen:
        own = re.sub(rf"(?<![\w.-]){re.escape(one.host)}(?![\w-])", "…", text)
        alike = re.sub(r"[0-9]+( (s|min|h|days)\b)?", "#", own.partition("; ")[0])
        groups.setdefault(alike, []).append((one, text))
    return [
        Reason(
            count=len(those),
            names=tuple(one.host for one, _ in those[:NAMES]),
            more=max(0, len(those) - NAMES),
            text=those[0][1],
            fix=those[0][0].fix,
        )
        for those in sorted(groups.values(), key=len, reverse=True)
    ]
