"""The ring's detector: sequence numbers, a new boot, foreign facilities, and the real device."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from oombot.detectors.kmsg import DETECTOR, SCRIPT
from oombot.model import Entry, Gap, Live
from tests.detectors.conftest import read

BOOT = "84631588-8d8e-4e1f-9bfd-c816cfa999c8"
HEADER = f"@@boot {BOOT} 1000 5000".encode()


def record(seq: int, *, prio: int = 6) -> bytes:
    return f"{prio},{seq},{seq}000000,-;message {seq}".encode()


def seqs(items: list[object]) -> list[str]:
    return [item.text.removeprefix("message ") for item in items if isinstance(item, Entry)]


def test_ring_is_given_once():
    """The device begins anew when it is opened again: what was given is not given twice."""
    items = read(
        DETECTOR.reader(None),
        [HEADER, record(1), b" SUBSYSTEM=pci", record(2), b"@@live", record(1), record(2), record(3)],
    )
    assert seqs(items) == ["1", "2", "3"]
    assert isinstance(items[2], Live)
    assert (items[0].time_s, items[0].approximate, items[0].cursor) == (4001.0, True, f"{BOOT}:1")


def test_resume():
    """A cursor of this boot skips what was given; nothing missing is no gap."""
    items = read(DETECTOR.reader(f"{BOOT}:2"), [HEADER, record(1), record(2), record(3)])
    assert seqs(items) == ["3"]
    assert not any(isinstance(item, Gap) for item in items)


def test_overwritten_records():
    """A jump in the sequence after the cursor, or while following, is a gap of known size."""
    after = read(DETECTOR.reader(f"{BOOT}:2"), [HEADER, record(6)])
    assert after[0] == Gap(
        reason="the kernel has overwritten 3 records before they were read", until_s=4006.0
    )
    live = read(DETECTOR.reader(None), [HEADER, record(1), b"@@live", record(1), record(9)])
    assert sum(isinstance(item, Gap) for item in live) == 1


def test_excerpt_may_jump():
    """An excerpt leaves records out, which is no gap."""
    assert not any(
        isinstance(item, Gap) for item in read(DETECTOR.reader(None), [HEADER, record(1), record(9)])
    )


def test_other_boot():
    """After a new start the cursor means nothing, and the end of the old boot was not seen."""
    old = "0" * 8 + BOOT[8:]
    items = read(DETECTOR.reader(f"{old}:900"), [HEADER, record(1)])
    assert isinstance(items[0], Gap)
    assert seqs(items) == ["1"]


def test_only_the_kernel_is_believed():
    """What a process wrote to the device has a facility of its own."""
    assert seqs(read(DETECTOR.reader(None), [HEADER, record(1, prio=14), record(2, prio=6)])) == ["2"]


def test_without_a_header():
    """Without boot and clock the stamp is all there is."""
    (entry,) = read(DETECTOR.reader("nonsense"), [record(5)])
    assert (entry.time_s, entry.cursor, entry.mono_s) == (None, None, 5.0)


def test_problem():
    """What the script can not read is said."""
    (gap,) = read(DETECTOR.reader(None), [HEADER, b"@@problem /dev/kmsg can not be opened"])
    assert "can not be opened" in gap.reason


def test_real_device(run):
    """The script reads the whole ring of this machine, then waits; nothing comes twice."""
    try:
        os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        pytest.skip(f"/dev/kmsg can not be read here: {error.strerror}")
    status, lines = run(DETECTOR.follow(None))
    items = read(DETECTOR.reader(None), lines)
    assert status is None
    assert lines[0].split()[1].decode() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert sum(isinstance(item, Live) for item in items) == 1
    cursors = [item.cursor for item in items if isinstance(item, Entry)]
    assert len(cursors) == len(set(cursors)) > 0


def test_overtaken_reader_opens_the_device_again(shell, tmp_path):
    """When the device's reader ends, as the kernel makes it when it was overtaken, another one begins."""
    program = tmp_path / "cat"
    program.write_text(f"#!/bin/sh\necho once >>{tmp_path}/opened\n")
    program.chmod(0o755)
    process = subprocess.Popen(
        [*shell, "-s"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(SCRIPT.replace("sleep 3", "sleep 0.2").replace("</dev/kmsg", "</dev/null").encode())
    process.stdin.close()
    opened, deadline = tmp_path / "opened", time.monotonic() + 10
    while (not opened.exists() or opened.read_text().count("once") < 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert opened.read_text().count("once") >= 2


def test_nobody_listens(shell):
    """The script and its child end by themselves when the connection is gone, although the kernel is quiet."""
    process = subprocess.Popen(
        [*shell, "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    quiet = SCRIPT.replace("cat /dev/kmsg", "sleep 600").replace("</dev/kmsg", "</dev/null")
    process.stdin.write(
        quiet.replace("sleep 3 ", "sleep 0.1 ").replace("if=/dev/kmsg", "if=/dev/null").encode()
    )
    process.stdin.close()
    while process.stdout.readline() != b"@@live\n":
        pass
    time.sleep(0.3)
    process.stdout.close()
    process.wait(10)
    states = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
            states += [state] if group == str(process.pid) else []
    assert all(state.startswith("Z") for state in states)
