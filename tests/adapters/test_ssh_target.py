"""Chains of jump hosts, before anything is connected."""

import pytest

from oombot.adapters.ssh_target import Login, SshTarget, chained


def target(name, jump=None, **changes):
    """A host that logs in as oombot."""
    return SshTarget(**{"name": name, "address": name, "user": "oombot", "jump": jump} | changes)


def resolved(*targets, told=lambda _: None):
    """The chains of these hosts, and the problems."""
    return chained({one.name: one for one in targets}, told)


def way(found, name):
    """Names and addresses from the outermost hop to the host."""
    steps, at = [], name
    while at is not None:
        steps.insert(0, f"{found[at].user}@{found[at].where}")
        at = found[at].jump
    return steps


def test_a_configured_host_is_jumped_through_as_it_is():
    """A hop that is a host of the configuration keeps its own address, login and way."""
    found, problems = resolved(target("db", "edge"), target("edge", "gate"), target("gate", port=2222))
    assert problems == []
    assert set(found) == {"db", "edge", "gate"}
    assert way(found, "db") == ["oombot@gate:2222", "oombot@edge:22", "oombot@db:22"]


def test_hops_that_are_no_hosts_become_targets():
    """user@address:port is a target of its own; what it does not say is as for the host behind it."""
    found, problems = resolved(
        target("db", "ops@gate.example:2222,inner", key_files=("k",)), target("web", "inner")
    )
    assert problems == []
    assert way(found, "db") == ["ops@gate.example:2222", "oombot@inner:22", "oombot@db:22"]
    assert way(found, "web") == ["oombot@inner:22", "oombot@web:22"]
    assert found[found["db"].jump].key_files == ("k",)


def test_hosts_behind_one_gate_share_it():
    """Two hundred hosts through one hop make one target of it, so there will be one connection."""
    found, _ = resolved(*(target(f"web-{number}", "gate.example") for number in range(200)))
    assert len({found[f"web-{number}"].jump for number in range(200)}) == 1
    assert len(found) == 201


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[2001:db8::1]:2222", "[2001:db8::1]:2222"),
        ("2001:db8::1", "[2001:db8::1]:22"),
        ("[::1]", "[::1]:22"),
    ],
)
def test_a_hop_may_be_an_ipv6_address(text, where):
    """With brackets and a port, or bare."""
    found, _ = resolved(target("db", text))
    assert way(found, "db")[0] == f"oombot@{where}"


def test_ssh_config_gives_hops_for_hosts_and_for_hops():
    """ProxyJump counts where the configuration names no jump, also for a hop; `none` is none."""
    jumps = {"db": "inner", "inner": "gate", "web": "none"}
    found, problems = resolved(
        target("db"), target("web"), target("own", "edge"), told=lambda one: jumps.get(one.address)
    )
    assert problems == []
    assert way(found, "db") == ["oombot@gate:22", "oombot@inner:22", "oombot@db:22"]
    assert way(found, "own") == ["oombot@edge:22", "oombot@own:22"]
    assert found["web"].jump is None


@pytest.mark.parametrize("jumps", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "a"}])
def test_a_circle_is_named(jumps):
    """Hosts that are reached through each other could never be connected; each is named with its way."""
    _, problems = resolved(*(target(name, jump) for name, jump in jumps.items()))
    assert [problem.split(":")[0] for problem in problems] == [f"host {name}" for name in jumps]
    assert all("come back to itself" in problem for problem in problems)


def test_who_stands_behind_a_circle_is_not_called_one():
    """Only the hosts of the circle are named, and the search ends."""
    _, problems = resolved(target("x", "a"), target("a", "b"), target("b", "a"))
    assert [problem.split(":")[0] for problem in problems] == ["host a", "host b"]


def test_a_circle_of_ssh_config_is_named():
    """A ProxyJump that leads back to its own hop ends in a sentence, not in a search without end."""
    _, problems = resolved(target("db", "gate"), told=lambda one: "gate" if one.address == "gate" else None)
    assert len(problems) == 1
    assert "come back to themselves" in problems[0]


@pytest.mark.parametrize("jump", ["a b", "gate:port", ",", "gate,,x", "u@v@w"])
def test_what_is_no_hop_is_refused(jump):
    """Anything but a host or [user@]address[:port] is a mistake of the configuration."""
    _, problems = resolved(target("db", jump))
    assert "is neither a host nor" in problems[0]


def test_the_acting_identity_has_its_own_login_only():
    """User, keys and certificates are the acting ones; the host and the way to it stay."""
    act = Login(user="oombot-act", key_files=("act",))
    one = target("db", "gate", key_files=("watch",), certificates=("w-cert.pub",), act=act).acting
    assert (one.user, one.key_files, one.certificates, one.jump) == ("oombot-act", ("act",), (), "gate")
    assert target("db").acting == target("db")
