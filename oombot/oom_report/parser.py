"""From entries to kills: which lines belong together, and what is certain about each kill.

The kill line alone always makes a kill: the kernel never rate-limits it, while the report before it is dropped after
ten in five seconds. A report is attached only when the line that names the constraint names the same process, or
when it is the report directly before and no other kill has used it. What is not certain stays None.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, replace

from oombot.model import Entry, OomKill, Scope
from oombot.oom_report import lines
from oombot.oom_report.kills import Context, build
from oombot.oom_report.lines import COMM_LENGTH, ConstraintLine, KillLine, ScoredLine
from oombot.oom_report.report import Report, opens_report

REPORT_S = 2.0  # of the kernel's clock; a report of one moment can reach syslog over a minute
_STALL_S = 5.0  # between two lines of one report: a slow console, a host that hardly runs
_MAX_WAITING = 64
_MAX_SEEN = 512
_REPEAT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """A constraint line whose kill line is still to come."""

    line: ConstraintLine
    report: Report | None
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """The first line of the two-line form."""

    line: ScoredLine
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A kill that was given."""

    kill: OomKill
    text: str
    generation: int


class OomReportParser:
    """Push parser: entries in, finished kills out. It keeps one report, a few waiting lines and nothing else."""

    def __init__(self) -> None:
        """Begin between two reports."""
        self._held: list[Entry] = []
        self._report: Report | None = None
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._scored: _Scored | None = None
        self._group: Context | None = None
        self._group_mono_s: float | None = None
        self._last: tuple[OomKill, Context] | None = None
        self._seen: deque[_Seen] = deque(maxlen=_MAX_SEEN)
        self._repeats: deque[OomKill] = deque(maxlen=_MAX_SEEN)
        self._generation = 0
        self._before: Entry | None = None
        self._clock: tuple[str | None, float | None] = (None, None)

    @property
    def idle(self) -> bool:
        """True when no report is in the middle, so that reading may begin again after this entry."""
        return not (self._held or self._report or self._waiting or self._scored or self._group)

    def feed(self, entry: Entry) -> list[OomKill]:
        """Take the next entry; what the transport proves not to be the kernel's is passed over."""
        if entry.kernel is False:
            return []
        kills = self._pass_time(entry)
        if self._held:
            return kills + self._continue(entry)
        return kills + self._take(entry)

    def close(self) -> list[OomKill]:
        """Give what still waits, as at the end of a log; the parser can go on after it."""
        kills = self._release()
        kills += [kill for pid in list(self._waiting) for kill in self._give_up(pid)]
        self._report = self._scored = self._group = None
        return kills

    def repeats(self) -> list[OomKill]:
        """Second prints of kills given before, which the kernel has counted once more; each is told once."""
        found = list(self._repeats)
        self._repeats.clear()
        return found

    # -------------------------------------------------------------- the kernel's clock
    def _pass_time(self, entry: Entry) -> list[OomKill]:
        boot_id, mono_s = self._clock
        now = entry.mono_s
        other_boot = None not in (boot_id, entry.boot_id) and boot_id != entry.boot_id
        back = mono_s is not None and now is not None and now < mono_s - REPORT_S
        self._clock = (entry.boot_id or boot_id, now if now is not None else mono_s)
        if other_boot or back:
            return self.close()
        if now is None:
            return []
        kills = self._release() if self._held and _later(self._held[0].mono_s, now) else []
        late = [pid for pid, one in self._waiting.items() if _later(one.entry.mono_s, now)]
        kills += [kill for pid in late for kill in self._give_up(pid)]
        if self._report and _later(self._report.mono_s, now, _STALL_S):
            self._report = None
        if self._scored and _later(self._scored.entry.mono_s, now):
            self._scored = None
        if self._group and _later(self._group_mono_s, now):
            self._group = None
        return kills

    # -------------------------------------------------------------- names with a newline
    def _continue(self, entry: Entry) -> list[OomKill]:
        """Join what a newline in a name has cut in two: the halves bear the same stamp."""
        first = self._held[0]
        if entry.mono_s == first.mono_s and not lines.starts_a_line(entry.text):
            joined = replace(first, text="\n".join(one.text for one in (*self._held, entry)))
            state = _name_state(joined.text)
            if state is True:
                self._held = []
                return self._take(joined)
            if state is None and len(self._held) <= COMM_LENGTH:
                self._held.append(entry)
                return []
        return self._release() + self._take(entry)

    def _release(self) -> list[OomKill]:
        """Give up joining: the first line is what it is, the others are lines of their own."""
        held, self._held = self._held, []
        kills = self._take(held[0], cut=True) if held else []
        for entry in held[1:]:
            kills += self._take(entry, cut=True)
        return kills

    # -------------------------------------------------------------- one line
    def _take(self, entry: Entry, *, cut: bool = False) -> list[OomKill]:
        text = entry.text
        kill = lines.kill_line(text)
        if kill is not None:
            if not kill.sized and not cut:
                self._held = [entry]
                return []
            return self._kill(entry, kill)
        constraint = lines.constraint_line(text)
        if constraint is not None:
            if constraint.pid is None and not cut:
                self._held = [entry]
                return []
            return self._constrain(entry, constraint)
        self._note(entry)
        self._before = entry
        return []

    def _note(self, entry: Entry) -> None:
        text = entry.text
        if (scored := lines.scored_line(text)) is not None:
            self._scored = _Scored(line=scored, entry=entry)
        elif (pid := lines.exiting(text)) is not None:
            self._waiting.pop(pid, None)
            self._report = None
        elif "no killable processes" in text or text.lstrip().startswith("Kernel panic - not syncing"):
            self._report = None
        elif (cgroup := lines.group(text)) is not None:
            self._open_group(entry, cgroup)
        else:
            self._extend_report(entry)
            return
        if self._report is not None:
            self._report.add(text, entry.mono_s)

    def _extend_report(self, entry: Entry) -> None:
        who = lines.invoker(entry.text)
        if who is not None:
            open_still = self._report is not None and self._report.invoked
            self._report = Report(invoked=True, invoker=self._whole(who, entry), mixed=open_still)
            self._scored = self._group = None
            self._generation += 1
        elif self._report is None and opens_report(entry.text):
            self._report = Report()
        if self._report is None:
            return
        self._report.add(entry.text, entry.mono_s)
        if self._report.done:
            self._report = None

    def _whole(self, invoker: str, entry: Entry) -> str | None:
        """A short line with the very same stamp before it may be the other half of a name with a newline."""
        before = self._before
        cut = before is not None and before.mono_s is not None and before.mono_s == entry.mono_s
        return None if cut and before is not None and len(before.text) < COMM_LENGTH else invoker

    def _open_group(self, entry: Entry, cgroup: str) -> None:
        """All members of a cgroup follow; they share the event of the first victim."""
        self._group = None
        if self._last is None:
            return
        first, context = self._last
        known = first.task_memcg is None or lines.within(first.task_memcg, cgroup)
        if first.scope != "memcg" or _later(first.mono_s, entry.mono_s) or not known:
            return
        self._group = replace(context, group=cgroup, first=first, same_task=False)
        self._group_mono_s = entry.mono_s

    def _constrain(self, entry: Entry, line: ConstraintLine) -> list[OomKill]:
        if self._report is None:
            self._report = Report()
        report = self._report
        if report.constraint is not None and report.constraint != line:
            report.mixed = True
        report.constraint = line
        report.add(entry.text, entry.mono_s)
        kills: list[OomKill] = []
        if line.pid is not None:
            self._waiting[line.pid] = _Waiting(line=line, report=report, entry=entry)
            if len(self._waiting) > _MAX_WAITING:
                kills = self._give_up(next(iter(self._waiting)))
        return kills

    # -------------------------------------------------------------- one kill
    def _kill(self, entry: Entry, line: KillLine) -> list[OomKill]:
        if line.pid == 0:
            return []
        context = self._context(line)
        if context.group is not None:
            self._group_mono_s = entry.mono_s
        elif line.scope is not None or self._scored is not None:
            self._group = None
        self._scored = None
        self._use_up(context, entry)
        kill = build(entry, line, context)
        return self._give(kill, entry.text, context)

    def _context(self, line: KillLine) -> Context:
        waiting = self._waiting.pop(line.pid, None) or self._waiting_thread(line.pid)
        if waiting is not None:
            return Context(
                report=waiting.report, constraint=waiting.line, same_task=True, scope=self._scope(line)
            )
        if line.scope is None and self._scored is not None:
            return self._scored_context(line, self._scored.line)
        if self._group is not None and line.scope != "global":
            return self._group
        report = self._report
        if report is None or (report.constraint is not None and report.constraint.pid is not None):
            return Context()
        if not report.agrees_on({line.pid}):
            return Context()
        return Context(report=report, constraint=report.constraint)

    def _scope(self, line: KillLine) -> Scope | None:
        return self._scored.line.scope if line.scope is None and self._scored is not None else None

    def _waiting_thread(self, pid: int) -> _Waiting | None:
        """The constraint line may name a thread where the kill line names its process."""
        for other, waiting in self._waiting.items():
            if waiting.report is not None and waiting.report.same_task(other, pid):
                return self._waiting.pop(other)
        return None

    def _scored_context(self, line: KillLine, scored: ScoredLine) -> Context:
        """Up to 5.0 a child of the scored task may die in its place: the event is the same, the task is not."""
        waiting = self._waiting.pop(scored.pid, None)
        report = waiting.report if waiting else self._report
        if waiting is None and report is not None and not report.agrees_on({line.pid, scored.pid}):
            report = None
        constraint = waiting.line if waiting else None
        return Context(scope=scored.scope, report=report, constraint=constraint)

    def _use_up(self, context: Context, entry: Entry) -> None:
        if context.report is None:
            return
        if context.group is None:
            context.report.add(entry.text, entry.mono_s)
        if self._report is context.report:
            self._report = None

    def _give_up(self, pid: int) -> list[OomKill]:
        """A constraint line whose kill line never came: the kernel had chosen, and the line was lost."""
        waiting = self._waiting.pop(pid)
        line = waiting.line
        context = Context(report=waiting.report, constraint=line, same_task=True)
        self._use_up(replace(context, group="") if waiting.report else context, waiting.entry)
        comm = line.comm()
        if pid == 0 or comm is None:
            return []
        cut = KillLine(pid=pid, comm=comm, scope=None, whole=False)
        kill = replace(build(waiting.entry, cut, context), evidence="constraint_line")
        return self._give(kill, waiting.entry.text, context)

    def _give(self, kill: OomKill, text: str, context: Context) -> list[OomKill]:
        seen = _Seen(kill=kill, text=text, generation=self._generation)
        before = next((other for other in self._seen if _same(seen, other)), None)
        if before is not None and not _says_more(kill, before.kill):
            if _repeats(kill, before.kill):
                self._repeats.append(kill)
            return []
        # a kill line that comes after its constraint line was given up is given as well; reports are long, and a
        # parser lives for weeks: they are not kept
        self._seen.append(replace(seen, kill=replace(kill, report="", tasks=())))
        self._last = (kill, context)
        return [kill]


def _name_state(text: str) -> bool | None:
    """True when the line is whole now, None when more may come, False when it can not become whole."""
    kill, constraint = lines.kill_line(text), lines.constraint_line(text)
    if constraint is not None:
        if constraint.pid is None:
            return None if len(text.rpartition(",task=")[2]) <= COMM_LENGTH else False
        comm = constraint.comm()
        return comm is not None and "\n" in comm
    if kill is None:
        return False
    if len(kill.comm) > COMM_LENGTH:
        return False
    return True if kill.sized else None


def _says_more(kill: OomKill, before: OomKill) -> bool:
    """Whether a whole kill line follows what had been told without one."""
    return kill.evidence == "kill_line" and before.evidence != "kill_line"


def _repeats(kill: OomKill, before: OomKill) -> bool:
    """A second kill line of one victim has a stamp of its own; the same line by another transport has not."""
    if kill.mono_s is None or before.mono_s is None or kill.evidence != "kill_line":
        return False
    return 0 < abs(kill.mono_s - before.mono_s) <= _REPEAT_S


def _same(one: _Seen, other: _Seen) -> bool:
    """oom.group prints its first victim twice, and two transports may both carry a line."""
    if one.kill.pid != other.kill.pid:
        return False
    if None not in (one.kill.boot_id, other.kill.boot_id) and one.kill.boot_id != other.kill.boot_id:
        return False
    if one.kill.mono_s is not None and other.kill.mono_s is not None:
        return abs(one.kill.mono_s - other.kill.mono_s) <= REPORT_S
    return one.text == other.text and one.generation == other.generation


def _later(then_s: float | None, now_s: float | None, limit_s: float = REPORT_S) -> bool:
    return then_s is not None and now_s is not None and now_s - then_s > limit_s
