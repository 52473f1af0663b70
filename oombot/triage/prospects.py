"""What comes after a kill: is it back, will it recur, and which remedies can work at all."""

from collections.abc import Sequence

from oombot.model import HostSnapshot, OomKill
from oombot.triage.amounts import age, ordinal, size
from oombot.triage.limits import Limit, culprit, held_kb
from oombot.triage.machine import incomplete
from oombot.triage.services import find_unit, unit_now, will_run
from oombot.triage.workloads import Workload, workload

WEEK_S = 7 * 86400


def is_later(snapshot: HostSnapshot, kill: OomKill) -> bool:
    """Whether the snapshot was taken after the kill, so that it can say what came of it."""
    now_s = snapshot.taken_s if snapshot.now_s is None else snapshot.now_s
    slack_s = 60.0 if kill.time_approximate else 2.0
    return kill.time_s is None or now_s >= kill.time_s - slack_s


def back(kill: OomKill, limit: Limit, snapshot: HostSnapshot) -> str:
    """Say whether what died is back: by its unit, or by a process of the same name."""
    now_s = snapshot.taken_s if snapshot.now_s is None else snapshot.now_s
    unit = find_unit(snapshot, limit.victim.unit)
    if unit is not None:
        return unit_now(unit, since_s=kill.time_s, now_s=now_s)
    rebooted = kill.boot_id and snapshot.boot_id and kill.boot_id != snapshot.boot_id
    boot = f"the host has rebooted since (up for {age(snapshot.uptime_s)}); " if rebooted else ""
    return f"{boot}{_place_now(kill, limit, snapshot)}; {_runs(kill, snapshot)}"


def _place_now(kill: OomKill, limit: Limit, snapshot: HostSnapshot) -> str:
    """Say what is known of where the victim lived, where no loaded unit can be asked."""
    if limit.victim.unit is not None and not snapshot.units:
        return f"the state of {limit.victim.unit} could not be read"
    if limit.victim.unit is not None:
        return f"{limit.victim.unit} is DOWN: no longer loaded by systemd"
    if limit.victim.container or limit.victim.pod:
        return f"{limit.victim.label}: its runtime decides about a restart"
    if kill.task_memcg is None:
        return "the log does not say which unit it was in"
    return "it belonged to no unit that would restart it"


def runs_again(kill: OomKill, snapshot: HostSnapshot) -> bool | None:
    """Whether a process of the victim's name runs; None where the reading can not tell."""
    same = [process for process in snapshot.processes if process.comm == kill.comm]
    if any(process.pid != kill.pid for process in same):
        return True
    return False if snapshot.processes_whole and not same else None


def _runs(kill: OomKill, snapshot: HostSnapshot) -> str:
    """Say whether a process of the victim's name runs now."""
    same = [process for process in snapshot.processes if process.comm == kill.comm]
    other = next((process for process in same if process.pid != kill.pid), None)
    if other is not None:
        return f"a process named {kill.comm} runs now (pid {other.pid})"
    if same:
        return f"pid {kill.pid} is still listed as {kill.comm}: it is ending, or a new one has its pid"
    if not snapshot.processes_whole:
        return f"whether a {kill.comm} runs now is not known: {incomplete(snapshot)}"
    return f"no {kill.comm} runs now"


def related(kill: OomKill, earlier: Sequence[OomKill]) -> list[OomKill]:
    """Pick earlier kills in the same unit, else of the same name, of the last 7 days."""
    return [other for other in earlier if _within_week(kill, other) and _related(kill, other)]


def _related(kill: OomKill, other: OomKill) -> bool:
    """Whether two kills are of one kind: many units run a `python3`, and a container has a new id each time."""
    mine, theirs = workload(kill.task_memcg), workload(other.task_memcg)
    if (mine.kind, mine.name) == (theirs.kind, theirs.name) and mine.kind in ("unit", "container", "pod"):
        return True
    return kill.comm == other.comm and (_lasting(mine) is None or _lasting(theirs) is None)


def _lasting(place: Workload) -> str | None:
    """Name the unit that a person has set up, which has the same name at its next start."""
    return place.name if place.kind == "unit" and not place.name.startswith("run-") else None


def recurrence(kill: OomKill, earlier: Sequence[OomKill]) -> str:
    """Count this kill among those of its kind in 7 days."""
    before = related(kill, earlier)
    named = [other for other in earlier if other.comm == kill.comm and _within_week(kill, other)]
    what = f"of {kill.comm}" if before == named else f"in {workload(kill.task_memcg).label}"
    if not before:
        return f"first kill {what} seen in 7 days"
    count = f"{ordinal(len(before) + 1)} kill {what} in 7 days"
    last_s = max(other.time_s or 0.0 for other in before)  # _within_week() took none without a time
    return f"{count}, the last one {age((kill.time_s or 0.0) - last_s)} before"


def outlook(kill: OomKill, limit: Limit, earlier: Sequence[OomKill], snapshot: HostSnapshot | None) -> str:
    """Say whether it will happen again, and why."""
    often = len(related(kill, earlier)) >= 2
    pattern = " It has happened before, repeatedly." if often else ""
    if snapshot is None:
        return (
            "likely, it keeps happening" if often else "whether it will recur is not known from the log alone"
        )
    unit = find_unit(snapshot, limit.victim.unit)
    running = runs_again(kill, snapshot) if unit is None else will_run(unit)
    what = limit.victim.label if unit is not None else kill.comm
    if limit.level in ("own", "ancestor"):
        return _limit_outlook(kill, limit, snapshot, what, running=running) + pattern
    if limit.level == "asked":
        return "only if somebody asks again"
    if limit.level == "host":
        other = culprit(kill)
        if other is not None and any(
            p.pid == other.tgid and p.comm == other.name for p in snapshot.processes
        ):
            return f"likely: {other.name} (pid {other.tgid}), which held the most, still runs.{pattern}"
    if running is None:
        return f"whether {what} runs again is not known.{pattern}"
    if not running:
        return f"not before {what} is started again.{pattern}"
    return f"possible: {what} runs again and nothing else has changed.{pattern}"


def _limit_outlook(
    kill: OomKill, limit: Limit, snapshot: HostSnapshot, what: str, *, running: bool | None
) -> str:
    """Compare the limit that was hit with what is set now."""
    cgroup = snapshot.cgroups.get(kill.oom_memcg or "")
    unsure = f"whether {what} runs again is not known"
    if cgroup is None and not snapshot.processes_whole:
        return f"whether the limit of {limit.owner.label} is still set is not known: {incomplete(snapshot)}."
    if cgroup is None:
        ends = {
            True: "it runs elsewhere",
            False: f"not before {what} is started again",
            None: unsure,
        }
        return f"no process is in that cgroup now; {ends[running]}."
    if cgroup.limit_kb is None and cgroup.usage_kb is None:
        return f"whether {limit.owner.label} still has a limit could not be read."
    if cgroup.limit_kb is None:
        return f"unlikely in this form: {limit.owner.label} has no limit any more."
    if kill.memory_limit_kb is not None and cgroup.limit_kb != kill.memory_limit_kb:
        was, now = size(kill.memory_limit_kb), size(cgroup.limit_kb)
        return f"open: the limit of {limit.owner.label} was {was} and is now {now} ({size(cgroup.usage_kb)} used)."
    still = f"the same limit of {size(cgroup.limit_kb)} is still set"
    if running is None:
        return f"{unsure}; {still}."
    if not running:
        return f"not before {what} is started again; then likely: {still}."
    return f"likely: {what} runs and {still} ({size(cgroup.usage_kb)} used now)."


def advice(kill: OomKill, limit: Limit, snapshot: HostSnapshot | None) -> tuple[str, ...]:
    """Name the remedies that can work at this level, and those that can not."""
    if limit.level in ("own", "ancestor", "some"):
        return _cgroup_advice(kill, limit, snapshot)
    if limit.level == "nodes":
        return (
            "Widen the NUMA nodes it may use (cpuset or memory policy); RAM elsewhere and swap do not help.",
        )
    if limit.level == "asked":
        return ("Find out who pressed SysRq-f; there may be nothing to fix.",)
    if limit.level == "unknown":
        return ("Open the kernel report; without the level no remedy can be named.",)
    return _host_advice(kill)


def _cgroup_advice(kill: OomKill, limit: Limit, snapshot: HostSnapshot | None) -> tuple[str, ...]:
    """Name what helps against a cgroup's limit."""
    owner = "the cgroup" if limit.level == "some" else limit.owner.label
    lines = [f"Raise the memory limit of {owner}, or make {kill.comm} need less."]
    if limit.level == "ancestor":
        lines.append(
            f"Raising the limit of {limit.victim.label} alone does not help: the level above was full."
        )
    count = _population(kill, snapshot)
    if count == 1:
        alone = (
            "it was the only process in the cgroup"
            if kill.tasks
            else "one process alone is in the cgroup now"
        )
        lines.append(f"oom_score_adj does not help: {alone}.")
    else:
        lines.append("oom_score_adj only chooses which process of the cgroup dies next.")
    cgroup = snapshot.cgroups.get(kill.oom_memcg or "") if snapshot is not None else None
    if cgroup is not None and cgroup.swap_limit_kb == 0:
        lines.append("A swap file does not help: the cgroup may not swap.")
    return tuple(lines)


def _host_advice(kill: OomKill) -> tuple[str, ...]:
    """Name what helps when the host itself ran out."""
    lines = []
    other = culprit(kill)
    if other is not None:
        lines.append(f"Cap {other.name} (pid {other.tgid}, {size(held_kb(other))}): it held the most.")
        lines.append(f"Protect {kill.comm} by a lower oom_score_adj; then another process dies instead.")
    else:
        lines.append(
            f"Cap {kill.comm} with a memory limit of its own, so that it does not take the host along."
        )
    if kill.swap_total_kb == 0:
        lines.append("Add swap: there is none.")
    elif kill.swap_free_kb is not None and kill.swap_total_kb and kill.swap_free_kb * 2 >= kill.swap_total_kb:
        lines.append("More swap does not help: what there is was mostly free.")
    return tuple(lines)


def _population(kill: OomKill, snapshot: HostSnapshot | None) -> int | None:
    """Count the processes that shared the limit, by the report or else by the host; None where neither says."""
    if kill.tasks:
        return len({task.tgid for task in kill.tasks})
    if snapshot is None or not kill.oom_memcg or not snapshot.processes_whole:
        return None
    group = kill.oom_memcg.rstrip("/")
    inside = [
        p for p in snapshot.processes if p.cgroup and (p.cgroup == group or p.cgroup.startswith(group + "/"))
    ]
    return len(inside) or None


def _within_week(kill: OomKill, other: OomKill) -> bool:
    """Whether the other kill lies in the 7 days before; a kill without a time is not counted."""
    if kill.time_s is None or other.time_s is None:
        return False
    return 0 <= kill.time_s - other.time_s <= WEEK_S
