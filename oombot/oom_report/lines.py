"""The single lines of a report that name a victim, a scored task, a constraint or an invoker.

A process name is up to 15 bytes of anything, brackets and newlines included, and set by anybody. So every line is
taken apart from its right end, where only the kernel writes.
"""

import re
from dataclasses import dataclass

from oombot.model import Scope

COMM_LENGTH = 15  # TASK_COMM_LEN less the terminating zero
_INVOKED = " invoked oom-killer: gfp_mask=0x"

# __oom_kill_process(): 5.1 joined the "Out of memory" of oom_kill_process() to it; el6 writes "P, UID U, (C)"
_KILLED = re.compile(
    r"\s*(?:(?P<scope>Memory cgroup out of memory|Out of memory)(?: \(oom_kill_allocating_task\))?: )?"
    r"Killed process (?P<pid>[0-9]{1,10})(?:, UID (?P<uid>[0-9]{1,10}),)? \((?P<rest>.*)",
    re.DOTALL,
)
# the same, right of the name: shmem-rss since 4.5, UID to oom_score_adj since 5.4; el7 writes "(C), UID U, total-vm"
_SIZES = re.compile(
    r"(?:, UID (?P<el7_uid>[0-9]{1,10}),)? (?:total-vm|vsz):(?P<total_vm>[0-9]{1,17})kB"
    r"(?:, anon-rss:(?P<anon>[0-9]{1,17})kB(?:, file-rss:(?P<file>[0-9]{1,17})kB(?P<shmem_part>"
    r"(?:, shmem-rss:(?P<shmem>[0-9]{1,17})kB(?P<late>, UID:(?P<uid>[0-9]{1,10}) pgtables:(?P<pgtables>[0-9]{1,17})kB"
    r" oom_score_adj:(?P<adj>-?[0-9]{1,5}))?)?)\s*(?P<after>.*))?)?",
    re.DOTALL,
)
_SIZE_MARKS = (") total-vm:", ", total-vm:", ") vsz:")
_EL7_NAME_END = re.compile(r"\), UID [0-9]{1,10}$")
# oom_kill_process(), 2.6.36 to 5.0; before that "kill process … or a child"
_SCORED = re.compile(
    r"\s*(?P<scope>Memory cgroup out of memory|Out of memory)(?: \(oom_kill_allocating_task\))?: "
    r"[Kk]ill process (?P<pid>[0-9]{1,10}) \("
)
# dump_oom_summary() / dump_oom_victim(), 5.0 on; the right end
_VICTIM = re.compile(r",pid=(?P<pid>[0-9]{1,10}),uid=(?P<uid>[0-9]{1,10})\s*$")
# the same, the left end; cpuset_print_current_mems_allowed() writes the two fields in its middle
_CONSTRAINT = re.compile(
    r"\s*oom-kill:constraint=(?P<constraint>CONSTRAINT_(?:NONE|CPUSET|MEMORY_POLICY|MEMCG)),(?P<rest>.*)",
    re.DOTALL,
)
_PLACES = re.compile(
    r"nodemask=(?:\(null\)|[0-9,-]+),cpuset=.*?,mems_allowed=[0-9,-]*"
    r"(?:,global_oom|,oom_memcg=(?P<oom_memcg>/.*?))?(?:,task_memcg=(?P<task_memcg>/.*))?",
    re.DOTALL,
)
_PLACE_KEYS = (",mems_allowed=", ",oom_memcg=", ",task_memcg=", ",cpuset=")
# mem_cgroup_print_oom_info(), up to 4.20
_TASK_IN = re.compile(
    r"\s*Task in (?P<task_memcg>/.*?) killed as a result of limit of (?P<oom_memcg>/.*)", re.DOTALL
)
# __oom_kill_process() when the victim is gone by itself
_EXITING = re.compile(
    r"\s*OOM victim (?P<pid>[0-9]{1,10}) \(.*\) is already exiting\. Skip killing", re.DOTALL
)
# oom_kill_memcg_member()'s announcement, 4.19 on
_GROUP = re.compile(
    r"\s*Tasks in (?P<cgroup>/.*) are going to be killed due to memory\.oom\.group set", re.DOTALL
)

_STARTS = (
    "Killed process ",
    "Out of memory",
    "Memory cgroup ",
    "oom-kill:constraint=",
    "oom_reaper:",
    "Tasks in ",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KillLine:
    """One `Killed process` line; `whole` is false while its name or its sizes are not all there."""

    pid: int
    comm: str
    scope: Scope | None
    whole: bool
    uid: int | None = None
    total_vm_kb: int | None = None
    anon_rss_kb: int | None = None
    file_rss_kb: int | None = None
    shmem_rss_kb: int | None = None
    pgtables_kb: int | None = None
    oom_score_adj: int | None = None
    closed: bool = True  # false while the end of the name is missing
    sized: bool = True  # false while no size stands behind the name


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstraintLine:
    """One `oom-kill:constraint=` line; `pid` is None where its end is missing."""

    constraint: str
    rest: str
    pid: int | None
    uid: int | None

    def comm(self) -> str | None:
        """The task's name, None where the line is cut; the longest that a name can be."""
        return self._split(None)[1]

    def places(self, comm: str | None) -> tuple[str | None, str | None]:
        """oom_memcg and task_memcg; None where a cgroup's own name makes the line ambiguous."""
        head, _ = self._split(comm)
        if any(f",{head}".count(key) > 1 for key in _PLACE_KEYS):
            return None, None
        cut = self.pid is None
        match = _PLACES.fullmatch(head)
        if match is None:
            return None, None
        limit, task = match["oom_memcg"], match["task_memcg"]
        if cut:
            return (limit if task is not None and within(task, limit, cut=True) else None), None
        if limit is not None and not within(task, limit):
            return None, None
        return _path(limit), _path(task)

    def _split(self, comm: str | None) -> tuple[str, str | None]:
        body = _VICTIM.sub("", self.rest)
        if self.pid is None:
            return body, None
        if comm is not None and body.endswith(f",task={comm}"):
            return body[: -len(comm) - 6], comm
        at = body.find(",task=", max(0, len(body) - COMM_LENGTH - 6))
        return (body, None) if at < 0 else (body[:at], body[at + 6 :])


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredLine:
    """One `Kill process P (C) score S` line of 5.0 and older: the scored task, not always the victim."""

    pid: int
    scope: Scope


def kill_line(text: str) -> KillLine | None:
    """Read a kill line, whole or cut; None where the text is something else."""
    head = _KILLED.match(text)
    if head is None:
        return None
    rest = head["rest"]
    at = max(rest.rfind(mark) for mark in _SIZE_MARKS)
    if at < 0:
        return _unsized(head, rest)
    if rest[at] == ",":  # el7
        end = _EL7_NAME_END.search(rest, 0, at)
        if end is None:
            return _unsized(head, rest)
        at = end.start()
    sizes = _SIZES.match(rest, at + 1)
    if sizes is None:
        return KillLine(pid=int(head["pid"]), comm=rest[:at], scope=_scope(head["scope"]), whole=False)
    late = _number(sizes["uid"])
    uid = late if late is not None else _number(head["uid"] or sizes["el7_uid"])
    return KillLine(
        pid=int(head["pid"]),
        comm=rest[:at],
        scope=_scope(head["scope"]),
        whole=sizes["file"] is not None and not (sizes["after"] or "").startswith(","),
        uid=uid,
        total_vm_kb=_number(sizes["total_vm"]),
        anon_rss_kb=_number(sizes["anon"]),
        file_rss_kb=_number(sizes["file"]),
        shmem_rss_kb=_number(sizes["shmem"]),
        pgtables_kb=_number(sizes["pgtables"]),
        oom_score_adj=_number(sizes["adj"]),
    )


def _unsized(head: re.Match[str], rest: str) -> KillLine:
    """2.6.2x prints no sizes; later kernels only when the line is cut."""
    name = rest.rstrip()
    closed = name.endswith(")")
    return KillLine(
        pid=int(head["pid"]),
        comm=name[:-1] if closed else rest,
        scope=_scope(head["scope"]),
        whole=False,
        uid=_number(head["uid"]),
        closed=closed,
        sized=False,
    )


def constraint_line(text: str) -> ConstraintLine | None:
    """Read an `oom-kill:` line, whole or cut; None where the text is something else."""
    head = _CONSTRAINT.match(text)
    if head is None:
        return None
    rest = head["rest"]
    end = _VICTIM.search(rest)
    return ConstraintLine(
        constraint=head["constraint"],
        rest=rest,
        pid=int(end["pid"]) if end else None,
        uid=int(end["uid"]) if end else None,
    )


def scored_line(text: str) -> ScoredLine | None:
    """Read the first line of the two-line form; `sharing same memory` is not one."""
    match = _SCORED.match(text)
    scope = _scope(match["scope"]) if match else None
    return ScoredLine(pid=int(match["pid"]), scope=scope) if match and scope else None


def task_in(text: str) -> tuple[str | None, str | None] | None:
    """Read (oom_memcg, task_memcg) of a `Task in A killed as a result of limit of B` line."""
    match = _TASK_IN.match(text)
    if match is None or text.count(" killed as a result of limit of ") > 1:
        return None
    task, limit = match["task_memcg"], match["oom_memcg"].rstrip()
    return (limit if within(task, limit) else None), _path(task)


def invoker(text: str) -> str | None:
    """Who asked for memory: never the victim by itself."""
    at = text.rfind(_INVOKED)
    return text[:at].removeprefix(" ") if at >= 0 else None


def exiting(text: str) -> int | None:
    """The pid of a victim that was gone before it was killed."""
    match = _EXITING.match(text)
    return int(match["pid"]) if match else None


def group(text: str) -> str | None:
    """The cgroup whose memory.oom.group is about to take all its members."""
    match = _GROUP.match(text)
    return match["cgroup"] if match else None


def starts_a_line(text: str) -> bool:
    """True for what can not be the second half of a name."""
    return text.lstrip().startswith(_STARTS) or _INVOKED in text


def within(path: str | None, ancestor: str | None, *, cut: bool = False) -> bool:
    """True when the cgroup is the ancestor or below it; `cut` when the end of the path is missing."""
    if path is None or ancestor is None:
        return False
    if cut and ancestor.startswith(path):
        return True
    return ancestor in (path, "/") or path.startswith(ancestor + "/")


def _path(path: str | None) -> str | None:
    """A cgroup's name can not hold a newline: one means that two lines ran together."""
    return None if path is None or "\n" in path else path


def _scope(words: str | None) -> Scope | None:
    if words is None:
        return None
    return "memcg" if words.startswith("Memory") else "global"


def _number(text: str | None) -> int | None:
    return int(text) if text else None
