"""Doctor's judgement of the bot itself: configuration, store, machine, clock and inventory."""

import pytest

from oombot.doctor.gathered import Fault, FileFacts, Gathered
from tests.doctor.given import MIB, a_host, a_machine, a_slack, a_store, gathered, judged, states


def test_good_order_is_ok_throughout() -> None:
    """Where everything is as it should be, the bot's own subjects have no other state than ok."""
    for check in ("config", "store", "machine", "clock", "inventory"):
        assert set(states(check, gathered()).values()) == {"ok"}, check


def test_a_broken_configuration_is_all_there_is() -> None:
    """Without settings only the mistakes are told, each as wrong, and no other check says a word."""
    found = Gathered(
        config_path="c.yaml",
        now_s=0.0,
        settings=None,
        config_problems=("c.yaml:1: mode: no such mode", "c.yaml:3: foo: unknown key"),
    )
    lines = judged("config", found)
    assert [line.state for line in lines.values()] == ["wrong"]
    assert "oombot check -c c.yaml" in lines["file"].fix
    assert judged("store", found) == {}


@pytest.mark.parametrize(
    ("store", "item", "state", "said"),
    [
        (a_store(exists=False, schema=None), "schema", "ok", "the first start makes it"),
        (a_store(schema=None), "schema", "ok", "no tables yet"),
        (a_store(schema="0001", newest="0002"), "schema", "ok", "brings it to schema 0002"),
        (a_store(schema="0099", known=False), "schema", "wrong", "newer oombot"),
        (a_store(writable=False), "writable", "wrong", "can not be written"),
        (a_store(free_bytes=100 * MIB), "room", "warning", "100 MiB free"),
        (a_store(free_bytes=MIB), "room", "wrong", "1 MiB free"),
        (a_store(running_pid=4242), "running", "ok", "pid 4242"),
        (a_store(lock_known=False), "running", "unknown", "not known"),
        (a_store(running_pid=0), "running", "ok", "an oombot runs on it;"),
        (a_store(fault=Fault(said="no such directory", fix="mkdir x")), "opens", "wrong", "no such"),
    ],
)
def test_store(store, item, state, said) -> None:
    """Each state of the store is told as what it is; a store yet to be made is no fault."""
    line = judged("store", gathered(store=store))[item]
    assert (line.state, said in line.what) == (state, True)


def test_a_database_server_has_no_lock() -> None:
    """Nothing is claimed about who runs on a server, or about its disk."""
    found = judged("store", gathered(store=a_store(server=True, writable=None, free_bytes=None)))
    assert set(found) == {"schema"}


def a_file(**wanted):
    return FileFacts(
        **({"role": "key", "path": "/k", "exists": True, "readable": True, "mode": 0o600} | wanted)
    )


@pytest.mark.parametrize(
    ("file", "state", "fix"),
    [
        (a_file(), "ok", ""),
        (a_file(mode=0o640), "wrong", "chmod 600 /k"),
        (a_file(exists=False), "wrong", "ssh-keygen -t ed25519 -f /k"),
        (a_file(readable=False), "wrong", "sudo chown"),
        (a_file(role="known_hosts", mode=0o644, count=3), "ok", ""),
        (a_file(role="known_hosts", mode=0o666), "wrong", "chmod go-w /k"),
        (a_file(role="known_hosts", exists=False), "wrong", "oombot hosts trust HOST"),
        (a_file(role="token", mode=0o604), "wrong", "chmod 600 /k"),
        (a_file(role="ssh_config", exists=False), "wrong", "correct its path"),
    ],
)
def test_files(file, state, fix) -> None:
    """A key or token that others may read is wrong, and so is a known_hosts that others may write."""
    line = judged("machine", gathered(machine=a_machine(files=(file,))))[file.role]
    assert (line.state, fix in line.fix) == (state, True)


@pytest.mark.parametrize(
    ("machine", "item", "state"),
    [
        (a_machine(available_bytes=64 * MIB), "memory", "warning"),
        (a_machine(files_soft=64), "open_files", "warning"),
        (a_machine(files_soft=64, files_hard=64), "open_files", "wrong"),
        (a_machine(root=True), "account", "warning"),
    ],
)
def test_machine(machine, item, state) -> None:
    """Too little memory, too few open files and a bot that is root are told."""
    assert states("machine", gathered(machine=machine))[item] == state


@pytest.mark.parametrize(
    ("ahead_s", "state"), [(0.0, "ok"), (5.9, "ok"), (6.1, "warning"), (-90.0, "warning")]
)
def test_clock_against_slack(ahead_s, state) -> None:
    """More than five seconds beyond what the measurement leaves open is told; less never is."""
    assert states("clock", gathered(slack=a_slack(ahead_s=ahead_s)))["slack"] == state


def test_a_clock_that_most_hosts_contradict_is_ours() -> None:
    """Where the middle host is a minute away, it is this machine's clock that is told."""
    hosts = tuple(a_host(ahead_s=away) for away in (60.0, 61.0, 0.0))
    line = judged("clock", gathered(hosts=hosts))["hosts"]
    assert (line.state, "60.0 s behind" in line.what) == ("warning", True)


def test_a_clock_compared_with_none_is_not_known() -> None:
    """Without Slack and without a host nothing is said of the clock but that."""
    found = gathered(slack=a_slack(ahead_s=None), hosts=(a_host(ahead_s=None),))
    assert states("clock", found) == {"compared": "unknown"}


def test_groups_without_a_channel_are_told_where_others_have_one() -> None:
    """Which groups post to the default channel is said, as what it is and no fault."""
    text = "hosts: [{name: web01, group: db}]\ngroups: {db: {}, front: {channel: front}}\n"
    line = judged("inventory", gathered(text))["default_channel"]
    assert (line.state, line.what.startswith("db: "), "#oncall" in line.what) == ("ok", True, True)


def test_unused_groups_are_told() -> None:
    """A group without hosts is a warning; one that only holds other groups is in use."""
    text = "hosts: [{name: web01, group: db}]\ngroups: {db: {}, all: {groups: [db]}, old: {}}\n"
    line = judged("inventory", gathered(text))["unused_groups"]
    assert line.what == "no host is in old"
