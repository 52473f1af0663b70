"""Many hosts asked at once: one message that grows, ends in time, and is mended after a crash."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from oombot import app
from oombot.engine.fleet import PREFIX, Fleet, Pace
from oombot.errors import ChatError, HostUnreachableError, ViewError
from oombot.model import HostSnapshot, Json
from oombot.triage import Overview
from oombot.views import Views
from tests.engine.conftest import Engine, build
from tests.engine.test_desk import Person1, stored_kill
from tests.examples import GIB
from tests.fakes import Clock, FakeChat, FakeMachine

HOSTS = """
groups: {pay: {runbook: 'https://wiki.example.net/pay'}}
hosts: [{name: 'host[01-40]'}, {name: host42, aliases: [pay], tags: [front], group: pay}]
"""
PACE = Pace(at_once=4, within_s=60.0, edit_s=0.01, slowest_s=0.02)


@dataclass
class Machines(FakeMachine):
    """Forty hosts, each with its memory; some never answer until they are let go."""

    free_kb: dict[str, int] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: int = 0
    most: int = 0

    async def now(self, host: str, *, timeout_s: float | None = None, asked: bool = False) -> HostSnapshot:
        self.readings += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(0)
            if host in self.silent:
                await self.released.wait()
            if host in self.unreachable:
                raise HostUnreachableError(f"{host} can not be reached: refused", fix=f"ssh {host}")
        finally:
            self.at_once -= 1
        memory = {
            "MemTotal": 4 * GIB,
            "MemAvailable": self.free_kb.get(host, GIB),
            "SwapTotal": 0,
            "SwapFree": 0,
        }
        return replace(self.snapshot(), host=host, memory_kb=memory)

    async def last(self, host: str) -> None:
        return None


@pytest.fixture
async def machines() -> Machines:
    return Machines()


@pytest.fixture
async def engine(tmp_path: Path, machines: Machines) -> AsyncIterator[Engine]:
    async with build(tmp_path, HOSTS, machine=machines, chat=FakeChat(), clock=Clock(), pace=PACE) as built:
        yield built


def overview(engine: Engine) -> str:
    """The one overview in the channel, as text."""
    [found] = [message for message in engine.chat.posted if message.key.startswith(PREFIX)]
    return str(found.view)


async def until(engine: Engine, probe: Callable[[], Any]) -> None:
    """Let the outbox send until the probe is true."""
    async with asyncio.timeout(60):
        while not probe():
            await engine.send()
            await asyncio.sleep(0.01)


async def test_a_pattern_is_one_message_in_the_channel(engine: Engine, machines: Machines) -> None:
    """`/oom host*` posts one ranked message: the fullest host first, the unreachable with the reason."""
    machines.free_kb = {"host07": GIB // 50, "host09": GIB // 10}
    machines.unreachable = {"host03", "host04"}
    ada = Person1()
    await engine.desk.command(ada.visit, "host*")
    await engine.send()
    await engine.finish()
    assert "Asking 41 hosts" in ada.last
    said = overview(engine)
    assert "39 of 41 answered, 2 could not be asked" in said
    assert said.index("*host07*") < said.index("*host09*") < said.index("*host01*")
    assert "*2 hosts* (host03, host04), the first: host03 can not be reached: refused" in said
    assert engine.chat.posted[0].channel == "C0ONCALL1"


async def test_hosts_are_asked_a_few_at_a_time(engine: Engine, machines: Machines) -> None:
    """However many hosts are meant, and whoever asks, no more than so many are asked at once."""
    ada, ben = Person1(), Person1()
    await engine.desk.command(ada.visit, "fleet")
    await engine.desk.command(ben.visit, "host*")
    await engine.send()
    await engine.finish()
    assert machines.readings == 82
    assert machines.most == PACE.at_once


async def test_the_message_grows_as_hosts_answer(engine: Engine, machines: Machines) -> None:
    """While one host is silent the message says how many have answered and who is waited for; then it is final."""
    machines.silent = {"host05"}
    await engine.desk.command(Person1().visit, "fleet")
    await until(engine, lambda: "40 of 41 answered; waiting for host05" in str(engine.chat.posted))
    machines.released.set()
    await engine.finish()
    assert "41 of 41 answered" in overview(engine)
    assert "waiting" not in overview(engine)
    assert len(engine.chat.posted) == 1


async def test_it_ends_in_time(tmp_path: Path, machines: Machines) -> None:
    """Hosts that do not answer within the fleet's time are told as not asked, and nothing runs on."""
    machines.silent = {"host05", "host06"}
    pace = replace(PACE, within_s=0.3)
    async with build(tmp_path, HOSTS, machine=machines, chat=FakeChat(), clock=Clock(), pace=pace) as engine:
        await engine.desk.command(Person1().visit, "host[05-06]")
        await engine.send()
        await engine.finish()
        said = overview(engine)
    assert "out of time: 0 of 2 answered, 2 could not be asked" in said
    assert "*2 hosts* (host05, host06), the first: no answer within the" in said
    assert machines.at_once == 0


async def test_a_bot_killed_in_the_middle_says_so(tmp_path: Path, machines: Machines) -> None:
    """After a restart the message that nobody completes is edited: interrupted, so many had answered; once."""
    machines.silent = {"host05"}
    chat, clock = FakeChat(), Clock()
    async with build(tmp_path, HOSTS, machine=machines, chat=chat, clock=clock, pace=PACE) as engine:
        await engine.desk.command(Person1().visit, "fleet")
        await until(engine, lambda: "40 of 41 answered; waiting for host05" in str(chat.posted))
        await engine.spawned.stop()
    async with build(tmp_path, HOSTS, machine=machines, chat=chat, clock=clock, pace=PACE) as engine:
        await engine.fleet.recover()
        await engine.send()
        said, edits = overview(engine), chat.posted[0].edits
        assert (
            "interrupted by a restart of oombot, ask again · 40 of 41 answered; no answer from host05" in said
        )
        await engine.fleet.recover()
        await engine.send()
        assert chat.posted[0].edits == edits


async def test_kills_on_record_of_a_silent_host_are_told(engine: Engine, machines: Machines) -> None:
    """A host that can not be asked keeps the kills that the store knows of it, marked as on record."""
    await stored_kill(engine, history=True)
    machines.unreachable = {"host42"}
    await engine.desk.command(Person1().visit, "tag:front")
    await engine.send()
    await engine.finish()
    assert "*host42* 1×" in overview(engine)
    assert "(on record; it could not be asked)" in overview(engine)


async def test_a_name_or_alias_is_answered_as_ever(engine: Engine) -> None:
    """One host by its name or alias is answered to the asker alone."""
    ada = Person1()
    await engine.desk.command(ada.visit, "pay")
    assert "'share'" in ada.last
    assert "host42" in ada.last
    assert engine.chat.posted == []


async def test_the_runbook_stands_on_answer_and_card(engine: Engine) -> None:
    """The link of a host's group stands in the answer about it and on the card of its kill."""
    ada = Person1()
    await engine.desk.command(ada.visit, "pay")
    await stored_kill(engine)
    assert "<https://wiki.example.net/pay|Runbook>" in ada.last
    assert "<https://wiki.example.net/pay|Runbook>" in str(engine.chat.posted[0].view)


async def test_a_process_is_asked_of_one_host(engine: Engine, machines: Machines) -> None:
    """A process name behind a pattern is refused, and nobody is asked."""
    ada = Person1()
    await engine.desk.command(ada.visit, "host* nginx")
    assert "asked of one host; nothing was asked" in ada.last
    assert machines.readings == 0


@pytest.mark.parametrize(
    "text", ["<http://host01|host01>,<http://host02|host02>", "host01, host02", "host[01-02] since 2h"]
)
async def test_patterns_as_slack_sends_them(engine: Engine, machines: Machines, text: str) -> None:
    """Names that Slack made links of, a blank behind a comma and a span of time are all understood."""
    await engine.desk.command(Person1().visit, text)
    await engine.send()
    await engine.finish()
    assert "2 of 2 answered" in overview(engine)
    assert ("in the last 2 h" in overview(engine)) == ("2h" in text)


async def test_a_channel_without_the_bot_is_told_to_the_asker(engine: Engine) -> None:
    """When Slack does not take the message the person who asked is told why, and what to do."""
    refused = ChatError("oombot is not in that channel", code="not_in_channel")
    engine.chat.refuse = [refused] * 50
    ada = Person1()
    await engine.desk.command(ada.visit, "fleet")
    await until(engine, lambda: len(ada.said) == 2)
    assert "could not be posted here: oombot is not in that channel" in ada.last
    assert "/invite @oombot" in ada.last


class Undrawn(Views):
    """Views whose template of the overview makes what Slack would refuse."""

    def fleet(self, overview: Overview, *, asker: str = "") -> Json:
        raise ViewError("fleet", ["51 blocks"])


async def test_an_overview_that_can_not_be_drawn_is_said_in_words(engine: Engine) -> None:
    """The answer is not lost with its drawing: its headline and the command that shows all of it are posted."""
    context = replace(engine.context, views=Undrawn(app.templates()))
    fleet = Fleet(context, engine.machine, engine.desk.answers, pace=PACE)  # type: ignore[arg-type]
    await replace(engine.desk, fleet=fleet).command(Person1().visit, "host[01-02]")
    await engine.send()
    await engine.finish()
    assert "2 of 2 answered" in overview(engine)
    assert "oombot ask" in overview(engine)


async def test_hostile_names_stay_text(engine: Engine, machines: Machines) -> None:
    """What a process calls itself can not call a channel, nor break the message."""
    await stored_kill(engine, history=True, comm="<!channel>`*\n", task_memcg="/x<!here>")
    await engine.desk.command(Person1().visit, "tag:front")
    await engine.send()
    await engine.finish()
    assert "<!channel>" not in overview(engine)
    assert "<!here>" not in overview(engine)
    assert "&lt;!channel&gt;'*" in overview(engine)
