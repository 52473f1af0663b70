"""The ranking of a fleet: what counts as close, what "nobody was killed" rests on, and what is folded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot.model import Cgroup, KernelLog, Pressure
from oombot.triage import Seen, observed, overview, ranked, unheard
from oombot.triage.headroom import fullest, headroom
from tests.examples import GIB, NOW, a_kill, a_process, a_snapshot

API = "/system.slice/api.service"
WEEK = 7 * 86400


def memory(available, swap=0, swap_free=0):
    return {"MemTotal": 4 * GIB, "MemAvailable": available, "SwapTotal": swap, "SwapFree": swap_free}


def whole(host, **wanted):
    """A host that was up before the span began, with a log that is whole."""
    return a_snapshot(host=host, uptime_s=30 * 86400.0, **wanted)


def view(*seen, hosts=None, phase="done"):
    names = hosts or [one.host for one in seen]
    return overview(
        "web*",
        names,
        {one.host: one for one in seen},
        phase=phase,
        span_s=WEEK,
        took_s=1.0,
        command="oombot ask 'web*'",
    )


def test_free_swap_is_room():
    """A host without free memory but with free swap is further from a kill than one without swap."""
    swap = headroom(a_snapshot(memory_kb=memory(GIB // 10, 4 * GIB, 4 * GIB)))
    none = headroom(a_snapshot(memory_kb=memory(GIB // 10)))
    assert 0.4 < swap.share < 0.6
    assert none.share > 0.9


def test_unreadable_swap_is_not_taken_for_full():
    """Where /proc does not say how much swap is free, memory alone ranks the host."""
    unread = {"MemTotal": 4 * GIB, "MemAvailable": 3 * GIB, "SwapTotal": 8 * GIB}
    assert headroom(a_snapshot(memory_kb=unread)).share == 0.25


def test_page_cache_of_a_cgroup_is_not_near_its_limit():
    """A cgroup that is full of page cache is not close to a kill; one whose processes fill it is, and is named."""
    limit = {API: Cgroup(path=API, limit_kb=GIB, usage_kb=GIB)}
    cached = headroom(a_snapshot(a_process(), cgroups=limit))
    filled = headroom(a_snapshot(a_process(rss_anon_kb=GIB - 10_000), cgroups=limit))
    assert cached.share < 0.8
    assert filled.share > 0.98
    assert "api.service: processes hold 1015 MiB of its 1.0 GiB limit" in filled.text


def test_children_count_against_the_limit_above():
    """What processes of inner cgroups hold counts against the limit of the outer one."""
    inner = [a_process(pid, cgroup=f"/app.slice/{pid}.service", rss_anon_kb=GIB // 2) for pid in (1, 2)]
    fill = fullest(
        a_snapshot(*inner, cgroups={"/app.slice": Cgroup(path="/app.slice", limit_kb=GIB, usage_kb=None)})
    )
    assert 1.0 <= fill.share < 1.01


def test_unreadable_processes_make_usage_count_and_say_so():
    """Where a process could not be read the cgroup's own usage counts, and the page cache in it is said."""
    limit = {API: Cgroup(path=API, limit_kb=GIB, usage_kb=GIB)}
    room = headroom(a_snapshot(a_process(rss_anon_kb=None), cgroups=limit))
    assert room.share == 1.0
    assert "page cache counted" in room.text


def test_a_limit_of_all_memory_limits_nothing():
    """A cgroup limit of the host's memory or more is not told as one."""
    assert fullest(a_snapshot(cgroups={"/a": Cgroup(path="/a", limit_kb=4 * GIB, usage_kb=GIB)})) is None


def test_stalls_count():
    """A host whose tasks wait for memory most of the time is close, whatever its meminfo says."""
    stalled = Pressure(some_avg10=90.0, some_avg60=1, full_avg10=1, full_avg60=1)
    assert headroom(a_snapshot(pressure=stalled)).share == pytest.approx(0.9)


def test_nothing_readable_is_unknown():
    """A host whose memory could not be read has no rank; it is not taken for one with room."""
    seen = observed(whole("web01", memory_kb={}), (), since_s=NOW - WEEK)
    assert seen.share is None
    assert (view(seen).closest, view(seen).unread) == ((), 1)


def test_newest_kill_first_then_the_closest_then_the_silent():
    """One order for all: kills by their time, then room, then those that could not be asked."""
    seen = [
        Seen(host="silent", reason="gone"),
        Seen(host="roomy", share=0.1),
        Seen(host="full", share=0.9),
        Seen(host="old", kills=9, last_s=NOW - 500),
        Seen(host="new", kills=1, last_s=NOW - 5),
        Seen(host="unread"),
    ]
    assert [one.host for one in ranked(seen)] == ["new", "old", "full", "roomy", "unread", "silent"]


def test_kills_outside_the_span_do_not_count():
    """Only kills of the span are counted; one whose time nobody knows may be in it."""
    kills = [a_kill(1, time_s=NOW - 3600), a_kill(2, time_s=NOW - WEEK - 10), a_kill(3, time_s=None)]
    assert observed(whole("web01"), kills, since_s=NOW - WEEK).kills == 2


def test_no_kill_is_claimed_only_where_the_log_proves_it():
    """Hosts whose log is cut, and hosts whose counter says more, are not certain; the sentence leaves them out."""
    sure = observed(whole("web01"), (), since_s=NOW - WEEK)
    counted = observed(whole("web02", oom_kill_count=5), (), since_s=NOW - WEEK)
    assert sure.doubt == ""
    assert "counter says 5, log shows 0" in counted.doubt
    assert view(sure).none == "No OOM kill in the last 7 days on the 1 host that answered."
    assert view(sure, counted).none == "No OOM kill in the last 7 days on 1 host; of 1 it is not certain."
    assert "no log of 1 host proves it" in view(counted).none
    assert view(unheard("web03", "gone", (), since_s=0.0)).none.startswith("No host has answered")


def test_same_trouble_is_folded():
    """Hosts whose errors differ only in their names and numbers are one group; others are not."""
    seen = [
        unheard(f"web{i}", f"web{i} timed out after {i} s at 10.0.0.{i}", (), since_s=0.0)
        for i in range(1, 10)
    ]
    seen.append(unheard("db1", "db1 refused the key", (), since_s=0.0))
    folded = view(*seen).unasked
    assert [(group.count, group.more) for group in folded] == [(9, 3), (1, 0)]


def test_what_ranks_a_host_is_told():
    """The number beside a host is explained by what stands behind it, however small it is."""
    limit = {API: Cgroup(path=API, limit_kb=GIB, usage_kb=GIB // 3)}
    idle = headroom(a_snapshot(a_process(rss_anon_kb=GIB // 3), memory_kb=memory(4 * GIB), cgroups=limit))
    assert idle.text == (
        "api.service: processes hold 341 MiB of its 1.0 GiB limit; 4.0 GiB of 4.0 GiB available, no swap,"
        " PSI not readable"
    )


def test_cut_logs_of_any_length_are_folded():
    """Hosts whose logs reach back differently far are one group, told by the first."""
    cut = [
        observed(
            whole(f"web{i}", kernel_log=KernelLog(source="kmsg", lines=(), since_s=NOW - 600 * i)),
            (),
            since_s=0.0,
        )
        for i in (1, 20, 900)
    ]
    [group] = view(*cut).unsure
    assert group.count == 3
    assert group.text.startswith("the kernel log reaches back only 10 min")


@given(
    st.lists(
        st.builds(
            Seen,
            host=st.sampled_from([f"h{i}" for i in range(60)]),
            kills=st.integers(0, 3),
            last_s=st.none() | st.floats(0, 1e10),
            share=st.none() | st.floats(0, 1),
            reason=st.sampled_from(["", "a", "b", "c", "d", "e", "f", "g"]),
            doubt=st.sampled_from(["", "x", "y"]),
        ),
        max_size=60,
        unique_by=lambda one: one.host,
    )
)
def test_nothing_is_left_out_without_a_count(seen):
    """Whatever is known, what is shown and what is counted as not shown add up to all hosts."""
    made = view(*seen, hosts=[f"h{i}" for i in range(60)], phase="asking")
    assert made.answered + made.failed + made.waiting == made.total == 60
    assert len(made.closest) + made.closest_more + made.unread == made.answered
    assert sum(group.count for group in made.unasked) + made.unasked_more == made.failed
    assert made.killed_hosts >= len(made.killed)
    assert made.kills == sum(one.kills for one in seen)
