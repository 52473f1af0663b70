"""Doctor's judgement of one host: the way there, what can be read, what may be changed, and its kernel."""

import pytest

from oombot import catalog
from oombot.doctor.gathered import HostFacts, HostFault
from oombot.doctor.shape import HostCheck
from oombot.facts.act_helper import ActHelper
from oombot.model import KernelLog
from tests.doctor.given import APPLY, a_host, a_reading, changed, gathered, judged, some_settings, states

HOST_CHECKS = [name for name, check in catalog.checks().items() if isinstance(check, HostCheck)]
INSTALLED = APPLY + "helpers: installed\nssh: {act: {}}\n"
READY = ActHelper(
    status="ready",
    operations=("set-adj",),
    units=("*.service",),
    oom_score_adj=(-500, 1000),
    changes_per_hour=20,
)
OLD = {"oombot-read": "a" * 64, "oombot-helper": "b" * 64}
NEW = {"oombot-read": "c" * 64, "oombot-helper": "b" * 64}


def one(**wanted):
    """What was gathered, with this one host."""
    text = wanted.pop("text", APPLY.replace("apply", "propose"))
    expected = wanted.pop("expected", {})
    return gathered(text, hosts=(a_host(**wanted),), expected_versions=expected)


def test_good_order_is_ok_but_for_what_the_sent_form_gives_away() -> None:
    """A host in good order has one warning: that helpers are sent along."""
    found = {check: states(check, one()) for check in HOST_CHECKS}
    assert found.pop("helpers") == {"sent": "warning"}
    assert {state for items in found.values() for state in items.values()} == {"ok"}


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        ("unreachable", "reach"),
        ("timeout", "reach"),
        ("key", "key"),
        ("login", "account"),
        ("failed", "reach"),
    ],
)
def test_a_host_that_can_not_be_asked_is_one_line(kind, item) -> None:
    """The fault is told as wrong with its fix, and nothing else is said of that host."""
    fault = HostFault(kind=kind, said="web01 can not be asked.", fix="do this", jump="bastion")
    found = gathered(hosts=(HostFacts(name="web01", fault=fault),))
    line = judged("reach", found)[item]
    assert (line.state, "bastion" in line.what, line.fix, line.host) == ("wrong", True, "do this", "web01")
    for check in HOST_CHECKS:
        if check != "reach":
            assert states(check, found) == {}, check


def test_a_host_that_was_not_asked_is_not_known() -> None:
    """Where nothing could be opened, the host is neither right nor wrong."""
    assert states("reach", gathered(hosts=(HostFacts(name="web01"),))) == {"reach": "unknown"}


@pytest.mark.parametrize(
    ("wanted", "item", "state"),
    [
        ({"answered_s": 4.0}, "reach", "warning"),
        ({"settings": some_settings(uid=0, user="root")}, "account", "warning"),
        ({"settings": some_settings(uid=None)}, "account", "unknown"),
    ],
)
def test_reach(wanted, item, state) -> None:
    """A slow host, a root login and an unknown account are told."""
    assert states("reach", one(**wanted))[item] == state


@pytest.mark.parametrize(
    ("log", "item", "state", "said"),
    [
        (KernelLog(source="kmsg", lines=()), "reboot", "warning", "/dev/kmsg forgets"),
        (KernelLog(source="dmesg", lines=()), "stamps", "warning", "drift"),
        (KernelLog(source="syslog", lines=()), "source", "ok", "follows log files"),
        (KernelLog(source=None, lines=(), problem="no log", fix="usermod"), "source", "wrong", "no log"),
    ],
)
def test_log_sources(log, item, state, said) -> None:
    """Which source is followed, and what it forgets."""
    line = judged("log", one(snapshot=a_reading(kernel_log=log)))[item]
    assert (line.state, said in line.what) == (state, True)


def test_the_other_sources_are_told_with_why_not() -> None:
    """Beside the source that is followed stands each other one and why it can not be read."""
    assert "/dev/kmsg: Operation not permitted" in judged("log", one())["source"].what


@pytest.mark.parametrize(("kept", "state"), [(True, "ok"), (False, "warning"), (None, "unknown")])
def test_a_journal_that_is_lost_at_a_reboot(kept, state) -> None:
    """A journal in memory loses the kill that made somebody reboot."""
    assert states("log", one(settings=some_settings(journal_kept=kept)))["reboot"] == state


def test_a_host_that_can_not_be_read_is_wrong() -> None:
    """A reading that failed is told, though the host answered other questions."""
    fault = HostFault(kind="timeout", said="web01 did not finish sh within 10 s.", fix="")
    line = judged("log", one(snapshot=None, reading_fault=fault))["source"]
    assert (line.state, line.fix) == ("wrong", "oombot ask web01")


@pytest.mark.parametrize(
    ("wanted", "item", "state"),
    [
        ({"snapshot": a_reading(problems=("page size is unknown",))}, "part", "warning"),
        ({"settings": None}, "settings", "unknown"),
        ({"settings": some_settings(cut=True)}, "settings", "unknown"),
        ({"settings": some_settings(hidepid="2")}, "hidepid", "warning"),
    ],
)
def test_what_can_not_be_read(wanted, item, state) -> None:
    """What is missing of a reading is told, and hidepid with what it hides."""
    assert states("reading", one(**wanted))[item] == state


@pytest.mark.parametrize(
    ("text", "reading", "state", "said"),
    [
        (APPLY, a_reading(can_sudo=True), "ok", "by sudo"),
        (APPLY, a_reading(can_sudo=False), "wrong", "can change nothing"),
        (APPLY, a_reading(can_sudo=None), "unknown", "not known"),
        (APPLY, a_reading(can_sudo=True, has_python=False), "wrong", "no python3"),
        (APPLY, a_reading(login_uid=0), "ok", "logs in as root"),
        (APPLY.replace("apply", "propose"), a_reading(can_sudo=False), "ok", "runs nothing"),
        (
            APPLY.replace("{name: web01", "{name: web01, become: none"),
            a_reading(can_sudo=True),
            "wrong",
            "nothing",
        ),
    ],
)
def test_rights_of_the_sent_form(text, reading, state, said) -> None:
    """Whether an approved change could run there, by mode and by what the account may do."""
    line = judged("changes", one(text=text, snapshot=reading))["rights"]
    assert (line.state, said in line.what) == (state, True)


@pytest.mark.parametrize(
    ("wanted", "item", "state"),
    [
        ({"settings": some_settings(frozen=True), "act": READY}, "frozen", "warning"),
        ({"act": changed(READY, status="frozen")}, "frozen", "warning"),
        ({"act": changed(READY, status="refused", operations=None)}, "rights", "wrong"),
        ({"act": changed(READY, operations=())}, "rights", "ok"),
        ({"act": READY}, "rights", "ok"),
        ({"act_fault": HostFault(kind="login", said="refused the login", fix="")}, "rights", "wrong"),
        ({}, "rights", "unknown"),
    ],
)
def test_rights_of_the_installed_form(wanted, item, state) -> None:
    """The owner's frozen file and policy, and whether the acting login works."""
    assert states("changes", one(text=INSTALLED, **wanted))[item] == state


def test_installed_helpers_without_an_acting_login_are_told() -> None:
    """Where nothing is applied yet, a missing ssh.act is a warning with its fix, whatever the host answered."""
    text = "mode: propose\nhelpers: installed\nhosts: [{name: web01}]\n"
    for wanted in ({}, {"act_fault": HostFault(kind="failed", said="no op", fix="")}):
        line = judged("changes", one(text=text, **wanted))["rights"]
        assert (line.state, "ssh.act" in line.what, "oombot sudoers web01" in line.fix) == (
            "warning",
            True,
            True,
        )
    local = text.replace("name: web01", "name: web01, local: true")
    assert states("changes", one(text=local, act=READY))["rights"] == "ok"


@pytest.mark.parametrize(
    ("settings", "reading", "said"),
    [
        (some_settings(uid=0), a_reading(), "is root there"),
        (
            some_settings(sudo_rules=("(ALL) NOPASSWD: ALL",)),
            a_reading(can_sudo=True),
            "is root there by sudo",
        ),
        (
            some_settings(sudo_rules=("(root) NOPASSWD: /bin/x",)),
            a_reading(can_sudo=True),
            "root for what sudo permits",
        ),
        (some_settings(groups=()), a_reading(), "has a shell there"),
    ],
)
def test_what_the_sent_form_gives_away(settings, reading, said) -> None:
    """What a stolen key could do is said as far as sudo goes, and no further."""
    line = judged("helpers", one(settings=settings, snapshot=reading))["sent"]
    assert (line.state, said in line.what, line.fix) == ("warning", True, "oombot sudoers web01")


def test_installed_helpers_that_are_not_used_are_told() -> None:
    """A host with the read helper that is still sent scripts is told so, with the line of the configuration."""
    line = judged("helpers", one(settings=some_settings(read_helper=True)))["sent"]
    assert (line.state, line.fix.startswith("helpers: installed")) == ("warning", True)


def test_versions_of_installed_helpers() -> None:
    """An old helper is a warning, one that is not there is wrong, and no answer is not known."""
    assert states("helpers", one(text=INSTALLED, versions=NEW, expected=NEW)) == dict.fromkeys(NEW, "ok")
    assert states("helpers", one(text=INSTALLED, versions=OLD, expected=NEW))["oombot-read"] == "warning"
    gone = {"oombot-read": NEW["oombot-read"]}
    assert states("helpers", one(text=INSTALLED, versions=gone, expected=NEW))["oombot-helper"] == "wrong"
    assert states("helpers", one(text=INSTALLED, expected=NEW)) == dict.fromkeys(NEW, "unknown")


def test_the_act_helper_tells_its_own_version() -> None:
    """A helper that the watching account may not read is compared by what it says itself."""
    versions = {"oombot-read": NEW["oombot-read"]}
    found = one(text=INSTALLED, versions=versions, expected=NEW, act=changed(READY, version="b" * 64))
    assert states("helpers", found)["oombot-helper"] == "ok"


def test_what_the_hosts_policy_permits_is_told() -> None:
    """Operations, units, range and rate of the host's own policy stand in the line."""
    said = judged("changes", one(text=INSTALLED, act=READY))["rights"].what
    for word in ("set-adj", "*.service", "-500 to 1000", "20 an hour"):
        assert word in said


def with_numbers(**numbers):
    known = dict(some_settings().numbers)
    known.update({key.replace("__", "."): value for key, value in numbers.items()})
    return changed(some_settings(), numbers={key: value for key, value in known.items() if value is not None})


@pytest.mark.parametrize(
    ("settings", "item", "state", "said"),
    [
        (some_settings(kernel="3.10.0-1160.el7"), "kernel", "warning", "3.10.0"),
        (some_settings(kernel=""), "kernel", "unknown", "not known"),
        (some_settings(systemd=None, init="runit"), "systemd", "ok", "init is runit"),
        (some_settings(cgroup1="/sys/fs/cgroup/memory"), "cgroup", "ok", "cgroup v1"),
        (some_settings(controllers=("cpu",)), "cgroup", "warning", "without the memory controller"),
        (some_settings(controllers=()), "cgroup", "unknown", "not known"),
        (some_settings(cgroup2=""), "cgroup", "ok", "no memory cgroups"),
        (with_numbers(**{"SwapTotal:": 0}), "swap", "ok", "no swap"),
        (with_numbers(**{"SwapFree:": 100}), "swap", "warning", "full"),
        (with_numbers(**{"SwapTotal:": None}), "swap", "unknown", "not known"),
        (with_numbers(vm__overcommit_memory=2), "overcommit", "warning", "never promised"),
        (with_numbers(vm__overcommit_memory=None), "overcommit", "unknown", "not known"),
        (with_numbers(vm__panic_on_oom=1, kernel__panic=10), "panic_on_oom", "warning", "panics the host"),
        (with_numbers(vm__panic_on_oom=2, kernel__panic=0), "panic_on_oom", "wrong", "stays down"),
        (with_numbers(vm__panic_on_oom=None), "panic_on_oom", "unknown", "not known"),
        (with_numbers(vm__oom_kill_allocating_task=1), "allocating_task", "warning", "whoever asks"),
        (with_numbers(vm__oom_dump_tasks=0), "dump_tasks", "warning", "without the table"),
        (with_numbers(oom_kill=None), "counter", "warning", "does not count"),
        (some_settings(psi="off"), "psi", "warning", "switched off"),
        (some_settings(psi="no"), "psi", "ok", "no PSI"),
        (some_settings(psi=""), "psi", "unknown", "not known"),
        (some_settings(other_killers=("earlyoom",)), "other_killers", "warning", "earlyoom is active"),
    ],
)
def test_kernel(settings, item, state, said) -> None:
    """Each setting that decides whether, whom and how loudly the kernel kills is told as what it means."""
    line = judged("kernel", one(settings=settings))[item]
    assert (line.state, said in line.what) == (state, True)


@pytest.mark.parametrize(
    ("ahead_s", "state"),
    [(0.0, "ok"), (5.4, "ok"), (-30.0, "warning"), (3600.0, "warning"), (None, "unknown")],
)
def test_a_host_with_another_time(ahead_s, state) -> None:
    """A clock that is off by more than the measurement leaves open dates its kills wrongly."""
    assert states("host_clock", one(ahead_s=ahead_s)) == {"clock": state}


def test_a_local_host_has_no_key_to_steal() -> None:
    """The bot's own machine has no host key, no clock of another, and no key that gives it away."""
    text = APPLY.replace("{name: web01", "{name: web01, local: true")
    assert set(states("reach", one(text=text))) == {"reach", "account"}
    assert states("helpers", one(text=text)) == {}
    assert states("host_clock", one(text=text)) == {}
