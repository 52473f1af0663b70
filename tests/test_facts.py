"""The read script on this machine against psutil, on several shells; its parser on everything that may go wrong."""

import ctypes
import dataclasses
import os
import shutil
import subprocess
import tempfile
import time
from importlib import resources
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oombot.facts import parse, read
from oombot.facts.script import SCRIPT
from oombot.framing.clock import header

SAMPLE = (resources.files("oombot") / "data" / "recorded" / "host.txt").read_bytes()
HOSTILE = [
    b"<!channel>",
    b"a) total-vm:9k",
    b"x\ny",
    b"\xff\xfe(\\n)",
    b") R 1 1 1",
    b"back\\slash",
    b"@@end",
    b" p 1 2",
]
UTILITIES = "date getconf grep xargs awk tail head dd dmesg id dirname cat"


def take(shell=("sh",), *, path=None, since=0, **options):
    """Run the read script here and parse its answer; `path` replaces where commands are looked for."""
    script = SCRIPT if path is None else SCRIPT.replace("PATH=/usr/sbin:", f"PATH={path}:/nowhere:")
    if path is not None:
        script = script.replace(":/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin", "")
    done = subprocess.run(
        [*shell, "-s", "--", str(since)],
        input=script.encode(),
        capture_output=True,
        check=True,
        timeout=60,
        **options,
    )
    assert done.stderr == b""
    return parse(done.stdout, host="web-1", taken_s=1.0)


@pytest.fixture
def toolbox(tmp_path):
    """A PATH folder made of links: give names and the program each stands for."""

    def made(**programs):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, program in programs.items():
            (folder / name).unlink(missing_ok=True)
            found = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
            assert found is not None, program
            (folder / name).symlink_to(found)
        return folder

    return made


def fake(folder, name, text):
    """A program of our own in a PATH folder."""
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def hostile():
    """Sleeping processes with names that are meant to confuse."""
    libc = ctypes.CDLL(None)
    pids = {}
    for name in HOSTILE:
        pid = os.fork()
        if pid == 0:
            libc.prctl(15, name, 0, 0, 0)
            time.sleep(60)
            os._exit(0)
        pids[pid] = name
    time.sleep(0.2)
    yield pids
    for pid in pids:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def agrees(seen, pid):
    """Compare our row of a process with psutil's view; both are read at slightly different times."""
    row = next(row for row in seen.processes if row.pid == pid)
    process = psutil.Process(pid)
    memory = process.memory_full_info()
    assert row.uid == process.uids().real
    assert row.ppid == process.ppid()
    assert row.rss_kb == pytest.approx(memory.rss / 1024, rel=0.1, abs=256)
    assert row.vsize_kb == pytest.approx(memory.vms / 1024, rel=0.1, abs=1024)
    assert row.swap_kb == memory.swap // 1024
    booted = psutil.boot_time()
    assert row.start_ticks / os.sysconf("SC_CLK_TCK") + booted == pytest.approx(
        process.create_time(), abs=1.5
    )
    assert row.oom_score_adj == int(Path(f"/proc/{pid}/oom_score_adj").read_text())
    return row


def test_the_table_agrees_with_psutil(hostile):
    """Size, swap, uid, parent, start and score of living processes are those that psutil sees."""
    seen = take()
    for pid in [os.getpid(), *hostile]:
        agrees(seen, pid)
    ours, theirs = {row.pid for row in seen.processes}, set(psutil.pids())
    assert len(ours & theirs) >= 0.8 * len(theirs)


def test_hostile_names_come_through(hostile):
    """Newlines, brackets, markers of our own and invalid UTF-8 in a name stay in that name."""
    names = {row.pid: row.comm for row in take().processes}
    assert {pid: names[pid] for pid in hostile} == {
        pid: name[:15].decode(errors="replace") for pid, name in hostile.items()
    }


def test_kernel_threads_are_told_apart():
    """A kernel thread is known by its flag, not by its name or its lack of memory."""
    for row in take().processes:
        if row.kernel_thread:
            assert row.rss_anon_kb is None
            assert row.ppid in (0, 2)
    assert not next(row for row in take().processes if row.pid == os.getpid()).kernel_thread


def test_the_host_is_described():
    """Boot, clock, kernel, page size, account and memory are those of this machine."""
    seen = take()
    assert seen.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert seen.kernel == os.uname().release
    assert seen.now_s == pytest.approx(time.time(), abs=60)
    assert seen.uptime_s == pytest.approx(time.time() - psutil.boot_time(), abs=120)
    assert seen.page_kb * 1024 == os.sysconf("SC_PAGESIZE")
    assert seen.login_uid == os.getuid()
    assert seen.memory_kb["MemTotal"] == psutil.virtual_memory().total // 1024
    assert sum(swap.size_kb for swap in seen.swaps) == pytest.approx(
        psutil.swap_memory().total / 1024, abs=1024
    )
    assert os.getpid() in seen.own_pids
    assert seen.has_python == (shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin") is not None)
    assert not seen.replayed


SHELLS = {
    "dash": ("dash",),
    "bash": ("bash", "--posix"),
    "busybox": ("busybox", "sh"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_reads_the_same(shell, hostile, need):
    """dash, bash and busybox's ash give the same table."""
    need(shutil.which(SHELLS[shell][0]), f"{shell} is missing")
    seen = take(SHELLS[shell])
    assert not [problem for problem in seen.problems if "log" not in problem]
    for pid, name in hostile.items():
        assert agrees(seen, pid).comm == name[:15].decode(errors="replace")


@pytest.mark.parametrize("awk", ["mawk", "gawk", "original-awk", "busybox"])
def test_every_awk_reads_the_same(awk, toolbox, hostile, need):
    """The table does not depend on whose awk is installed."""
    need(shutil.which(awk) or awk in ("gawk", "original-awk"), f"{awk} is missing")
    if shutil.which(awk) is None:
        pytest.skip(f"{awk} is not installed")
    names = {name: name for name in UTILITIES.split()} | {"awk": awk}
    seen = take(path=toolbox(**names))
    for pid, name in hostile.items():
        assert agrees(seen, pid).comm == name[:15].decode(errors="replace")
    assert seen.cgroups


def test_a_host_with_nothing_but_busybox(toolbox, hostile, need):
    """All commands from busybox: the same table, the same cgroups, and a kernel log if dmesg may read it."""
    need(shutil.which("busybox"), "busybox is missing")
    names = dict.fromkeys([*UTILITIES.split(), "sh"], "busybox")
    names.pop("getconf")
    before = take().cgroups.keys()
    seen = take(("busybox", "sh"), path=toolbox(**names))
    for pid in hostile:
        agrees(seen, pid)
    lasting = before & take().cgroups.keys()  # others' cgroups come and go between two readings
    assert lasting
    assert lasting <= seen.cgroups.keys()
    assert seen.page_kb == os.sysconf("SC_PAGE_SIZE") // 1024  # without getconf, too
    assert seen.kernel_log.source in ("dmesg", "kmsg", None)


def test_an_unknown_page_size_is_said():
    """A host that can not say how large its pages are is taken to have those of 4 kB, and that is told."""
    seen = parse(b"@@host\nboot_id x\nuptime 1.0\nnow 2\npage \n@@end\n", host="web-1", taken_s=1.0)
    assert seen.page_kb == 4
    assert "page size is unknown, 4 kB is assumed" in seen.problems


def test_the_number_of_forks_is_small_and_fixed(toolbox, tmp_path):
    """Hundreds of processes more cost not one program more."""
    counts = []
    log = tmp_path / "started"
    folder = toolbox(**{name: name for name in UTILITIES.split()})
    for name in UTILITIES.split():
        real = (folder / name).resolve()
        fake(folder, name, f'echo {name} >>{log}\nexec {real} "$@"')
    children = []
    for extra in (0, 200):
        children += [subprocess.Popen(["sleep", "60"]) for _ in range(extra)]
        log.write_text("")
        seen = take(path=folder)
        counts.append(len(log.read_text().split()))
        assert len(seen.processes) > extra
    for child in children:
        child.kill()
        child.wait()
    assert counts[0] == counts[1] <= 15


def test_a_process_that_vanishes_does_not_cut_the_table(hostile):
    """While hundreds of processes come and go every reading is whole."""
    storm = subprocess.Popen(
        ["sh", "-c", "while :; do true & /bin/true; done 2>/dev/null"], start_new_session=True
    )
    try:
        for _ in range(8):
            seen = take()
            assert seen.processes_whole
            assert set(hostile) <= {row.pid for row in seen.processes}
    finally:
        os.killpg(storm.pid, 9)
        storm.wait()


def test_cgroups_are_those_of_the_kernel():
    """The cgroup of this process, its limit and its use are what the cgroup files say."""
    seen = take()
    mine = next(row for row in seen.processes if row.pid == os.getpid()).cgroup
    assert mine in Path("/proc/self/cgroup").read_text()
    assert "/" in seen.cgroups
    assert all(
        parent in seen.cgroups
        for path in seen.cgroups
        for parent in [path.rsplit("/", 1)[0] or "/"]
        if path != "/"
    )


def test_a_cgroup_with_an_odd_name_and_a_limit(need):
    """Blanks, quotes and backslashes in the path of a cgroup lose neither path nor limit."""
    parent = Path("/sys/fs/cgroup/memory")
    need(
        os.geteuid() == 0 and os.access(parent / "memory.limit_in_bytes", os.F_OK), "needs root and cgroup v1"
    )
    group = parent / "oombot test\\x2d'\"$(x)"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(50 << 20))
        with subprocess.Popen(["sleep", "60"]) as process:
            (group / "cgroup.procs").write_text(str(process.pid))
            seen = take()
            process.kill()
    finally:
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)
    path = "/" + group.name
    assert next(row for row in seen.processes if row.pid == process.pid).cgroup == path
    assert seen.cgroups[path].limit_kb == 50 * 1024
    assert seen.cgroups[path].usage_kb is not None
    assert seen.cgroups[path].oom_kill_count == 0


# ------------------------------------------------------------------ kernel log


def journal_line(message, boot="b" * 32, mono=1_000_000, real=1_700_000_000_000_000):
    """One entry as `journalctl -o json` prints it."""
    text = message if message.startswith("[") else f'"{message}"'
    return (
        f'{{"__REALTIME_TIMESTAMP":"{real}","_BOOT_ID":"{boot}","_SOURCE_MONOTONIC_TIMESTAMP":"{mono}",'
        f'"_TRANSPORT":"kernel","MESSAGE":{text}}}'
    )


@pytest.fixture
def logs(toolbox, tmp_path):
    """A PATH folder in which no log can be read yet, and a function that fakes journalctl."""
    folder = toolbox(**{name: name for name in UTILITIES.split()})
    fake(folder, "dd", "echo \"dd: failed to open '/dev/kmsg': Operation not permitted\" >&2; exit 1")
    fake(folder, "dmesg", "echo 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1")

    def journal(lines):
        (tmp_path / "journal").write_text("".join(f"{line}\n" for line in lines))
        fake(folder, "journalctl", f"exec cat {tmp_path / 'journal'}")
        return folder

    journal.folder = folder
    return journal


def test_the_journal_comes_first_and_only_what_matters_is_sent(logs):
    """Reports, kill lines and undecodable messages are kept, other kernel chatter is not."""
    report = ["x invoked oom-killer: gfp_mask=0x1", "[   7]  0  7 row", "Killed process 7 (x) total-vm:1kB"]
    lines = [journal_line("Linux version 6", mono=0), *(journal_line(f"eth0: link {n}") for n in range(50))]
    lines += [journal_line(text) for text in report] + [journal_line("after"), journal_line("[75,105]")]
    log = take(path=logs(lines)).kernel_log
    assert log.source == "journald"
    clock = header(log.lines[0])
    assert clock is not None
    assert clock.utc_offset_s is not None
    assert log.lines[1:] == tuple(
        line.encode() for line in [*(journal_line(text) for text in report), lines[-1]]
    )
    assert (log.since_s, log.since_boot) == (1_700_000_000.0, True)


def test_a_long_journal_keeps_the_newest(logs):
    """Past 1 MiB the oldest lines go, and the snapshot says so."""
    lines = [
        journal_line(f"Out of memory: {n:06} {'x' * 900}", real=(1_700_000_000 + n) * 1_000_000)
        for n in range(1500)
    ]
    seen = take(path=logs(lines))
    assert sum(map(len, seen.kernel_log.lines)) < 1_100_000
    assert b"Out of memory: 001499" in seen.kernel_log.lines[-1]
    first = int(seen.kernel_log.lines[1].split(b"Out of memory: ")[1][:6])
    assert seen.kernel_log.since_s == 1_700_000_000.0 + first
    assert not seen.kernel_log.since_boot
    assert any("newest 1 MiB" in problem for problem in seen.problems)


def test_a_journal_without_kernel_lines_is_no_source(logs):
    """An account that sees only its own entries falls through, with the group that mends it."""
    seen = take(path=logs([]))
    if seen.kernel_log.source is None:
        assert "journald: no kernel entry is visible" in seen.kernel_log.problem
        assert "Operation not permitted" in seen.kernel_log.problem
        assert seen.kernel_log.problem in seen.problems
        assert seen.kernel_log.fix == ("" if os.getuid() == 0 else seen.kernel_log.fix)


def test_the_fix_names_account_and_group():
    """Where nothing can be read, one command adds the account to the group that may."""
    raw = SAMPLE[: SAMPLE.index(b"@@log_source")].replace(b"uid 0", b"uid 1000")
    tried = b"@@log_source\ntried journald: %s\ntried kmsg: Operation not permitted\nuser ops\n@@log\n@@end\n"
    with_journal = parse(raw + tried % b"no kernel entry is visible", host="h", taken_s=0.0).kernel_log
    without = parse(raw + tried % b"journalctl is not installed", host="h", taken_s=0.0).kernel_log
    assert with_journal.fix == "sudo usermod -aG systemd-journal ops"
    assert without.fix == "sudo usermod -aG adm ops"
    assert with_journal.source is None


def test_dmesg_when_nothing_better_is_there(logs):
    """The ring buffer by dmesg, whose first line at zero proves that nothing is missing."""
    fake(logs.folder, "dmesg", "echo '[    0.000000] Linux version 6'; echo '[    1.5] x'")
    log = take(path=logs.folder).kernel_log
    assert (log.source, log.since_boot) == ("dmesg", True)
    assert log.lines[1:] == (b"[    0.000000] Linux version 6", b"[    1.5] x")


def test_kmsg_here(need):
    """The real ring buffer of this machine, as raw records."""
    need(os.access("/dev/kmsg", os.R_OK) and os.geteuid() == 0, "/dev/kmsg is not readable")
    if shutil.which("journalctl") and take().kernel_log.source == "journald":
        pytest.skip("this machine has a journal, which comes first")
    log = take().kernel_log
    assert log.source == "kmsg"
    assert log.lines[1].split(b";")[0].count(b",") >= 3
    assert log.since_s is not None


def logged(source, *lines, said=b""):
    """The kernel log of the sample with these lines instead of its own."""
    start = SAMPLE[: SAMPLE.index(b"source kmsg")]
    raw = start + b"source " + source + b"\n" + said + b"@@log\n@@boot b 10 1700000010\n" + b"\n".join(lines)
    return parse(raw + b"\n@@end\n", host="h", taken_s=0.0)


REACHES = [
    (b"kmsg", b"6,0,0,-;Linux", b"", (True, True)),
    (b"kmsg", b"6,70,5000000,-;x", b"", (True, False)),
    (b"kmsg", b"rubbish", b"", (False, False)),
    (b"syslog", b"2026-11-23T01:30:07.979445+00:00 h kernel: x", b"", (True, False)),
    (b"syslog", b"0000-99-99T99:99:99.9+00:00 h kernel: x", b"", (False, False)),
    (b"syslog", b"Nov 23 01:30:07 h kernel: x", b"", (False, False)),
    (b"journald", b"{}", b'oldest {"__REALTIME_TIMESTAMP":"x"}\n', (False, False)),
    (b"journald", b"{}", b"oldest []\n", (False, False)),
    (b"journald", b"{}", b"", (False, False)),
]


@pytest.mark.parametrize(("source", "first", "said", "reach"), REACHES)
def test_how_far_back_a_log_reaches(source, first, said, reach):
    """The oldest entry gives the time where it has one, and says whether it is the boot."""
    log = logged(source, first, said=said).kernel_log
    assert (log.since_s is not None, log.since_boot) == reach


def test_a_log_without_clock_or_lines():
    """Without the host's clock nothing is claimed about how far back a log reaches."""
    raw = SAMPLE.replace(b"uptime 3129.65", b"uptime x")
    assert parse(raw, host="h", taken_s=0.0).kernel_log.since_s is None
    assert logged(b"kmsg").kernel_log.since_s is None


def test_a_cut_ring_buffer_loses_its_half_record():
    """The first record after the cut is not whole and is dropped."""
    seen = logged(b"kmsg", b"alf a record", b"6,70,5000000,-;x", said=b"cut\n")
    assert seen.kernel_log.lines == (b"@@boot b 10 1700000010", b"6,70,5000000,-;x")
    assert any("newest 1 MiB" in problem for problem in seen.problems)


# ------------------------------------------------------------------ what arrives cut or garbled


def test_the_sample_is_whole():
    """The recording parses without a problem."""
    assert parse(SAMPLE, host="h", taken_s=0.0).problems == ()


def test_an_answer_cut_at_any_byte_says_so():
    """Never an exception, always the section that is not whole, and no row made of half a line."""
    whole = parse(SAMPLE, host="h", taken_s=0.0)
    for cut in range(len(SAMPLE) - 1):
        seen = parse(SAMPLE[:cut], host="h", taken_s=0.0)
        assert any("was cut" in problem for problem in seen.problems), cut
        assert set(seen.processes) <= set(whole.processes)
        assert seen.memory_kb.items() <= whole.memory_kb.items()
    assert (
        "process table was cut: the answer ended early"
        in parse(SAMPLE[: SAMPLE.index(b"n leaky")], host="h", taken_s=0.0).problems
    )


@given(st.binary(max_size=400))
def test_no_bytes_make_the_parser_raise(raw):
    """Rubbish gives an empty snapshot with problems."""
    assert parse(raw, host="h", taken_s=0.0).problems


@settings(max_examples=300)
@given(st.integers(0, len(SAMPLE)), st.binary(max_size=30), st.integers(0, 60))
def test_a_garbled_answer_does_not_raise(at, junk, removed):
    """Bytes put in or taken out anywhere change values at most."""
    seen = parse(SAMPLE[:at] + junk + SAMPLE[at + removed :], host="h", taken_s=0.0)
    assert dataclasses.is_dataclass(seen)


@given(st.text(alphabet=st.characters(codec="ascii", categories=("Nd", "Lu", "P")), max_size=30))
def test_words_are_not_numbers(word):
    """A field that is no number is None, whatever it is."""
    raw = SAMPLE.replace(b"p 4207 312961 1 0 0 17456", b"p 4207 312961 1 0 0 " + word.encode())
    row = next((row for row in parse(raw, host="h", taken_s=0.0).processes if row.pid == 4207), None)
    assert (
        row is None
        or row.vsize_kb is None
        or str(row.vsize_kb) == (word.lstrip("0") or "0")
        or word.startswith("-")
    )


def test_missing_sections_are_named():
    """What a host did not tell is a problem, not a zero."""
    seen = parse(b"@@end\n", host="h", taken_s=0.0)
    assert seen.now_s is seen.uptime_s is seen.boot_id is seen.oom_kill_count is seen.pressure is None
    assert "process table could not be read" in seen.problems
    assert "/proc/meminfo could not be read" in seen.problems


@pytest.mark.parametrize("row", [b"p x 1 1 0 0 1 1 1 1 1 1 1 1", b"p 9 1", b"p 9 - 1 0 0 1 1 1 1 1 1 1 1"])
def test_a_row_that_names_no_process_is_left_out(row):
    """Without pid, start or parent a row is nobody."""
    raw = SAMPLE.replace(b"@@cgroups", row + b"\nn x\ng /\n@@cgroups", 1)
    assert len(parse(raw, host="h", taken_s=0.0).processes) == 10


def test_hidepid_is_noticed():
    """Where init is not visible the table is not the host's."""
    seen = parse(SAMPLE.replace(b"p 1 25", b"p 9 25"), host="h", taken_s=0.0)
    assert any("hidepid" in problem for problem in seen.problems)


HIDING = [
    (b"", b"", True, None),
    (b"p 1 25", b"p 9 25", False, "hidepid"),
    (b"@@cgroups\n", b"", False, "memory cgroups could not be read"),
    (b"@@cgroups\n", b"cut\n@@cgroups\n", False, "process table is not whole"),
    (b"@@cgroups\n", b"p 9 1\nn x\ng /\n@@cgroups\n", False, "process table is not whole"),
]


@pytest.mark.parametrize(("found", "instead", "whole", "problem"), HIDING)
def test_a_table_that_is_not_whole_says_so(found, instead, whole, problem):
    """Absence proves something only where init is seen, each row is one, and the table came to its end."""
    seen = parse(SAMPLE.replace(found, instead, 1) if found else SAMPLE, host="h", taken_s=0.0)
    assert seen.processes_whole is whole
    assert problem is None or any(problem in said for said in seen.problems)


def test_a_cut_table_is_never_whole():
    """Wherever the answer ends before the table has, the table is not whole; after it, it is."""
    end = SAMPLE.index(b"@@cgroups\n") + len(b"@@cgroups\n")
    assert not any(parse(SAMPLE[:cut], host="h", taken_s=0.0).processes_whole for cut in range(end))
    assert parse(SAMPLE[:end], host="h", taken_s=0.0).processes_whole
    assert not parse(b"", host="h", taken_s=0.0).processes_whole


@pytest.mark.parametrize(("status", "whole"), [(2, True), (126, False), (137, False)])
def test_a_reader_that_died_is_noticed(toolbox, status, whole):
    """grep's 2 is a process that vanished; a grep that was killed or never begun leaves half a table."""
    folder = toolbox(**{name: name for name in UTILITIES.split()})
    fake(folder, "grep", f'/usr/bin/env PATH=/usr/bin:/bin grep "$@"; exit {status}')
    assert take(path=folder).processes_whole is whole


# ------------------------------------------------------------------ may the login use sudo


@pytest.fixture
def login(toolbox, tmp_path, need):
    """Read as an account that is not root, with a `sudo` of our own (None: there is none)."""
    folder = Path(tempfile.mkdtemp(prefix="oombot-bin-"))
    other = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}

    def made(text, shell=("sh",)):
        for path in toolbox(**{name: name for name in UTILITIES.split()}).iterdir():
            shutil.copy(path, folder / path.name, follow_symlinks=False)
        if text is not None:
            fake(folder, "sudo", text)
        folder.chmod(0o755)
        return take(shell, path=folder, **other)

    yield made
    shutil.rmtree(folder)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("text", "can"),
    [
        ('[ "$*" = "-n -l" ] && echo "(root) NOPASSWD: ALL"', True),
        ('echo "sudo: a password is required" >&2; exit 1', False),
        ("exit 3", None),
        (None, False),
    ],
)
def test_whether_the_login_has_sudo(login, shell, text, can, need):
    """sudo's own word decides, quietly; without sudo the answer is no, and an odd end is no answer."""
    need(shutil.which(SHELLS[shell][0]), f"{shell} is missing")
    assert login(text, SHELLS[shell]).can_sudo is can


def test_a_sudo_that_hangs_delays_nothing(login):
    """A sudo that waits for a directory service is not waited for: then it is not known."""
    began = time.monotonic()
    assert login("exec sleep 20").can_sudo is None
    assert time.monotonic() - began < 10


def test_root_is_not_asked_about_sudo(toolbox, tmp_path, need):
    """A root login needs no sudo, so nothing is asked."""
    need(os.geteuid() == 0, "needs root")
    folder = toolbox(**{name: name for name in UTILITIES.split()})
    fake(folder, "sudo", f"touch {tmp_path / 'asked'}")
    assert take(path=folder).can_sudo is None
    assert not (tmp_path / "asked").exists()


def test_marks_in_the_log_are_only_text():
    """A log line that looks like a mark ends nothing."""
    raw = SAMPLE.replace(b"@@end\n", b"@@processes\n@@end\n@@replayed x\n@@end\n").replace(
        b"@@replayed\n", b"", 1
    )
    seen = parse(raw, host="h", taken_s=0.0)
    assert seen.kernel_log.lines[-3:] == (b"@@processes", b"@@end", b"@@replayed x")
    assert not seen.replayed
    assert len(seen.processes) == 10


UNITS = b"""Id=web.service
ActiveState=failed
SubState=failed
Result=oom-kill
NRestarts=3
Restart=on-failure
ExecMainStatus=9
ExecMainCode=2
MainPID=0
ControlGroup=/system.slice/web.service
StateChangeTimestamp=%s
StateChangeTimestampMonotonic=5000000

Id=bad name
ActiveState=active

Id=db.service
ActiveState=active
"""


@pytest.mark.parametrize(
    ("stamp", "since"),
    [
        (b"@1700000000", 1_700_000_000.0),
        (b"Mon 2026-11-23 01:30:07 UTC", 1795440475 - 3129.65 + 5),
        (b"n/a", None),
    ],
)
def test_units_and_their_times(stamp, since):
    """systemd's own words, with the time as a number where it can print one, else from its clock since boot."""
    text = UNITS % stamp if since else (UNITS % stamp).replace(b"Monotonic=5000000", b"Monotonic=0")
    raw = SAMPLE.replace(b"@@units\n", b"@@units\n" + text)
    db, web = parse(raw, host="h", taken_s=0.0).units
    assert (web.name, web.result, web.n_restarts, web.main_pid) == ("web.service", "oom-kill", 3, None)
    assert (web.exec_main_status, web.exec_main_code) == (9, 2)
    assert web.since_s == (pytest.approx(since, abs=0.01) if since else None)
    assert (db.name, db.result, db.n_restarts) == ("db.service", "", None)


def test_a_systemd_that_does_not_answer():
    """Units that could not be listed are a problem with systemd's own words."""
    raw = SAMPLE.replace(b"python yes", b"python yes\nsystemd yes")
    failed = raw.replace(b"@@units\n", b"@@units\nFailed to connect to bus\nfailed 1\n")
    assert any(
        "Failed to connect to bus" in problem for problem in parse(failed, host="h", taken_s=0.0).problems
    )
    assert any("no answer" in problem for problem in parse(raw, host="h", taken_s=0.0).problems)


V2 = b"""@@cgroups
root /sys/fs/cgroup
/sys/fs/cgroup/demo.slice/memory.max:max
/sys/fs/cgroup/demo.slice/memory.current:2048
/sys/fs/cgroup/demo.slice/memory.swap.max:4096
/sys/fs/cgroup/demo.slice/memory.events:oom_kill 4
"""


def test_cgroup_v2():
    """`max` is no limit; swap is limited by itself; kills are counted."""
    start, end = SAMPLE.index(b"@@cgroups"), SAMPLE.index(b"@@units")
    group = parse(SAMPLE[:start] + V2 + SAMPLE[end:], host="h", taken_s=0.0).cgroups["/demo.slice"]
    assert (group.limit_kb, group.usage_kb, group.swap_limit_kb, group.oom_kill_count) == (None, 2, 4, 4)


def test_cgroup_v1_limits():
    """v1 limits memory and swap together, and prints a huge number for no limit."""
    group = parse(SAMPLE, host="h", taken_s=0.0).cgroups["/demo.slice"]
    assert (group.limit_kb, group.swap_limit_kb) == (48 * 1024, 0)
    endless = SAMPLE.replace(b"memory.limit_in_bytes:50331648", b"memory.limit_in_bytes:9223372036854771712")
    assert parse(endless, host="h", taken_s=0.0).cgroups["/demo.slice"].limit_kb is None


def test_swaps_and_pressure():
    """Rows of /proc/swaps with their blanks restored, and the four numbers of memory pressure."""
    raw = SAMPLE.replace(b"@@pressure", b"/swap\\040file file 1048572 512 -2\nbroken\n@@pressure")
    seen = parse(raw, host="h", taken_s=0.0)
    assert [(swap.name, swap.size_kb, swap.used_kb) for swap in seen.swaps] == [("/swap file", 1048572, 512)]
    assert seen.pressure is not None
    assert parse(SAMPLE.replace(b"full avg10=", b"full avg10=-"), host="h", taken_s=0.0).pressure is None


def test_the_command_is_one_shell_with_its_script_on_stdin():
    """Nothing of the script stands on the command line; the time is its one argument."""
    assert read(1700000000).argv == ("sh", "-s", "--", "1700000000")
    assert read(0).stdin.endswith('\nmain "$@" </dev/null\n')
