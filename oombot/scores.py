"""What the remedies that set oom_score_adj share: who may get which value, whom that exposes, and their steps."""

import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import Final, Protocol

from oombot import badness
from oombot.details import is_unit
from oombot.guards import is_protected
from oombot.model import Command, HostSnapshot, Process
from oombot.proposals import Check, Step
from oombot.rights import Policy

LOWEST: Final = -1000  # OOM_SCORE_ADJ_MIN and _MAX of include/uapi/linux/oom.h
HIGHEST: Final = 1000
GUARDED: Final = -900  # from here on a process is nearly exempt: only with an allow-list
FIRST_TO_GO: Final = 500
MANY: Final = 200  # so many processes are changed one by one, not more
_LISTED = 5
FILE: Final = "60-oombot.conf"
# as data/oombot_units.py writes it; anything else in its place is somebody else's
OURS: Final = re.compile(
    r"# oombot: request (?P<tag>[A-Za-z0-9_-]{1,64})(?:, with this folder)?\n"
    r"\[Service\]\nOOMScoreAdjust=(?P<value>-?[0-9]{1,4})\n",
    re.ASCII,
)


class Scored(Protocol):
    """A process, as a reading or a closer look has it."""

    @property
    def pid(self) -> int:
        """Its number, which may be given again."""
        ...

    @property
    def start_ticks(self) -> int:
        """When it started: with the pid, its name for good."""
        ...

    @property
    def comm(self) -> str:
        """Its name, which it chooses itself."""
        ...

    @property
    def oom_score_adj(self) -> int | None:
        """The value that it has."""
        ...


def value_of(word: object) -> int | None:
    """The value that a form's field holds; None where it is none."""
    number = re.fullmatch(r"-?[0-9]{1,4}", str("" if word is None else word).strip(), re.ASCII)
    return int(number[0]) if number is not None and LOWEST <= int(number[0]) <= HIGHEST else None


def has_processes(unit: str) -> bool:
    """Whether this names a unit of the kinds that hold processes of their own."""
    return is_unit(unit) and unit.endswith((".service", ".scope"))


def unit_of(cgroup: str | None) -> str:
    """The service or scope that a process runs in, the outermost of its path.

    "" where there is none, or where others than slices lie above it: then a container's systemd has named it.
    """
    parts = (cgroup or "").strip("/").split("/")
    for at, part in enumerate(parts):
        if part.endswith((".service", ".scope")):
            return part if all(above.endswith(".slice") for above in parts[:at]) else ""
    return ""


def shown(adjs: Mapping[int, int]) -> str:
    """The values of several processes: one where all have it, else each with its processes."""
    by_value: dict[int, list[int]] = {}
    for pid, adj in sorted(adjs.items()):
        by_value.setdefault(adj, []).append(pid)
    if len(by_value) == 1:
        return str(next(iter(by_value)))
    return ", ".join(f"{adj} ({pids(found)})" for adj, found in sorted(by_value.items()))


def pids(listed: Collection[int]) -> str:
    """Some processes by number, or how many they are; "" for none."""
    if len(listed) > _LISTED:
        return f"{len(listed)} processes"
    return f"pid {', '.join(map(str, listed))}" if listed else ""


def named(processes: Iterable[tuple[str, int]]) -> str:
    """Processes by name and pid, in a line that stays short."""
    listed = [f"{comm} ({pid})" for comm, pid in processes]
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more


def step(process: Scored, value: int, *, sudo: bool = True) -> Step:
    """Write a process's value; the undo writes the one that was seen, and neither overwrites anything else."""
    before = process.oom_score_adj or 0
    rank = "before others" if value > before else "after others"
    choom = f"{'sudo ' if sudo else ''}choom -p {process.pid} -n"
    return Step(
        why=f"so that the kernel ranks {process.comm} {rank} at the next kill",
        do=_set(process, before, value, sudo=sudo),
        undo=_set(process, value, before, sudo=sudo),
        by_hand=f"{choom} {value}",
        undo_by_hand=f"{choom} {before}",
    )


def _set(process: Scored, was: int, value: int, *, sudo: bool) -> Command:
    one = ("--pid", str(process.pid), "--start", str(process.start_ticks))
    return Command(argv=("set-adj", *one, "--was", str(was), "--value", str(value)), sudo=sudo)


def processes_of(steps: Iterable[Step]) -> set[tuple[int, int]]:
    """The processes that steps of `step` write to, by pid and start time."""
    return {(int(one.do.argv[2]), int(one.do.argv[4])) for one in steps if one.do.argv[0] == "set-adj"}


def replaced(steps: Iterable[Step]) -> int | None:
    """The value that all those processes had before; None where they had different ones, or there are none."""
    was = {one.undo.argv[-1] for one in steps if one.undo is not None and one.undo.argv[0] == "set-adj"}
    return int(was.pop()) if len(was) == 1 else None


def drop_in(unit: str) -> str:
    """Where our drop-in of a unit is."""
    return f"/etc/systemd/system/{unit}.d/{FILE}"


def writing(unit: str, was: str, had: int, value: int, tag: str) -> tuple[str, ...]:
    """The words that write the drop-in over what was seen, in a unit that systemd held `had` for."""
    then = ("--was", was, "--had", str(had), "--value", str(value), "--tag", tag)
    return ("write-adjust", "--unit", unit, *then)


def removal(unit: str, was: str) -> tuple[str, ...]:
    """The words that take the drop-in away."""
    return ("remove-adjust", "--unit", unit, "--was", was)


def file_step(why: str, unit: str, do: tuple[str, ...], undo: tuple[str, ...]) -> Step:
    """One change of the drop-in, with its reload."""
    return Step(
        why=f"{why} (drop-in and daemon-reload)",
        do=Command(argv=do, sudo=True),
        undo=Command(argv=undo, sudo=True),
        by_hand=_by_hand(unit, do),
        undo_by_hand=_by_hand(unit, undo),
    )


def _by_hand(unit: str, argv: tuple[str, ...]) -> str:
    path = shlex.quote(drop_in(unit))
    if argv[0] == "remove-adjust":
        return f"sudo rm -- {path} && sudo systemctl daemon-reload"
    text = shlex.quote(f"# oombot: request {argv[10]}\\n[Service]\\nOOMScoreAdjust={argv[8]}\\n")
    folder = shlex.quote(drop_in(unit).rpartition("/")[0])
    return f"sudo mkdir -p -- {folder} && printf {text} | sudo tee -- {path} >/dev/null && sudo systemctl daemon-reload"


def followers(snapshot: HostSnapshot, pids: Collection[int]) -> str:
    """Which tasks change along with these processes, and which do not."""
    children = [p for p in snapshot.processes if p.ppid in pids and p.pid not in pids]
    present = f"; its children {named((p.comm, p.pid) for p in children)} keep their own" if children else ""
    return (
        "All threads of a process change along, and processes that share its memory (vfork); "
        f"children inherit the score from now on{present}"
    )


def value_checks(value: int, names: Iterable[str], unit: str, policy: Policy) -> list[Check]:
    """Whether the policy lets processes of these names, or this unit, have the value."""
    checks = [Check(ok=LOWEST <= value <= HIGHEST, text=f"value {value} is within −1000 … 1000")]
    if value > GUARDED:
        return checks
    if value == LOWEST and not policy.adj_minus_1000:
        return [*checks, Check(ok=False, text="−1000 is not allowed here (policy.adj_minus_1000)")]
    listed = policy.adj_below_minus_900
    whose = sorted(set(names)) or [unit]
    ok = unit in listed or all(name in listed for name in whose)
    text = f"values ≤ −900 are allowed for {', '.join(whose)} (policy.adj_below_minus_900)"
    checks.append(Check(ok=ok, text=text))
    if value == LOWEST:
        text = "−1000: never killed. If it is what leaks, everything else dies or the host panics"
        checks.append(Check(ok=None, text=text))
    return checks


def few_enough(count: int) -> Check:
    """That a unit has no more processes than are changed one by one."""
    processes = "1 process" if count == 1 else f"{count} processes"
    return Check(ok=count <= MANY, text=f"it has {processes}; up to {MANY} are changed, one by one")


def next_victims(snapshot: HostSnapshot, adjs: Mapping[int, int]) -> list[str]:
    """Who the kernel would take next, before and after, by its own badness formula: one line a limit, then the host."""
    return [_next(snapshot, cgroup, adjs) for cgroup in _scopes(snapshot, adjs)]


def exposed(snapshot: HostSnapshot, adjs: Mapping[int, int], policy: Policy) -> Check:
    """That no protected unit becomes the next victim that it was not before.

    oombot's own connection does not count: it is gone when the kernel looks, or may be taken.
    """
    for cgroup in _scopes(snapshot, adjs):
        before = _first_of_others(snapshot, cgroup, {})
        after = _first_of_others(snapshot, cgroup, adjs)
        unit = unit_of(after.process.cgroup) if after is not None else ""
        was = unit_of(before.process.cgroup) if before is not None else ""
        if after is not None and unit and unit != was and is_protected(unit, policy):
            text = (
                f"{_where(cgroup)}, {_named(after)} of {unit} would be the next victim, and that is protected"
            )
            return Check(ok=False, text=text)
    lowered = any(adjs.get(p.pid, 1000) < (p.oom_score_adj or 0) for p in snapshot.processes)
    why = badness.why_unknown(snapshot) or _hidden(snapshot, None)
    if lowered and why:
        text = f"it is not known whether a protected unit becomes the next victim: {why}"
        return Check(ok=None, text=text)
    return Check(ok=True, text="no protected unit becomes the next victim")


def alone(snapshot: HostSnapshot, process: Process) -> Check | None:
    """That a score does not help a process that is alone under its limit; None where it is not."""
    capped = badness.capped_cgroup(snapshot, process)
    if capped is None or badness.why_unknown(snapshot) or badness.unread(snapshot, cgroup=capped.path):
        return None
    if len(badness.ranking(snapshot, cgroup=capped.path)) != 1:
        return None
    text = "it is alone in its limited cgroup: when that limit is hit, a score does not help"
    return Check(ok=None, text=text)


def _scopes(snapshot: HostSnapshot, adjs: Mapping[int, int]) -> list[str | None]:
    """Where memory may run out for these processes: each limited cgroup above them, nearest first, then the host."""
    paths: dict[str, None] = {}
    for process in snapshot.processes:
        path = (process.cgroup or "") if process.pid in adjs else ""
        while path:
            cgroup = snapshot.cgroups.get(path)
            if cgroup is not None and cgroup.limit_kb is not None:
                paths[path] = None
            path = "" if path == "/" else path.rpartition("/")[0] or "/"
    return [*sorted(paths, key=lambda path: -path.rstrip("/").count("/")), None]


def _where(cgroup: str | None) -> str:
    return "On the whole host" if cgroup is None else f"When {cgroup} hits its limit"


def _hidden(snapshot: HostSnapshot, cgroup: str | None) -> str:
    unread = badness.unread(snapshot, cgroup=cgroup)
    return f"the memory of {unread} of its processes could not be read" if unread else ""


def _next(snapshot: HostSnapshot, cgroup: str | None, adjs: Mapping[int, int]) -> str:
    why, hidden = badness.why_unknown(snapshot), _hidden(snapshot, cgroup)
    before = badness.next_victim(snapshot, cgroup=cgroup)
    after = badness.next_victim(snapshot, cgroup=cgroup, adjs=adjs)
    if why or (hidden and before is None):
        return f"{_where(cgroup)}, next victim: not known ({why or hidden})"
    among = f" among those that could be read ({hidden})" if hidden else ""
    return f"{_where(cgroup)}, next victim: {_named(before)} → {_named(after)}{among}"


def _first_of_others(
    snapshot: HostSnapshot, cgroup: str | None, adjs: Mapping[int, int]
) -> badness.Ranked | None:
    """Who would be taken, oombot's own connection apart."""
    ranked = badness.ranking(snapshot, cgroup=cgroup, adjs=adjs)
    return next((one for one in ranked if one.process.pid not in snapshot.own_pids), None)


def _named(ranked: badness.Ranked | None) -> str:
    return "nobody" if ranked is None else f"{ranked.process.comm} ({ranked.process.pid})"
