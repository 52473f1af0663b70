"""Set oom_score_adj of one live process, until it exits."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from oombot import badness
from oombot.errors import ConfigError, RefusedError
from oombot.model import Command, HostSnapshot, Json, OomKill, Process
from oombot.proposals import Check, Lasts, Plan, Risk, Step
from oombot.remediations.shape import Field, Option, Target, Usual
from oombot.rights import Policy

LOWEST, HIGHEST = -1000, 1000  # OOM_SCORE_ADJ_MIN and _MAX of include/uapi/linux/oom.h
GUARDED = -900  # from here on a process is nearly exempt: only with an allow-list
FIRST_TO_GO = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The process, named for good by pid and start time (clock ticks since boot), and the value wanted."""

    pid: int
    start_ticks: int
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The process as it is, in its host."""

    process: Process
    snapshot: HostSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class OomScoreAdj(Usual):
    """The remediation; see shape.py for what each part means."""

    name: str = "oom_score_adj"
    label: str = "Score of a process"
    summary: str = "Let the kernel take it sooner or later than others, from now on until it exits."
    params: type[Params] = Params
    mitigation: bool = True

    def unfit(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> str:
        """It works wherever there are processes."""
        return "" if snapshot.processes else "no process could be seen"

    def fields(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> list[Field]:
        """The process and the value."""
        listed = [p for p in snapshot.processes if target.pid in (None, p.pid) and not p.kernel_thread][:100]
        options = tuple(
            Option(value=f"{p.pid}:{p.start_ticks}", label=f"{p.comm} ({p.pid}) adj {p.oom_score_adj}")
            for p in listed
        )
        chosen = f"{target.pid}:{target.start_ticks}" if target.pid is not None else ""
        return [
            Field(name="process", label="Process", kind="choice", options=options, initial=chosen),
            Field(name="value", label="New oom_score_adj", kind="number", lowest=LOWEST, highest=HIGHEST),
        ]

    def parse(self, values: Json) -> Params:
        """Take `process` (PID:START_TICKS) and `value` of the form."""
        problems = []
        chosen = re.fullmatch(
            r"(?P<pid>[0-9]{1,10}):(?P<start>[0-9]{1,20})", str(values.get("process") or "")
        )
        if chosen is None:
            problems.append("process: Choose a process.")
        number = re.fullmatch(r"-?[0-9]{1,4}", str(values.get("value") or "").strip())
        if number is None or not LOWEST <= int(number[0]) <= HIGHEST:
            problems.append("value: A whole number from -1000 to 1000.")
        if chosen is None or number is None or problems:
            raise ConfigError(problems)
        return Params(pid=int(chosen["pid"]), start_ticks=int(chosen["start"]), value=int(number[0]))

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
        """Find the process by pid and start time; a reused pid is another process."""
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
        if process.oom_score_adj is None:
            raise RefusedError(f"The oom_score_adj of process {params.pid} could not be read.")
        return Seen(process=process, snapshot=snapshot)

    def preflight(self, params: Params, seen: Seen, policy: Policy) -> list[Check]:
        """The guard rails of a live score."""
        process, snapshot = seen.process, seen.snapshot
        checks = [
            Check(ok=LOWEST <= params.value <= HIGHEST, text=f"value {params.value} is within −1000 … 1000"),
            Check(ok=process.pid > 1, text="is not PID 1"),
            Check(ok=not process.kernel_thread, text="is not a kernel thread"),
            Check(ok=process.pid not in snapshot.own_pids, text="is not oombot's own connection"),
            Check(ok=True, text=f"is still the same process (start time {process.start_ticks})"),
            Check(ok=snapshot.has_python, text="the host has python3, which makes the change"),
        ]
        checks += _access(params, seen)
        if params.value <= GUARDED:
            checks.append(_allowed(params.value, process.comm, policy))
        if params.value == LOWEST and policy.adj_minus_1000:
            checks.append(
                Check(
                    ok=None,
                    text="−1000: never killed. If it is what leaks, everything else dies or the host panics",
                )
            )
        if _alone(seen):
            checks.append(
                Check(
                    ok=None,
                    text="it is alone in its limited cgroup: when that limit is hit, a score does not help",
                )
            )
        return checks

    def title(self, params: Params, seen: Seen) -> str:
        """Name the process and the value."""
        return f"Set oom_score_adj of {seen.process.comm} ({params.pid}) to {params.value}"

    def target(self, params: Params, seen: Seen) -> str:
        """Name the process for good."""
        return f"{seen.process.comm}, pid {params.pid}, started at tick {params.start_ticks}, in {seen.process.cgroup}"

    def state(self, params: Params, seen: Seen) -> str:
        """The value that /proc shows."""
        return f"oom_score_adj of pid {params.pid}: {seen.process.oom_score_adj}"

    def unit(self, params: Params, seen: Seen) -> str:
        """The unit that the process runs in."""
        return next(
            (part for part in (seen.process.cgroup or "").split("/") if part.endswith(".service")), ""
        )

    def wanted(self, params: Params, seen: Seen) -> str:
        """The value that /proc must show."""
        return f"oom_score_adj of pid {params.pid}: {params.value}"

    def risk(self, params: Params, seen: Seen) -> tuple[Risk, str]:
        """Lowering shifts the next kill to somebody else: red. Raising: amber."""
        if params.value < _adj(seen.process):
            return "red", "it lowers a score, so somebody else is killed in its place"
        return "amber", "it raises a score"

    def lasts(self, params: Params, seen: Seen) -> tuple[Lasts, str]:
        """As long as the process."""
        return "process", "until the process exits (children started from now on inherit it)"

    def plan(self, params: Params, seen: Seen, tag: str) -> list[Step]:
        """One write, undone by writing the value that was seen; neither over a value that nobody has seen."""
        before = _adj(seen.process)
        if before == params.value:
            return []
        sudo = not _without_root(params, seen)
        choom = f"{'sudo ' if sudo else ''}choom -p {params.pid} -n"
        return [
            Step(
                why=f"so that the kernel ranks {seen.process.comm} {_direction(before, params.value)} at the next kill",
                do=_set(params, before, params.value, sudo=sudo),
                undo=_set(params, params.value, before, sudo=sudo),
                by_hand=f"{choom} {params.value}",
                undo_by_hand=f"{choom} {before}",
            )
        ]

    def back(self, plan: Plan) -> Params:
        """The same process with the value that the plan's undo writes."""
        undo = plan.steps[0].undo
        assert undo is not None
        params = Params(**plan.params)
        return replace(params, value=int(undo.argv[-1]))

    def effect(self, params: Params, seen: Seen) -> list[str]:
        """Who the kernel would take next, before and after, by its own badness formula."""
        adjs = {params.pid: params.value}
        capped = badness.capped_cgroup(seen.snapshot, seen.process)
        said = [_next("On the whole host", seen.snapshot, None, adjs)]
        if capped is not None:
            said.insert(0, _next(f"When {capped.path} hits its limit", seen.snapshot, capped.path, adjs))
        return said

    def verify(self, params: Params, before: Seen, after: Seen) -> list[str]:
        """The state itself is the proof; only the process must not have been replaced."""
        if after.process.start_ticks != before.process.start_ticks:
            return [f"pid {params.pid} is now another process"]
        return []


def _adj(process: Process) -> int:
    return process.oom_score_adj or 0


def _direction(before: int, after: int) -> str:
    return "before others" if after > before else "after others"


def _set(params: Params, was: int, value: int, *, sudo: bool) -> Command:
    process = ("--pid", str(params.pid), "--start", str(params.start_ticks))
    return Command(argv=("set-adj", *process, "--was", str(was), "--value", str(value)), sudo=sudo)


def _own(process: Process, snapshot: HostSnapshot) -> bool:
    return snapshot.login_uid is not None and process.uid == snapshot.login_uid


def _powerless(snapshot: HostSnapshot) -> bool:
    return snapshot.acts_as is None and snapshot.can_sudo is False and snapshot.login_uid not in (None, 0)


def _without_root(params: Params, seen: Seen) -> bool:
    """Whether the login must do it itself, and can: anybody may raise the score of a process of their own.

    They may also lower it again: down to the lowest value that somebody with CAP_SYS_RESOURCE has set.
    """
    raises = params.value >= _adj(seen.process)
    return _powerless(seen.snapshot) and _own(seen.process, seen.snapshot) and raises


def _may_go_first(process: Process, snapshot: HostSnapshot) -> bool:
    """Whether it is right to offer: nobody's protected process, not init, not us, and the login may write to it."""
    ours = process.pid in snapshot.own_pids or process.pid <= 1 or process.kernel_thread
    return _adj(process) >= 0 and not ours and (_own(process, snapshot) or not _powerless(snapshot))


def _access(params: Params, seen: Seen) -> list[Check]:
    """Whether the login can make the change: as root, by sudo, or because the process is its own."""
    snapshot = seen.snapshot
    if snapshot.acts_as is not None:
        return [Check(ok=True, text=f"changes go through a login of their own, {snapshot.acts_as}")]
    if snapshot.login_uid in (None, 0):
        return []
    if _without_root(params, seen):
        return [Check(ok=True, text="the process is the login's own: raising its score needs no root")]
    if _powerless(snapshot):
        fix = "fix: a NOPASSWD rule in sudoers for it, or a root login"
        text = f"no passwordless sudo for the login: a change can not be made; reading works ({fix})"
        return [Check(ok=False, text=text)]
    if snapshot.can_sudo is None:
        return [Check(ok=None, text="it is not known whether the login may use sudo, which the change needs")]
    return [Check(ok=True, text="the login may use sudo without a password")]


def _allowed(value: int, comm: str, policy: Policy) -> Check:
    if value == LOWEST and not policy.adj_minus_1000:
        return Check(ok=False, text="−1000 is not allowed here (policy.adj_minus_1000)")
    ok = comm in policy.adj_below_minus_900
    return Check(ok=ok, text=f"values ≤ −900 are allowed for {comm} (policy.adj_below_minus_900)")


def _alone(seen: Seen) -> bool:
    capped = badness.capped_cgroup(seen.snapshot, seen.process)
    if capped is None or badness.why_unknown(seen.snapshot):
        return False
    others_hidden = badness.unread(seen.snapshot, cgroup=capped.path)
    return not others_hidden and len(badness.ranking(seen.snapshot, cgroup=capped.path)) == 1


def _next(where: str, snapshot: HostSnapshot, cgroup: str | None, adjs: Mapping[int, int]) -> str:
    why, unread = badness.why_unknown(snapshot), badness.unread(snapshot, cgroup=cgroup)
    before = badness.next_victim(snapshot, cgroup=cgroup)
    after = badness.next_victim(snapshot, cgroup=cgroup, adjs=adjs)
    hidden = f"the memory of {unread} of its processes could not be read" if unread else ""
    if why or (hidden and before is None):
        return f"{where}, next victim: not known ({why or hidden})"
    among = f" among those that could be read ({hidden})" if hidden else ""
    return f"{where}, next victim: {_named(before)} → {_named(after)}{among}"


def _named(ranked: badness.Ranked | None) -> str:
    return "nobody" if ranked is None else f"{ranked.process.comm} ({ranked.process.pid})"


REMEDIATION = OomScoreAdj()
