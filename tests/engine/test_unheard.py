"""Hosts that nobody can hear: said once, folded by what they share, and their return is one edit."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from oombot.errors import HostUnreachableError
from oombot.model import Command, HostSnapshot
from tests.engine.watching import Log, Watched, kill, watched
from tests.fakes import Clock, FakeChat


@dataclass
class Fleet(Log):
    """Many hosts behind one jump host; `gone` are those that can not be reached."""

    gone: set[str] = field(default_factory=set)
    jump: str | None = "bastion"
    heard: set[str] = field(default_factory=set)

    async def now(self, host: str, *, timeout_s: float | None = None, asked: bool = False) -> HostSnapshot:
        """A reading, unless the host is gone."""
        self._reach(host)
        return await super().now(host)

    async def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """An empty log, until the host is gone."""
        self._reach(host)
        self.heard.add(host)
        yield f"@@boot {self.boot} 100 1000".encode()
        yield b"@@live"
        while host not in self.gone:  # noqa: ASYNC110 (a fake host)
            await asyncio.sleep(0.02)
        self.heard.discard(host)
        self._reach(host)

    def _reach(self, host: str) -> None:
        if host in self.gone:
            raise HostUnreachableError(f"{self.jump or host} can not be reached.", jump=self.jump)


def settings(names: list[str], groups: int = 1) -> str:
    """A configuration of these hosts, spread over groups."""
    hosts = ", ".join(f"{{name: {name}, group: g{at % groups}}}" for at, name in enumerate(names))
    named = ", ".join(f"g{at}: {{}}" for at in range(groups))
    return f"mode: observe\ngroups: {{{named}}}\nhosts: [{hosts}]\n"


def fleet(folder: Any, log: Any, names: list[str], chat: FakeChat, clock: Clock, *, groups: int = 1) -> Any:
    """Follow them all."""
    return watched(folder, log, chat, clock, hosts=tuple(names), settings=settings(names, groups))


async def silent(host: Watched, log: Fleet, names: list[str]) -> None:
    """All of them go, and stay away for longer than a short cut."""
    await host.until(lambda: log.heard >= set(names))
    log.gone |= set(names)
    await host.until(lambda: not log.heard & set(names))
    await asyncio.sleep(0.3)
    host.engine.clock.now += 121


async def test_hosts_behind_one_dead_jump_are_one_message(tmp_path) -> None:
    """Sixty hosts of two groups behind one dead jump host are one message; their return is one edit of it."""
    names = [f"web{at:02d}" for at in range(60)]
    log, chat = Fleet(), FakeChat()
    async with fleet(tmp_path, log, names, chat, Clock(), groups=2) as host:
        await silent(host, log, names)
        await host.until(lambda: chat.posted and "60 hosts" in chat.posted[0].view["text"])
        [said] = chat.posted
        assert "jump host bastion" in said.view["text"]
        assert "web00, web01" in str(said.view["blocks"])
        assert "50 more" in str(said.view["blocks"])
        edits = said.edits
        log.gone.clear()
        await host.until(lambda: "watched again" in said.view["text"])
        assert (len(chat.posted), said.edits) == (1, edits + 1)
        assert await host.engine.store.outages() == []


async def test_other_causes_are_other_messages(tmp_path) -> None:
    """Without a jump host that failed, hosts are folded by their group."""
    names = [f"web{at:02d}" for at in range(6)]
    log, chat = Fleet(jump=None), FakeChat()
    async with fleet(tmp_path, log, names, chat, Clock(), groups=2) as host:
        await silent(host, log, names)
        await host.until(lambda: len([m for m in chat.posted if "3 hosts of group" in m.view["text"]]) == 2)
        assert len(chat.posted) == 2


async def test_short_cut_is_silent(tmp_path) -> None:
    """A host that is back within two minutes is not talked about."""
    log, chat = Fleet(), FakeChat()
    async with fleet(tmp_path, log, ["web1"], chat, Clock()) as host:
        await host.until(lambda: log.heard)
        log.gone.add("web1")
        await host.until(lambda: not log.heard)
        log.gone.clear()
        await host.until(lambda: log.heard)
        await asyncio.sleep(0.1)
        host.engine.clock.now += 300
        await asyncio.sleep(0.2)
        await host.engine.send()
        assert chat.posted == []


async def test_restart_says_nothing_twice(tmp_path) -> None:
    """A bot that is started anew in an outage goes on with the message that tells it."""
    log, chat, clock = Fleet(), FakeChat(), Clock()
    async with fleet(tmp_path, log, ["web1", "web2"], chat, clock) as host:
        await silent(host, log, ["web1", "web2"])
        await host.until(lambda: chat.posted and "2 hosts" in chat.posted[0].view["text"])
    async with fleet(tmp_path, log, ["web1", "web2"], chat, clock) as host:
        await asyncio.sleep(0.2)
        clock.now += 300
        await asyncio.sleep(0.2)
        log.gone.clear()
        await host.until(lambda: "watched again" in chat.posted[0].view["text"])
        assert len(chat.posted) == 1


async def test_some_come_back(tmp_path) -> None:
    """Hosts that come back while others stay away are counted after a while, not one by one."""
    names = [f"web{at}" for at in range(5)]
    log, chat = Fleet(), FakeChat()
    async with fleet(tmp_path, log, names, chat, Clock()) as host:
        await silent(host, log, names)
        await host.until(lambda: chat.posted and "5 hosts" in chat.posted[0].view["text"])
        edits = chat.posted[0].edits
        log.gone -= {"web1", "web2"}
        await host.until(lambda: log.heard == {"web1", "web2"})
        host.engine.clock.now += 61
        await host.until(lambda: "2 of 5 are watched again" in str(chat.posted[0].view["blocks"]))
        assert (len(chat.posted), chat.posted[0].edits) == (1, edits + 1)


async def test_unreadable_log_is_said_once_with_its_fix(tmp_path) -> None:
    """A host whose log can not be read is said in its channel after two minutes, once, and again when it can."""
    log, chat = Log(readable=False, counter=0, reading_counts=True), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 2)
        host.engine.clock.now += 121
        await host.until(lambda: chat.posted)
        host.engine.clock.now += 600
        await asyncio.sleep(0.3)
        await host.engine.send()
        [said] = chat.posted
        assert "permission denied" in said.view["text"]
        assert "usermod -aG adm" in str(said.view["blocks"])
        assert "not of whom" in said.view["text"]
        log.mended = True  # a group was given: it counts from the next login on
        await host.until(lambda: "watched again" in said.view["text"])
        log.write(kill(600, 7001))
        await host.until(lambda: len(host.cards) == 1)


async def test_unreadable_log_on_a_kernel_that_does_not_count(tmp_path) -> None:
    """Before Linux 4.13 a blind host's kills go unseen: nobody claims that a counter will tell of them."""
    log, chat = Log(readable=False, counter=None, reading_counts=True), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 2)
        host.engine.clock.now += 121
        await host.until(lambda: chat.posted)
        assert "counter" not in str(chat.posted[0].view)
        assert "OOM kills there go unseen" in chat.posted[0].view["text"]


async def test_blind_host_that_is_gone_is_not_back(tmp_path) -> None:
    """A host that was blind and can not be reached now is still not watched: its message says why, not that it is."""
    log, chat = Log(readable=False, counter=0), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 2)
        host.engine.clock.now += 121
        await host.until(lambda: chat.posted)
        log.down = True
        texts: set[str] = set()

        def gone() -> bool:
            texts.add(chat.posted[0].view["text"])
            return "can not be reached" in chat.posted[0].view["text"]

        await asyncio.sleep(0.5)
        host.engine.clock.now += 121
        await host.until(gone)
        assert not any("again" in text for text in texts)
        log.down, log.readable = False, True
        await host.until(lambda: "watched again" in chat.posted[0].view["text"])
        assert len(chat.posted) == 1


async def test_outage_that_can_not_be_told_holds_up_no_other(tmp_path) -> None:
    """Where one message can not be drawn the others are told all the same."""
    names = ["web0", "web1"]
    log, chat = Fleet(jump=None), FakeChat()
    async with fleet(tmp_path, log, names, chat, Clock(), groups=2) as host:
        views = host.engine.context.views
        draw = views.outage

        def broken(outage: Any) -> Any:
            if "web0" in outage.hosts:
                raise ValueError("can not be drawn")
            return draw(outage)

        views.outage = broken  # type: ignore[method-assign]
        await silent(host, log, names)
        await host.until(lambda: any("web1 is not watched" in m.view["text"] for m in chat.posted))
        assert len(chat.posted) == 1
