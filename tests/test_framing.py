"""Framing: every transport of the same message gives the same text, and what it says about time and origin."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot.framing import Framing
from oombot.framing.clock import HostClock, header, latest_syslog_time, mark
from oombot.framing.records import journal_record, kmsg_record
from oombot.model import Gap, Live
from oombot.reading import explain

KILL = "Out of memory: Killed process 6 (a b) total-vm:9kB, anon-rss:8kB, file-rss:7kB, shmem-rss:0kB"
WHEN = datetime(2026, 11, 23, 1, 43, 8, 657053, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("prefix", "form", "mono_s", "time_s"),
    [
        ("", "plain", None, None),
        ("kernel: ", "journal-cut", None, None),
        ("[ 2431.979445] ", "dmesg", 2431.979445, None),
        ("2431.979445] ", "dmesg", 2431.979445, None),
        ("[ 2431.979445][  T248] ", "dmesg", 2431.979445, None),
        ("[ 2431.979445] [ C1] ", "dmesg", 2431.979445, None),
        ("[ 2431.979445 <    0.000089>] ", "dmesg-delta", 2431.979445, None),
        ("[<    0.000089>] ", "dmesg-delta", None, None),
        ("[  +0.000089] ", "dmesg-delta", None, None),
        ("[Nov23 01:30] ", "dmesg-delta", None, None),
        ("[Mon Nov 23 01:30:07 2026] ", "dmesg-T", None, None),
        ("[dim. 19 avril 18:03:30 2026] ", "dmesg-T", None, None),
        ("[四 3月 18 18:47:12 2021] ", "dmesg-T", None, None),
        ("<3>[ 2431.979445] ", "dmesg-r", 2431.979445, None),
        ("kern  :err   : [ 2431.979445] ", "dmesg-x", 2431.979445, None),
        ("2026-11-23T01:43:08,657053+00:00 ", "dmesg-iso", None, WHEN),
        ("2026-11-23T01:43:08.657053+00:00 vm kernel: [ 2431.979445] ", "syslog-iso", 2431.979445, WHEN),
        ("2026-11-23T01:43:08+0000 vm kernel: ", "syslog-iso", None, int(WHEN)),
        ("Nov 23 01:43:08 vm kernel: [ 2431.979445] ", "syslog-rfc3164", 2431.979445, None),
        ("Nov 23 01:43:08.657053 vm kernel: ", "syslog-rfc3164", None, None),
        ("9月 18 01:43:08 vm kernel: ", "syslog-rfc3164", None, None),
        ("апр 28 01:43:08 vm kernel: ", "syslog-rfc3164", None, None),
        ("<3>Nov 23 01:43:08 vm kernel: ", "syslog-rfc3164", None, None),
        (
            "<3>1 2026-11-23T01:43:08.657053+00:00 vm kernel - - - [ 2431.979445] ",
            "syslog-rfc5424",
            2431.979445,
            WHEN,
        ),
        ("[ 2431.979445] vm kernel: ", "journal-short-monotonic", 2431.979445, None),
        ("3,498,2431979445,-;", "kmsg", 2431.979445, None),
        ("(d1) [ 2431.979445] ", "dmesg", 2431.979445, None),
    ],
)
def test_transport(prefix, form, mono_s, time_s):
    """The prefix goes, the text stays, and a time is given only where the prefix names a moment."""
    framing = Framing()
    entry = framing.feed((prefix + KILL).encode())
    assert entry is not None
    assert (entry.text, entry.mono_s, framing.forms) == (KILL, mono_s, (form,))
    assert entry.time_s == pytest.approx(time_s)
    assert entry.kernel is not False


@pytest.mark.parametrize(
    "line",
    [
        "Nov 23 01:43:08 vm app[12]: ",
        "2026-11-23T01:43:08+00:00 vm logger: ",
        "<11>1 2026-11-23T01:43:08+00:00 vm kernel - - - ",
        "<11>[ 1.000000] ",
        "user  :err   : [ 1.000000] ",
        "11,1,1,-;",
    ],
)
def test_other_writers(line):
    """What a process wrote is marked as not the kernel's, and makes no kill."""
    entry = Framing().feed((line + KILL).encode())
    assert entry is not None
    assert entry.kernel is False
    assert explain((line + KILL).encode()).kills == ()


def test_year_of_a_stamp_without_one():
    """A stamp without a year is a moment only in the year that the caller names."""
    line = b"Nov 23 01:43:08 vm kernel: x"
    entry = Framing(year=2026).feed(line)
    assert entry is not None
    assert entry.time_s == int(WHEN)


def test_kmsg_record():
    """Escapes are undone, the lines of device properties are no messages."""
    framing = Framing()
    entry = framing.feed(rb"3,498,2431979445,-;task=b\xc3\xa9\xff\x0anl\x5cx41")
    assert entry is not None
    assert entry.text == "task=bé\ufffd\nnl\\x41"
    assert framing.feed(b" SUBSYSTEM=pci") is None
    assert framing.feed(b" DEVICE=+pci:0000:00:1f.2") is None


def test_journal_json():
    """MESSAGE is a string, an array of bytes or null; only the kernel's own fields prove the kernel."""
    trusted = {"_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "__CURSOR": "s=1"}

    def read(**fields):
        return journal_record(json.dumps({**trusted, **fields}).encode())

    assert read(MESSAGE="a").text == "a"
    assert read(MESSAGE=[97, 255, 10]).text == "a\ufffd\n"
    assert read(MESSAGE=None).text is None
    assert read(MESSAGE=["a", "b"]).text == "a"
    assert read(MESSAGE="a").kernel
    assert not read(MESSAGE="a", _TRANSPORT="syslog").kernel
    assert not read(MESSAGE="a", SYSLOG_FACILITY="1").kernel
    assert read(MESSAGE="a", _SOURCE_BOOTTIME_TIMESTAMP="1500000").mono_s == 1.5
    assert journal_record(b'{"_TRANSPORT": "kernel", "MESSAGE": "a"}').kernel is False
    assert (
        read(MESSAGE="a", _BOOT_ID="0123456789abcdef" * 2).boot_id == "01234567-89ab-cdef-0123-456789abcdef"
    )


def test_dmesg_json():
    """`dmesg -J` writes one member a line."""
    framing = Framing()
    lines = [
        b"{",
        b'   "dmesg": [',
        b'   "pri": 3,',
        b'   "time":   12.500000,',
        b'   "msg": "a\\nb"',
        b"  }",
    ]
    texts = [
        (entry.text, entry.mono_s) for line in lines if (entry := framing.feed(line)) and "a" in entry.text
    ]
    assert texts == [("a\nb", 12.5)]


def test_second_line_of_a_message():
    """dmesg indents the second line of a message; it bears the stamp of the first."""
    framing = Framing()
    framing.feed(b"kern  :warn  : [ 2432.316093] b\xc3\xa9\\xff")
    entry = framing.feed(b"                              nl invoked oom-killer")
    assert entry is not None
    assert (entry.text, entry.mono_s) == ("nl invoked oom-killer", 2432.316093)


def test_escapes_of_dmesg_and_rsyslog():
    """Only what the transport itself escapes is undone: a typed \\x41 stays."""
    assert Framing().feed(rb"[    1.000000] b\xc3\xa9\xff \x41").text == "bé\ufffd \\x41"
    assert Framing().feed(b"Nov 23 01:43:08 vm kernel: a#012b #1").text == "a\nb #1"


def test_header_of_a_follow_script():
    """The first line names boot, uptime, clock and zone; each may be missing."""
    boot = "84631588-8d8e-4e1f-9bfd-c816cfa999c8"
    clock = header(f"@@boot {boot} 100.5 1000.5 -0130".encode())
    assert clock == HostClock(boot_id=boot, uptime_s=100.5, now_s=1000.5, utc_offset_s=-5400)
    assert clock.at(1.0) == 901.0
    assert header(b"@@boot - 0 12") == HostClock(boot_id=None, uptime_s=0.0, now_s=12.0)
    assert header(b"@@boot  - -") == HostClock()
    assert header(b"@@boot x; 1 2") is None
    assert header(b"\xff") is None


def test_marks():
    """Marks are few; a problem's text is cleaned."""
    assert mark(b"@@live") == Live()
    assert mark(b"@@gap lost\x1b[2J") == Gap(reason="lost [2J")
    assert mark(b"@@problem no") == Gap(reason="no", unreadable=True)
    assert mark(b"@@other") is None


def test_latest_meaning_of_a_stamp():
    """A stamp without a year is the latest that is not in the future, in the host's zone."""
    clock = HostClock(now_s=datetime(2026, 1, 2, tzinfo=UTC).timestamp(), utc_offset_s=3600)
    assert latest_syslog_time("Dec 31 00:00:00", clock) == datetime(2025, 12, 30, 23, tzinfo=UTC).timestamp()
    assert latest_syslog_time("Jan  1 01:00:00", clock) == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert latest_syslog_time("Feb 30 01:00:00", clock) is None
    assert latest_syslog_time("avril 1 01:00:00", HostClock(now_s=1.0)) is None


@given(st.lists(st.binary(max_size=80), max_size=10))
def test_never_raises(lines):
    """No bytes make framing or the explanation raise."""
    framing = Framing(year=2024)
    for line in lines:
        framing.feed(line)
        kmsg_record(line)
        journal_record(line)
        header(line)
    explain(b"\n".join(lines))


@given(
    st.sampled_from([b"{", b"3,1,1,-;", b"Nov 23 01:43:08 h kernel: ", b"[    1.000000] ", b"<3>", b"<3>1 "]),
    st.binary(max_size=200),
)
def test_never_raises_behind_a_known_prefix(prefix, rest):
    """Neither do bytes behind a prefix that is understood."""
    explain(prefix + rest)


def test_odd_stamps_and_values():
    """Months that are none, clocks beyond all calendars and values that are no text name no moment."""
    assert latest_syslog_time("Nov 23 01:00:00", HostClock(now_s=9e11, utc_offset_s=0)) is None
    assert Framing(year=2026).feed("13月 1 01:00:00 vm kernel: x".encode()).time_s is None
    assert Framing(year=2026).feed(b"Feb 30 01:00:00 vm kernel: x").time_s is None
    assert Framing(year=2026).feed(b"no month at all").time_s is None
    assert Framing().feed(b"2026-13-40T01:00:00+00:00 vm kernel: x").time_s is None
    assert Framing().feed(b"2026-11-23T01:00:00 vm kernel: x").time_s is None
    assert header(b"@@boot - 1.5 2 +0200") == HostClock(uptime_s=1.5, now_s=2.0, utc_offset_s=7200)
    assert journal_record(b'{"MESSAGE": [300]}').text is None
    assert journal_record(b'{"MESSAGE": "a", "_BOOT_ID": "short"}').boot_id == "short"
    assert journal_record(b'{"MESSAGE": "a", "__REALTIME_TIMESTAMP": "-1"}').realtime_s is None


def test_journal_line_becomes_an_entry():
    """A pasted journal line keeps its cursor and boot; one that shows no message gives none."""
    framing = Framing()
    line = {"MESSAGE": KILL, "__CURSOR": "s=1", "_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0"}
    entry = framing.feed(json.dumps(line).encode())
    assert (entry.text, entry.cursor, entry.kernel) == (KILL, "s=1", True)
    assert framing.feed(json.dumps({**line, "MESSAGE": None}).encode()) is None
    assert framing.forms == ("journal-json",)
