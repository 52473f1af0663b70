"""Watching: first contact is history, what happened meanwhile is late, nothing is lost or doubled."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from oombot import catalog
from oombot.engine.watch import Watch
from oombot.errors import HostUnreachableError
from oombot.model import Command, CommandResult, HostSnapshot, KernelLog
from tests.engine.conftest import Engine, build
from tests.examples import NOW, a_process, a_snapshot
from tests.fakes import Clock, FakeChat, FakeMachine

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

    async def run(self, host: str, command: Command, *, timeout_s: float) -> CommandResult:
        """Nothing is run here."""
        raise HostUnreachableError("not in this test")

    async def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """The ring buffer, then the marker, then what comes; None cuts the link."""
        self.follows += 1
        yield f"@@boot {BOOT} {UPTIME} {int(NOW)}".encode()
        for line in list(self.old):
            yield line
        if self.cut_before_live:
            self.cut_before_live -= 1
            raise HostUnreachableError("the link was lost")
        yield b"@@live"
        while True:
            line = await self.live.get()
            if line is None:
                raise HostUnreachableError("the link was lost")
            self.old.append(line)
            yield line

    # the readings of this host
    async def now(self, host: str, *, timeout_s: float | None = None) -> HostSnapshot:
        """A reading that only knows where the log is."""
        source = "kmsg" if self.readable else None
        log = KernelLog(
            source=source, lines=(), problem="" if source else "permission denied", fix="usermod -aG adm"
        )
        return a_snapshot(a_process(), host=host, kernel_log=log, boot_id=BOOT)

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
    log: Log
    task: asyncio.Task[None]

    async def until(self, probe: Callable[[], Any]) -> None:
        """Wait for something to become true, sending what is due."""
        for _ in range(400):
            await self.engine.outbox.flush()
            self.engine.clock.now += 0.05
            if probe():
                return
            await asyncio.sleep(0.01)
        pytest.fail("waited in vain")

    async def caught_up(self) -> None:
        """Wait until the history is read."""
        for _ in range(400):
            position = await self.engine.store.position("host42")
            if position is not None and position.last_seen_s is not None:
                return
            await asyncio.sleep(0.01)
        pytest.fail("never caught up")

    @property
    def cards(self) -> list[str]:
        """Keys of the kill cards in Slack."""
        return [message.key for message in self.engine.chat.posted if message.key.startswith("incident:")]

    async def kills(self) -> list[tuple[int, bool]]:
        """(pid, history) of every stored kill, oldest first."""
        stored = await self.engine.store.incidents("host42")
        return [(incident.kill.pid, incident.history) for incident in reversed(stored)]


@asynccontextmanager
async def watched(folder: Path, log: Log, chat: FakeChat, clock: Clock) -> AsyncIterator[Watched]:
    """Follow until the test is over; doing it again in the same folder is a restart."""
    async with build(folder, machine=FakeMachine(), chat=chat, clock=clock) as engine:
        context = replace(engine.context, hosts=log, detectors=catalog.detectors())
        watch = Watch(context, log, engine.cards)  # type: ignore[arg-type]
        task = asyncio.create_task(watch.run("host42"))
        try:
            yield Watched(engine=engine, log=log, task=task)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_first_contact_is_history(tmp_path) -> None:
    """A host with 500 old kills is baselined: all are stored, none is posted; the next one is."""
    log = Log(old=[kill(number, 1000 + number) for number in range(500)])
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        assert host.cards == []
        assert len(await host.kills()) == 500
        log.write(kill(600, 7777))
        await host.until(lambda: len(host.cards) == 1)
        assert (7777, False) in await host.kills()


async def test_downtime_is_told_late_and_once(tmp_path) -> None:
    """What the kernel killed while the bot was down is posted on return; what was posted before is not again."""
    log, chat, clock = Log(), FakeChat(), Clock()
    async with watched(tmp_path, log, chat, clock) as host:
        await host.caught_up()
        log.write(kill(600, 7001))
        await host.until(lambda: len(host.cards) == 1)
    log.old.append(kill(601, 7002))
    clock.now += 300
    async with watched(tmp_path, log, chat, clock) as host:
        await host.until(lambda: len(host.cards) == 2)
        assert await host.kills() == [(7001, False), (7002, False)]


async def test_lost_link_is_followed_again(tmp_path) -> None:
    """A cut link is taken up again where it broke."""
    log = Log()
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        log.write(kill(600, 7001))
        await host.until(lambda: len(host.cards) == 1)
        log.cut()
        log.old.append(kill(601, 7002))
        await host.until(lambda: len(host.cards) == 2)
        assert log.follows == 2


async def test_two_prints_of_one_kill_are_one(tmp_path) -> None:
    """memory.oom.group prints its first victim twice within a millisecond: one kill, one card."""
    log = Log()
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        log.write(
            kill(600, 7001, at_s=UPTIME),
            kill(601, 7001, at_s=UPTIME + 0.001),
            kill(602, 7002, at_s=UPTIME + 9),
        )
        await host.until(lambda: len(host.cards) == 2)
        assert [pid for pid, _ in await host.kills()] == [7001, 7002]


async def test_same_pid_later_is_another_kill(tmp_path) -> None:
    """Pids recur: the same number a minute later is another kill."""
    log = Log()
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        log.write(kill(600, 7001, at_s=UPTIME), kill(601, 7001, at_s=UPTIME + 60))
        await host.until(lambda: len(host.cards) == 2)


async def test_overwritten_log_is_a_gap(tmp_path) -> None:
    """Records that the ring buffer lost are said as a gap, in the channel."""
    log = Log()
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        log.write(kill(600, 7001), record(900, "something else"), kill(901, 7003))
        await host.until(lambda: any(m.key.startswith("gap:") for m in host.engine.chat.posted))
        await host.until(lambda: len(host.cards) == 2)


async def test_forged_line_is_no_kill(tmp_path) -> None:
    """A line that a program wrote into the log (not the kernel's facility) is no kill."""
    log = Log()
    forged = f"12,600,{int(UPTIME * 1e6)},-;{KILL.format(pid=6666)}".encode()
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        log.write(forged, kill(601, 7001))
        await host.until(lambda: len(host.cards) == 1)
        assert [pid for pid, _ in await host.kills()] == [7001]


async def test_signals_of_people_are_no_kills(tmp_path) -> None:
    """A segfault in the log is no OOM kill; SIGTERM and kill -9 leave no line at all."""
    log = Log()
    crash = "java[999]: segfault at 0 ip 0000 sp 0000 error 4 in java[400000+1000]"
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        log.write(
            record(600, crash), record(601, "traps: java[998] general protection fault"), kill(602, 7001)
        )
        await host.until(lambda: len(host.cards) == 1)
        assert [pid for pid, _ in await host.kills()] == [7001]


async def test_unreadable_log_is_remembered_as_unread(tmp_path) -> None:
    """A host whose log can not be read is no quiet host: it is tried again, and nothing is claimed."""
    log = Log(readable=False)
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await asyncio.sleep(0.1)
        assert log.follows == 0
        assert await host.engine.store.position("host42") is None


async def test_kill_while_the_history_is_read_is_no_history(tmp_path) -> None:
    """What is killed after the host was first looked at is posted, though it comes before the log is caught up."""
    log = Log(old=[kill(1, 7000), kill(2, 7001, at_s=UPTIME + 5)])
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.until(lambda: len(host.cards) == 1)
        assert await host.kills() == [(7000, True), (7001, False)]


async def test_link_lost_in_the_history_posts_none_of_it(tmp_path) -> None:
    """A first contact that is cut and begun again is still a first contact."""
    log = Log(old=[kill(number, 1000 + number) for number in range(20)], cut_before_live=1)
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        assert (log.follows, host.cards, len(await host.kills())) == (2, [], 20)


async def test_card_that_can_not_be_drawn_is_told_in_plain_words(tmp_path) -> None:
    """A kill whose card fails is stored and named; the kills after it are not held up."""
    log = Log()
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:

        def broken(*_: Any, **__: Any) -> Any:
            raise ValueError("year 10000 is out of range")

        host.engine.cards._drawn = broken  # type: ignore[method-assign]
        await host.caught_up()
        log.write(kill(600, 7001), kill(601, 7002, at_s=UPTIME))
        await host.until(lambda: len(host.cards) == 2)
        assert "pid 7001" in host.engine.chat.posted[0].view["text"]
        assert log.follows == 1


async def test_store_that_fails_once_does_not_end_the_watch(tmp_path) -> None:
    """A full disk at the wrong moment: the follower goes on, and the kill is stored when it can be."""
    log = Log()
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        store, failures = host.engine.store, [OSError("disk full")]
        record_kills = store.record_kills

        async def failing(*args: Any, **options: Any) -> Any:
            if failures:
                raise failures.pop()
            return await record_kills(*args, **options)

        store.record_kills = failing  # type: ignore[method-assign]
        log.write(kill(600, 7001, at_s=UPTIME + 5))
        await host.until(lambda: len(host.cards) == 1)
        assert log.follows == 2


async def test_unheard_host_is_said_once(tmp_path) -> None:
    """A host that can not be followed for two minutes is said in its channel, with the reason and the fix, once."""
    log = Log(readable=False)
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await asyncio.sleep(0.1)
        host.engine.clock.now += 121
        await host.until(lambda: host.engine.chat.posted)
        host.engine.clock.now += 300
        await asyncio.sleep(1.2)
        await host.engine.send()
        [said] = host.engine.chat.posted
        assert "permission denied" in said.view["text"]
        assert "usermod -aG adm" in str(said.view["blocks"])


async def test_each_gap_is_said(tmp_path) -> None:
    """Two gaps of the same kind at different places are two messages."""
    log = Log()
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        log.write(
            kill(600, 7001, at_s=UPTIME), record(610, "x"), kill(611, 7002, at_s=UPTIME + 5), record(621, "y")
        )
        await host.until(lambda: len([m for m in host.engine.chat.posted if m.key.startswith("gap:")]) == 2)


async def test_host_heard_again_is_said(tmp_path) -> None:
    """When a host that was said to be unwatched is followed again, that message says so."""
    log = Log(readable=False)
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await asyncio.sleep(0.1)
        host.engine.clock.now += 121
        await host.until(lambda: host.engine.chat.posted)
        log.readable = True
        await host.until(lambda: "watched again" in host.engine.chat.posted[0].view["text"])
        assert len(host.engine.chat.posted) == 1


async def test_kill_line_after_its_constraint_line_tells_more(tmp_path) -> None:
    """A report that is cut by a pause is told at once from its first half; the second half is added to it."""
    log = Log()
    constraint = (
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a,"
        "task=java,pid=7001,uid=1000"
    )
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        log.write(record(600, constraint, at_s=UPTIME), record(601, "eth0: link up", at_s=UPTIME + 10))
        await host.until(lambda: len(host.cards) == 1)
        log.write(kill(602, 7001, at_s=UPTIME + 0.1))
        for _ in range(100):
            await asyncio.sleep(0.02)
            [stored] = await host.engine.store.incidents("host42")
            if stored.kill.anon_rss_kb:
                break
        assert (stored.kill.anon_rss_kb, len(host.cards)) == (1000, 1)
