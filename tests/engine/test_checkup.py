"""Gathering for doctor: who is asked what, what a failure stops, and that none of them ends the rest."""

import asyncio
from collections.abc import AsyncIterator, Callable
from importlib import resources

import pytest

from oombot import config
from oombot.doctor.gathered import Gathered, MachineFacts, SlackFacts, StoreFacts
from oombot.engine.checkup import Checkup, Doors
from oombot.errors import (
    CommandTimeoutError,
    HostError,
    HostKeyError,
    HostLoginError,
    HostUnreachableError,
    UnknownHostError,
)
from oombot.facts.settings import SCRIPT
from oombot.model import Command, CommandResult
from tests.examples import NOW

SETTINGS = b"@@host\nnow %d\nuid 996\nuser oombot\n@@kernel\n@@end\n"
READING = (resources.files("oombot") / "data" / "recorded" / "host.txt").read_bytes()
STORE = StoreFacts(where="store.sqlite", exists=True)
MACHINE = MachineFacts(
    memory_bytes=1,
    available_bytes=1,
    files_soft=1,
    files_hard=1,
    python="3",
    asyncssh="2",
    openssh="",
    root=False,
)
SHA = "a" * 64


class AskedHosts:
    """Hosts whose answers a test chooses by what they are asked."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | HostError] = {}
        self.asked: list[tuple[str, str]] = []
        self.running = self.most = 0
        self.on_run: Callable[[], None] = lambda: None

    async def run(
        self, host: str, command: Command, *, timeout_s: float, asked: bool = False
    ) -> CommandResult:
        """Answer as told, and note that a person waits."""
        assert asked
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        kind = kind_of(command)
        self.asked.append((host, kind))
        answer = self.answers.get(f"{host} {kind}", self.answers.get(kind, b""))
        if isinstance(answer, HostError):
            raise answer
        return CommandResult(exit_status=0, stdout=answer, stderr=b"no such\x1b[2J thing")

    async def renew(self, host: str) -> None:
        """There is no connection here."""

    async def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """Doctor follows nothing."""
        raise AssertionError
        yield b""


def kind_of(command: Command) -> str:
    """What a command asks for."""
    if command.stdin == SCRIPT or '"settings"' in command.stdin:
        return "settings"
    if '"version"' in command.stdin:
        return "version"
    return "act" if '"about"' in command.stdin else "read"


@pytest.fixture
def hosts() -> AskedHosts:
    """Hosts that answer everything well."""
    made = AskedHosts()
    made.answers = {
        "settings": SETTINGS % int(NOW + 30),
        "read": READING,
        "version": f"oombot-read {SHA}\n".encode(),
        "act": b'{"status": "ready", "version": "abc", "policy": null}\n',
    }
    return made


async def checked(hosts: AskedHosts | None, *names: str, more: str = "", **wanted: object) -> Gathered:
    """One examination of these hosts."""
    listed = ", ".join(f"{{name: {name}}}" for name in names)
    settings = config.load(f"hosts: [{listed}]\n{more}", filename="oombot.yaml")

    async def store() -> StoreFacts:
        return STORE

    async def machine() -> MachineFacts:
        return MACHINE

    async def slack(bot_runs: bool) -> SlackFacts:
        return SlackFacts(team=str(bot_runs))

    doors = Doors(store=store, machine=machine, slack=slack)
    checkup = Checkup(settings, hosts, doors, clock=lambda: NOW, **wanted)  # type: ignore[arg-type]
    done: list[str] = []
    found = await checkup.run(names, done.append)
    assert sorted(done if hosts is not None else names) == sorted(names)
    return found


async def test_a_host_in_good_order(hosts):
    """Settings and a reading are asked for, in this order, and the host's clock is compared."""
    found = await checked(hosts, "web01")
    [host] = found.hosts
    assert hosts.asked == [("web01", "settings"), ("web01", "read")]
    assert (host.settings.uid, host.snapshot is not None, host.fault) == (996, True, None)
    assert (host.processes > 0, host.snapshot.processes, host.snapshot.kernel_log.lines) == (True, (), ())
    assert host.ahead_s == pytest.approx(30.5)
    assert (found.store, found.machine, found.slack.team) == (STORE, MACHINE, "False")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (HostUnreachableError("gone", fix="start it"), "unreachable"),
        (HostKeyError("changed"), "key"),
        (HostLoginError("refused"), "login"),
    ],
)
async def test_where_the_way_is_shut_nothing_else_is_tried(hosts, error, kind):
    """A host that can not be reached, trusted or logged in to is asked once, and the others are asked all the same."""
    hosts.answers["web01 settings"] = error
    found = await checked(hosts, "web01", "web02")
    assert [name for name, _ in hosts.asked].count("web01") == 1
    assert (found.hosts[0].fault.kind, found.hosts[0].fault.fix) == (kind, error.fix)
    assert found.hosts[1].fault is None


async def test_a_host_too_slow_for_one_question_is_asked_the_other(hosts):
    """Settings that come too late do not keep the reading from being asked, nor the other way round."""
    hosts.answers["web01 settings"] = CommandTimeoutError("too slow")
    hosts.answers["web02 read"] = CommandTimeoutError("too slow")
    found = await checked(hosts, "web01", "web02")
    assert (found.hosts[0].settings_fault.kind, found.hosts[0].snapshot is not None) == ("timeout", True)
    assert (found.hosts[1].reading_fault.kind, found.hosts[1].settings is not None) == ("timeout", True)
    assert found.hosts[0].answered_s is not None


async def test_a_host_that_answers_nothing_in_time(hosts):
    """A host that is too slow for both is told as one fault."""
    hosts.answers |= {"settings": CommandTimeoutError("too slow"), "read": CommandTimeoutError("too slow")}
    [host] = (await checked(hosts, "web01")).hosts
    assert (host.fault.kind, host.settings_fault, host.answered_s) == ("timeout", None, None)


@pytest.mark.parametrize("rubbish", [b"", b"Welcome!\n", b"@@host\n", b"\xff\x00@@end\n"])
async def test_rubbish_is_no_answer(hosts, rubbish):
    """A login that prints something else is told with what it said, and nothing is read into it."""
    hosts.answers |= {"settings": rubbish, "read": rubbish}
    [host] = (await checked(hosts, "web01")).hosts
    assert host.fault.kind == "failed"
    assert "not with what was asked" in host.fault.said


async def test_installed_helpers_are_asked_for_their_versions(hosts):
    """Installed helpers tell their versions, and the acting login is proved by a question that leaves nothing."""
    [host] = (await checked(hosts, "web01", more="helpers: installed\nssh: {act: {}}\n")).hosts
    assert [kind for _, kind in hosts.asked] == ["settings", "read", "version", "act"]
    assert (host.versions, host.act.version, host.act_fault) == ({"oombot-read": SHA}, "abc", None)


async def test_an_acting_login_that_does_not_work(hosts):
    """A refused acting login is a fault of its own; the watching one is read all the same."""
    hosts.answers |= {"act": HostLoginError("refused"), "version": HostUnreachableError("lost")}
    [host] = (await checked(hosts, "web01", more="helpers: installed\nssh: {act: {}}\n")).hosts
    assert (host.act_fault.kind, host.versions, host.snapshot is not None) == ("login", None, True)
    hosts.answers["act"] = b"This account is currently not available.\n"
    [host] = (await checked(hosts, "web01", more="helpers: installed\nssh: {act: {}}\n")).hosts
    assert (host.act_fault.kind, host.act) == ("failed", None)


async def test_only_so_many_hosts_at_once(hosts):
    """However many hosts there are, no more than `at_once` are asked at the same time."""
    names = [f"web{number:02}" for number in range(30)]
    found = await checked(hosts, *names, at_once=4)
    assert [host.name for host in found.hosts] == names
    assert hosts.most <= 4


async def test_without_a_way_to_any_host(hosts):
    """Where no host can be opened, each is there, not asked, and Slack and store are asked all the same."""
    found = await checked(None, "web01")
    assert (found.hosts[0].answered_s, found.hosts[0].fault) == (None, None)
    assert found.slack is not None


async def test_a_failure_nobody_thought_of_is_still_a_line(hosts):
    """Any other host error is a fault of that host."""
    hosts.answers["settings"] = UnknownHostError("who?")
    hosts.answers["read"] = UnknownHostError("who?")
    [host] = (await checked(hosts, "web01")).hosts
    assert host.fault.kind == "failed"
