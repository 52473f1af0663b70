"""The verbs drop-caches and reclaim, on a machine of files."""

import fcntl
import os
from pathlib import Path

import pytest

from oombot.data.oombot_caches import CACHES_VERBS, DROP_CACHES, drop_caches, reclaim
from oombot.data.oombot_policy import Policy
from oombot.data.oombot_site import RefusedError, UntouchedError
from tests.systemd import MIB, Systemd

UNIT = "api.service"


def machine_of(folder: Path, *, cgroup: int = 2, cache: int = 40) -> Systemd:
    """A machine whose service holds so much cache."""
    made = Systemd(folder, cgroup=cgroup)
    made.file(DROP_CACHES, "0\n")
    made.file("/proc/meminfo", "MemTotal: 2097152 kB\nMemFree: 131072 kB\nMemAvailable: 524288 kB\n")
    made.program("sync", f'#!/bin/sh\ncat "{made.root}{DROP_CACHES}" >>"{made.base}/synced" 2>&1; exit 0\n')
    made.unit(UNIT, current_b=300 * MIB, inactive_file_b=cache * MIB)
    return made


@pytest.mark.parametrize("level", [1, 2, 3])
def test_caches_are_dropped_after_a_sync(tmp_path: Path, level: int) -> None:
    """What is dirty is written first; then the level is, once."""
    machine = machine_of(tmp_path)
    said = drop_caches(None, machine.site, level)
    assert said == ("MemFree 128 MiB, MemAvailable 512 MiB",) * 2
    assert machine.text(DROP_CACHES) == f"{level}\n"  # written over the first byte, as the kernel takes it
    assert (machine.base / "synced").read_text() == "0\n"


def test_without_a_sync_nothing_is_dropped(tmp_path: Path) -> None:
    """A sync that fails leaves the caches alone."""
    machine = machine_of(tmp_path)
    machine.program("sync", "#!/bin/sh\necho Input/output error >&2; exit 1\n")
    with pytest.raises(UntouchedError, match="Input/output error; no cache was dropped"):
        drop_caches(None, machine.site, 1)
    assert machine.text(DROP_CACHES) == "0\n"


def test_a_host_that_can_not_drop_says_so(tmp_path: Path) -> None:
    """A kernel that takes no write changed nothing."""
    machine = machine_of(tmp_path)
    (machine.root / DROP_CACHES.lstrip("/")).unlink()
    with pytest.raises(UntouchedError, match="the kernel refused 1"):
        drop_caches(None, machine.site, 1)


def test_cache_of_a_unit_is_reclaimed(tmp_path: Path) -> None:
    """The amount is written to the cgroup that systemd names, and the use before and after is told."""
    machine = machine_of(tmp_path)
    assert reclaim(None, machine.site, UNIT, 32) == ("memory.current 300 MiB", "memory.current 300 MiB")
    assert machine.cgroup_file(UNIT, "memory.reclaim") == "32M"


def test_a_part_is_said_and_no_failure(tmp_path: Path) -> None:
    """EAGAIN of the kernel: it found less than was asked for. A pipe that is full answers the same."""
    machine = machine_of(tmp_path)
    path = Path(machine.tree, "system.slice", UNIT, "memory.reclaim")
    path.unlink()
    os.mkfifo(path)
    handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    os.write(handle, b"x" * fcntl.fcntl(handle, fcntl.F_GETPIPE_SZ))
    try:
        _, after = reclaim(None, machine.site, UNIT, 32)
    finally:
        os.close(handle)
    assert after == "memory.current 300 MiB (only a part of 32 MiB could be reclaimed)"


@pytest.mark.parametrize(
    ("cgroup", "cache", "unit", "why"),
    [
        (1, 40, UNIT, "cgroup v1 has no memory.reclaim"),
        (2, 31, UNIT, "holds 31 MiB of file cache by now, less than 32 MiB"),
        (2, 40, "none.service", "has no cgroup now"),
        (2, 40, "down.service", "has no cgroup now"),
        (2, 40, "alias.service", "has no cgroup now"),
    ],
)
def test_what_can_not_be_reclaimed_is_left_alone(
    tmp_path: Path, cgroup: int, cache: int, unit: str, why: str
) -> None:
    """Nothing is written where it would take more than cache, or from somebody else."""
    machine = machine_of(tmp_path, cgroup=cgroup, cache=cache)
    machine.unit("down.service", state="inactive")
    machine.unit("other.service", alias="alias.service", inactive_file_b=40 * MIB)
    before = {str(path): path.read_bytes() for path in machine.tree.rglob("*") if path.is_file()}
    with pytest.raises(UntouchedError, match=why):
        reclaim(None, machine.site, unit, 32)
    assert {str(path): path.read_bytes() for path in machine.tree.rglob("*") if path.is_file()} == before


def test_a_kernel_without_reclaim(tmp_path: Path) -> None:
    """Before Linux 5.19 there is no such file, and none is made."""
    machine = machine_of(tmp_path)
    path = Path(machine.tree, "system.slice", UNIT, "memory.reclaim")
    path.unlink()
    with pytest.raises(UntouchedError, match=r"it is of Linux 5\.19"):
        reclaim(None, machine.site, UNIT, 1)
    assert not path.exists()


def test_no_link_is_followed(tmp_path: Path) -> None:
    """What is written to is the file of the cgroup itself."""
    machine = machine_of(tmp_path)
    path = Path(machine.tree, "system.slice", UNIT, "memory.reclaim")
    path.unlink()
    path.symlink_to("/dev/full")
    with pytest.raises(UntouchedError, match="can not be opened"):
        reclaim(None, machine.site, UNIT, 1)


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("drop-caches", ["--level", "4"]),
        ("drop-caches", ["--level", "0"]),
        ("drop-caches", ["--level", "1", "--level", "2"]),
        ("drop-caches", []),
        ("reclaim", ["--unit", UNIT, "--mib", "0"]),
        ("reclaim", ["--unit", UNIT, "--mib", "-5"]),
        ("reclaim", ["--unit", UNIT, "--mib", "9999999"]),
        ("reclaim", ["--unit", "../../x.service", "--mib", "5"]),
        ("reclaim", ["--unit", "/system.slice/api.service", "--mib", "5"]),
    ],
)
def test_other_words_are_refused(verb: str, words: list[str]) -> None:
    """Only these words, in this form."""
    with pytest.raises(RefusedError):
        CACHES_VERBS[verb].words(words, "")


def test_the_policy_of_the_host_counts(tmp_path: Path) -> None:
    """A unit that the host's owner does not allow is not reclaimed from."""
    policy, site = Policy(("reclaim",), ("api*",), ("*",), (0, 0), 9), machine_of(tmp_path).site
    CACHES_VERBS["reclaim"].allowed(policy, site, unit=UNIT, mib=1)
    with pytest.raises(RefusedError, match=r"web\.service"):
        CACHES_VERBS["reclaim"].allowed(policy, site, unit="web.service", mib=1)
