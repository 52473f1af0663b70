"""Hosts whose kernel log is a list, and a watch that follows them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from oombot import catalog
from oombot.engine.readings import Readings
from oombot.engine.timing import Timing
from oombot.engine.watch import Watch
from oombot.errors import HostUnreachableError
from oombot.facts import counter
from oombot.model import Command, CommandResult, HostSnapshot, KernelLog, OomKill
from tests.engine.conftest import SETTINGS, Engine, build
from tests.examples import NOW, a_process, a_snapshot
from tests.fakes import Clock, FakeChat, FakeMachine

FAST = Timing(
    save_every=0.05,
    again_first=0.02,
    again_last=0.2,
    polled_every=0.05,
    fold_every=0.02,
    count_first=0.02,
    count_every=0.1,
    settle=0.05,
    blind_every=0.02,
    blind_for=0.1,
)
BOOT = "b" * 8 + "-bbbb-bbbb-bbbb-" + "b" * 12
UPTIME = 100_000.0
KILL = (
    "Memory cgroup out of memory: Killed process {pid} (java) total-vm:2000kB, anon-rss:1000kB, file-rss:4kB, "
    "shmem-rss:0kB, UID:1000 pgtables:40kB oom_score_adj:0"
)


def record(sequence: int, text: str, *, at_s: float | None = None) -> bytes:
    """One kmsg record of the kernel."""
    mono_s = UPTIME - 1000 + sequence if at_s is None else at_s
    return f"3,{sequence},{int(mono_s * 1e6)},-;{text}".encode()


def kill(sequence: int, pid: int, *, at_s: float | None = None) -> bytes:
    """A kill line on its own."""
    return record(sequence, KILL.format(pid=pid), at_s=at_s)


@dataclass
class Log:
    """A host whose kernel log is a list: what stands in it first, then what is written live."""

    old: list[bytes] = field(default_factory=list)
    live: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    readable: bool = True
    follows: int = 0
    cut_before_live: int = 0  # that many times the link goes before the history is read
    down: bool = False
    boot: str = BOOT
    counter: int | None = None  # what the kernel has counted; None: it does not count
    counts: int = 0
    readings: int = 0
    renewed: int = 0
    holds_no_stream: bool = False  # the log command ends as soon as it has caught up
    mended: bool = False  # the log can be read by whoever logs in from now on
    reading_counts: bool = False  # a reading shows the counter too
    overlooked: list[bytes] = field(default_factory=list)  # what a stream has lost and a reading shows

    async def run(
        self, host: str, command: Command, *, timeout_s: float, asked: bool = False
    ) -> CommandResult:
        """Answer the kernel's counter; nothing else is run here."""
        if self.down:
            raise HostUnreachableError(f"{host} can not be reached.")
        assert command.stdin == counter.SCRIPT
        self.counts += 1
        said = "" if self.counter is None else f"oom_kill {self.counter}\n"
        answer = f"@@count\nboot_id {self.boot}\nuptime {UPTIME}\n{said}@@end\n"
        return CommandResult(exit_status=0, stdout=answer.encode())

    async def renew(self, host: str) -> None:
        """A login of its own, with the groups of now."""
        self.renewed += 1
        self.readable = self.readable or self.mended

    async def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """The ring buffer, then the marker, then what comes; None cuts the link."""
        if self.down:
            raise HostUnreachableError(f"{host} can not be reached.")
        self.follows += 1
        yield f"@@boot {self.boot} {UPTIME} {int(NOW)}".encode()
        for line in list(self.old):
            yield line
        if self.cut_before_live:
            self.cut_before_live -= 1
            raise HostUnreachableError("the link was lost")
        yield b"@@live"
        while not self.holds_no_stream:
            line = await self.live.get()
            if line is None:
                raise HostUnreachableError("the link was lost")
            self.old.append(line)
            yield line

    # the readings of this host
    async def now(self, host: str, *, timeout_s: float | None = None, asked: bool = False) -> HostSnapshot:
        """A reading that only knows the log."""
        if self.down:
            raise HostUnreachableError(f"{host} can not be reached.")
        self.readings += 1
        source = "kmsg" if self.readable else None
        lines = (f"@@boot {self.boot} {UPTIME} {int(NOW)}".encode(), *self.old, *self.overlooked)
        log = KernelLog(
            source=source,
            lines=lines if source else (),
            problem="" if source else "permission denied",
            fix="usermod -aG adm",
        )
        return a_snapshot(
            a_process(),
            host=host,
            kernel_log=log,
            boot_id=self.boot,
            oom_kill_count=self.counter if self.reading_counts else None,
        )

    def prints(self, snapshot: HostSnapshot) -> list[OomKill]:
        """The kills that a reading shows."""
        known: Any = type("Known", (), {"detectors": catalog.detectors()})
        return Readings(known).prints(snapshot)

    def write(self, *lines: bytes) -> None:
        """Let the kernel write."""
        for line in lines:
            self.live.put_nowait(line)

    def cut(self) -> None:
        """Cut the link."""
        self.live.put_nowait(None)


@dataclass
class Watched:
    """An engine that follows one such host."""

    engine: Engine
    log: Any

    async def until(self, probe: Callable[[], Any]) -> None:
        """Wait for something to become true, sending what is due."""
        for _ in range(3000):
            await self.engine.outbox.flush()
            self.engine.clock.now += 0.05
            if probe():
                return
            await asyncio.sleep(0.01)
        pytest.fail("waited in vain")

    async def caught_up(self) -> None:
        """Wait until the history is read."""
        for _ in range(3000):
            position = await self.engine.store.position("host42")
            if position is not None and position.last_seen_s is not None:
                return
            await asyncio.sleep(0.01)
        pytest.fail("never caught up")

    def said(self, kind: str) -> list[str]:
        """The texts of the messages of this kind."""
        return [m.view["text"] for m in self.engine.chat.posted if m.key.startswith(f"{kind}:")]

    @property
    def cards(self) -> list[str]:
        """Keys of the kill cards in Slack."""
        return [message.key for message in self.engine.chat.posted if message.key.startswith("incident:")]

    async def kills(self) -> list[tuple[int, bool]]:
        """(pid, history) of every stored kill, oldest first."""
        stored = await self.engine.store.incidents("host42")
        return [(incident.kill.pid, incident.history) for incident in reversed(stored)]


@asynccontextmanager
async def watched(
    folder: Path,
    log: Any,
    chat: FakeChat,
    clock: Clock,
    *,
    timing: Timing = FAST,
    hosts: tuple[str, ...] = ("host42",),
    settings: str = SETTINGS,
) -> AsyncIterator[Watched]:
    """Follow until the test is over; doing it again in the same folder is a restart."""
    async with build(folder, settings, machine=FakeMachine(), chat=chat, clock=clock) as engine:
        context = replace(engine.context, hosts=log, detectors=catalog.detectors())
        watch = Watch(context, log, engine.cards, timing=timing, chance=lambda: 0.5)
        await watch.load()
        tasks = [asyncio.create_task(work) for work in (watch.keep(), *map(watch.run, hosts))]
        try:
            yield Watched(engine=engine, log=log)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
