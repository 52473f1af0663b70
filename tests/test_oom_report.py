"""The report parser: real reports, hostile names, cut, mixed and endless logs."""

import json
import tracemalloc
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot.framing import Framing
from oombot.model import Entry, OomKill
from oombot.oom_report import OomReportParser
from oombot.oom_report.report import MAX_LINES, MAX_ROWS_SHOWN, MAX_TASKS
from oombot.reading import explain

LOGS = Path(__file__).parent / "oom_report"
NAMES = sorted(path.stem for path in LOGS.glob("*.log"))

CONSTRAINT = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
    "oom_memcg=/pod,task_memcg=/pod/box,task={comm},pid={pid},uid=7"
)
MERGED = (
    "Memory cgroup out of memory: Killed process {pid} ({comm}) total-vm:900kB, anon-rss:800kB, "
    "file-rss:4kB, shmem-rss:0kB, UID:7 pgtables:64kB oom_score_adj:-5"
)
TWO_LINES = (
    "Memory cgroup out of memory: Kill process {pid} ({comm}) score 900 or sacrifice child",
    "Killed process {pid} ({comm}) total-vm:900kB, anon-rss:800kB, file-rss:4kB, shmem-rss:0kB",
)
TABLE = "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"
INVOKED = "{comm} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"


def entries(*texts: str, start_s: float = 100.0, step_s: float = 0.001) -> list[Entry]:
    return [Entry(text=text, mono_s=start_s + at * step_s) for at, text in enumerate(texts)]


def parse(items: list[Entry]) -> list[OomKill]:
    parser = OomReportParser()
    return [kill for item in items for kill in parser.feed(item)] + parser.close()


def log_entries(name: str) -> list[Entry]:
    framing = Framing()
    lines = (LOGS / f"{name}.log").read_bytes().split(b"\n")
    return [entry for line in lines if line and (entry := framing.feed(line)) is not None]


# ------------------------------------------------------------------ real reports
@pytest.mark.parametrize("name", NAMES)
def test_real_report(name):
    """Each captured log gives exactly the kills that its processes themselves told, field by field."""
    expected = json.loads((LOGS / f"{name}.json").read_text())
    explanation = explain((LOGS / f"{name}.log").read_bytes())
    assert len(explanation.kills) == len(expected["kills"])
    for kill, wanted in zip(explanation.kills, expected["kills"], strict=True):
        assert {key: getattr(kill, key) for key in wanted} == wanted
    assert explanation.hidden_kills == expected["hidden_kills"]


def test_state_of_memory_of_a_cgroup():
    """A cgroup's usage, limit and failcnt come with the kill, its table in kB, and no swap is made up."""
    (kill,) = parse(log_entries("4.15-memcg-v2"))
    assert (kill.memory_usage_kb, kill.memory_limit_kb, kill.memory_failcnt) == (16384, 16384, 10)
    assert (kill.swap_total_kb, kill.ram_kb) == (None, None)
    assert [(task.name, task.rss_kb, task.pgtables_kb) for task in kill.tasks] == [
        ("Web Content", 4174 * 4, 72)
    ]
    assert kill.invoker == "Web Content"


def test_state_of_memory_of_the_host():
    """RAM and swap come with a global kill, and no cgroup's numbers."""
    (kill,) = parse(log_entries("7.2-global-shm"))
    assert kill.ram_kb == 49022 * 4
    assert (kill.swap_total_kb, kill.swap_free_kb) == (0, 0)
    assert (kill.memory_usage_kb, kill.oom_memcg) == (None, None)


def test_group_members_share_the_event():
    """memory.oom.group kills are one event: printed twice, given once, and the others name the group."""
    kills = parse(log_entries("5.10-memcg-v2-oomgroup"))
    assert [kill.pid for kill in kills] == [89, 90, 91]
    assert [kill.oom_group for kill in kills] == [None, *["/system.slice/my-app.service"] * 2]
    assert len({kill.memory_limit_kb for kill in kills}) == 1


def test_burst_beyond_the_rate_limit():
    """A kill without a report is a kill, and takes nothing from the report of another."""
    kills = parse(
        entries(INVOKED.format(comm="a"), CONSTRAINT.format(comm="a", pid=5), MERGED.format(comm="a", pid=5))
        + entries(MERGED.format(comm="b", pid=6), start_s=100.5)
    )
    assert [(kill.pid, kill.invoker, kill.oom_memcg) for kill in kills] == [(5, "a", "/pod"), (6, None, None)]


# ------------------------------------------------------------------ names
comms = st.one_of(
    st.sampled_from(
        [
            "<!channel>",
            "`rm -rf /`",
            "a) total-vm:9k",
            "shm,pid=1,uid=0",
            "(sd-pam)",
            "x,task=y",
            "b) score 9 or s",
            "a), UID 0,",
            ")",
            "Killed process",
            "a\nb",
            "\n\n\n",
            "h\ufffd\ufffd[]",
            " lead",
            "trail ",
            ": Kill process ",
        ]
    ),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=15),
)


@given(comm=comms, pid=st.integers(1, 4_194_304))
def test_hostile_name_in_the_merged_form(comm, pid):
    """Whatever a process calls itself, its kill has exactly this name, this pid and this cgroup."""
    (kill,) = parse(entries(CONSTRAINT.format(comm=comm, pid=pid), MERGED.format(comm=comm, pid=pid)))
    assert (kill.pid, kill.comm, kill.uid, kill.oom_score_adj) == (pid, comm, 7, -5)
    assert (kill.oom_memcg, kill.task_memcg) == ("/pod", "/pod/box")


@given(comm=comms, pid=st.integers(1, 4_194_304))
def test_hostile_name_in_the_two_line_form(comm, pid):
    """The two-line form of 5.0 and older is as safe."""
    lines = [line.format(comm=comm, pid=pid) for line in TWO_LINES]
    (kill,) = parse(entries(*lines))
    assert (kill.pid, kill.comm, kill.scope, kill.anon_rss_kb) == (pid, comm, "memcg", 800)


@given(comm=comms.filter(lambda comm: "\n" not in comm), pid=st.integers(1, 4_194_304))
def test_hostile_name_in_a_lone_constraint_line(comm, pid):
    """A constraint line without its kill line names the process too, and says how weak the evidence is."""
    (kill,) = parse(entries(CONSTRAINT.format(comm=comm, pid=pid)))
    assert (kill.pid, kill.comm, kill.uid, kill.evidence) == (pid, comm, 7, "constraint_line")
    assert kill.total_vm_kb is None


@given(parts=st.lists(st.text("ab)( ", max_size=4), min_size=2, max_size=3))
def test_newline_in_a_name_that_the_transport_cuts(parts):
    """Where syslog makes a record of each half, the halves are joined by their equal stamps."""
    comm = "\n".join(parts)
    texts = [CONSTRAINT.format(comm=comm, pid=9), MERGED.format(comm=comm, pid=9)]
    items = [replace(entry, text=half) for entry in entries(*texts) for half in entry.text.split("\n")]
    (kill,) = parse(items)
    assert (kill.comm, kill.oom_memcg, kill.evidence) == (comm, "/pod", "kill_line")


def test_invoker_cut_by_a_newline_is_not_guessed():
    """Only the right half of such a name stands before `invoked`: the invoker is unknown then."""
    kills = parse(log_entries("6.18-rsyslog-iso"))
    assert [kill.invoker for kill in kills] == ["fmt test (1)", None]


# ------------------------------------------------------------------ what is no kill
@pytest.mark.parametrize(
    "text",
    [
        "Out of memory and no killable processes...",
        "Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled",
        "sysrq: Manual OOM execution",
        INVOKED.format(comm="x"),
        "oom_reaper: reaped process 12 (x), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
        "oom_reaper: unable to reap pid:12 (x)",
        "Kill process 1 (init) sharing same memory",
        "OOM victim 12 (x) is already exiting. Skip killing the task",
        "Out of memory: Kill process 12 (x) score 1 or sacrifice child",
        MERGED.format(comm="x", pid=0),
        "app[12]: segfault at 0 ip 000055 sp 00007f error 4 in app[55+1000]",
        "traps: app[12] trap invalid opcode ip:55 sp:7f error:0",
        "Tasks in /a are going to be killed due to memory.oom.group set",
    ],
)
def test_no_kill(text):
    """What only looks like a kill is none."""
    assert parse(entries(text)) == []


def test_victim_that_was_gone_already():
    """A constraint line is no kill when the kernel says that the task was exiting by itself."""
    texts = [
        CONSTRAINT.format(comm="x", pid=12),
        "OOM victim 12 (x) is already exiting. Skip killing the task",
    ]
    assert parse(entries(*texts)) == []


def test_untrusted_entry():
    """An entry that the transport proves not to be the kernel's makes no kill."""
    assert parse([Entry(text=MERGED.format(comm="x", pid=1), kernel=False)]) == []


# ------------------------------------------------------------------ which lines belong together
def test_constraint_line_waits_two_seconds():
    """A lone constraint line becomes a kill only when its kill line can not come any more."""
    parser = OomReportParser()
    first, *_ = entries(CONSTRAINT.format(comm="x", pid=12))
    assert parser.feed(first) == []
    assert not parser.idle
    assert parser.feed(Entry(text="eth0: up", mono_s=101.0)) == []
    (kill,) = parser.feed(Entry(text="eth0: down", mono_s=103.0))
    assert (kill.pid, kill.evidence) == (12, "constraint_line")
    parser.close()
    assert parser.idle


def test_child_dies_for_the_scored_task():
    """Up to 5.0 a child may die for the task that was scored: the uid of the one is not that of the other."""
    texts = [
        INVOKED.format(comm="x"),
        CONSTRAINT.format(comm="parent", pid=50),
        "Memory cgroup out of memory: Kill process 50 (parent) score 9 or sacrifice child",
        "Killed process 51 (child) total-vm:900kB, anon-rss:800kB, file-rss:4kB, shmem-rss:0kB",
    ]
    (kill,) = parse(entries(*texts))
    assert (kill.pid, kill.comm, kill.scope, kill.oom_memcg) == (51, "child", "memcg", "/pod")
    assert (kill.uid, kill.task_memcg) == (None, None)


def test_same_pid_later_is_another_kill():
    """Within two seconds a repeated kill line is the same kill, later it is not."""
    line = MERGED.format(comm="x", pid=12)
    assert len(parse(entries(line, line))) == 1
    assert len(parse(entries(line, line, step_s=3.0))) == 2


def test_other_boot_ends_everything():
    """A report does not go on in the next boot."""
    before = [
        replace(entry, boot_id="a")
        for entry in entries(INVOKED.format(comm="x"), "memory: usage 1kB, limit 1kB, failcnt 1")
    ]
    after = [replace(entry, boot_id="b") for entry in entries(MERGED.format(comm="x", pid=3))]
    (kill,) = parse(before + after)
    assert (kill.invoker, kill.memory_usage_kb, kill.boot_id) == (None, None, "b")


def test_two_reports_line_by_line():
    """Two reports mixed line by line keep their kills and constraint lines, and nothing that could be the other's."""
    one = [
        INVOKED.format(comm="one"),
        "memory: usage 1kB, limit 1kB, failcnt 1",
        CONSTRAINT.format(comm="one", pid=1),
        MERGED.format(comm="one", pid=1),
    ]
    two = [
        line.replace("one", "two")
        .replace("pid=1,", "pid=2,")
        .replace("process 1 ", "process 2 ")
        .replace("1kB, limit", "2kB, limit")
        for line in one
    ]
    kills = parse(entries(*[line for pair in zip(one, two, strict=True) for line in pair]))
    assert [(kill.pid, kill.comm, kill.oom_memcg) for kill in kills] == [
        (1, "one", "/pod"),
        (2, "two", "/pod"),
    ]
    assert {(kill.invoker, kill.memory_usage_kb) for kill in kills} == {(None, None)}


def test_memory_of_a_failed_allocation_is_not_the_kills():
    """A Mem-Info without a task table may come from SysRq or a failed allocation."""
    texts = ["Mem-Info:", "Total swap = 77kB", "100 pages RAM", MERGED.format(comm="x", pid=3)]
    (kill,) = parse(entries(*texts))
    assert kill.swap_total_kb is None


def test_page_size_of_the_machine():
    """Pages are 64 kB where the victim's own total-vm says so."""
    texts = [
        INVOKED.format(comm="x"),
        "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
        "[      3]     7     3       10        5    65536        1            -5 x",
        CONSTRAINT.format(comm="x", pid=3),
        MERGED.format(comm="x", pid=3).replace("900kB", "640kB"),
    ]
    (kill,) = parse(entries(*texts))
    assert [(task.rss_kb, task.swap_kb, task.pgtables_kb) for task in kill.tasks] == [(320, 64, 64)]


def test_vendor_table_is_read_by_its_header():
    """Columns have the places that the header gives them; a row that does not fit is left out."""
    texts = [
        INVOKED.format(comm="x"),
        "[ pid ]   uid  tgid total_vm      rss nr_ptes vendor swapents oom_score_adj name",
        "[    3]     7     3      225      200       2     99        1            -5 a b",
        "[    4]     7     4      junk",
        CONSTRAINT.format(comm="a b", pid=3),
        MERGED.format(comm="a b", pid=3),
    ]
    (kill,) = parse(entries(*texts))
    (task,) = kill.tasks
    assert (task.name, task.rss_kb, task.pgtables_kb, task.swap_kb, task.oom_score_adj) == (
        "a b",
        800,
        8,
        4,
        -5,
    )


# ------------------------------------------------------------------ cut, noise, bounds
def _values(kill: OomKill) -> dict[str, object]:
    free = {"report", "evidence", "tasks", "time_s", "mono_s", "time_approximate", "boot_id"}
    return {one.name: getattr(kill, one.name) for one in fields(kill) if one.name not in free}


def _nothing_invented(found: list[OomKill], whole: list[OomKill]) -> None:
    by_pid = {kill.pid: _values(kill) for kill in whole}
    for kill in found:
        true = by_pid[kill.pid]
        wrong = {
            name: (value, true[name])
            for name, value in _values(kill).items()
            if value not in (None, true[name])
        }
        if true["invoker"] is None and str(true["comm"]).endswith(f"\n{kill.invoker}"):
            wrong.pop("invoker", None)  # both lines that would show the other half were lost
        if kill.evidence == "kill_line_truncated" and true["comm"].startswith(kill.comm):
            wrong.pop("comm", None)
        assert not wrong


@given(name=st.sampled_from(NAMES), data=st.data())
def test_cut_anywhere(name, data):
    """A log that begins and ends anywhere gives each kill whose line is whole, and no value that is not true."""
    items = log_entries(name)
    whole = parse(items)
    begin = data.draw(st.integers(0, len(items)))
    end = data.draw(st.integers(begin, len(items)))
    found = parse(items[begin:end])
    _nothing_invented(found, whole)
    there = {id(item) for item in items[begin:end]}
    for kill in whole:
        lines = [
            item for item in items if f"Killed process {kill.pid} " in item.text and "total-vm" in item.text
        ]
        if lines and all(id(item) in there for item in lines):
            assert kill.pid in {one.pid for one in found}


@given(name=st.sampled_from(NAMES), data=st.data())
def test_lost_lines_and_noise(name, data):
    """Lines lost anywhere and foreign lines between them change no value; they only make some unknown."""
    items = log_entries(name)
    whole = parse(items)
    lost = data.draw(st.sets(st.integers(0, max(0, len(items) - 1)), max_size=20))
    noise = data.draw(st.lists(st.tuples(st.integers(0, len(items)), st.text(max_size=30)), max_size=10))
    junk = {at: text for at, text in noise if "Killed process" not in text}
    mixed: list[Entry] = []
    for at, item in enumerate(items):
        if at in junk:
            mixed.append(replace(item, text=f"usb 1-1: {junk[at]}", mono_s=(item.mono_s or 0) + 1e-7))
        if at not in lost:
            mixed.append(item)
    _nothing_invented(parse(mixed), whole)


@given(
    st.lists(st.one_of(st.text(), st.sampled_from([INVOKED, MERGED, CONSTRAINT, *TWO_LINES])), max_size=30)
)
def test_never_raises(texts):
    """No text makes the parser raise."""
    parse(entries(*texts))
    parse([Entry(text=text) for text in texts])


def test_bounded_on_endless_input():
    """A report that never ends does not grow for ever, and a huge table leaves out rows with a mark."""
    parser = OomReportParser()
    header = "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"
    row = "[{0:7d}]     0 {0:5d}      225      200    65536        0             0 worker"
    rows = [row.format(pid) for pid in range(2, 1002)]
    for item in entries(INVOKED.format(comm="x"), header, *rows, CONSTRAINT.format(comm="x", pid=3)):
        parser.feed(item)
    (kill,) = parser.feed(Entry(text=MERGED.format(comm="x", pid=3), mono_s=101.2))
    assert len(kill.tasks) == 1000
    assert f"[… {1000 - MAX_ROWS_SHOWN} more rows of the task table left out …]" in kill.report
    assert len(kill.report.splitlines()) < MAX_LINES + MAX_ROWS_SHOWN
    for item in entries(INVOKED.format(comm="x"), *["noise"] * 5000, step_s=0.0001):
        parser.feed(item)
    assert parser.idle


# ------------------------------------------------------------------ older and odder forms
SIZES = " total-vm:9kB, anon-rss:8kB, file-rss:7kB"


@pytest.mark.parametrize(
    ("text", "comm", "uid", "scope", "evidence"),
    [
        (f"Killed process 6, UID 5, (a) b){SIZES}", "a) b", 5, None, "kill_line"),
        (f"Killed process 6 (a b), UID 5,{SIZES}, shmem-rss:0kB", "a b", 5, None, "kill_line"),
        (f"Killed process 6 (a), UID 1,){SIZES}", "a), UID 1,", None, None, "kill_line"),
        ("Killed process 6 (a b) vsz:9kB, anon-rss:8kB, file-rss:7kB", "a b", None, None, "kill_line"),
        ("Killed process 6 (apache2)", "apache2", None, None, "kill_line"),
        (
            f"Out of memory (oom_kill_allocating_task): Killed process 6 (a){SIZES}, shmem-rss:0kB",
            "a",
            None,
            "global",
            "kill_line",
        ),
        (
            "Out of memory: Killed process 6 (a) total-vm:9kB, anon-",
            "a",
            None,
            "global",
            "kill_line_truncated",
        ),
        ("Out of memory: Killed process 6 (a) total-vm:9", "a", None, "global", "kill_line_truncated"),
        (f"Out of memory: Killed process 6 (a){SIZES}, shm", "a", None, "global", "kill_line_truncated"),
        ("Out of memory: Killed process 6 (abc", "abc", None, "global", "kill_line_truncated"),
        (
            "Out of memory: Killed process 6 (a, total-vm:9kB",
            "a, total-vm:9kB",
            None,
            "global",
            "kill_line_truncated",
        ),
    ],
)
def test_form(text, comm, uid, scope, evidence):
    """Every form of the kill line, whole or cut, gives its pid and name; what is missing is unknown."""
    (kill,) = parse(entries(text))
    assert (kill.pid, kill.comm, kill.uid, kill.scope, kill.evidence) == (6, comm, uid, scope, evidence)
    assert kill.oom_score_adj is None


def test_cut_name_is_helped_by_the_table():
    """Where the kill line ends within the name, the row of the same process completes it."""
    texts = [
        INVOKED.format(comm="x"),
        "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name",
        "[    6]     7     6      225      200       2        1            -5 longname",
        "Out of memory: Killed process 6 (long",
    ]
    (kill,) = parse(entries(*texts))
    assert (kill.comm, kill.evidence) == ("longname", "kill_line_truncated")


def test_thread_in_the_constraint_line():
    """The constraint line may name a thread of the process that is killed: the table tells."""
    texts = [
        INVOKED.format(comm="x"),
        "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name",
        "[    8]     7     6      225      200       2        1            -5 x",
        CONSTRAINT.format(comm="x", pid=8),
        MERGED.format(comm="x", pid=6),
    ]
    (kill,) = parse(entries(*texts))
    assert (kill.pid, kill.oom_memcg) == (6, "/pod")


def test_report_of_another_process():
    """A report whose table or constraint line knows another process only is not this kill's."""
    table = [
        INVOKED.format(comm="x"),
        "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name",
        "[    8]     7     8      225      200       2        1            -5 x",
    ]
    other = MERGED.format(comm="y", pid=6)
    for texts in (
        [*table, other],
        [*table, TWO_LINES[0].format(comm="y", pid=5), TWO_LINES[1].format(comm="y", pid=6)],
    ):
        (kill,) = parse(entries(*texts))
        assert (kill.pid, kill.invoker) == (6, None)
    kills = parse(entries(*table, CONSTRAINT.format(comm="x", pid=8), other))
    assert {kill.pid: kill.invoker for kill in kills} == {6: None, 8: "x"}


@pytest.mark.parametrize(
    "places",
    [
        "oom_memcg=/a,task_memcg=/b",
        "oom_memcg=/a,task_memcg=/a,oom_memcg=/a",
        "oom_memcg=/a,task_memcg=/a/x,mems_allowed=0",
        "oom_memcg=a,task_memcg=b",
    ],
)
def test_ambiguous_cgroups(places):
    """A cgroup whose own name looks like the line's fields makes the line ambiguous: no cgroup is given."""
    line = f"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,{places},task=x,pid=6,uid=7"
    (kill,) = parse(entries(line, MERGED.format(comm="x", pid=6)))
    assert (kill.constraint, kill.oom_memcg, kill.task_memcg) == ("CONSTRAINT_MEMCG", None, None)


def test_ambiguous_task_in():
    """The same for the line before 5.0, and a limit that is no ancestor is no limit of this task."""
    again = "Task in /a killed as a result of limit of /b killed as a result of limit of /c"
    for line, task in ((again, None), ("Task in /a killed as a result of limit of /b", "/a")):
        (kill,) = parse(
            entries(INVOKED.format(comm="x"), line, *[text.format(comm="x", pid=6) for text in TWO_LINES])
        )
        assert (kill.oom_memcg, kill.task_memcg) == (None, task)


def test_group_of_another_cgroup():
    """The announcement of a group counts only right after a kill in that group."""
    announced = "Tasks in {} are going to be killed due to memory.oom.group set"
    first, second = MERGED.format(comm="x", pid=6), MERGED.format(comm="y", pid=7)
    head = [CONSTRAINT.format(comm="x", pid=6), first]
    elsewhere = parse(entries(*head, announced.format("/other"), second))
    assert [kill.oom_group for kill in elsewhere] == [None, None]
    late = parse(entries(*head, announced.format("/pod/box")) + entries(second, start_s=109.0))
    assert [kill.oom_group for kill in late] == [None, None]
    above = parse(entries(*head, announced.format("/pod"), second))
    assert [(kill.oom_group, kill.task_memcg) for kill in above] == [(None, "/pod/box"), ("/pod", None)]


def test_lines_that_come_too_late():
    """A scored task, a cut name or a report is forgotten when the kernel's clock has gone on."""
    for texts in ([TWO_LINES[0].format(comm="x", pid=6)], [INVOKED.format(comm="x")]):
        (kill,) = parse(entries(*texts) + entries(TWO_LINES[1].format(comm="x", pid=6), start_s=106.0))
        assert (kill.scope, kill.invoker) == (None, None)
    kills = parse(entries("Out of memory: Killed process 6 (abc") + entries("d) total-vm:9kB", start_s=106.0))
    assert [kill.comm for kill in kills] == ["abc"]


def test_many_constraint_lines():
    """Waiting constraint lines are bounded: the oldest is given first, and pid 0 never."""
    parser = OomReportParser()
    given = [
        kill
        for item in entries(*[CONSTRAINT.format(comm="x", pid=pid) for pid in range(80)], step_s=0.0)
        for kill in parser.feed(item)
    ]
    assert [kill.pid for kill in given] == list(range(1, 16))
    assert [kill.pid for kill in parser.close()] == list(range(16, 80))


def test_boots_are_told_apart():
    """The same pid at the same second of another boot is another kill."""
    (entry,) = entries(MERGED.format(comm="x", pid=6))
    assert len(parse([replace(entry, boot_id="a"), replace(entry, boot_id="b")])) == 2


def test_table_beyond_all_bounds():
    """A table that can not be kept whole is not given at all, since its sums would be wrong."""
    header = "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name"
    parser = OomReportParser()
    parser.feed(Entry(text=INVOKED.format(comm="x"), mono_s=1.0))
    parser.feed(Entry(text=header, mono_s=1.0))
    for pid in range(2, MAX_TASKS + 5):
        parser.feed(Entry(text=f"[{pid}] 0 {pid} 1 1 1 0 0 x", mono_s=1.0 + pid * 1e-6))
    parser.feed(Entry(text=CONSTRAINT.format(comm="x", pid=3), mono_s=1.1))
    (kill,) = parser.feed(Entry(text=MERGED.format(comm="x", pid=3), mono_s=1.1))
    assert kill.tasks == ()
    assert kill.oom_memcg == "/pod"


def test_second_prints_are_kept_apart():
    """A victim that is printed again with a stamp of its own is a second print, once; the same line again is none."""
    line = "Memory cgroup out of memory: Killed process 7 (app) total-vm:9kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB"
    parser, kills = OomReportParser(), []
    for mono_s in (5.0, 5.0, 5.001):
        kills += parser.feed(Entry(text=line, mono_s=mono_s, kernel=True))
    assert [kill.mono_s for kill in kills] == [5.0]
    assert [kill.mono_s for kill in parser.repeats()] == [5.001]
    assert parser.repeats() == []


def test_memory_of_a_parser_that_lives_for_weeks():
    """Reports that were given are not kept: what ten of them leave behind is less than four of them weigh."""
    parser = OomReportParser()

    def feed(at: int) -> list[OomKill]:
        rows = (
            f"[{7000 + row:7d}]  1000 {7000 + row:5d} 900 800 65536 0 0 {'x' * 15}" for row in range(1000)
        )
        head = (INVOKED.format(comm="java"), "Tasks state (memory values in pages):", TABLE)
        texts = (*head, *rows, CONSTRAINT.format(pid=at, comm="java"), MERGED.format(pid=at, comm="java"))
        return [kill for item in entries(*texts, start_s=at * 60.0, step_s=0) for kill in parser.feed(item)]

    feed(1)
    tracemalloc.start()
    try:
        kept = feed(2)
        one = tracemalloc.get_traced_memory()[0]
        assert len(kept[0].tasks) > 100
        assert sum(len(feed(at)) for at in range(3, 13)) == 10
        assert tracemalloc.get_traced_memory()[0] < 4 * one
    finally:
        tracemalloc.stop()
