"""Commands for hosts: sent along or asked of an installed helper, never both."""

import json
import subprocess

import pytest

from oombot import catalog, config, facts, helper_call
from oombot.facts import counter

CURSORS = {
    "journald": "s=0123456789abcdef;i=1f;b=00;m=00;t=00;x=00@4800",
    "kmsg": "11111111-2222-3333-4444-555555555555:7",
    "dmesg": "11111111-2222-3333-4444-555555555555:7.5",
    "syslog": "/var/log/messages:12:34",
}


WAYS = {
    "helpers": "helpers: installed",
    "login": "ssh: {act: {user: other}}",
    "address": "hosts: [{name: web-1, address: 10.0.0.2}]",
    "port": "hosts: [{name: web-1, address: 10.0.0.1, port: 2202}]",
    "sudo": "hosts: [{name: web-1, address: 10.0.0.1, become: none}]",
    "jump": "hosts: [{name: web-1, address: 10.0.0.1, jump: bastion}]",
}


@pytest.mark.parametrize("changed", WAYS)
def test_another_way_to_a_host_is_told_apart(changed):
    """Where a run is looked for in another place than it was sent to, its absence there proves nothing."""

    def way(**more):
        text = {"hosts": "hosts: [{name: web-1, address: 10.0.0.1}]"} | more
        return helper_call.way(config.load("\n".join(text.values()), filename="oombot.yaml"), "web-1")

    key = WAYS[changed].partition(":")[0]
    assert way() == way()
    assert way(**{key: WAYS[changed]}) != way()


def test_the_sent_forms_are_scripts():
    """Without helpers each question is a constant script on standard input."""
    assert helper_call.read("sent", 7) == facts.read(7)
    for command in (helper_call.count("sent"), helper_call.settings("sent"), helper_call.version("sent")):
        assert command.argv == ("sh", "-s")
        assert command.stdin.endswith('main "$@" </dev/null\n')
        assert not command.sudo
        assert not command.forced


def test_the_installed_forms_are_documents():
    """An installed helper gets no argument: all that is asked for stands in one JSON document."""
    asked = {
        "read": helper_call.read("installed", 7),
        "count": helper_call.count("installed"),
        "settings": helper_call.settings("installed"),
        "version": helper_call.version("installed"),
    }
    for op, command in asked.items():
        assert command.argv == ("/usr/local/libexec/oombot-read",)
        assert json.loads(command.stdin)["op"] == op
        assert command.forced
        assert not command.sudo
    assert json.loads(asked["read"].stdin)["since_s"] == 7


@pytest.mark.parametrize("detector", catalog.detectors().values(), ids=lambda one: one.name)
def test_following_takes_the_words_of_the_detector(detector):
    """The installed form carries the words that the sent script would get, cursor included."""
    for cursor in (None, CURSORS[detector.name]):
        sent = helper_call.follow("sent", detector, cursor)
        asked = json.loads(helper_call.follow("installed", detector, cursor).stdin)
        assert sent == detector.follow(cursor)
        assert asked == {"op": "follow", "detector": detector.name, "words": list(sent.argv[3:])}


def test_acting_is_one_request_in_both_forms():
    """The same request is the last line of the sent source, or the whole input of the installed helper."""
    request = {"op": "result", "id": "request-0001"}
    sent = helper_call.act("sent", "SOURCE", request, sudo=False)
    assert (sent.argv, sent.sudo, sent.forced) == (("python3", "-I", "-"), False, False)
    assert sent.stdin.splitlines()[:2] == ["SOURCE = 'SOURCE'", "exec(SOURCE)"]
    asked = helper_call.act("installed", "SOURCE", request)
    assert (asked.argv, asked.sudo, asked.forced) == (("/usr/local/libexec/oombot-helper",), True, True)
    assert json.loads(asked.stdin) == request


def test_the_count_is_read_from_this_kernel():
    """The smallest script runs here, and its answer is parsed; a cut one is no answer."""
    command = helper_call.count("sent")
    said = subprocess.run(command.argv, input=command.stdin.encode(), capture_output=True, check=True).stdout
    found = counter.parse(said)
    assert found is not None
    assert len(found.boot_id) == 36
    assert found.uptime_s > 0
    for cut in (0, 10, len(said) - 1):
        assert counter.parse(said[:cut]) is None


def test_versions_are_names_and_sums():
    """Only lines of a name and a sha256 count."""
    raw = b"oombot-read " + b"a" * 64 + b"\nmotd: welcome\n"
    assert helper_call.versions(raw) == {"oombot-read": "a" * 64}
