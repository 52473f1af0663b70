"""Set oom_score_adj of one live process, or of every process of a unit, until it exits."""

import re
from dataclasses import dataclass, replace

from oombot import badness, scores
from oombot.errors import ConfigError, RefusedError
from oombot.guards import access, is_protected, untouchable
from oombot.model import HostSnapshot, Json, OomKill, Process
from oombot.proposals import Check, Lasts, Plan, Risk, Step
from oombot.remediations.shape import Field, Option, Target, Usual
from oombot.rights import Policy
from oombot.scores import FIRST_TO_GO, HIGHEST, LOWEST

_PROCESS = re.compile(r"(?P<pid>[0-9]{1,10}):(?P<start>[0-9]{1,20})", re.ASCII)
_MOST_OPTIONS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The value wanted, and whose: a unit's, or a process's, named for good by pid and start time (clock ticks since
    boot).
    """

    value: int
    pid: int | None = None
    start_ticks: int | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The processes that are meant, as they are, in their host."""

    processes: tuple[Process, ...]
    snapshot: HostSnapshot

    @property
    def unit(self) -> str:
        """The unit that they run in."""
        return scores.unit_of(self.processes[0].cgroup)


@dataclass(frozen=True, slots=True, kw_only=True)
class OomScoreAdj(Usual):
    """The remediation; see shape.py for what each part means."""

    name: str = "oom_score_adj"
    label: str = "Score of a process or unit, live"
    summary: str = "Let the kernel take it sooner or later than others, from now on until it exits."
    params: type[Params] = Params
    mitigation: bool = True
    replayable: bool = True

    def unfit(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> str:
        """It works wherever there are processes."""
        return "" if snapshot.processes else "no process could be seen"

    def fields(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> list[Field]:
        """The process or the unit, and the value."""
        options = _options(snapshot, target)
        chosen = f"{target.pid}:{target.start_ticks}" if target.pid is not None else target.unit
        return [
            Field(
                name="process",
                label="Process, or every process of a unit",
                kind="choice",
                options=options,
                initial=chosen if chosen in {option.value for option in options} else "",
            ),
            Field(
                name="value",
                label="New oom_score_adj",
                kind="number",
                hint="higher = killed sooner",
                lowest=LOWEST,
                highest=HIGHEST,
            ),
        ]

    def parse(self, values: Json) -> Params:
        """Take `process` (PID:START_TICKS, or the name of a unit) and `value` of the form."""
        problems = []
        word = str(values.get("process") or "")
        chosen = _PROCESS.fullmatch(word)
        if chosen is None and not scores.has_processes(word):
            problems.append("process: Choose a process, or a service or scope.")
        value = scores.value_of(values.get("value"))
        if value is None:
            problems.append("value: A whole number from -1000 to 1000.")
        if problems or value is None:
            raise ConfigError(problems)
        if chosen is None:
            return Params(unit=word, value=value)
        return Params(pid=int(chosen["pid"]), start_ticks=int(chosen["start"]), value=value)

    def suggest(self, kill: OomKill, snapshot: HostSnapshot) -> Params | None:
        """Offer to let the culprit die first: the larger survivor, or the victim's program once restarted."""
        scope = kill.oom_memcg if kill.scope == "memcg" else None
        if kill.scope is None or (kill.scope == "memcg" and scope is None) or not snapshot.processes_whole:
            return None
        ranked = [item.process for item in badness.ranking(snapshot, cgroup=scope)]
        if len(ranked) < 2:
            return None  # one process alone in its cgroup dies whatever its score
        victim_kb = sum(part or 0 for part in (kill.anon_rss_kb, kill.file_rss_kb, kill.shmem_rss_kb))
        offered = [p for p in ranked if _may_go_first(p, snapshot)]
        larger = [p for p in offered if (p.rss_kb or 0) > victim_kb]
        restarted = [p for p in offered if p.comm == kill.comm]
        culprit = max(larger or restarted, key=lambda p: p.rss_kb or 0, default=None)
        if culprit is None or _adj(culprit) >= FIRST_TO_GO:
            return None
        return Params(pid=culprit.pid, start_ticks=culprit.start_ticks, value=FIRST_TO_GO)

    def inspect(self, params: Params, snapshot: HostSnapshot) -> Seen:
        """Find the process by pid and start time (a reused pid is another process), or all those of the unit."""
        seen = _members(params, snapshot) if params.unit else (_process(params, snapshot),)
        for process in seen:
            if process.oom_score_adj is None:
                raise RefusedError(f"The oom_score_adj of process {process.pid} could not be read.")
        return Seen(processes=seen, snapshot=snapshot)

    def preflight(self, params: Params, seen: Seen, policy: Policy) -> list[Check]:
        """The guard rails of a live score."""
        processes, snapshot = seen.processes, seen.snapshot
        own = any(process.pid in snapshot.own_pids for process in processes)
        checks = [
            *scores.value_checks(params.value, {p.comm for p in processes}, seen.unit, policy),
            Check(ok=all(p.pid > 1 for p in processes), text="it is not PID 1"),
            Check(ok=not any(p.kernel_thread for p in processes), text="it is not a kernel thread"),
            Check(ok=not own, text="it is not oombot's own connection"),
            *([untouchable(seen.unit, policy)] if seen.unit else []),
            _same(params, seen),
            *_access(params, seen),
            scores.exposed(snapshot, _adjs(params, seen), policy),
        ]
        lonely = scores.alone(snapshot, processes[0]) if len(processes) == 1 else None
        return [*checks, *([lonely] if lonely is not None else [])]

    def title(self, params: Params, seen: Seen) -> str:
        """Name the process or the unit, and the value."""
        if params.unit:
            return f"Set oom_score_adj of every process of {params.unit} to {params.value}"
        return f"Set oom_score_adj of {seen.processes[0].comm} ({params.pid}) to {params.value}"

    def target(self, params: Params, seen: Seen) -> str:
        """Name the process for good, or those of the unit."""
        process = seen.processes[0]
        if params.unit:
            return f"{params.unit}: {scores.named((p.comm, p.pid) for p in seen.processes)}"
        return f"{process.comm}, pid {params.pid}, started at tick {params.start_ticks}, in {process.cgroup}"

    def state(self, params: Params, seen: Seen) -> str:
        """The value that /proc shows."""
        return _reads(params, scores.shown({process.pid: _adj(process) for process in seen.processes}))

    def unit(self, params: Params, seen: Seen) -> str:
        """The unit that it runs in."""
        return seen.unit

    def wanted(self, params: Params, seen: Seen) -> str:
        """The value that /proc must show."""
        return _reads(params, str(params.value))

    def risk(self, params: Params, seen: Seen) -> tuple[Risk, str]:
        """Lowering shifts the next kill to somebody else: red. Raising: amber."""
        if any(params.value < _adj(process) for process in seen.processes):
            return "red", "it lowers a score, so somebody else is killed in its place"
        return "amber", "it raises a score"

    def lasts(self, params: Params, seen: Seen) -> tuple[Lasts, str]:
        """As long as the process."""
        until = "until each of them exits" if params.unit else "until the process exits"
        return "process", f"{until} (children started from now on inherit it)"

    def plan(self, params: Params, seen: Seen, tag: str) -> list[Step]:
        """One write a process, undone by writing the value that was seen; neither over a value that nobody has seen."""
        sudo = not _without_root(params, seen)
        return [
            scores.step(process, params.value, sudo=sudo)
            for process in seen.processes
            if _adj(process) != params.value
        ]

    def back(self, plan: Plan) -> Params | None:
        """The same with the value that all had before; None where they had different ones."""
        params, was = Params(**plan.params), scores.replaced(plan.steps)
        if was is None or plan.before != _reads(params, str(was)):
            return None
        return replace(params, value=was)

    def moved(self, plan: Plan, seen: Seen) -> str:
        """A changed process has ended, or one came since; one that had the value all along is not taken for that."""
        params, changed = Params(**plan.params), scores.processes_of(plan.steps)
        now = {(process.pid, process.start_ticks) for process in seen.processes}
        if changed == now or (changed <= now and self.back(plan) is None):
            return ""
        return f"{_whose(params)} has not the same processes any more"

    def effect(self, params: Params, seen: Seen) -> list[str]:
        """Who the kernel would take next, before and after; and which processes change along."""
        victims = scores.next_victims(seen.snapshot, _adjs(params, seen))
        return [*victims, scores.followers(seen.snapshot, {p.pid for p in seen.processes})]


def _options(snapshot: HostSnapshot, target: Target) -> tuple[Option, ...]:
    """Units and processes to choose from, the largest first; those of the target where there is one."""
    held = [p for p in snapshot.processes if not p.kernel_thread and p.pid > 1]
    if target.pid is not None:
        held = [p for p in held if p.pid == target.pid]
    elif target.unit:
        held = [p for p in held if scores.unit_of(p.cgroup) == target.unit]
    held.sort(key=lambda p: -(p.rss_kb or 0))
    units = dict.fromkeys(unit for p in held if (unit := scores.unit_of(p.cgroup)))
    named = [Option(value=unit, label=f"every process of {unit}") for unit in units][: _MOST_OPTIONS // 2]
    single = [
        Option(value=f"{p.pid}:{p.start_ticks}", label=f"{p.comm} ({p.pid}) adj {p.oom_score_adj}")
        for p in held
    ]
    found = [*single, *named] if target.pid is not None else [*named, *single]
    return tuple(found[:_MOST_OPTIONS])


def _process(params: Params, snapshot: HostSnapshot) -> Process:
    process = next((p for p in snapshot.processes if p.pid == params.pid), None)
    if process is None and not snapshot.processes_whole:
        raise RefusedError(
            f"The process table of {snapshot.host} could not be read whole, and process {params.pid} was not "
            "seen: it is not known whether it runs."
        )
    if process is None:
        raise RefusedError(f"Process {params.pid} is not running on {snapshot.host} (any more).")
    if process.start_ticks != params.start_ticks:
        raise RefusedError(
            f"Pid {params.pid} on {snapshot.host} is now another process ({process.comm}): the one meant is gone."
        )
    return process


def _members(params: Params, snapshot: HostSnapshot) -> tuple[Process, ...]:
    found = tuple(p for p in snapshot.processes if scores.unit_of(p.cgroup) == params.unit)
    if not snapshot.processes_whole:
        raise RefusedError(
            f"The process table of {snapshot.host} could not be read whole: "
            f"it is not known which processes {params.unit} has."
        )
    if not found:
        raise RefusedError(f"No process of {params.unit} is running on {snapshot.host}.")
    return found


def _whose(params: Params) -> str:
    return params.unit or f"pid {params.pid}"


def _reads(params: Params, values: str) -> str:
    return f"oom_score_adj of {_whose(params)}: {values}"


def _adj(process: Process) -> int:
    return process.oom_score_adj or 0


def _adjs(params: Params, seen: Seen) -> dict[int, int]:
    return {process.pid: params.value for process in seen.processes}


def _same(params: Params, seen: Seen) -> Check:
    if not params.unit:
        text = f"it is still the same process (start time {seen.processes[0].start_ticks})"
        return Check(ok=True, text=text)
    return scores.few_enough(len(seen.processes))


def _own(process: Process, snapshot: HostSnapshot) -> bool:
    return snapshot.login_uid is not None and process.uid == snapshot.login_uid


def _powerless(snapshot: HostSnapshot) -> bool:
    return snapshot.acts_as is None and snapshot.can_sudo is False and snapshot.login_uid not in (None, 0)


def _without_root(params: Params, seen: Seen) -> bool:
    """Whether the login must do it itself, and can: anybody may raise the score of a process of their own.

    They may also lower it again: down to the lowest value that somebody with CAP_SYS_RESOURCE has set.
    """
    raised = all(_own(p, seen.snapshot) and params.value >= _adj(p) for p in seen.processes)
    return _powerless(seen.snapshot) and raised


def _may_go_first(process: Process, snapshot: HostSnapshot) -> bool:
    """Whether it is right to offer: nobody's protected process, not init, not us, and the login may write to it."""
    ours = process.pid in snapshot.own_pids or process.pid <= 1 or process.kernel_thread
    kept = is_protected(scores.unit_of(process.cgroup), Policy())
    reachable = _own(process, snapshot) or not _powerless(snapshot)
    return _adj(process) >= 0 and not ours and not kept and reachable


def _access(params: Params, seen: Seen) -> list[Check]:
    """Whether the login can make the change: as root, by sudo, or because the process is its own."""
    if not _without_root(params, seen):
        return access(seen.snapshot)
    return [
        Check(ok=seen.snapshot.has_python, text="the host has python3, which makes the change"),
        Check(ok=True, text="the process is the login's own: raising its score needs no root"),
    ]


REMEDIATION = OomScoreAdj()
