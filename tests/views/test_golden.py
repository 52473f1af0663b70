"""Each view as it is sent, against a file; OOMBOT_REGENERATE=1 writes the files anew."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from oombot.following import Digest, DigestLine, Outage
from oombot.proposals import Exhibit
from oombot.remediations.shape import Field, Option
from oombot.triage import about_kill, diagnose, find, observed, overview, unheard
from oombot.views import Choice, Event, Fact

HERE = Path(__file__).parent
DONE = {
    "before": "oom_score_adj 0",
    "after": "oom_score_adj -500",
    "runs": [{"argv": ["set-adj", "--pid", "5120"], "exit_status": 0, "output": "written\n"}],
}


def _story(n, kill=None, **options):
    options = {"snapshot": n.snapshot(), "earlier": [n.kill(pid=7, time_s=n.NOW_S - 9000)]} | options
    return about_kill(kill or n.kill(), host="host42", **options)


def _answer(n, *, word="", **options):
    host = options.pop("snapshot", n.snapshot())
    found = find(host, word) if host is not None else ()
    target = found[0] if found else None
    options = {"kills": [n.kill()]} | options
    return diagnose(host="host42", snapshot=host, target=target, asked=word, **options)


def _decided(n, state):
    return n.request(state, approver="U0BEN0002", decided_s=n.NOW_S + 30, evidence=DONE)


def _digest(n, *lines, kills=None, hosts=2, late=0):
    found = [
        DigestLine(
            host=host,
            comm=comm,
            kills=count,
            first_s=n.NOW_S - 60,
            last_s=n.NOW_S - at,
            pid=4242 if count == 1 else None,
        )
        for at, (host, comm, count) in enumerate(lines)
    ]
    return Digest(
        key="digest:1",
        channel="oncall",
        kills=kills or sum(line.kills for line in found),
        hosts=hosts,
        late=late,
        began_s=n.NOW_S - 60,
        last_s=n.NOW_S,
        lines=tuple(found),
    )


def _outage(n, hosts, **fields):
    known = {"problem": "the jump host bastion can not be reached: timed out.", "fix": "", "blind": False}
    return Outage(
        key="outage:1",
        channel="oncall",
        place="group web",
        cause="unreachable",
        since_s=n.NOW_S,
        hosts=hosts,
        **(known | fields),
    )


REMEDY = SimpleNamespace(label="Score of a process", summary="Let it go first.", mitigation=True, timed=True)
FREE = """               total        used        free      shared  buff/cache   available
Mem:           7.8Gi       6.9Gi       214Mi       118Mi       890Mi       612Mi
Swap:             0B          0B          0B
"""
FREE_AFTER = FREE.replace(
    "Swap:             0B          0B          0B", "Swap:          4.0Gi       1.1Gi       2.9Gi"
)


def _swap(n, **fields):
    return n.plan(
        remediation="swap_file",
        title="Add 4 GiB of swap",
        target="/swapfile on host42",
        risk="red",
        risk_why="it outlives a reboot",
        before="no swap file of ours",
        after="/swapfile, 4.0 GiB, on",
        lasts="until it is removed (fstab)",
        effect=("4.0 GiB more until something is killed; the host may be slow before that",),
        evidence=(
            Exhibit(label="free -h", text=FREE),
            Exhibit(label="swapon --show", text="(nothing)"),
        ),
        **fields,
    )


def _hundred(n, count=70):
    step = n.plan().steps[0]
    words = ("set-adj", "--pid", "{}", "--start", "1000", "--was", "0", "--value", "500")
    back = ("set-adj", "--pid", "{}", "--start", "1000", "--was", "500", "--value", "0")

    def one(pid):
        do, undo = (n.Command(argv=tuple(w.format(pid) for w in said), sudo=True) for said in (words, back))
        return n.changed(
            step, why="so that it goes first", do=do, undo=undo, by_hand=f"choom -p {pid} -n 500"
        )

    return tuple(one(pid) for pid in range(count))


def _choices():
    return [
        Choice(name="memory_max", label="Memory limit", summary="Cap it.", unfit=""),
        Choice(name="swap_file", label="Swap file", summary="Add swap.", unfit="this is a container"),
        Choice(name="swappiness", label="Swappiness", summary="Swap less.", unfit=""),
    ]


def _fields():
    many = tuple(Option(value=f"{n}:{n}", label=f"java ({n}) adj 0") for n in range(103))
    long = Option(value="x" * 151, label="too long for Slack")
    return [
        Field(name="process", label="Process", kind="choice", options=(*many, long), initial="7:7"),
        Field(
            name="value",
            label="Value",
            kind="number",
            lowest=-1000,
            highest=1000,
            initial="5",
            hint="A hint.",
        ),
        Field(name="folder", label="Folder", kind="text", optional=True),
    ]


HOSTS = ("web01", "web02", "web03")


def _fleet(n, seen, *, hosts=HOSTS, phase="done", missing=()):
    return overview(
        "web*",
        hosts,
        seen,
        phase=phase,
        span_s=7 * 86400,
        took_s=3.2,
        missing=missing,
        command="oombot ask 'web*'",
    )


def _killed(n, host, *kills):
    return observed(n.snapshot(host=host), kills or (n.kill(),), since_s=n.NOW_S - 7 * 86400)


def _quiet(n, host, **fields):
    log = n.log(since_s=n.NOW_S - 9 * 86400)
    fields = {"oom_kill_count": 0, "kernel_log": log} | fields
    return observed(n.snapshot(host=host, **fields), (), since_s=n.NOW_S - 7 * 86400)


def _three(n):
    gone = unheard(
        "web03", "web03 can not be reached: timed out.", (), since_s=0.0, fix="oombot hosts test web03"
    )
    return {"web01": _killed(n, "web01"), "web02": _quiet(n, "web02"), "web03": gone}


def _many(n):
    """More of everything than is shown, also kills on record of hosts that could not be asked."""
    hosts = [f"web{i:03d}" for i in range(120)]
    seen = {}
    for i, host in enumerate(hosts):
        if i < 40:
            seen[host] = _killed(
                n, host, *(n.kill(pid=i + k, time_s=n.NOW_S - 60 * i - k) for k in range(1 + i % 3))
            )
        elif i < 80:
            memory = {"MemTotal": 8_000_000, "MemAvailable": 90_000 * (i - 39), "SwapTotal": 0, "SwapFree": 0}
            seen[host] = _quiet(n, host, memory_kb=memory, pressure=None)
        elif i < 84:
            problem = n.log(source=None, problem="permission denied")
            seen[host] = _quiet(n, host, memory_kb={}, pressure=None, cgroups={}, kernel_log=problem)
        else:
            kills = [n.kill()] if i == 90 else ()
            text = (
                f"{host} can not be reached: {'abcdefgh'[i % 8]}."
                if i > 90
                else f"{host} timed out after {i} s."
            )
            seen[host] = unheard(host, text, kills, since_s=0.0, fix=f"oombot hosts test {host}")
    return _fleet(n, seen, hosts=hosts)


CASES = {
    "incident/back": lambda v, n: v.incident(
        _story(n), incident_id="inc-1", mode="apply", offers=[("oom_score_adj", "Protect java (pid 5120)")]
    ),
    "incident/three-offers": lambda v, n: v.incident(
        _story(n),
        incident_id="inc-1",
        mode="apply",
        offers=[
            ("memory_max", "Raise MemoryMax of payments.service to 3 GiB"),
            ("oom_score_adj", "Protect java (pid 5120)"),
            ("swap_file", "Add 2 GiB of swap"),
            ("swappiness", "never shown: three fit"),
        ],
    ),
    "incident/runbook": lambda v, n: v.incident(
        _story(n), incident_id="inc-1", mode="propose", runbook="https://wiki.example.net/db?a=1&b=2"
    ),
    "triage/runbook": lambda v, n: v.triage(
        _answer(n), mode="propose", ask="ask-1", runbook="https://wiki.example.net/db"
    ),
    "incident/from-the-log": lambda v, n: v.incident(
        _story(n, snapshot=None, earlier=[]), incident_id="inc-1", mode="propose"
    ),
    "incident/unread": lambda v, n: v.incident(
        _story(n, snapshot=None, unread="host42 can not be reached: timed out."),
        incident_id="inc-1",
        mode="propose",
    ),
    "incident/unread-since": lambda v, n: v.incident(
        _story(n, unread="host42 can not be reached: timed out."), incident_id="inc-1", mode="propose"
    ),
    "incident/table-not-whole": lambda v, n: v.incident(
        _story(
            n,
            n.kill(task_memcg="/hogs", oom_memcg="/hogs"),
            snapshot=n.snapshot(processes=(), processes_whole=False),
        ),
        incident_id="inc-1",
        mode="propose",
    ),
    "incident/observe-late-replayed": lambda v, n: v.incident(
        _story(n, n.kill(time_approximate=True)),
        incident_id="inc-1",
        mode="observe",
        late=True,
        replayed=True,
    ),
    "incident/host-down": lambda v, n: v.incident(
        _story(n, n.host_kill(), snapshot=n.snapshot(units=(n.failed("nginx.service"),))),
        incident_id="inc-1",
        mode="propose",
    ),
    "incident/bare": lambda v, n: v.incident(
        _story(
            n,
            n.kill(
                scope=None, constraint=None, oom_memcg=None, task_memcg=None, time_s=None, tasks=(), report=""
            ),
        ),
        incident_id="inc-1",
        mode="propose",
    ),
    "triage/oom": lambda v, n: v.triage(_answer(n), incident_id="inc-1", mode="apply", ask="ask-1"),
    "triage/not-oom": lambda v, n: v.triage(
        _answer(n, word="report", kills=[], snapshot=n.snapshot(oom_kill_count=0)), mode="apply", ask="ask-1"
    ),
    "triage/table-not-whole": lambda v, n: v.triage(
        _answer(
            n,
            word="payments",
            snapshot=n.snapshot(processes=n.snapshot().processes[1:2], processes_whole=False, memory_kb={}),
        ),
        mode="propose",
        ask="ask-1",
    ),
    "triage/pid-taken-again": lambda v, n: v.triage(
        _answer(n, word="4242", snapshot=n.snapshot(processes=(n.process(4242, "bash"),))),
        mode="propose",
        ask="ask-1",
    ),
    "triage/process": lambda v, n: v.triage(_answer(n, word="mysqld"), mode="propose", ask="ask-1"),
    "triage/lost": lambda v, n: v.triage(
        _answer(n, kills=[], snapshot=n.snapshot(oom_kill_count=5, problems=("units: no systemd",))),
        mode="observe",
        ask="ask-1",
    ),
    "triage/silent-shared": lambda v, n: v.triage(
        _answer(n, stale_s=40.0), incident_id="inc-1", mode="observe", ask=None, asker="U0ADA0001"
    ),
    "triage/never-seen": lambda v, n: v.triage(
        _answer(n, kills=[], snapshot=None), mode="propose", ask="ask-1"
    ),
    "triage/many-replayed": lambda v, n: v.triage(
        _answer(
            n,
            kills=[n.kill(pid=9 - i, time_s=n.NOW_S - i, time_approximate=True) for i in range(1, 8)],
            snapshot=n.snapshot(
                replayed=True,
                memory_kb={"MemTotal": 4_000_000, "SwapTotal": 900_000, "SwapFree": 1000},
                processes=(n.process(swap_kb=2000),),
            ),
        ),
        mode="propose",
        ask="ask-1",
    ),
    "plan/apply": lambda v, n: v.plan(
        n.request(), mode="apply", approvers=["S0ONCALL1", "U0BEN0002"], now_s=n.NOW_S
    ),
    "plan/propose": lambda v, n: v.plan(n.request(), mode="propose", approvers=(), now_s=n.NOW_S),
    "plan/expired": lambda v, n: v.plan(
        n.request(), mode="apply", approvers=["S0ONCALL1"], now_s=n.NOW_S + 900
    ),
    "plan/stale-undo": lambda v, n: v.plan(
        n.request(undo_of="req-0", requester="root@host"),
        mode="apply",
        approvers=["S0ONCALL1"],
        now_s=n.NOW_S,
        stale_of="req-1",
    ),
    "plan/two-steps": lambda v, n: v.plan(
        n.request(
            plan=n.plan(
                steps=(
                    n.changed(
                        n.plan().steps[0],
                        do=n.Command(
                            argv=("write-file", "--path", "/etc/a b"), stdin="[Service]\nMemoryMax=2G\n"
                        ),
                        undo=None,
                    ),
                    n.plan().steps[0],
                ),
                effect=(),
                mitigation=False,
            )
        ),
        mode="apply",
        approvers=(),
        now_s=n.NOW_S,
    ),
    "plan/red-evidence": lambda v, n: v.plan(
        n.request(plan=_swap(n, unit="dev.swap"), approvals=2, voters=("U0BEN0002",)),
        mode="apply",
        approvers=["S0ONCALL1"],
        now_s=n.NOW_S,
    ),
    "plan/many-steps": lambda v, n: v.plan(
        n.request(plan=n.plan(steps=_hundred(n))), mode="apply", approvers=["S0ONCALL1"], now_s=n.NOW_S
    ),
    "put_back/soon": lambda v, n: v.put_back(
        n.request("verified", approver="U0BEN0002", plan=n.plan(back_after_s=7200)), at_s=n.NOW_S + 300
    ),
    "outcome/exhibits": lambda v, n: v.outcome(
        n.request(
            "verified",
            plan=_swap(n, back_after_s=7200),
            approver="U0BEN0002",
            approvals=2,
            voters=("U0CLEO003", "U0BEN0002"),
            evidence=DONE
            | {
                "exhibits": [
                    {"label": "free -h", "text": FREE_AFTER},
                    {
                        "label": "swapon --show",
                        "text": "NAME      TYPE SIZE USED PRIO\n/swapfile file   4G   0B   -2",
                    },
                ]
            },
        ),
        undo=True,
        now_s=n.NOW_S + 60,
    ),
    "outcome/halfway": lambda v, n: v.outcome(
        n.request(
            "failed",
            plan=n.plan(steps=_hundred(n, 3)),
            evidence={
                "runs": [
                    {"argv": ["set-adj", "--pid", "0"], "exit_status": 0},
                    {"argv": ["set-adj", "--pid", "1"], "exit_status": 1, "output": "no such process"},
                ],
                "problems": ["done: step 1, so that it goes first", "not run: step 3 of 3"],
            },
        ),
        undo=True,
        now_s=n.NOW_S + 60,
    ),
    **{
        f"decided/{state}": lambda v, n, state=state: v.decided(
            _decided(n, state), note="a word" if state == "denied" else "", now_s=n.NOW_S + 60
        )
        for state in (
            *("approved", "running", "applied", "verified", "unverified", "contradicted"),
            *("failed", "denied", "stale", "cancelled", "superseded"),
        )
    },
    "decided/expired": lambda v, n: v.decided(n.request("expired", undo_of="req-0"), now_s=n.NOW_S + 900),
    "decided/pending": lambda v, n: v.decided(n.request(), now_s=n.NOW_S),
    "decided/failed-alone": lambda v, n: v.decided(n.request("failed"), now_s=n.NOW_S),
    "decided/failed-not-run": lambda v, n: v.decided(
        n.request("failed", approver="U0BEN0002", evidence={"problems": ["the host is frozen"]}),
        now_s=n.NOW_S,
    ),
    "decided/unverified-not-known": lambda v, n: v.decided(
        n.request("unverified", approver="U0BEN0002"), now_s=n.NOW_S
    ),
    "decided/stale-noted": lambda v, n: v.decided(
        n.request("stale", approver="U0BEN0002"), note="not run: host42 can not be reached", now_s=n.NOW_S
    ),
    "outcome/verified": lambda v, n: v.outcome(_decided(n, "verified"), undo=True, now_s=n.NOW_S + 60),
    "outcome/contradicted": lambda v, n: v.outcome(
        n.changed(_decided(n, "contradicted"), evidence=DONE | {"after": "0", "problems": ["it reads 0"]}),
        undo=True,
        now_s=n.NOW_S + 60,
    ),
    "outcome/unverified": lambda v, n: v.outcome(n.request("unverified"), undo=False, now_s=n.NOW_S + 60),
    "outcome/failed": lambda v, n: v.outcome(
        n.request("failed", plan=n.plan(mitigation=False), evidence={"runs": [{"argv": ["false"]}]}),
        undo=False,
        now_s=n.NOW_S + 60,
    ),
    "outcome/failed-not-run": lambda v, n: v.outcome(
        n.request("failed", evidence={"before": "oom_score_adj 0", "problems": ["the host is frozen"]}),
        undo=False,
        now_s=n.NOW_S + 60,
    ),
    "outcome/unverified-run": lambda v, n: v.outcome(
        n.request("unverified", evidence={**DONE, "after": None, "at_s": n.NOW_S - 5}),
        undo=True,
        now_s=n.NOW_S + 60,
    ),
    "outcome/undone": lambda v, n: v.outcome(
        _decided(n, "verified"), undo=False, undone=True, now_s=n.NOW_S + 60
    ),
    "outcome/applied": lambda v, n: v.outcome(n.request("applied"), undo=False, now_s=n.NOW_S + 60),
    "report/whole": lambda v, n: v.report(_story(n)),
    "report/attached": lambda v, n: v.report(_story(n, n.kill(report="a line\n" * 900)), attached=True),
    "report/none": lambda v, n: v.report(
        _story(n, n.host_kill(report="", ram_kb=None, swap_total_kb=None, swap_free_kb=None))
    ),
    "facts/can": lambda v, n: v.facts(
        "memory_max on host42",
        [
            Fact(name="Who", value="U0BEN0002"),
            Fact(name="red: approve it", value="no: <!channel> is not named"),
        ],
        note="The tier stands on each plan.",
    ),
    "facts/plain": lambda v, n: v.facts("Changes are not frozen any more", []),
    "events/history": lambda v, n: v.events(
        "host42: the last kills and changes",
        [
            Event(at_s=n.NOW_S - 60, sign=":skull:", text="java (pid 4242) was killed"),
            Event(at_s=n.NOW_S, sign=":wrench:", text="Set <x>", who="U0ADA0001", expires_s=n.NOW_S + 900),
        ],
        more=2,
    ),
    "events/none": lambda v, n: v.events(
        "Waiting or running", [], note="Changes are frozen: disk migration."
    ),
    "fields_help/help": lambda v, n: v.fields_help(),
    "notice/fix": lambda v, n: v.notice("Unknown host hst42.", "Did you mean host42?"),
    "notice/plain": lambda v, n: v.notice("You may not approve this; nothing was run."),
    "press_test/waiting": lambda v, n: v.press_test(value="nonce-1", wait_s=120.0),
    "matches/several": lambda v, n: v.matches("host42", "nginx", find(n.snapshot(), "nginx")),
    "matches/many": lambda v, n: v.matches("host42", "nginx", find(n.snapshot(), "nginx") * 9),
    "matches/none": lambda v, n: v.matches("host42", "apache", ()),
    "fleet/asking-none-yet": lambda v, n: v.fleet(_fleet(n, {}, phase="asking"), asker="U0ADA0001"),
    "fleet/asking": lambda v, n: v.fleet(
        _fleet(n, {"web01": _killed(n, "web01")}, phase="asking"), asker="U0ADA0001"
    ),
    "fleet/interrupted": lambda v, n: v.fleet_interrupted(
        v.fleet(_fleet(n, {"web01": _killed(n, "web01")}, phase="asking"), asker="U0ADA0001")
    ),
    "fleet/done": lambda v, n: v.fleet(_fleet(n, _three(n)), asker="U0ADA0001"),
    "fleet/quiet": lambda v, n: v.fleet(
        _fleet(n, {name: _quiet(n, name) for name in HOSTS}), asker="U0ADA0001"
    ),
    "fleet/late": lambda v, n: v.fleet(
        _fleet(
            n,
            {name: unheard(name, f"{name} is gone", (), since_s=0.0, late=True) for name in HOSTS},
            phase="late",
        )
    ),
    "fleet/missing": lambda v, n: v.fleet(
        _fleet(n, _three(n), missing=[f"web{i:02d}" for i in range(4, 12)]), asker="U0ADA0001"
    ),
    "fleet/many": lambda v, n: v.fleet(_many(n), asker="U0ADA0001"),
    "host_gap/span": lambda v, n: v.host_gap(
        "host42", "The ring buffer wrapped.", fix="log_buf_len=4M", since_s=n.NOW_S - 900, until_s=n.NOW_S
    ),
    "digest/storm": lambda v, n: v.digest(
        _digest(n, ("db1", "java", 31), ("db1", "mysqld", 2), ("web7", "php-fpm", 1))
    ),
    "digest/bounded": lambda v, n: v.digest(
        _digest(n, *[(f"web{at:02d}", "php-fpm", 25 - at) for at in range(20)], kills=400, hosts=45, late=12)
    ),
    "digest/one-host": lambda v, n: v.digest(_digest(n, ("db1", "java", 1), hosts=1)),
    "outage/one": lambda v, n: v.outage(_outage(n, {"host42": None}, fix="oombot hosts test host42")),
    "outage/many": lambda v, n: v.outage(_outage(n, {f"web{at:03d}": None for at in range(200)})),
    "outage/some-back": lambda v, n: v.outage(_outage(n, {"web1": None, "web2": None, "web3": n.NOW_S + 90})),
    "outage/back": lambda v, n: v.outage(_outage(n, {"web1": n.NOW_S + 60, "web2": n.NOW_S + 90})),
    "outage/one-back": lambda v, n: v.outage(_outage(n, {"web1": n.NOW_S + 60})),
    "outage/blind": lambda v, n: v.outage(
        _outage(
            n,
            {"host42": None},
            blind=True,
            problem="the kernel log can not be read.",
            fix="usermod -aG adm oombot",
        )
    ),
    "counter/gap": lambda v, n: v.counter(
        "host42", counter=5, shown=3, blind=False, since_s=n.NOW_S - 300, until_s=n.NOW_S
    ),
    "counter/blind": lambda v, n: v.counter(
        "host42", counter=1, shown=0, blind=True, since_s=None, until_s=n.NOW_S, fix="usermod -aG adm oombot"
    ),
    "host_gap/bare": lambda v, n: v.host_gap("host42", "journald lost 12 messages.", since_s=n.NOW_S),
    "host_gap/no-time": lambda v, n: v.host_gap("host42", "The link was down."),
    "help/apply": lambda v, n: v.help(hosts=["host42", "localhost"], mode="apply", may_approve=True),
    "help/asker": lambda v, n: v.help(hosts=[f"host{i}" for i in range(40)], mode="apply"),
    "help/propose": lambda v, n: v.help(hosts=[], mode="propose"),
    "help/observe": lambda v, n: v.help(hosts=["host42"], mode="observe"),
    "modal/loading": lambda v, n: v.loading_modal("Change OOM score"),
    "modal/refused": lambda v, n: v.fix_refused_modal("host42 is not answering."),
    "fix_menu/host": lambda v, n: v.fix_menu("host42", "", _choices(), private="p"),
    "fix_menu/unit": lambda v, n: v.fix_menu("host42", "payments.service", _choices()[:1], private="p"),
    "fix_targets/several": lambda v, n: v.fix_targets(
        "host42", "nginx", find(n.snapshot(), "nginx"), private="p"
    ),
    "fix_targets/many": lambda v, n: v.fix_targets(
        "host42", "nginx", find(n.snapshot(), "nginx") * 11, private="p"
    ),
    "fix_form/every-kind": lambda v, n: v.fix_form(
        "host42", REMEDY, _fields(), private='opaque "1"', timed=True
    ),
    "fix_form/not-timed": lambda v, n: v.fix_form("a" * 40, REMEDY, _fields()[:1], private="p"),
    "fix_form/nothing-to-choose": lambda v, n: v.fix_form(
        "host42", REMEDY, [Field(name="unit", label="Unit", kind="choice")], private="p", timed=True
    ),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_view(views, nouns, case):
    """A view is what its file says, to the letter."""
    path = HERE / f"{case}.json"
    view = CASES[case](views, nouns)
    if os.environ.get("OOMBOT_REGENERATE") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(view, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert view == json.loads(path.read_text(encoding="utf-8"))


def test_no_file_is_left_over():
    """Every golden file belongs to a case, and every template has one."""
    files = {str(path.relative_to(HERE).with_suffix("")) for path in HERE.glob("*/*.json")}
    templates = {path.name.split(".")[0] for path in (HERE.parents[1] / "templates").glob("*.json.j2")}
    assert files == set(CASES)
    assert {case.split("/")[0] for case in CASES} == templates
