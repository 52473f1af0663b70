"""The rules of truth: OOM killer, not the OOM killer, or unknown."""

import dataclasses
import json

import pytest

from oombot.triage import consumers, diagnose, find, memory


def ask(host, kills=(), word="", **options):
    """Ask as /oom does, with the word looked up on the host."""
    found = find(host, word) if host is not None else ()
    target = found[0] if found else None
    return diagnose(host="host42", snapshot=host, kills=kills, target=target, asked=word, **options)


@pytest.fixture
def quiet(nouns):
    """A host whose log is whole since boot and whose counter says 0."""
    return nouns.snapshot(oom_kill_count=0)


# ------------------------------------------------------------------ it was
def test_kill_in_the_log(nouns):
    """A kill in the log is the OOM killer."""
    found = ask(nouns.snapshot(), [nouns.kill()])
    assert found.answer == "oom"
    assert found.verdict == (
        "Yes: the OOM killer took java (pid 4242) in payments.service 60 s ago. "
        "payments.service hit its own memory limit of 2.0 GiB."
    )
    assert found.now.startswith("payments.service is back: active (running)")
    assert found.now.endswith("up 3 days.")
    assert [line.text for line in found.kills] == [
        "java (pid 4242) in payments.service: payments.service hit its own memory limit of 2.0 GiB"
    ]


def test_several_kills(nouns):
    """The newest of several kills is told, the others are counted and listed up to five."""
    kills = [nouns.kill(pid=pid, time_s=nouns.NOW_S - 60 * pid) for pid in range(7, 0, -1)]
    found = ask(nouns.snapshot(), kills)
    assert "java (pid 1)" in found.verdict
    assert found.verdict.endswith("7 kills since boot (3 days ago).")
    assert (len(found.kills), found.kill_count) == (5, 7)
    doubted = ask(nouns.snapshot(oom_kill_count=9), kills)
    assert doubted.verdict.endswith(" At least 7 kills since boot (3 days ago).")


def test_kill_without_a_time(nouns):
    """A kill whose time is not known is told, with its time unknown; a derived time is told as about."""
    found = ask(nouns.snapshot(), [nouns.kill(time_s=None, scope="global")])
    assert "at an unknown time. The host ran out of memory." in found.verdict
    assert "about 60 s ago" in ask(nouns.snapshot(now_s=None), [nouns.kill(time_approximate=True)]).verdict


def test_a_kill_is_told_even_when_others_were_lost(nouns):
    """Where the counter says more than the log, the answer stands and the loss is said."""
    found = ask(nouns.snapshot(oom_kill_count=5), [nouns.kill()])
    assert found.answer == "oom"
    assert found.reason.endswith(
        "the kernel's counter says 5 kills since boot, of which the log shows only 1"
    )


@pytest.mark.parametrize("word", ["java", "4242", "payments", "payments.service"])
def test_kill_of_what_was_asked(nouns, word):
    """A kill is found by pid, name and unit of the dead."""
    assert ask(nouns.snapshot(), [nouns.kill()], word).answer == "oom"


# ------------------------------------------------------------------ it was not
def test_quiet_host(nouns, quiet):
    """No kill in a log that is whole and confirmed by the counter: not the OOM killer."""
    found = ask(quiet)
    assert (found.answer, found.verdict) == ("not_oom", "No OOM kill on host42 since boot (3 days ago).")
    assert found.reason == "the kernel log covers it and the kernel's counter says 0 kills since boot"
    assert found.failed_units == ("report.service: it crashed with SIGSEGV and dumped core",)


def test_other_kills_do_not_count_for_the_target(nouns):
    """A kill of another process is mentioned, not blamed."""
    found = ask(nouns.snapshot(), [nouns.kill()], "mysqld")
    assert found.answer == "not_oom"
    assert found.verdict == (
        "mysqld (pid 812) was not killed by the OOM killer since boot (3 days ago) (1 other kill on host42)."
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "It crashed with SIGSEGV and dumped core."),
        ({"result": "signal", "exec_main_code": 2, "exec_main_status": 15}, "It was killed by SIGTERM."),
        (
            {"result": "signal", "exec_main_code": 2, "exec_main_status": 9},
            "It was killed by SIGKILL, but the kernel logged no OOM kill of it.",
        ),
        ({"result": "signal", "exec_main_code": 2, "exec_main_status": 999}, "It was killed by signal 999."),
        (
            {"result": "signal", "exec_main_code": 2, "exec_main_status": None},
            "It was killed by an unknown signal.",
        ),
        ({"result": "exit-code", "exec_main_code": 1, "exec_main_status": 1}, "It exited with status 1."),
        ({"result": "exit-code", "exec_main_code": 1, "exec_main_status": None}, "It exited with status ?."),
        (
            {"result": "exit-code", "exec_main_code": 1, "exec_main_status": 137},
            (
                "It exited with status 137 (128 + SIGKILL: a child was killed by that signal), "
                "but the kernel logged no OOM kill of it."
            ),
        ),
        ({"result": "timeout", "exec_main_code": 2}, "Systemd ended it at its time limit (Result=timeout)."),
        ({"result": "watchdog", "exec_main_code": 2}, "Systemd's watchdog ended it (Result=watchdog)."),
        ({"result": "resources", "exec_main_code": 0}, "Result=resources."),
    ],
)
def test_never_called_oom(nouns, quiet, fields, words):
    """A segfault, a SIGTERM, a kill -9 by hand, a bad exit and a time-out are told for what they are."""
    found = ask(nouns.changed(quiet, units=(nouns.failed(**fields),)), word="report")
    assert found.answer == "not_oom"
    assert found.verdict.endswith(words)
    assert found.failed_units == ()


def test_a_word_that_names_nothing(nouns, quiet):
    """A name that is not on the host is answered from the log."""
    found = ask(quiet, word="apache")
    assert found.verdict.startswith("apache was not killed by the OOM killer since boot")
    assert found.target is None


def test_earlier_boot(nouns, quiet):
    """A kill before the boot is not this boot's, and is still mentioned."""
    old = nouns.kill(boot_id="boot0", time_s=nouns.NOW_S - 4 * 86400)
    found = ask(quiet, [old])
    assert found.answer == "not_oom"
    assert found.verdict.endswith("Before that: java (pid 4242) in payments.service, 4 days ago.")


def test_log_from_before_the_boot(nouns):
    """A journal that is kept over boots and begins before this one is whole since boot."""
    kept = nouns.log(since_boot=False, since_s=nouns.NOW_S - 3 * 86400 - 60)
    assert ask(nouns.snapshot(oom_kill_count=0, kernel_log=kept)).answer == "not_oom"


def test_nothing_of_that_name(nouns, quiet):
    """A name that nothing has may be misspelt, so the answer says that nothing has it."""
    assert ask(quiet, [], "mysqld-typo").verdict.endswith(
        "There is no process and no loaded service of that name now."
    )
    assert ask(quiet, [], "99999").verdict.endswith("There is no pid 99999 now.")
    assert "There is no" not in ask(quiet, [], "mysqld").verdict


def test_span(nouns):
    """A span shorter than the log's reach is answered within it."""
    old = nouns.kill(time_s=nouns.NOW_S - 7200)
    found = ask(nouns.snapshot(kernel_log=nouns.log(since_boot=False)), [old], since_s=nouns.NOW_S - 3600)
    assert (found.answer, found.span) == ("not_oom", "in the last 60 min")


# ------------------------------------------------------------------ nobody knows
@pytest.mark.parametrize(
    ("fields", "words", "fix", "since_s"),
    [
        (
            {"source": None, "problem": "permission denied", "fix": "usermod -aG adm oombot"},
            "the kernel log could not be read (permission denied)",
            "usermod -aG adm oombot",
            None,
        ),
        ({"source": None}, "no kernel log was found", "group systemd-journal or adm", None),
        (
            {"since_boot": False, "since_s": 1_795_395_000.0 - 7200},
            "the kernel log reaches back only 2 h, the rest is gone",
            "/oom host42 since 2h",
            None,
        ),
        (
            {"since_boot": False, "since_s": 1_795_395_000.0 - 600},
            "the kernel log reaches back only 10 min",
            "/oom host42 since 10m",
            1_795_395_000.0 - 3600,
        ),
        (
            {"since_boot": False, "since_s": None},
            "it is not known how far the kernel log reaches back",
            "",
            None,
        ),
        (
            {"since_boot": True},
            "the kernel log reaches back only 3 days",
            "since 72h",
            1_795_395_000.0 - 9 * 86400,
        ),
    ],
)
def test_lost_log(nouns, fields, words, fix, since_s):
    """A log that is unreadable, rotated or too short proves nothing; the counter is told beside it."""
    found = ask(nouns.snapshot(oom_kill_count=0, kernel_log=nouns.log(**fields)), since_s=since_s)
    assert found.answer == "unknown"
    assert found.verdict.startswith(f"Unknown: {words}" if "could" in words else "Unknown: ")
    assert words in found.verdict
    assert "the kernel's counter says 0 kills since boot" in found.verdict
    assert fix in found.fix


def test_counter_says_more(nouns):
    """A counter above what the log shows means a lost kill."""
    found = ask(nouns.snapshot(oom_kill_count=5), [], "mysqld")
    assert found.answer == "unknown"
    assert found.verdict == (
        "Unknown whether the OOM killer took mysqld (pid 812): "
        "counter says 5, log shows 0: the kernel killed, but the log lost it."
    )


def test_counter_says_more_than_other_kills(nouns):
    """The counter is compared with this boot's kills by the kernel only."""
    kills = [
        nouns.kill(),
        nouns.kill(pid=2, boot_id="boot0", time_s=1.0),
        nouns.kill(pid=3, boot_id=None, time_s=1.0),
        nouns.kill(pid=4, boot_id=None, time_s=None, comm="sh", task_memcg="/a"),
        nouns.kill(pid=5, killer="earlyoom"),
    ]
    assert ask(nouns.snapshot(oom_kill_count=2), kills, "mysqld").answer == "not_oom"
    assert "counter says 3, log shows 2" in ask(nouns.snapshot(oom_kill_count=3), kills, "mysqld").verdict


def test_no_counter(nouns):
    """Without the counter the log can not be checked."""
    found = ask(nouns.snapshot(oom_kill_count=None, uptime_s=None))
    assert (found.answer, found.span) == ("unknown", "since boot")
    bare = nouns.snapshot(oom_kill_count=None, kernel_log=nouns.log(since_boot=False, since_s=None))
    assert "counter is not readable" in ask(bare).verdict


def test_unit_of_the_victim_lost(nouns):
    """A kill whose unit the log does not say may be of the unit that was asked for."""
    lost = nouns.kill(task_memcg=None, oom_memcg=None, comm="worker")
    for word in ("report", "unloaded"):
        found = ask(nouns.snapshot(), [lost], word)
        assert found.answer == "unknown"
        assert "worker (pid 4242) was killed and the log does not say in which unit." in found.verdict
    assert ask(nouns.snapshot(), [lost], "mysqld").answer == "not_oom"


def test_systemd_blames_oom(nouns, quiet):
    """systemd's oom-kill without a kernel line is unknown: systemd-oomd or a lost line."""
    found = ask(nouns.changed(quiet, units=(nouns.failed(result="oom-kill"),)), word="report")
    assert found.answer == "unknown"
    assert "systemd says report.service ran out of memory, but the kernel logged no kill." in found.verdict
    assert "systemd-oomd" in found.fix


def test_silent_host(nouns):
    """A host that does not answer is unknown; what is stored follows with its age."""
    found = ask(nouns.snapshot(), [nouns.kill()], stale_s=40.0)
    assert found.answer == "unknown"
    assert found.verdict.startswith(
        "Unknown: host42 is not answering, last seen 40 s ago. The last kill on record: java"
    )
    assert found.stale == "not answering, last seen 40 s ago: what is stored follows"
    assert found.memory is not None


def test_silent_host_of_an_earlier_boot(nouns):
    """A stored kill is told whenever it was: of a silent host nobody knows which boot is the present one."""
    old = nouns.kill(boot_id="boot0", time_s=nouns.NOW_S - 9 * 86400)
    found = ask(nouns.snapshot(), [old], stale_s=40.0)
    assert "The last kill on record: java (pid 4242)" in found.verdict
    assert (len(found.kills), found.span) == (1, "on record")


@pytest.mark.parametrize(
    ("word", "options", "words"),
    [
        ("", {"kills": 0}, "No kill is on record."),
        ("mysqld", {"kills": 0}, "No kill is on record."),
        ("mysqld", {}, "No matching kill is on record."),
        ("4242", {}, "The last kill on record: java (pid 4242)"),
        (
            "java",
            {"since": 3600},
            "No matching kill is on record in the last 61 min; the last one before: java (pid 4242)",
        ),
        ("", {"since": 86400}, "The last kill on record: java (pid 4242)"),
        ("java", {"since": 3600, "host": None}, "No matching kill is on record in the time asked about; the"),
    ],
)
def test_silent_host_and_what_is_stored(nouns, word, options, words):
    """What is stored is looked through for what was asked, and nothing stored is denied."""
    kills = [nouns.kill(time_s=nouns.NOW_S - 7200)][: options.get("kills", 1)]
    since_s = nouns.NOW_S - options["since"] if "since" in options else None
    found = ask(options.get("host", nouns.snapshot()), kills, word, stale_s=40.0, since_s=since_s)
    assert found.answer == "unknown"
    assert words in found.verdict


def test_kills_of_others_are_told_apart(nouns):
    """The listed kills are marked as others' when none is of what was asked about."""
    kills = [nouns.kill()]
    assert ask(nouns.snapshot(), kills, "mysqld").kills_of_others
    assert not ask(nouns.snapshot(), kills, "java").kills_of_others
    assert not ask(nouns.snapshot(), kills, "java", stale_s=40.0).kills_of_others
    assert not ask(nouns.snapshot(), kills).kills_of_others


# ------------------------------------------------------------------ a pid that was taken again
def test_a_pid_that_runs(nouns):
    """A pid that runs was not killed: a namesake's kill is told as one, and that of another unit not at all."""
    other = nouns.kill(pid=77, task_memcg="/system.slice/batch.service", time_s=nouns.NOW_S - 5)
    found = ask(nouns.snapshot(), [other, nouns.kill()], "5120")
    assert found.verdict.startswith(
        "java (pid 5120) runs. Of the same name, the OOM killer took java (pid 4242)"
    )
    assert ask(nouns.snapshot(oom_kill_count=1), [other], "5120").answer == "not_oom"
    assert ask(nouns.snapshot(), [other], "java").verdict.startswith("Yes: the OOM killer took java (pid 77)")


def test_a_unit_that_is_back(nouns):
    """The answer about a unit by its name says whether it is back since its kill."""
    found = ask(nouns.snapshot(), [nouns.kill()], "payments.service")
    assert found.now.startswith("payments.service is back: active (running)")


def test_a_killed_pid_that_was_taken_again(nouns):
    """A pid asks for the process that was killed under it, and says who has it now."""
    host = nouns.snapshot(processes=(nouns.process(1, "systemd"), nouns.process(4242, "bash")))
    found = ask(host, [nouns.kill(), nouns.kill(pid=77, comm="bash", time_s=nouns.NOW_S - 5)], "4242")
    assert found.answer == "oom"
    assert found.verdict.startswith("Yes: the OOM killer took java (pid 4242)")
    assert found.verdict.endswith("Pid 4242 is another process now: bash.")
    assert found.now.startswith("payments.service is back")


@pytest.mark.parametrize(
    ("process", "kill", "another"),
    [
        ({"comm": "java"}, {}, False),
        ({"comm": "java", "start_ticks": 500_000}, {"mono_s": 1000.0}, True),
        ({"comm": "java", "start_ticks": 90_000}, {"mono_s": 1000.0}, False),
        ({"comm": "java"}, {"boot_id": "boot0"}, True),
        ({"comm": "javac"}, {"comm": "jav", "evidence": "kill_line_truncated"}, False),
        ({"comm": "bash"}, {"time_s": 1_795_395_060.0}, False),
    ],
)
def test_who_has_a_killed_pid(nouns, process, kill, another):
    """Another name, boot or a later start make it another process; a victim that is ending does not."""
    host = nouns.snapshot(processes=(nouns.process(4242, **process),))
    found = ask(host, [nouns.kill(**kill)], "4242")
    assert found.answer == "oom"
    assert ("is another process now" in found.verdict) is another


def test_a_pid_that_was_not_killed(nouns):
    """A pid without a kill of its own is answered by its process's name, as ever."""
    assert ask(nouns.snapshot(), [nouns.kill()], "812").answer == "not_oom"
    assert ask(nouns.snapshot(), [nouns.kill()], "9" * 5000).answer == "not_oom"


def test_earlier_kills_of_the_target_are_mentioned(nouns, quiet):
    """A kill of the target before the boot is told beside the denial, one of another process is not."""
    old = nouns.kill(boot_id="boot0", time_s=nouns.NOW_S - 4 * 86400)
    assert ask(quiet, [old], "java").verdict.endswith("java (pid 4242) in payments.service, 4 days ago.")
    assert "Before that" not in ask(quiet, [old], "mysqld").verdict


# ------------------------------------------------------------------ a table that is not whole
def test_lists_of_a_partial_table_say_so(nouns):
    """Biggest processes and highest scores are marked where others may be hidden, and not where not."""
    whole, hidden = ask(nouns.snapshot()), ask(nouns.snapshot(processes_whole=False))
    assert (whole.incomplete, hidden.incomplete) == ("", "the process table could not be read whole")
    assert "others may stand above these" in hidden.scores_note
    assert "Incomplete" not in whole.scores_note


def test_a_unit_without_a_process_in_a_partial_table(nouns):
    """A unit's main process that was not seen is not said to be gone."""
    host = nouns.snapshot(units=(nouns.unit(),), processes=(), processes_whole=False)
    facts = dict(ask(host, word="payments").target.facts)
    assert facts["process"] == "not known: the process table could not be read whole"


def test_reading_older_than_the_kill(nouns):
    """What was stored before the kill says nothing about the victim now."""
    found = ask(nouns.snapshot(), [nouns.kill(time_s=nouns.NOW_S + 60)], stale_s=90.0)
    assert found.now.startswith("Host: 2.1 GiB of 7.8 GiB")


def test_host_never_seen(nouns):
    """A host that never answered is unknown, with no numbers made up."""
    found = ask(None)
    assert (found.answer, found.verdict) == (
        "unknown",
        "Unknown: host42 is not answering, never seen yet. No kill is on record.",
    )
    assert (found.memory, found.consumers, found.scores, found.now, found.taken_s) == (
        None,
        (),
        (),
        None,
        None,
    )
    assert found.stale == "not answering, never seen yet"


def test_silent_counter_beside_a_kill(nouns):
    """A kill is told also where the counter can not be read."""
    found = ask(nouns.snapshot(oom_kill_count=None), [nouns.kill()])
    assert found.reason == "the kernel log names the kill; the kernel's counter is not readable"


# ------------------------------------------------------------------ the numbers
def test_free(nouns):
    """Memory is counted as free of procps 4 counts it; what is missing stays unknown."""
    facts = memory(nouns.snapshot())
    assert (facts.total_kb, facts.used_kb, facts.free_kb) == (8_152_340, 5_950_340, 412_000)
    assert (facts.shared_kb, facts.buff_cache_kb, facts.available_kb) == (120_000, 2_200_000, 2_202_000)
    assert (facts.swap_total, facts.available) == ("0", "2.1 GiB")
    empty = memory(nouns.snapshot(memory_kb={}))
    assert (empty.used_kb, empty.buff_cache_kb, empty.total) == (None, None, "?")


def test_consumers(nouns):
    """The biggest processes stand first, with their share as ps has it and their unit."""
    first, *_, last = consumers(nouns.snapshot())
    assert (first.pid, first.memory_percent, first.rss, first.unit) == (812, 38.1, "3.0 GiB", "mysql.service")
    assert (last.comm, last.unit) == ("systemd", "")
    assert consumers(nouns.snapshot(memory_kb={}))[0].memory_percent == 0.0


def test_scores(nouns):
    """The highest scores stand first, each with the sum that makes it, and what they rank for."""
    found = ask(nouns.snapshot())
    assert [line.pid for line in found.scores] == [5120, 901, 900, 812]
    assert found.scores[0].parts == "= 666 idle + 110 memory + 0 adj"
    assert found.scores[3].parts == "= 666 idle + 253 memory − 333 adj + 1 rounding"
    assert found.scores_note == (
        "This kernel (formula since 5.9) scores an idle process 666 and one that holds all memory 1333; adj moves "
        "that by up to ±666. They rank for the whole host; when a cgroup hits its limit, only its own processes "
        "compete."
    )


def test_scores_that_can_not_be_taken_apart(nouns):
    """A score that moved, is exempt or can not be computed says so."""
    host = nouns.snapshot()
    java = host.processes[2]
    moved, exempt, hidden = (
        nouns.changed(java, pid=50, oom_score=780),
        nouns.changed(java, pid=51, oom_score_adj=-1000, oom_score=3),
        nouns.changed(java, pid=52, swap_kb=None, oom_score=2),
    )
    parts = {
        line.pid: line.parts
        for line in ask(nouns.changed(host, processes=(*host.processes[1:3], moved, exempt, hidden))).scores
    }
    assert parts[50].endswith("(computes to 776)")
    assert parts[51] == "(never chosen by the kernel)"
    assert parts[52] == "(not computable from what the host let us read)"
    assert "could not be told" in ask(nouns.changed(host, memory_kb={})).scores_note


def test_old_kernel(nouns):
    """Before 5.9 an idle process has 0, and the sum has no idle part."""
    java = nouns.process(5120, "java", 1_340_000, oom_score=165, cgroup=None)
    found = ask(nouns.snapshot(processes=(java, nouns.process(9, "big", 4_000_000, oom_score=491))))
    assert "scores an idle process 0" in found.scores_note
    assert found.scores[0].parts.startswith("= 491 memory + 0 adj")


def test_target_process(nouns):
    """A process is told with score, adjustment, memory, unit and nearest limit."""
    found = ask(nouns.snapshot(), word="5120")
    facts = dict(found.target.facts)
    assert facts["oom_score"] == "776 = 666 idle + 110 memory + 0 adj"
    assert (facts["oom_score_adj"], facts["swap"], facts["lives in"]) == ("0", "0", "payments.service")
    assert facts["nearest limit"] == "2.0 GiB, 1.4 GiB used"
    assert (facts["Result"], facts["ExecMainStatus"], facts["NRestarts"]) == ("success", "0", "3")
    assert found.now.startswith("payments.service is active (running) for 40 s")
    assert (found.target.pid, found.target.start_ticks) == (5120, 6120)


def test_target_without_a_unit(nouns):
    """A process outside units has no unit facts, and unreadable values are question marks."""
    bare = nouns.process(66, "bare", None, oom_score=None, oom_score_adj=None, cgroup=None)
    facts = dict(ask(nouns.snapshot(processes=(bare,)), word="bare").target.facts)
    assert (facts["oom_score"][0], facts["oom_score_adj"], facts["RSS"][0]) == ("?", "?", "?")
    assert "unit" not in facts
    assert "lives in" not in facts


def test_target_unit_down(nouns):
    """A unit that is down has no process, and its unknown values are question marks."""
    host = nouns.snapshot(units=(nouns.failed(n_restarts=None, exec_main_status=None, restart=""),))
    facts = dict(ask(host, word="report").target.facts)
    assert (facts["process"], facts["ExecMainStatus"], facts["NRestarts"], facts["Restart"]) == (
        "none running",
        "?",
        "?",
        "?",
    )


def test_diagnosis_is_data(nouns):
    """The whole diagnosis can be printed as JSON."""
    assert (
        json.loads(json.dumps(dataclasses.asdict(ask(nouns.snapshot(), [nouns.kill()], "java"))))["answer"]
        == "oom"
    )


def test_a_host_that_could_not_be_asked_is_not_called_silent(nouns):
    """A changed key or a refused login is told as that, with its fix, and not as a host that thrashes."""
    found = diagnose(
        host="host42",
        snapshot=nouns.snapshot(),
        kills=[],
        stale_s=40.0,
        problem="The host key has changed.",
        fix="compare it",
    )
    assert found.answer == "unknown"
    assert found.verdict.startswith("Unknown: host42 could not be asked, last seen 40 s ago.")
    assert (found.reason, found.fix) == ("The host key has changed.", "compare it")
    assert found.stale.startswith("could not be asked")
