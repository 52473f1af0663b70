"""One kill, put together from its own line and from what is certain about it beside that line."""

from dataclasses import dataclass

from oombot.model import Entry, OomKill, Scope
from oombot.oom_report.lines import ConstraintLine, KillLine
from oombot.oom_report.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is known about a kill beside its own line; `same_task` when the constraint line names this very one."""

    scope: Scope | None = None
    report: Report | None = None
    constraint: ConstraintLine | None = None
    same_task: bool = False
    group: str | None = None
    first: OomKill | None = None


def build(entry: Entry, line: KillLine, context: Context) -> OomKill:
    """Make the kill; a field that no line says for certain is None."""
    report = context.report if context.report is not None and context.report.certain else None
    constraint = context.constraint
    scope = (
        line.scope or context.scope or _scope_of(constraint, context.report if report is not None else None)
    )
    fits = constraint is None or (constraint.constraint == "CONSTRAINT_MEMCG") == (scope == "memcg")
    oom_memcg, task_memcg = _places(line, context, report) if fits else (None, None)
    comm, evidence = _name(line, constraint if context.same_task else None, report)
    return OomKill(
        pid=line.pid,
        comm=comm,
        uid=line.uid
        if line.uid is not None or not context.same_task or constraint is None
        else constraint.uid,
        total_vm_kb=line.total_vm_kb,
        anon_rss_kb=line.anon_rss_kb,
        file_rss_kb=line.file_rss_kb,
        shmem_rss_kb=line.shmem_rss_kb,
        pgtables_kb=line.pgtables_kb,
        oom_score_adj=line.oom_score_adj,
        scope=scope,
        constraint=constraint.constraint if constraint is not None and fits else None,
        oom_memcg=oom_memcg if scope == "memcg" else None,
        task_memcg=task_memcg,
        invoker=report.invoker if report is not None else None,
        time_s=entry.time_s,
        time_approximate=entry.approximate,
        mono_s=entry.mono_s,
        boot_id=entry.boot_id,
        evidence=evidence,
        oom_group=context.group,
        tasks=report.tasks(line.pid, line.total_vm_kb) if report is not None else (),
        report=context.report.text() if context.report is not None and fits else entry.text,
        **(report.memory(memcg=scope == "memcg") if report is not None and fits else {}),
    )


def _scope_of(constraint: ConstraintLine | None, report: Report | None) -> Scope | None:
    if constraint is not None:
        return "memcg" if constraint.constraint == "CONSTRAINT_MEMCG" else "global"
    return "memcg" if report is not None and report.has_limit else None


def _places(line: KillLine, context: Context, report: Report | None) -> tuple[str | None, str | None]:
    """(oom_memcg, task_memcg): a member of a group lives where the first victim lived only if that is the group."""
    if context.group is not None and context.first is not None:
        home = context.first.task_memcg
        return context.first.oom_memcg, home if home == context.group else None
    oom_memcg, task_memcg = report.places() if report is not None else (None, None)
    if context.constraint is None:
        return oom_memcg, task_memcg
    limit, task = context.constraint.places(line.comm if line.closed and context.same_task else None)
    return limit or oom_memcg, task if context.same_task else None


def _name(line: KillLine, constraint: ConstraintLine | None, report: Report | None) -> tuple[str, str]:
    """The name and how good the evidence is; the other lines help where the kill line is cut within the name."""
    if line.sized:
        return line.comm, "kill_line" if line.whole else "kill_line_truncated"
    if line.closed and line.scope is None:
        return line.comm, "kill_line"  # 2.6.2x: no sizes at all
    other = (constraint.comm() if constraint else None) or (report.names(line.pid) if report else None)
    start = line.comm.strip()
    return (other if other is not None and other.startswith(start) else line.comm), "kill_line_truncated"
