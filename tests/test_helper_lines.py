"""What leaves a host that has the read helper: whole OOM reports, and of everything else not one word."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from oombot import facts
from oombot.catalog import detectors
from oombot.data import oombot_lines as lines
from oombot.framing import Framing
from oombot.model import Entry
from oombot.oom_report import OomReportParser

LOGS = sorted((Path(__file__).parent / "oom_report").glob("*.log"))
SECRETS = (
    "usb 1-1: SerialNumber: SECRET",
    "audit: type=1400 SECRET",
    "CIFS: password=SECRET",
    "Kernel command line: token=SECRET",
    "node 0 SECRET",
    "SECRET",
    "key: SECRET 12",
    "[   12] SECRET",
    "RIP: 0033:0x5EC2E7 SECRET",
    "Code: SECRET",
)
REPORT = (
    "web invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0",
    "CPU: 0 PID: 77 Comm: web Not tainted 6.1.0-18-amd64 #1  Debian 6.1.76-1",
    "Call Trace:",
    " dump_stack_lvl+0x44/0x5c",
    "memory: usage 61440kB, limit 61440kB, failcnt 21",
    "Memory cgroup stats for /system.slice/web.service:",
    "anon 62914560",
    "Tasks state (memory values in pages):",
    "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
    "[     77]     0    77    18042    16012   163840        0             0 web",
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,"  # noqa: ISC004
    "task_memcg=/a/b,task=web,pid=77,uid=0",
    "Memory cgroup out of memory: Killed process 77 (web) total-vm:72168kB, anon-rss:60012kB, "  # noqa: ISC004
    "file-rss:4036kB, shmem-rss:0kB, UID:0 pgtables:160kB oom_score_adj:0",
    "oom_reaper: reaped process 77 (web), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
)
BOOT = "b" * 32
HEADER = b"@@boot 11111111-2222-3333-4444-555555555555 5000.00 1700000000 +0000"


def kills(entries):
    """What the parser makes of these entries, without the raw lines kept as evidence."""
    parser, found = OomReportParser(), []
    for entry in entries:
        found += parser.feed(entry)
    return [replace(kill, report="") for kill in found + parser.close()]


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_a_filtered_log_tells_the_same_kills(path):
    """With every other line blanked each recorded log still gives the very same kills, to the last field."""
    framing = Framing()
    entries = [entry for line in path.read_bytes().splitlines() if (entry := framing.feed(line)) is not None]
    report = lines.Report()
    left = [
        entry
        if entry.kernel is not False and report.allows(entry.text, entry.mono_s)
        else replace(entry, text="")
        for entry in entries
    ]
    assert kills(left) == kills(entries)


def texts():
    """A kernel log with secrets before, within and after a report, each with the time since boot."""
    within = [line for pair in zip(REPORT, (*SECRETS, "x", "y", "z"), strict=True) for line in pair]
    return [(text, 4000 + at / 1000) for at, text in enumerate((*SECRETS, *within, *SECRETS))]


def journal(text, mono_s, **more):
    """One record of the journal, with a field that nobody asked for."""
    fields = {
        "__CURSOR": f"s=0123456789abcdef;i={int(mono_s * 1000):x}",
        "__REALTIME_TIMESTAMP": str(int((1_699_995_000 + mono_s) * 1e6)),
        "_SOURCE_MONOTONIC_TIMESTAMP": str(int(mono_s * 1e6)),
        "_TRANSPORT": "kernel",
        "SYSLOG_FACILITY": "0",
        "_BOOT_ID": BOOT,
        "_CMDLINE": "run --password=SECRET",
        "MESSAGE": text,
    }
    return json.dumps(fields | more).encode()


def follow_output(source):
    """What a detector's script prints for that log."""
    rows = {
        "journald": journal,
        "kmsg": lambda text, mono_s: f"4,{int(mono_s * 1000)},{int(mono_s * 1e6)},-;{text}".encode(),
        "dmesg": lambda text, mono_s: f"|<4>[{mono_s:12.6f}] {text}".encode(),
        "syslog": lambda text, mono_s: f"|Nov 14 22:13:20 db1 kernel: [{mono_s:12.6f}] {text}".encode(),
    }
    found = [HEADER]
    found += {"dmesg": [b"@@poll"], "syslog": [b"@@files", b"@@from /var/log/kern.log 77 1000"]}.get(
        source, []
    )
    found += [rows[source](text, mono_s) for text, mono_s in texts()]
    if source == "syslog":
        found.insert(6, b"|Nov 14 22:13:20 db1 sudo[7]: password SECRET")
    if source == "journald":
        found.insert(6, journal("hello SECRET", 4000.5, _TRANSPORT="syslog"))
        found.insert(6, journal("from /dev/kmsg SECRET", 4000.5, SYSLOG_FACILITY="3"))
    if source == "kmsg":
        found[1:1] = [b"12,3999999,3999999000,-;user SECRET", b" SUBSYSTEM=SECRET"]
    return [*found, b"@@live", b""]


@pytest.mark.parametrize("source", ["journald", "kmsg", "dmesg", "syslog"])
def test_nothing_but_the_report_leaves(source):
    """Secrets in the kernel log, in the middle of a report and beside it, stay; the kill arrives whole."""
    sent = follow_output(source)
    filtered = lines.Followed(source)
    left = [one for line in sent for one in filtered.feed(line)]
    assert b"SECRET" in b"\n".join(sent)
    assert b"SECRET" not in b"\n".join(left)
    assert b"5EC2E7" not in b"\n".join(left)
    entries = _entries(source, left)
    assert kills(entries) == kills(_entries(source, sent))
    assert [kill.comm for kill in kills(entries)] == ["web"]


@pytest.mark.parametrize("comm", ["Mem-Info:", "[ pid ] x", "kill process 1", "Kill process 1,"])
def test_a_name_of_fifteen_bytes_opens_no_report(comm):
    """The kernel begins lines of other faults with a process's name, which anybody may choose."""
    report = lines.Report()
    assert not report.allows(f"{comm}[77]: segfault at 0 ip 00005ec2e7 error 4 in vault[5ec2e7+1000]", 1)
    assert not report.allows(" vault_ioctl+0x12/0x340 [vault]", 2)


@pytest.mark.parametrize(
    "alone",
    [
        REPORT[-1],
        "oom_reaper: unable to reap pid:77 (web)",
        "OOM victim 77 (web) is already exiting. Skip killing the task",
        "Tasks in /a are going to be killed due to memory.oom.group set",
        "Out of memory and no killable processes...",
        "oom_kill_process: 3 callbacks suppressed",
    ],
)
def test_what_comes_after_a_report_is_no_report(alone):
    """Lines that follow a kill are let out and open nothing: the traces of later faults of the kernel stay."""
    report = lines.Report()
    killed = (
        0 if alone.startswith(("OOM victim", "Out of")) else 1
    )  # these two end a report that has no victim
    assert all(report.allows(text, at) for at, text in enumerate(REPORT[: -2 + killed]))
    assert report.allows(alone, 100)
    later = (
        "CPU: 1 PID: 9 Comm: vault Tainted: G",
        "Call Trace:",
        " vault_ioctl+0x12/0x340 [vault]",
        "anon 5",
    )
    assert not any(report.allows(text, 101) for text in later)


@pytest.mark.parametrize("source", ["journald", "kmsg", "dmesg", "syslog"])
def test_what_is_withheld_moves_the_cursor_on(source):
    """Every line of the kernel leaves its place behind: resuming and gaps are those of the unfiltered log."""
    sent = follow_output(source)
    filtered = lines.Followed(source)
    left = [one for line in sent for one in filtered.feed(line)]
    told, whole = _items(source, left), _items(source, sent)
    assert [item for item in told if not isinstance(item, Entry)] == [
        item for item in whole if not isinstance(item, Entry)
    ]
    cursors = [item.cursor for item in told if isinstance(item, Entry)]
    assert cursors == [item.cursor for item in whole if isinstance(item, Entry)]
    assert cursors[-1]


def _items(source, output):
    reader = detectors()[source].reader(None)
    return [item for line in output for item in reader.feed(line)]


def _entries(source, output):
    return [item for item in _items(source, output) if isinstance(item, Entry)]


@pytest.mark.parametrize("source", ["journald", "kmsg", "dmesg", "syslog"])
def test_a_reading_lets_out_the_report_only(source):
    """The answer of the read script is cut down to the report, and is parsed like the whole one."""
    head = [b"@@host", b"boot_id x", b"@@processes", b"n SECRET-looking name is a name", b"@@log_source"]
    if source == "journald":
        head += [b"source journald", b"oldest " + journal("first SECRET", 1.0), b"@@log", HEADER]
    else:
        head += [f"source {source}".encode(), b"@@log", HEADER]
    body = [line.removeprefix(b"|") for line in follow_output(source) if not line.startswith(b"@@") and line]
    sent = [*head, *body, b"@@end", b"5,9,9,-;SECRET", b"@@end"]
    reading = lines.Reading()
    left = [one for line in sent for one in reading.feed(line)] + list(reading.close())
    log = b"\n".join(left[left.index(b"@@log_source") :])
    assert b"SECRET" not in log
    assert left.count(b"@@end") == 1
    assert left[-1] == b"@@end"
    whole = facts.parse(b"\n".join(sent) + b"\n", host="h", taken_s=1.0).kernel_log
    found = facts.parse(b"\n".join(left) + b"\n", host="h", taken_s=1.0).kernel_log
    assert (found.source, found.since_s, found.since_boot) == (whole.source, whole.since_s, whole.since_boot)
    assert [kill.comm for kill in kills(_entries(source, found.lines))] == ["web"]


def test_a_cut_answer_stays_cut():
    """Without the end mark of the script the filtered answer has none either."""
    reading = lines.Reading()
    left = [one for line in (b"@@host", b"@@log", HEADER) for one in reading.feed(line)]
    assert [*left, *reading.close()] == [b"@@host", b"@@log", HEADER]


def test_why_a_source_is_not_read_is_no_line_of_it():
    """The script's reason may be the log's own first line where that is cut: then only that it failed is told."""
    reading = lines.Reading()
    rows = (
        b"@@log_source",
        b"tried kmsg: dd: failed to open '/dev/kmsg': Permission denied",
        b"tried dmesg: SECRET x",
    )
    assert [one for line in rows for one in reading.feed(line)] == [
        b"@@log_source",
        b"tried kmsg: dd: failed to open '/dev/kmsg': Permission denied",
        b"tried dmesg: it can not be read",
    ]


def test_systemds_own_records_of_a_kill_may_leave():
    """Userspace killers are known by journald's own fields, and lose what else their record holds."""
    oomd = lines.KILLER_RECORDS[1]
    more = {"_TRANSPORT": "journal", "_UID": "0", "MESSAGE_ID": oomd, "UNIT": "web.service"}
    said = json.loads(lines.journal(journal("Killed /web due to pressure", 5.0, **more), lines.Report()))
    assert (said["MESSAGE"], said["UNIT"]) == ("Killed /web due to pressure", "web.service")
    assert "_CMDLINE" not in said
    forged = lines.journal(journal("SECRET", 5.0, **more | {"_UID": "1000"}), lines.Report())
    assert b"SECRET" not in forged


def test_bytes_of_a_message_are_read():
    """A message that journald gives as an array of bytes is judged by its text."""
    record = json.loads(journal("", 5.0)) | {"MESSAGE": list(REPORT[-2].encode())}
    said = json.loads(lines.journal(json.dumps(record).encode(), lines.Report()))
    assert said["MESSAGE"] == REPORT[-2]
    record["MESSAGE"] = list(b"SECRET")
    assert json.loads(lines.journal(json.dumps(record).encode(), lines.Report()))["MESSAGE"] == ""
