"""The journal's detector: the cursor proves continuity, phases overlap, only the kernel is believed."""

import json
from pathlib import Path

import pytest

from oombot.detectors.journald import DETECTOR, SCRIPT
from oombot.model import Entry, Gap, Live
from tests.detectors.conftest import read

BOOT = "84631588-8d8e-4e1f-9bfd-c816cfa999c8"
HEADER = f"@@boot {BOOT} 1000 5000 +0000".encode()


def cursor(number: int) -> str:
    return f"s=0123456789abcdef;i={number:x};b=fedcba"


def record(number: int, *, boot: str = BOOT, **fields: object) -> bytes:
    base = {
        "__CURSOR": cursor(number),
        "__REALTIME_TIMESTAMP": str(4_800_000_000 + number),
        "_SOURCE_MONOTONIC_TIMESTAMP": str(500_000_000 + number),
        "_BOOT_ID": boot.replace("-", ""),
        "_TRANSPORT": "kernel",
        "SYSLOG_FACILITY": "0",
        "MESSAGE": f"message {number}",
    }
    return json.dumps({**base, **fields}).encode()


def texts(items: list[object]) -> list[str]:
    return [item.text for item in items if isinstance(item, Entry)]


def test_continuity_is_proven():
    """The first record is the one of the cursor: no gap, and it is not given twice."""
    reader = DETECTOR.reader(f"{cursor(1)}@4800")
    items = read(reader, [HEADER, record(1), record(2), b"@@live", record(2), record(3)])
    assert texts(items) == ["message 2", "message 3"]
    assert [type(item) for item in items] == [Entry, Live, Entry]
    assert items[0].cursor == f"{cursor(2)}@4800"


@pytest.mark.parametrize("lines", [[record(7), b"@@live"], [b"@@live"]])
def test_vacuumed_journal_is_a_gap(lines):
    """Another first record, or none, means that something was not seen; that is said once."""
    items = read(DETECTOR.reader(f"{cursor(1)}@4800"), [HEADER, *lines])
    gaps = [item for item in items if isinstance(item, Gap)]
    assert [gap.since_s for gap in gaps] == [4800.0]


def test_times():
    """In the present boot the kernel's stamp counts, in an earlier one the time of reception."""
    reader = DETECTOR.reader(None)
    now, late, before = read(
        reader,
        [
            HEADER,
            record(1),
            record(2, _SOURCE_BOOTTIME_TIMESTAMP="600000000"),
            record(3, boot="0" * 8 + BOOT[8:]),
        ],
    )
    assert (now.time_s, now.approximate, now.mono_s) == (4000 + 500.000001, True, 500.000001)
    assert (late.time_s, late.approximate) == (4600.0, True)
    assert (before.time_s, before.approximate) == (4800.000003, False)
    assert now.boot_id == BOOT


def test_a_clock_that_drifts():
    """Where the kernel's stamp is a little later than the reception, the reception counts; far later, the stamp."""
    reader = DETECTOR.reader(None)
    near, far = read(
        reader,
        [
            HEADER,
            record(1, _SOURCE_MONOTONIC_TIMESTAMP="810000000"),
            record(2, _SOURCE_MONOTONIC_TIMESTAMP="990000000"),
        ],
    )
    assert (near.time_s, near.approximate) == (4800.000001, False)
    assert (far.time_s, far.approximate) == (4990.0, True)


def test_without_a_header():
    """Without a header the time of reception is all there is."""
    (entry,) = read(DETECTOR.reader(None), [record(1)])
    assert (entry.time_s, entry.approximate) == (4800.000001, False)


def test_untrusted_and_unreadable_records():
    """What the kernel did not write is not given; nor is what is no record."""
    lines = [
        record(1, _TRANSPORT="syslog"),
        record(2, SYSLOG_FACILITY="3"),
        record(3, MESSAGE=None),
        b'{"broken',
        b"{}",
        b"",
    ]
    assert read(DETECTOR.reader(None), [HEADER, *lines]) == []


def test_log_text_is_no_mark():
    """A message that looks like a mark is a message."""
    items = read(DETECTOR.reader(None), [HEADER, record(1, MESSAGE="@@live"), record(2, MESSAGE="x\n@@live")])
    assert texts(items) == ["@@live", "x\n@@live"]


def test_command():
    """A cursor that is not of our form reaches no shell; the script is a function called in its last line."""
    assert DETECTOR.follow(f"{cursor(1)}@4800").argv == ("sh", "-s", "--", cursor(1), "4740")
    for bad in (None, "", "$(reboot)@1", f"{cursor(1)}@x", f"{cursor(1)}@4800\n"):
        assert DETECTOR.follow(bad).argv == ("sh", "-s", "--", "", "-30d")
    assert SCRIPT.startswith("main() {")
    assert SCRIPT.endswith('}\nmain "$@" </dev/null\n')


FAKE = """#!/bin/sh
printf '%s\\n' "$*" >>"$ASKED"
case "$*" in
  *--system*) cat "$RECORDS/oldest" 2>/dev/null;;
  *" -f "*) cat "$RECORDS/live"; exec sleep 5;;
  *--cursor=*)
    if mv "$RECORDS/dies" "$RECORDS/died" 2>/dev/null; then cat "$RECORDS/died"; exit 1; fi
    cat "$RECORDS/after" 2>/dev/null || exit 1;;
  *--since=*) cat "$RECORDS/since";;
esac
"""


@pytest.fixture
def journal(tmp_path: Path) -> dict[str, str]:
    """A journalctl of our own, first on PATH."""
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text(FAKE)
    program.chmod(0o755)
    (tmp_path / "live").write_bytes(record(3) + b"\n" + record(4) + b"\n")
    (tmp_path / "since").write_bytes(b"".join(record(at) + b"\n" for at in (1, 2, 3)))
    return {
        "PATH": f"{program.parent}:/usr/bin:/bin",
        "ASKED": str(tmp_path / "asked"),
        "RECORDS": str(tmp_path),
    }


def test_first_contact(run, journal, tmp_path):
    """Without a cursor a bounded history is read, then the live phase overlaps with it."""
    _, lines = run(DETECTOR.follow(None), env=journal)
    items = read(DETECTOR.reader(None), lines)
    assert texts(items) == [f"message {at}" for at in (1, 2, 3, 4)]
    assert [at for at, item in enumerate(items) if isinstance(item, Live)] == [3]
    asked = (tmp_path / "asked").read_text()
    assert "--since=-30d _TRANSPORT=kernel" in asked
    assert "-f --since=-15s _TRANSPORT=kernel" in asked


def test_resume(run, journal, tmp_path):
    """With a cursor the journal is read from it, inclusively."""
    (tmp_path / "after").write_bytes(record(2) + b"\n" + record(3, MESSAGE="back\\slash") + b"\n")
    position = f"{cursor(2)}@4800"
    _, lines = run(DETECTOR.follow(position), env=journal)
    items = read(DETECTOR.reader(position), lines)
    assert texts(items) == ["back\\slash", "message 4"]
    assert not any(isinstance(item, Gap) for item in items)
    assert f"--cursor={cursor(2)} _TRANSPORT=kernel" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("silent", [True, False])
def test_foreign_cursor(run, journal, tmp_path, silent):
    """A cursor that journalctl refuses, or is silent about, falls back to its time, and the gap is said."""
    if silent:
        (tmp_path / "after").write_bytes(b"")
    position = f"{cursor(99)}@4800"
    _, lines = run(DETECTOR.follow(position), env=journal)
    items = read(DETECTOR.reader(position), lines)
    assert isinstance(items[0], Gap)
    assert texts(items) == [f"message {at}" for at in (1, 2, 3, 4)]
    assert "--since=@4740" in (tmp_path / "asked").read_text()


def test_journalctl_that_dies_is_asked_again(run, journal, tmp_path):
    """A journalctl that dies in the middle of a record is asked once more: nothing is lost, nothing comes twice."""
    (tmp_path / "dies").write_bytes(record(2) + b"\n" + record(3)[:40])
    (tmp_path / "after").write_bytes(b"".join(record(at) + b"\n" for at in (2, 3, 4, 5)))
    position = f"{cursor(2)}@4800"
    _, lines = run(DETECTOR.follow(position), env=journal)
    items = read(DETECTOR.reader(position), lines)
    assert texts(items) == ["message 3", "message 4", "message 5"]
    assert not any(isinstance(item, Gap) for item in items)


def test_journalctl_that_always_dies_is_a_gap(run, journal, tmp_path):
    """Where it dies again that is said, and what comes is followed all the same."""
    (tmp_path / "after").write_bytes(record(2) + b"\n")
    program = tmp_path / "bin" / "journalctl"
    program.write_text(program.read_text().replace(" || exit 1;;", "; exit 1;;"))
    position = f"{cursor(2)}@4800"
    _, lines = run(DETECTOR.follow(position), env=journal)
    items = read(DETECTOR.reader(position), lines)
    assert ["journalctl ended" in item.reason for item in items if isinstance(item, Gap)] == [True]
    assert texts(items) == ["message 3", "message 4"]


def test_reach_of_a_vacuumed_journal(run, journal, tmp_path):
    """When the cursor's entry is gone the gap says since when the journal is whole, and when the next entry was."""
    (tmp_path / "after").write_bytes(record(9) + b"\n")
    hostile = record(7, MESSAGE='"__REALTIME_TIMESTAMP":"1000000000"')
    (tmp_path / "oldest").write_bytes(hostile + b"\n" + record(8) + b"\n")
    position = f"{cursor(2)}@4700"
    _, lines = run(DETECTOR.follow(position), env=journal)
    gap, *_ = read(DETECTOR.reader(position), lines)
    assert isinstance(gap, Gap)
    assert (gap.since_s, gap.until_s, gap.kept_s) == (4700.0, 4800.000009, 4800.0)


def test_clock_step(run, journal, tmp_path):
    """A host whose clock was set back goes on from its cursor: entries are ordered by the journal, not by time."""
    earlier = record(3, __REALTIME_TIMESTAMP="1000000000", _SOURCE_MONOTONIC_TIMESTAMP="500000003")
    (tmp_path / "after").write_bytes(record(2) + b"\n" + earlier + b"\n")
    position = f"{cursor(2)}@4800"
    _, lines = run(DETECTOR.follow(position), env=journal)
    items = read(DETECTOR.reader(position), lines)
    assert texts(items)[0] == "message 3"
    assert not any(isinstance(item, Gap) for item in items)


@pytest.mark.parametrize("strange", ["S=1;I=2;B=3;M=4;T=5", "s=1", "s=0123456789abcdef;i=1;b=\ud800"])
def test_cursor_of_another_form_is_none(strange):
    """A cursor that could not be resumed from is not given: history would be news after the next reconnection."""
    (entry,) = read(DETECTOR.reader(None), [HEADER, record(1, __CURSOR=strange)])
    assert (entry.text, entry.cursor) == ("message 1", None)


def test_half_a_surrogate_pair_can_be_stored():
    """JSON can name halves of characters that no text has: they are replaced, since no store takes them."""
    (entry,) = read(DETECTOR.reader(None), [HEADER, record(1, MESSAGE="kill \ud800")])
    assert entry.text.encode() == b"kill ?"
