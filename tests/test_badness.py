"""The kernel's badness: by hand for both formulas, and against the kernel that runs these tests."""

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot.badness import (
    ROUNDING,
    capped_cgroup,
    cgroup_totalpages,
    decompose,
    host_totalpages,
    next_victim,
    oom_score,
    points,
    ranking,
    scale,
)
from oombot.facts import parse, read
from oombot.model import Cgroup, HostSnapshot, KernelLog, Process

PAGE_KB = os.sysconf("SC_PAGESIZE") // 1024


def process(pid: int = 100, **values) -> Process:
    """Make an idle, killable process."""
    idle = {
        "start_ticks": pid,
        "ppid": 1,
        "uid": 1000,
        "comm": "app",
        "kernel_thread": False,
        "vsize_kb": 0,
        "rss_anon_kb": 0,
        "rss_file_kb": 0,
        "rss_shmem_kb": 0,
        "swap_kb": 0,
        "pgtables_kb": 0,
        "oom_score": None,
        "oom_score_adj": 0,
        "cgroup": "/",
    }
    return Process(pid=pid, **(idle | values))


def snapshot(*processes: Process, memory_kb: int = 4_000_000, swap_kb: int = 0, **values) -> HostSnapshot:
    """Make a host with 1,000,000 pages of 4 kB."""
    host = {
        "host": "web-1",
        "taken_s": 0.0,
        "now_s": 0.0,
        "boot_id": "b",
        "uptime_s": 1.0,
        "kernel": "6.1.0",
        "page_kb": 4,
        "swaps": (),
        "pressure": None,
        "oom_kill_count": None,
        "cgroups": {},
        "units": (),
        "kernel_log": KernelLog(source=None, lines=()),
    }
    memory = {"MemTotal": memory_kb, "SwapTotal": swap_kb}
    return HostSnapshot(processes=processes, memory_kb=memory, **(host | values))


# ------------------------------------------------------------------ by hand
def test_points_add_memory_swap_tables_and_adj():
    """Badness is rss + swap + page tables in pages, plus adj thousandths of all pages."""
    p = process(
        rss_anon_kb=4000, rss_file_kb=400, rss_shmem_kb=40, swap_kb=80, pgtables_kb=12, oom_score_adj=10
    )
    assert points(p, totalpages=1_000_000, page_kb=4) == 1110 + 20 + 3 + 10_000
    assert points(p, totalpages=1_000_000, page_kb=4, adj=-1) == 1133 - 1000


def test_adj_divides_first():
    """The kernel divides totalpages by 1000 before it multiplies: the remainder is lost."""
    assert points(process(oom_score_adj=1000), totalpages=1999, page_kb=4) == 1000
    assert points(process(oom_score_adj=-999), totalpages=1999, page_kb=4) == -999


@pytest.mark.parametrize(
    "values",
    [
        {"oom_score_adj": -1000},
        {"pid": 1},
        {"kernel_thread": True},
        {"rss_anon_kb": None},
        {"swap_kb": None},
        {"pgtables_kb": None},
        {"oom_score_adj": None},
    ],
)
def test_not_killable(values):
    """Exempt processes, kernel threads, init and unreadable ones have no badness."""
    assert points(process(**values), totalpages=1000, page_kb=4) is None


@pytest.mark.parametrize(
    ("badness", "since", "before"),
    [
        (0, 666, 0),  # idle
        (1_000_000, 1333, 1000),  # all of memory at adj 0
        (2_000_000, 2000, 2000),  # all of memory at adj +1000
        (-999_000, 0, 0),  # idle at adj -999: (1000 - 999) * 2 / 3
        (-998_000, 1, 0),
        (500_000, 1000, 500),
        (-500_000, 333, 0),
        (-500_001, 333, 0),  # C cuts towards zero: -500.001 is -500
        (None, 0, 0),
    ],
)
def test_oom_score_of_both_kernels(badness, since, before):
    """Golden values of /proc/PID/oom_score on 1,000,000 pages."""
    assert oom_score(badness, 1_000_000, "since_5_9") == since
    assert oom_score(badness, 1_000_000, "before_5_9") == before


def test_before_5_9_takes_at_least_one_page():
    """On a tiny host the one page that an eligible task always has shows up in its score."""
    assert oom_score(-50, 500, "before_5_9") == 2


def test_totals_of_host_and_cgroup():
    """The host counts its swap; a cgroup counts what it may use of it, and nothing when unlimited."""
    host = snapshot(
        swap_kb=400_000,
        cgroups={
            "/": Cgroup(path="/", limit_kb=None, usage_kb=1),
            "/a": Cgroup(path="/a", limit_kb=4000, usage_kb=1),
            "/b": Cgroup(path="/b", limit_kb=4000, usage_kb=1, swap_limit_kb=400),
            "/c": Cgroup(path="/c", limit_kb=4000, usage_kb=1, swap_limit_kb=0),
        },
    )
    assert host_totalpages(host) == 1_100_000
    totals = [cgroup_totalpages(host, path) for path in ("/", "/a", "/b", "/c", "/gone")]
    assert totals == [None, 101_000, 1100, 1000, None]
    assert host_totalpages(snapshot(memory_kb=0)) is None


def test_capped_cgroup_is_the_nearest():
    """The nearest limit upwards counts, whether it is the process's own cgroup or an ancestor."""
    groups = {
        "/": Cgroup(path="/", limit_kb=None, usage_kb=1),
        "/a": Cgroup(path="/a", limit_kb=9, usage_kb=1),
        "/a/b": Cgroup(path="/a/b", limit_kb=5, usage_kb=1),
        "/a/b/c": Cgroup(path="/a/b/c", limit_kb=None, usage_kb=1),
    }
    host = snapshot(cgroups=groups)
    found = {path: capped_cgroup(host, process(cgroup=path)) for path in ("/a/b/c", "/a/x", "/x", "/", None)}
    assert {path: cgroup and cgroup.path for path, cgroup in found.items()} == {
        "/a/b/c": "/a/b",
        "/a/x": "/a",
        "/x": None,
        "/": None,
        None: None,
    }


def fitted(kind: str, *, uid: int = 1000, bonus: float = 0.0) -> HostSnapshot:
    """Make a process table whose oom_score comes from one formula."""
    rows = []
    for pid, (pages, adj) in enumerate([(0, 0), (250_000, 0), (10_000, 500), (5000, -500)], start=100):
        badness = int(pages * (1 - bonus)) + adj * 1000
        score = oom_score(badness, 1_000_000, kind)
        rows.append(process(pid, rss_anon_kb=pages * 4, oom_score_adj=adj, oom_score=score, uid=uid))
    return snapshot(process(2, kernel_thread=True, oom_score=0), *rows)


@pytest.mark.parametrize("kind", ["since_5_9", "before_5_9"])
def test_scale_comes_from_the_table(kind):
    """The formula is recognised by its results, whatever version the kernel names."""
    assert scale(fitted(kind)) == kind


def test_scale_survives_the_root_bonus():
    """Up to 4.16 root's memory counted 3 % less; the table is still recognised."""
    assert scale(fitted("before_5_9", uid=0, bonus=0.03)) == "before_5_9"


def test_scale_is_not_guessed():
    """Without readable scores, without memory totals or with scores that fit nothing there is no verdict."""
    assert scale(snapshot(process(oom_score=None), process(7, rss_anon_kb=None, oom_score=666))) is None
    assert scale(snapshot(process(oom_score=300), process(101, oom_score=400))) is None
    assert scale(snapshot(process(oom_score=666), memory_kb=0)) is None
    # 2000 is both formulas' value for all of memory at adj +1000: it tells nothing
    assert scale(snapshot(process(rss_anon_kb=4_000_000, oom_score_adj=1000, oom_score=2000))) is None


def test_decompose_since_5_9():
    """A quarter of memory at adj +500: 666 + 166 + 333."""
    host = fitted("since_5_9")
    score = decompose(process(rss_anon_kb=1_000_000, oom_score_adj=500, oom_score=1166), host)
    assert (score.baseline, score.memory, score.adj, score.computed, score.shown) == (
        666,
        166,
        333,
        1166,
        1166,
    )
    assert score.rounding == 1
    assert "1333 = all of memory" in score.range_text


def test_decompose_before_5_9():
    """A score never falls below 0, so adj takes at most what memory gave."""
    host = fitted("before_5_9")
    score = decompose(process(rss_anon_kb=1_000_000, oom_score_adj=-500), host)
    assert (score.baseline, score.memory, score.adj, score.computed) == (0, 250, -250, 0)


def test_decompose_exempt_and_unknown():
    """An exempt process scores 0 and says why; an unreadable one, or an unknown formula, has no score."""
    host = fitted("since_5_9")
    exempt = decompose(process(oom_score_adj=-1000, rss_anon_kb=None), host)
    assert (exempt.killable, exempt.computed, exempt.range_text) == (
        False,
        0,
        "0 = never chosen by the kernel",
    )
    assert decompose(process(rss_anon_kb=None), host) is None
    assert decompose(process(), snapshot()) is None


@given(
    st.integers(0, 2_000_000), st.integers(-999, 1000), st.integers(1000, 2_000_000), st.sampled_from([0, 1])
)
def test_parts_add_up(pages, adj, totalpages, kind):
    """Baseline, memory, adj and the rounding are the score, and the rounding stays within what is stated."""
    host = snapshot(memory_kb=totalpages * 4)
    kernel_scale = ("since_5_9", "before_5_9")[kind]
    score = decompose(process(rss_anon_kb=pages * 4, oom_score_adj=adj), host, kernel_scale=kernel_scale)
    assert score.baseline + score.memory + score.adj + score.rounding == score.computed
    if kernel_scale == "since_5_9" or totalpages >= 1_000:
        assert abs(score.rounding) <= ROUNDING


def test_ranking_of_host_and_cgroup():
    """The host ranks everybody, a cgroup only those in it and below, against its own limit."""
    inside = process(10, rss_anon_kb=4000, cgroup="/a/b")
    protected = process(11, rss_anon_kb=9000, oom_score_adj=-900, cgroup="/a")
    beside = process(12, rss_anon_kb=8000, cgroup="/ab")
    groups = {"/a": Cgroup(path="/a", limit_kb=20_000, usage_kb=13_000)}
    host = snapshot(inside, protected, beside, process(1), cgroups=groups)
    assert [r.process.pid for r in ranking(host)] == [12, 10, 11]
    in_group = ranking(host, cgroup="/a")
    assert [(r.process.pid, r.points, r.share) for r in in_group] == [
        (10, 1000, 0.2),
        (11, 2250 - 4500, -0.45),
    ]
    assert ranking(host, cgroup="/ab") == []
    assert ranking(snapshot(inside, memory_kb=0)) == []


def test_next_victim_answers_what_if():
    """Changed adjs move the ranking without touching the process; nobody left means no victim."""
    host = snapshot(process(10, rss_anon_kb=4000), process(11, rss_anon_kb=8000))
    assert next_victim(host).process.pid == 11
    assert next_victim(host, adjs={11: -500}).process.pid == 10
    assert next_victim(host, adjs={10: -1000, 11: -1000}) is None


def test_ties_follow_the_scan():
    """Of equals the one scanned last is taken since 5.9, the one scanned first before."""
    pair = (process(11, start_ticks=5), process(12, start_ticks=4))
    assert next_victim(snapshot(*pair)).process.pid == 11
    old = fitted("before_5_9")
    idle = (process(11, start_ticks=5, oom_score_adj=-1), process(12, start_ticks=4, oom_score_adj=-2))
    ranked = ranking(snapshot(*old.processes, *idle))
    assert [(r.process.pid, r.points) for r in ranked if r.process.pid in (11, 12)] == [(12, 1), (11, 1)]


# ------------------------------------------------------------------ against the running kernel
CANDIDATE = """
import mmap, sys
sys.stdin.readline()
held = []
for line in sys.stdin:
    kind, size = line.split()
    shared = mmap.MAP_SHARED if kind == "shmem" else mmap.MAP_PRIVATE
    area = mmap.mmap(-1, int(size), flags=shared | mmap.MAP_ANONYMOUS)
    held.append(area)
    for at in range(0, int(size), 4096):
        area[at] = 1
    print("ok", flush=True)
"""
MB = 1 << 20


def look() -> HostSnapshot:
    """Read this machine as the bot reads a host."""
    command = read(int(time.time()))
    done = subprocess.run(command.argv, input=command.stdin.encode(), capture_output=True, check=True)
    return parse(done.stdout, host="here", taken_s=time.time())


class Group:
    """A memory cgroup and its processes; it has no limit until `cap`."""

    def __init__(self, hierarchy: Path) -> None:
        self.directory = hierarchy / f"oombot-test-{os.getpid()}-{time.monotonic_ns()}"
        self.path = f"/{self.directory.name}"
        self.directory.mkdir()
        self.members: list[subprocess.Popen] = []

    def cap(self, spare: int) -> None:
        """Set a limit so that this much is left, without swap."""
        files = ("memory.current", "memory.usage_in_bytes")
        usage = next(int(path.read_text()) for name in files if (path := self.directory / name).exists())
        one = {"memory.max": usage + spare, "memory.swap.max": 0}
        two = {"memory.limit_in_bytes": usage + spare, "memory.memsw.limit_in_bytes": usage + spare}
        for name, value in (one | two).items():
            if (self.directory / name).exists():
                (self.directory / name).write_text(str(value))

    def start(self, adj: int) -> subprocess.Popen:
        """Start a process in the group that holds no memory yet."""
        program = [sys.executable, "-S", "-c", CANDIDATE]
        pipe = subprocess.PIPE
        member = subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, bufsize=0)
        self.members.append(member)
        (self.directory / "cgroup.procs").write_text(str(member.pid))
        Path(f"/proc/{member.pid}/oom_score_adj").write_text(str(adj))
        member.stdin.write(b"\n")
        return member

    def hold(self, member: subprocess.Popen, size: int, kind: str = "anon") -> bool:
        """Let a member hold that much more memory; false when it did not within 10 s."""
        member.stdin.write(f"{kind} {size}\n".encode())
        ready, _, _ = select.select([member.stdout], [], [], 10)
        return bool(ready) and member.stdout.readline() == b"ok\n"

    def killed(self) -> list[int]:
        """Pids of members that ended by SIGKILL."""
        return [member.pid for member in self.members if member.poll() == -signal.SIGKILL]

    def remove(self) -> None:
        """End the members and remove the group."""
        for member in self.members:
            member.kill()
            member.wait()
            member.stdin.close()
            member.stdout.close()
        for _ in range(100):
            with contextlib.suppress(OSError):
                self.directory.rmdir()
                return
            time.sleep(0.05)


@pytest.fixture
def hierarchy(need) -> Path:
    """Name the directory in which memory cgroups can be made."""
    need(os.geteuid() == 0, "needs root to make a memory cgroup")
    root = Path("/sys/fs/cgroup")
    if (root / "memory" / "memory.limit_in_bytes").exists():
        return root / "memory"
    controllers = root / "cgroup.controllers"
    has_memory = controllers.exists() and "memory" in controllers.read_text().split()
    need(has_memory, "no memory cgroup is mounted at /sys/fs/cgroup")
    with contextlib.suppress(OSError):
        (root / "cgroup.subtree_control").write_text("+memory")
    need("memory" in (root / "cgroup.subtree_control").read_text().split(), "memory cgroups can not be made")
    return root


@pytest.fixture
def group(hierarchy, need) -> Iterator[Group]:
    """Make a cgroup that is gone after the test."""
    try:
        made = Group(hierarchy)
    except OSError as fault:
        need(None, f"memory cgroups can not be made: {fault}")
    yield made
    made.remove()


@pytest.fixture
def may_lower() -> None:
    """Ask for the right to lower oom_score_adj, which containers often take from root."""
    [effective] = [line for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line]
    if not int(effective.split()[1], 16) >> 24 & 1:  # nothing that CI could install
        pytest.skip("needs CAP_SYS_RESOURCE to lower oom_score_adj")


def wrong_scores(host: HostSnapshot) -> dict[int, tuple[int, int | None]]:
    """Compare every process's computed score with what /proc shows: pid → (shown, computed) where they differ."""
    kind = scale(host)
    assert kind is not None
    scores = {p.pid: decompose(p, host, kernel_scale=kind) for p in host.processes}
    return {
        pid: (score.shown, score.computed)
        for pid, score in scores.items()
        if score is not None and score.shown is not None and score.shown != score.computed
    }


@pytest.mark.kill
def test_every_score_of_this_machine(need):
    """For every process here the computed score is what /proc/PID/oom_score shows, once it holds still."""
    need(Path("/proc/self/oom_score").exists(), "no oom_score in /proc")
    need(os.geteuid() == 0, "needs root to read every process")
    host = look()
    assert len([p for p in host.processes if not p.kernel_thread]) >= 2
    wrong = wrong_scores(host)
    for _ in range(10):  # memory moves between the two reads: what is wrong must be wrong every time
        if not wrong:
            break
        again = wrong_scores(look())
        wrong = {pid: again[pid] for pid in wrong if pid in again}
    assert wrong == {}


@pytest.mark.kill
@pytest.mark.parametrize("adj", [0, 1, 333, 999, 1000])
def test_scores_follow_a_raised_adj(group, adj):
    """The kernel's own score is ours for each adj."""
    assert_score_follows(group, adj)


@pytest.mark.kill
@pytest.mark.parametrize("adj", [-1, -333, -500, -999, -1000])
def test_scores_follow_a_lowered_adj(group, may_lower, adj):
    """The kernel's own score is ours for each adj below 0, and -1000 is never killed."""
    assert_score_follows(group, adj)


def assert_score_follows(group: Group, adj: int) -> None:
    member = group.start(adj)
    assert group.hold(member, 64 * MB)
    host = look()
    [row] = [p for p in host.processes if p.pid == member.pid]
    score = decompose(row, host)
    assert (score.computed, score.killable) == (score.shown, adj != -1000)


SPARE_MB = 16
Drawn = list[tuple[int, int]]


def far_apart(drawn: Drawn) -> bool:
    """Whether the worst two of (MB, adj) are further apart than pages of programs and libraries move them."""
    total = sum(size for size, _ in drawn) + 2 * SPARE_MB
    worst = sorted(size + adj * total / 1000 for size, adj in drawn)  # in MB
    return worst[-1] - worst[-2] > 16 and worst[-1] > 40


def candidates(chance: random.Random, lowest: int) -> Drawn:
    """Draw (MB, adj): the biggest is never the one that adj alone would take."""
    while True:
        drawn = [(chance.randint(8, 80), chance.randint(lowest, 400)) for _ in range(chance.randint(2, 4))]
        drawn.append((90, chance.randint(lowest, lowest // 2)))
        if far_apart(drawn):
            return drawn


def victim_and_prediction(group: Group, drawn: Drawn, chance: random.Random) -> tuple[int, int]:
    """Fill the group until the kernel kills; return whom it took and whom we had named."""
    total = sum(size for size, _ in drawn) + 2 * SPARE_MB
    worst = max(drawn, key=lambda each: each[0] + each[1] * total / 1000)
    for each in drawn:
        # shared memory of a victim is not reaped but freed when it exits, and a second one dies meanwhile
        kind = "anon" if each == worst else chance.choice(["anon", "shmem"])
        assert group.hold(group.start(each[1]), each[0] * MB, kind)
    filler = group.start(0)
    group.cap(SPARE_MB * MB)
    predicted = next_victim(look(), cgroup=group.path)
    assert not group.killed()
    for _ in range(4 * SPARE_MB):
        assert group.hold(filler, MB) or group.killed()
        if group.killed():
            break
    [victim] = group.killed()
    return victim, predicted.process.pid


@pytest.mark.kill
def test_the_kernel_prefers_a_raised_one(group):
    """A smaller process with a raised adj dies before a bigger one, as was said before."""
    victim, predicted = victim_and_prediction(group, [(90, 0), (50, 400), (20, 0)], random.Random(1))
    assert victim == predicted == group.members[1].pid


@pytest.mark.kill
def test_the_kernel_spares_a_lowered_one(group, may_lower):
    """The biggest process with a lowered adj survives, as was said before."""
    victim, predicted = victim_and_prediction(group, [(90, -600), (60, 0), (20, 0)], random.Random(1))
    assert victim == predicted == group.members[1].pid


def play_round(group: Group, lowest: int) -> None:
    seed = random.randrange(100_000)
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    drawn = candidates(chance, lowest)
    victim, predicted = victim_and_prediction(group, drawn, chance)
    assert victim == predicted, (drawn, [member.pid for member in group.members])


@pytest.mark.kill
@pytest.mark.parametrize("number", range(4))
def test_the_victim_is_the_predicted_one(group, number):
    """A cgroup is filled until the kernel kills: the victim is the one that was named before."""
    play_round(group, 0)


@pytest.mark.kill
@pytest.mark.parametrize("number", range(4))
def test_the_victim_is_predicted_with_lowered_adjs(group, may_lower, number):
    """The same with adjs below 0 among the candidates."""
    play_round(group, -400)
