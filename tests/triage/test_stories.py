"""One kill told for the card."""

import pytest

from oombot.triage import about_kill


def tell(kill, **options):
    return about_kill(kill, host="host42", **options)


# ------------------------------------------------------------------ who and why
def test_own_limit(nouns):
    """A unit that hit its own limit is named with the limit and the state of swap."""
    story = tell(nouns.kill())
    assert story.verdict == (
        "java (pid 4242) in payments.service was killed: payments.service hit its own memory limit of 2.0 GiB; "
        "there is no swap."
    )
    assert story.why == "It was the only process there."
    assert story.rss == "1.9 GiB resident (anon 1.9 GiB, file 3.3 MiB, shmem 512 KiB)"


def test_limit_of_the_level_above(nouns):
    """A pod's limit is not the container's, and raising the container's does not help."""
    story = tell(nouns.kill(oom_memcg=nouns.POD, task_memcg=nouns.CONTAINER))
    pod = "pod 0e6f4a5c-1b2c-4d3e-8f90-a1b2c3d4e5f6"
    assert (
        f"the level above, {pod}, hit its memory limit of 2.0 GiB (not container 3f2a3f2a3f2a itself)"
        in story.verdict
    )
    assert story.advice[:2] == (
        f"Raise the memory limit of {pod}, or make java need less.",
        f"Raising the limit of container 3f2a3f2a3f2a of {pod} alone does not help: the level above was full.",
    )


def test_limit_above_no_unit(nouns):
    """A victim in the root of a limit is told without a level above it."""
    assert (
        "machine.slice hit its memory limit"
        in tell(nouns.kill(oom_memcg="/machine.slice", task_memcg="/")).verdict
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scope": "memcg", "oom_memcg": None}, "a memory cgroup hit its limit; the log does not say which"),
        (
            {"scope": None, "constraint": None, "oom_memcg": None},
            "does not say whether the host or a cgroup ran out",
        ),
        ({"scope": "global", "constraint": "CONSTRAINT_CPUSET"}, "the NUMA nodes it may use ran out"),
        ({"scope": "global", "constraint": "CONSTRAINT_MEMORY_POLICY"}, "the NUMA nodes it may use ran out"),
        ({"scope": "global", "ram_kb": None}, "the host ran out of memory; there is no swap."),
        (
            {"report": "sh invoked oom-killer: gfp_mask=0x0(), order=-1, oom_score_adj=0"},
            "asked for an OOM kill by SysRq-f",
        ),
    ],
)
def test_level_of_the_limit(nouns, fields, words):
    """Each level at which memory can run out has its own words and its own advice."""
    story = tell(nouns.kill(**fields))
    assert words in story.verdict
    assert story.advice


@pytest.mark.parametrize(
    ("total_kb", "free_kb", "words"),
    [
        (None, None, ""),
        (0, 0, "; there is no swap"),
        (2_000_000, None, ""),
        (2_000_000, 10_000, "; swap was full (1.9 GiB)"),
        (2_000_000, 1_900_000, "; swap was mostly free (1.8 GiB of 1.9 GiB)"),
        (2_000_000, 500_000, "; swap had 488 MiB of 1.9 GiB free"),
    ],
)
def test_swap(nouns, total_kb, free_kb, words):
    """Swap that was missing, full or unused each points to another remedy."""
    story = tell(nouns.kill(swap_total_kb=total_kb, swap_free_kb=free_kb))
    assert story.verdict.endswith(f"2.0 GiB{words}.")


def test_innocent_victim(nouns):
    """A small victim is told together with who held the memory and why that one lived."""
    story = tell(nouns.host_kill())
    assert story.why == (
        "Not the largest: mysqld (pid 812) held 4.9 GiB against its 20 MiB. "
        "Killed because of its oom_score_adj 500 (against -500)."
    )
    assert story.advice == (
        "Cap mysqld (pid 812, 4.9 GiB): it held the most.",
        "Protect nginx by a lower oom_score_adj; then another process dies instead.",
        "Add swap: there is none.",
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"oom_score_adj": -1000}, "mysqld is exempt (oom_score_adj −1000), so this one was killed."),
        ({"pid": 1, "tgid": 1}, "PID 1 is never killed, so this one was."),
        ({"oom_score_adj": 900}, "The log does not show why this one was taken."),
        ({"oom_score_adj": None}, "The log does not show why this one was taken."),
    ],
)
def test_why_the_larger_one_lived(nouns, fields, words):
    """The reason why a larger process lived is read from the table, or said to be missing."""
    bigger = (
        nouns.task(812, "mysqld", 5_100_000, **{"oom_score_adj": 0} | fields) if "pid" not in fields else None
    )
    bigger = bigger or nouns.changed(nouns.task(812, "systemd", 5_100_000), **fields)
    story = tell(nouns.host_kill(tasks=(nouns.task(899, "nginx", 15_400), bigger)))
    assert words in story.why


def test_culprit(nouns):
    """The largest process is told as such, and a host that died of it is told to cap it."""
    rows = (nouns.task(), nouns.task(7, "cron", 3000))
    story = tell(nouns.kill(scope="global", tasks=rows, swap_total_kb=4000, swap_free_kb=3900))
    assert story.why == "It was the largest of 2 processes there (2.0 GiB)."
    assert story.advice == (
        "Cap java with a memory limit of its own, so that it does not take the host along.",
        "More swap does not help: what there is was mostly free.",
    )


def test_many_small_ones(nouns):
    """Many processes of one name are added up: no single row shows them."""
    crowd = tuple(nouns.task(100 + n, "php-fpm", 300_000) for n in range(40))
    story = tell(nouns.host_kill(tasks=(nouns.task(899, "nginx", 305_000), *crowd)))
    assert story.why.endswith("Together 40 × php-fpm held 11.6 GiB.")


def test_group_kill(nouns):
    """Members of a group kill are told as such."""
    assert tell(nouns.kill(oom_group=nouns.PAYMENTS)).why == (
        "Everything in payments.service was killed together (memory.oom.group)."
    )


def test_swap_half_used(nouns):
    """Swap that is neither missing nor free calls for no word about swap."""
    story = tell(nouns.kill(scope="global", swap_total_kb=4000, swap_free_kb=1000))
    assert len(story.advice) == 1


def test_no_report(nouns):
    """Without a report nothing is made up."""
    story = tell(nouns.kill(tasks=(), report="", anon_rss_kb=None, file_rss_kb=None, shmem_rss_kb=None))
    assert (story.why, story.rss) == ("", "? resident (anon ?, file ?, shmem ?)")
    assert "oom_score_adj only chooses which process of the cgroup dies next." in story.advice


def test_facts(nouns):
    """What the kernel printed stands under the kernel's names; what it did not is left out."""
    facts = dict(tell(nouns.kill(uid=None, oom_memcg="/a", task_memcg="/a/b")).facts)
    assert facts["scope"] == "cgroup limit"
    assert (facts["oom_memcg"], facts["task_memcg"], facts["invoked by"]) == ("/a", "/a/b", "java")
    assert "uid" not in facts
    assert dict(tell(nouns.kill()).facts)["oom_memcg = task_memcg"] == nouns.PAYMENTS


def test_memory_at_the_kill(nouns):
    """The state of memory is listed as far as the report has it."""
    assert tell(nouns.kill()).memory == (
        ("usage of the cgroup", "2.0 GiB"),
        ("limit of the cgroup", "2.0 GiB"),
        ("swap", "0"),
        ("free swap", "0"),
        ("times the limit was hit (failcnt)", "812"),
    )
    assert ("RAM", "7.8 GiB") in tell(nouns.host_kill()).memory


def test_evidence_and_late(nouns):
    """The card names its evidence, and says when it comes late."""
    story = tell(nouns.kill(evidence="kill_line_truncated"), seen_s=nouns.NOW_S + 3600)
    assert story.late
    assert "cut short" in story.evidence
    assert not tell(nouns.kill(), seen_s=nouns.NOW_S).late
    assert not tell(nouns.kill(time_s=None), seen_s=nouns.NOW_S).late
    assert tell(nouns.kill(evidence="other")).evidence == "other"


# ------------------------------------------------------------------ is it back
def test_before_the_host_is_read(nouns):
    """From the log alone nothing is claimed about now."""
    story = tell(nouns.kill())
    assert (story.now, story.machine, story.is_back) == (None, None, None)
    assert story.outlook == "whether it will recur is not known from the log alone"


def test_a_reading_from_before_the_kill_is_ignored(nouns):
    """An old reading says nothing about what came of the kill."""
    assert tell(nouns.kill(time_s=nouns.NOW_S + 10), snapshot=nouns.snapshot()).now is None
    assert (
        tell(nouns.kill(time_s=nouns.NOW_S + 10, time_approximate=True), snapshot=nouns.snapshot()).now
        is not None
    )
    assert tell(nouns.kill(time_s=None), snapshot=nouns.snapshot(now_s=None)).now is not None


@pytest.mark.parametrize(
    ("fields", "back", "words"),
    [
        ({}, True, "payments.service is back: active (running) for 40 s, 3 restarts so far"),
        ({"since_s": 1.0, "n_restarts": 0}, True, "payments.service is still active (running) for"),
        (
            {"active_state": "activating", "sub_state": "auto-restart", "n_restarts": None},
            None,
            "payments.service is down; systemd will start it again by itself (Restart=on-failure)",
        ),
        (
            {"active_state": "failed", "sub_state": "failed", "result": "oom-kill", "restart": "no"},
            False,
            (
                "payments.service is DOWN: failed for 40 s (Result=oom-kill), 3 restarts so far; "
                "systemd will not restart it (Restart=no)"
            ),
        ),
        (
            {"active_state": "failed", "result": "oom-kill", "restart": "on-abort"},
            False,
            "systemd will not restart it (Restart=on-abort)",
        ),
        (
            {"active_state": "failed", "result": "oom-kill", "restart": "always"},
            False,
            "systemd has given up (Restart=always, start limit)",
        ),
        (
            {"active_state": "failed", "result": "start-limit-hit"},
            False,
            "systemd gave up (start limit hit)",
        ),
        (
            {"active_state": "inactive", "since_s": None, "n_restarts": 1},
            False,
            "payments.service is DOWN: stopped, 1 restart so far; systemd will not start it by itself",
        ),
        (
            {"active_state": "deactivating", "sub_state": "stop-sigterm"},
            None,
            "is deactivating (stop-sigterm)",
        ),
    ],
)
def test_unit_after_the_kill(nouns, fields, back, words):
    """Whether the unit is back, and whether systemd will retry, is read from its state, Result and Restart=."""
    story = tell(nouns.kill(), snapshot=nouns.snapshot(units=(nouns.unit(**fields),)))
    assert story.is_back is back
    assert words in story.now


def test_no_unit(nouns):
    """Without a unit a process of the same name is a hint, its absence an answer."""
    host = nouns.snapshot()
    story = tell(nouns.kill(task_memcg="/hogs"), snapshot=host)
    assert (
        story.now == "it belonged to no unit that would restart it; a process named java runs now (pid 5120)"
    )
    assert story.is_back is None
    story = tell(nouns.kill(task_memcg="/hogs", comm="hog"), snapshot=host)
    assert (story.is_back, "no hog runs now" in story.now) == (False, True)


@pytest.mark.parametrize(
    ("kill_fields", "host_fields", "words"),
    [
        (
            {"boot_id": "boot0", "task_memcg": "/system.slice/gone.service"},
            {},
            "the host has rebooted since (up for 3 days); gone.service is DOWN: no longer loaded by systemd; a process",
        ),
        ({}, {"units": ()}, "the state of payments.service could not be read"),
        (
            {"task_memcg": "/system.slice/gone.service"},
            {},
            "gone.service is DOWN: no longer loaded by systemd",
        ),
        ({"task_memcg": "/lxc/web01"}, {}, "container web01: its runtime decides about a restart"),
        ({"task_memcg": None}, {}, "the log does not say which unit it was in"),
    ],
)
def test_now_without_a_unit(nouns, kill_fields, host_fields, words):
    """Where no unit can be asked, the card says why."""
    story = tell(nouns.kill(**kill_fields), snapshot=nouns.snapshot(**host_fields))
    assert words in story.now
    assert story.is_back is (False if "DOWN" in words else None)


TABLE = "the process table could not be read whole"


@pytest.mark.parametrize(
    ("fields", "back", "words"),
    [
        ({"processes": ()}, False, "no java runs now"),
        ({"processes": (), "processes_whole": False}, None, f"whether a java runs now is not known: {TABLE}"),
        ({"processes_whole": False}, None, "a process named java runs now (pid 5120)"),
        ({"units": (), "processes": ()}, False, "no java runs now"),
    ],
)
def test_absence_needs_a_whole_table(nouns, fields, back, words):
    """Nothing is said not to run where the table was cut or hidden; what was seen there runs all the same."""
    story = tell(nouns.kill(task_memcg="/hogs"), snapshot=nouns.snapshot(**fields))
    assert story.is_back is back
    assert words in story.now
    assert ("no java runs" in story.now) is (back is False)


def test_a_unit_answers_for_itself(nouns):
    """systemd's word on a unit does not depend on the process table."""
    host = nouns.snapshot(processes=(), processes_whole=False)
    assert tell(nouns.kill(), snapshot=host).is_back is True


def test_a_victim_that_is_still_listed(nouns):
    """A process of the victim's pid and name is neither gone nor back."""
    host = nouns.snapshot(processes=(nouns.process(1, "systemd"), nouns.process(4242, "java")))
    story = tell(nouns.kill(task_memcg="/hogs"), snapshot=host)
    assert story.is_back is None
    assert "pid 4242 is still listed as java" in story.now
    assert "whether java runs again is not known" in story.outlook


def test_outlook_without_a_whole_table(nouns):
    """Whether the victim runs again is not known where the table is not whole."""
    host = nouns.snapshot(processes=(), processes_whole=False)
    lost = nouns.kill(scope=None, constraint=None, oom_memcg=None, task_memcg=None)
    assert tell(lost, snapshot=host).outlook == "whether java runs again is not known."
    bare = nouns.kill(task_memcg="/hogs")
    assert tell(bare, snapshot=host).outlook.startswith(
        "whether java runs again is not known; the same limit"
    )
    whole = nouns.changed(host, processes_whole=True)
    assert tell(lost, snapshot=whole).outlook == "not before java is started again."


def test_a_pid_that_was_taken_again_is_not_the_culprit(nouns):
    """Another process under the culprit's pid does not make the next kill likely."""
    host = nouns.snapshot()
    other = nouns.changed(host.processes[1], comm="cron")
    again = nouns.changed(host, processes=(host.processes[0], other, *host.processes[2:]))
    assert "mysqld" not in tell(nouns.host_kill(), snapshot=again).outlook


def test_when_the_host_was_read(nouns):
    """The story carries the time of the reading it speaks of, and why there is none (any more)."""
    assert tell(nouns.kill(), snapshot=nouns.snapshot()).as_of_s == nouns.NOW_S
    bare = tell(nouns.kill(), unread="host42 can not be reached. ")
    assert (bare.as_of_s, bare.unread) == (None, "host42 can not be reached")
    assert tell(nouns.kill()).unread == ""


def test_machine(nouns):
    """Free memory, swap and pressure stand on the card; unreadable pressure is said."""
    assert tell(nouns.kill(), snapshot=nouns.snapshot()).machine == (
        "2.1 GiB of 7.8 GiB memory available, no swap, tasks stalled on memory 1 % of the last 10 s"
    )
    host = nouns.snapshot(pressure=None, memory_kb={"MemTotal": 1000, "SwapTotal": 9000, "SwapFree": 4000})
    assert tell(nouns.kill(), snapshot=host).machine == (
        "? of 1000 KiB memory available, swap 4.9 MiB of 8.8 MiB used, pressure (PSI) not readable"
    )


# ------------------------------------------------------------------ will it recur
def test_first_kill(nouns):
    """The first kill of its kind is told as the first."""
    other = nouns.kill(comm="cron", task_memcg="/system.slice/cron.service")
    assert tell(nouns.kill(), earlier=[other]).recurrence == "first kill of java seen in 7 days"


def test_namesakes_of_other_units(nouns):
    """Many units run a python3: a kill in another one is no earlier kill of this one, one without a unit may be."""
    elsewhere = [
        nouns.kill(pid=n, task_memcg="/system.slice/cron.service", time_s=nouns.NOW_S - 90) for n in (1, 2)
    ]
    story = tell(nouns.kill(), earlier=elsewhere, snapshot=nouns.snapshot())
    assert story.recurrence == "first kill in payments.service seen in 7 days"
    assert "before" not in story.outlook
    lost = nouns.kill(pid=3, task_memcg=None, time_s=nouns.NOW_S - 90)
    assert tell(nouns.kill(), earlier=[lost]).recurrence.startswith("2nd kill of java in 7 days")
    transient = [nouns.kill(pid=n, task_memcg=f"/system.slice/run-r{n}.service") for n in (5, 6)]
    assert tell(transient[1], earlier=transient[:1]).recurrence.startswith("2nd kill of java")


def test_third_kill(nouns):
    """Kills of the same name or the same unit within 7 days are counted, older ones and dateless ones are not."""
    at = nouns.NOW_S - 60
    mine = nouns.kill()
    earlier = [
        mine,
        nouns.kill(pid=1, time_s=at - 7200),
        nouns.kill(pid=2, comm="worker", time_s=at - 86400),
        nouns.kill(pid=3, time_s=at - 8 * 86400),
        nouns.kill(pid=4, time_s=None),
    ]
    story = tell(mine, earlier=earlier, snapshot=nouns.snapshot())
    assert story.recurrence == "3rd kill in payments.service in 7 days, the last one 2 h before"
    assert story.outlook.endswith("It has happened before, repeatedly.")
    assert tell(mine, earlier=earlier).outlook == "likely, it keeps happening"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "likely: payments.service runs and the same limit of 2.0 GiB is still set (1.4 GiB used now)."),
        (
            {"units": "down"},
            "not before payments.service is started again; then likely: the same limit of 2.0 GiB",
        ),
        ({"cgroups": {}}, "no process is in that cgroup now; it runs elsewhere."),
        (
            {"cgroups": {}, "units": "down"},
            "no process is in that cgroup now; not before payments.service is started again.",
        ),
        ({"limit_kb": None}, "unlikely in this form: payments.service has no limit any more."),
        (
            {"limit_kb": None, "usage_kb": None},
            "whether payments.service still has a limit could not be read.",
        ),
        (
            {"cgroups": {}, "processes_whole": False},
            "whether the limit of payments.service is still set is not known: the process table could not be",
        ),
        ({"limit_kb": 4_194_304}, "open: the limit of payments.service was 2.0 GiB and is now 4.0 GiB"),
    ],
)
def test_outlook_of_a_limit(nouns, fields, words):
    """Whether a limit will be hit again follows from the limit set now and from whether the unit runs."""
    host, fields = nouns.snapshot(), dict(fields)
    if "limit_kb" in fields:
        values = {name: fields.pop(name) for name in ("limit_kb", "usage_kb") if name in fields}
        fields["cgroups"] = {nouns.PAYMENTS: nouns.changed(host.cgroups[nouns.PAYMENTS], **values)}
    if fields.get("units") == "down":
        fields["units"] = (nouns.failed("payments.service"),)
    assert words in tell(nouns.kill(), snapshot=nouns.changed(host, **fields)).outlook


def test_outlook_of_a_host(nouns):
    """A host runs out again while who held the memory still runs."""
    host = nouns.snapshot()
    assert tell(nouns.host_kill(), snapshot=host).outlook == (
        "likely: mysqld (pid 812), which held the most, still runs."
    )
    gone = nouns.changed(host, processes=host.processes[3:])
    assert (
        tell(nouns.host_kill(), snapshot=gone).outlook
        == "possible: nginx runs again and nothing else has changed."
    )
    assert tell(nouns.host_kill(comm="gone"), snapshot=gone).outlook == "not before gone is started again."
    unknown = nouns.kill(scope=None, constraint=None, oom_memcg=None)
    assert tell(unknown, snapshot=host).outlook.startswith("possible: payments.service runs again")
    asked = nouns.kill(report="sh invoked oom-killer: order=-1,")
    assert tell(asked, snapshot=host).outlook == "only if somebody asks again"


# ------------------------------------------------------------------ what next
def test_oom_score_adj_in_a_cgroup(nouns):
    """oom_score_adj is never offered as help to a process that is alone under its limit."""
    alone = "oom_score_adj does not help: it was the only process in the cgroup."
    assert alone in tell(nouns.kill()).advice
    now = "oom_score_adj does not help: one process alone is in the cgroup now."
    assert now in tell(nouns.kill(tasks=()), snapshot=nouns.snapshot()).advice
    hidden = nouns.snapshot(processes_whole=False)
    assert now not in tell(nouns.kill(tasks=()), snapshot=hidden).advice
    two = (nouns.task(), nouns.task(5, "sh", 10))
    assert alone not in tell(nouns.kill(tasks=two)).advice


def test_swap_in_a_cgroup_that_may_not_swap(nouns):
    """A swap file is not offered to a cgroup that may not use it."""
    host = nouns.snapshot()
    group = nouns.changed(host.cgroups[nouns.PAYMENTS], swap_limit_kb=0)
    story = tell(nouns.kill(), snapshot=nouns.changed(host, cgroups={nouns.PAYMENTS: group}))
    assert story.advice[-1] == "A swap file does not help: the cgroup may not swap."
