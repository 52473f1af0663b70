"""Choosing hosts: every kind of pattern, what it finds, and what is said when it finds nothing."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot import config
from oombot.errors import UnknownHostError
from oombot.inventory.ranges import LIMIT
from oombot.inventory.roster import cycle

TEXT = """
slack: {channel: oncall}
groups:
  prod: {groups: [web, db], channel: prod-oncall, runbook: 'https://wiki.example.net/prod?a=1&b=2'}
  web: {user: web-reader}
  db: {channel: db-oncall, jump: 'ops@bastion.example.net:2222'}
  eu: {}
hosts:
  - {name: 'web[01-04].prod', address: '10.0.0.[1-4]', aliases: ['w[1-4]'], group: web, tags: [front]}
  - {name: db01, group: db, groups: [eu], tags: [front, big], user: dba}
  - {name: loner}
"""
SETTINGS = config.load(TEXT, filename="oombot.yaml")


def selected(pattern):
    return [host.name for host in SETTINGS.select(pattern)]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("loner", ["loner"]),
        ("w3", ["web03.prod"]),
        ("web*", ["web01.prod", "web02.prod", "web03.prod", "web04.prod"]),
        ("web0?.prod", ["web01.prod", "web02.prod", "web03.prod", "web04.prod"]),
        ("web[02-03].prod", ["web02.prod", "web03.prod"]),
        ("web[03,01]*", ["web01.prod", "web03.prod"]),
        ("group:web", ["web01.prod", "web02.prod", "web03.prod", "web04.prod"]),
        ("group:prod", ["web01.prod", "web02.prod", "web03.prod", "web04.prod", "db01"]),
        ("group:eu", ["db01"]),
        ("group:default", ["loner"]),
        ("tag:big", ["db01"]),
        ("loner,tag:big, w1", ["web01.prod", "db01", "loner"]),
        ("fleet", ["web01.prod", "web02.prod", "web03.prod", "web04.prod", "db01", "loner"]),
    ],
)
def test_patterns_find_hosts(pattern, names):
    """Each kind of pattern finds its hosts, once each, in the configuration's order."""
    assert selected(pattern) == names


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("web1.prod", "Did you mean web01.prod?"),
        ("loner,xyzzy", "No host named 'xyzzy' is configured. Known hosts: web01.prod, "),
        ("group:dbs", "No group named 'dbs' is configured. Did you mean group:db?"),
        ("tag:bigg", "No host has the tag 'bigg'. Did you mean tag:big?"),
        ("zzz*", "No host matches 'zzz*'."),
        ("web[1-2", "a [ without a ]"),
        ("web[1-9999]x[1-9999]", "more names than are taken at once"),
        ("*[1-9999]", "more names than are taken at once"),
        ("x" * 1001, "The pattern has 1001 signs"),
        ("", "No host named '' is configured"),
        ("group:", "No group named '' is configured"),
    ],
)
def test_nothing_found_is_said(pattern, said):
    """A pattern that means no host is refused with the likely one named, and never picked."""
    with pytest.raises(UnknownHostError) as caught:
        SETTINGS.select(pattern)
    assert said in str(caught.value)


@pytest.mark.parametrize("pattern", ["group:", "tag:"])
def test_a_kind_without_a_name_needs_one(pattern):
    """What is missing is a name in the pattern, not a group in the configuration."""
    with pytest.raises(UnknownHostError) as caught:
        SETTINGS.select(pattern)
    assert caught.value.fix == f"put a name behind {pattern}"


def test_names_of_a_range_that_are_no_host_are_told():
    """A range that reaches further than the hosts do finds those there are, and the others are named."""
    found = SETTINGS.selection("web[03-06].prod")
    assert found.names == ("web03.prod", "web04.prod")
    assert found.missing == ("web05.prod", "web06.prod")


def test_only_a_single_name_is_plain():
    """A name or an alias alone asks one host; a pattern asks a fleet, even of one."""
    assert [SETTINGS.selection(p).plain for p in ("w1", "loner", "tag:big", "loner,w1")] == [
        True,
        True,
        False,
        False,
    ]


def test_range_of_the_configuration_goes_along():
    """Addresses and aliases that are ranges go along with the names, one for one."""
    host = SETTINGS.host("w3")
    assert (host.name, host.address, host.aliases) == ("web03.prod", "10.0.0.3", ("w3",))


def test_defaults_come_from_the_nearest_group():
    """What a host does not set comes from its group, else from the groups that hold it."""
    assert [SETTINGS.channel(name) for name in ("w1", "db01", "loner")] == [
        "prod-oncall",
        "db-oncall",
        "oncall",
    ]
    assert [SETTINGS.user(name) for name in ("w1", "db01", "loner")] == ["web-reader", "dba", None]
    assert SETTINGS.jump("db01") == "ops@bastion.example.net:2222"
    assert SETTINGS.runbook("w1") == SETTINGS.runbook("db01") == "https://wiki.example.net/prod?a=1&b=2"
    assert SETTINGS.runbook("loner") is None


def test_cycles_are_found():
    """Groups that hold each other are found, with the circle named; a diamond is none."""
    assert cycle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ("b", "c", "b")
    assert cycle({"a": ["a"]}) == ("a", "a")
    assert cycle({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}) == ()


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3)))
def test_a_cycle_is_a_way_round(children):
    """What is named as a cycle can be walked, and what is told to have none can be put in order."""
    found = cycle(children)
    assert all(below in children[above] for above, below in pairwise(found))
    if not found:
        left = {group: set(inner) for group, inner in children.items()}
        while left:
            free = [group for group, inner in left.items() if not inner & set(left)]
            assert free, left
            for group in free:
                del left[group]


@given(st.text(max_size=60) | st.text(alphabet="web0123456789[]-,/*?group:tag ", max_size=60))
def test_any_pattern_finds_hosts_or_says_why(pattern):
    """Whatever is typed is answered by hosts or by an UnknownHostError, and never by more than there are."""
    try:
        found = SETTINGS.selection(pattern)
    except UnknownHostError:
        return
    assert 1 <= len(found.names) <= 6
    assert len(found.missing) <= LIMIT
