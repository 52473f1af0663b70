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
