"""Watching: first contact is history, what happened meanwhile is late, nothing is lost or doubled."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from oombot.following import Position
from oombot.model import Command, HostSnapshot, KernelLog
from tests.engine.watching import FAST, KILL, UPTIME, Log, kill, record, watched
from tests.examples import NOW
from tests.fakes import Clock, FakeChat


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
        for _ in range(3000):
            position = await host.engine.store.position("host42")
            if position is not None and log.counts > 3:
                break
            await asyncio.sleep(0.01)
        assert (log.follows, position.detector, position.cursor, position.last_seen_s) == (0, "", None, None)


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


async def test_each_gap_is_said(tmp_path) -> None:
    """Two gaps of the same kind at different places are two messages."""
    log = Log()
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        log.write(
            kill(600, 7001, at_s=UPTIME), record(610, "x"), kill(611, 7002, at_s=UPTIME + 5), record(621, "y")
        )
        await host.until(lambda: len([m for m in host.engine.chat.posted if m.key.startswith("gap:")]) == 2)


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


async def test_storm_is_five_cards_and_a_digest(tmp_path) -> None:
    """Forty kills at once are five cards and one digest; only the cards make the host be looked at."""
    log = Log()
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        log.write(*(kill(600 + n, 7000 + n) for n in range(40)))
        await host.until(lambda: "35 kills on 1 host" in "".join(host.said("digest")))
        assert (len(host.cards), len(host.said("digest"))) == (5, 1)
        stored = await host.engine.store.incidents("host42")
        assert len({incident.kill.pid for incident in stored}) == 40
        assert len({incident.message_key for incident in stored}) == 6
        host.engine.clock.now += 61
        log.write(kill(700, 8000))
        await host.until(lambda: len(host.cards) == 6)


async def test_storm_goes_on_in_its_digest_after_a_restart(tmp_path) -> None:
    """A bot that dies in a storm names the kills of its absence in the same digest, and none of them twice."""
    log, chat, clock = Log(), FakeChat(), Clock()
    async with watched(tmp_path, log, chat, clock) as host:
        await host.caught_up()
        log.write(*(kill(600 + n, 7000 + n) for n in range(10)))
        await host.until(lambda: "5 kills on 1 host" in "".join(host.said("digest")))
    log.old += [kill(610 + n, 7010 + n) for n in range(10)]
    async with watched(tmp_path, log, chat, clock) as host:
        await host.until(lambda: "15 kills on 1 host" in "".join(host.said("digest")))
        assert (len(host.cards), len(host.said("digest"))) == (5, 1)


async def test_gap_says_from_when_to_when(tmp_path) -> None:
    """A stretch that the ring has lost is told with its beginning and its end, by the host's clock."""
    log = Log()
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        log.write(kill(600, 7001), record(900, "something else", at_s=UPTIME - 50), kill(901, 7003))
        await host.until(lambda: host.said("gap"))
        [gap] = [m for m in host.engine.chat.posted if m.key.startswith("gap:")]
        assert f"<!date^{int(NOW - 400)}" in str(gap.view["blocks"])
        assert f"<!date^{int(NOW - 50)}" in str(gap.view["blocks"])


async def test_known_journal_is_followed_without_a_reading(tmp_path) -> None:
    """A host that comes back is followed at once from its cursor: what it wrote meanwhile is not waited for."""
    log, chat, clock = Log(), FakeChat(), Clock()
    cursor = f"s={'0' * 20};i=1@{int(NOW) - 100}"
    async with watched(tmp_path, log, chat, clock, hosts=()) as host:
        await host.engine.store.save_position(
            Position(host="host42", detector="journald", cursor=cursor, baselined_s=1.0, last_seen_s=NOW - 90)
        )
    log.readings = 0
    async with watched(tmp_path, log, chat, clock) as host:
        await host.until(lambda: log.follows == 1)
        assert log.readings == 0


@pytest.mark.parametrize(("kept_s", "gaps"), [(NOW - 86_400, 0), (NOW - 60, 1)])
async def test_quiet_host_whose_journal_is_kept_has_no_gap(tmp_path, kept_s, gaps) -> None:
    """A host that said nothing for weeks has lost no entry where its journal reaches back before it was last heard."""
    log, chat, clock = Journal(kept_s=int(kept_s)), FakeChat(), Clock()
    cursor = f"s={'0' * 20};i=1@{int(NOW) - 9 * 86_400}"
    async with watched(tmp_path, log, chat, clock, hosts=()) as host:
        await host.engine.store.save_position(
            Position(
                host="host42", detector="journald", cursor=cursor, baselined_s=1.0, last_seen_s=NOW - 3600
            )
        )
    async with watched(tmp_path, log, chat, clock) as host:
        await host.until(lambda: log.counts > 0)
        await host.engine.send()
        assert len(host.said("gap")) == gaps


async def test_kill_before_a_reboot_is_told_late_on_return(tmp_path) -> None:
    """What an earlier boot's kernel wrote just before the host went down is found on return, with its true time."""
    chat, clock = FakeChat(), Clock()
    fields = {
        "__CURSOR": f"s={'0' * 20};i=2",
        "__REALTIME_TIMESTAMP": f"{int(NOW) - 400}000000",
        "_BOOT_ID": "e" * 32,
        "_SOURCE_MONOTONIC_TIMESTAMP": "99000000",
        "_TRANSPORT": "kernel",
        "SYSLOG_FACILITY": "0",
        "MESSAGE": KILL.format(pid=7001),
    }
    position = Position(
        host="host42",
        detector="journald",
        cursor=f"s={'0' * 20};i=1@{int(NOW) - 500}",
        baselined_s=1.0,
        last_seen_s=NOW - 450,
    )
    log = Journal(
        records=[json.dumps({**fields, "__CURSOR": position.cursor.split("@")[0]} | {"MESSAGE": "x"})]
    )
    log.records.append(json.dumps(fields))
    async with watched(tmp_path, log, chat, clock, hosts=()) as host:
        await host.engine.store.save_position(position)
    async with watched(tmp_path, log, chat, clock) as host:
        await host.until(lambda: len(host.cards) == 1)
        [stored] = await host.engine.store.incidents("host42")
        assert (stored.kill.time_s, stored.kill.boot_id[:8]) == (NOW - 400, "eeeeeeee")
        assert "told late" in str(host.engine.chat.posted[0].view["blocks"])
        assert host.said("gap") == []


@dataclass
class Journal(Log):
    """A host that answers as journalctl does, whose journal is whole since `kept_s`."""

    kept_s: int = 0
    records: list[str] = field(default_factory=list)

    async def now(self, host: str, *, timeout_s: float | None = None, asked: bool = False) -> HostSnapshot:
        """A journal that can be read."""
        snapshot = await super().now(host)
        return replace(snapshot, kernel_log=KernelLog(source="journald", lines=()))

    async def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """How far it reaches, its records, and nothing more."""
        yield f"@@boot {self.boot} {UPTIME} {int(NOW)}".encode()
        if self.kept_s:
            yield f"@@oldest {self.kept_s}".encode()
        for line in self.records:
            yield line.encode()
        yield b"@@live"
        await asyncio.Event().wait()


async def test_host_that_holds_no_stream_is_read_over_and_over(tmp_path) -> None:
    """A log command that ends each time it has caught up is run again: kills in between are told, and no alarm."""
    log = Log(holds_no_stream=True)
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.until(lambda: log.follows > 2)
        log.old += [kill(600, 7001, at_s=UPTIME + 5), kill(601, 7002, at_s=UPTIME + 6)]
        await host.until(lambda: len(host.cards) == 2)
        seen = log.follows
        await host.until(lambda: log.follows > seen + 3)
        assert (len(host.engine.chat.posted), await host.kills()) == (2, [(7001, False), (7002, False)])


async def test_part_that_is_cancelled_ends_no_watch(tmp_path) -> None:
    """A cancel that comes out of a library, with nobody ending the watch, is a trouble like others."""
    log = Log()
    async with watched(tmp_path, log, FakeChat(), Clock()) as host:
        await host.caught_up()
        follow, cancels = log.follow, [asyncio.CancelledError()]

        async def cancelled(*args: Any) -> AsyncIterator[bytes]:
            if cancels:
                raise cancels.pop()
            async for line in follow(*args):
                yield line

        log.follow = cancelled  # type: ignore[method-assign]
        log.cut()
        log.old.append(kill(601, 7002, at_s=UPTIME + 5))
        await host.until(lambda: len(host.cards) == 1)
        assert not cancels


async def test_cursor_does_not_pass_a_kill_that_is_not_stored_yet(tmp_path) -> None:
    """What a reading finds is stored with a position that no kill still on its way is before."""
    log, chat = Log(counter=0), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 1)
        log.write(record(599, "eth0: link up"))
        card, held, stored, waits = host.engine.cards.card, asyncio.Event(), list[str | None](), [7001]
        record_kills = host.engine.store.record_kills

        async def slow(incident: Any, **options: Any) -> Any:
            if incident.kill.pid in waits:  # the stream's print of it; not that of the reading
                waits.clear()
                await held.wait()
            return await card(incident, **options)

        async def noting(position: Position, *args: Any, **options: Any) -> Any:
            stored.append(position.cursor)
            return await record_kills(position, *args, **options)

        host.engine.cards.card = slow  # type: ignore[method-assign]
        host.engine.store.record_kills = noting  # type: ignore[method-assign]
        log.write(kill(600, 7001, at_s=UPTIME + 5))
        log.overlooked.append(kill(700, 7777, at_s=UPTIME + 50))
        log.counter = 2
        try:
            await host.until(lambda: stored)
        finally:
            held.set()
        assert [cursor.rpartition(":")[2] for cursor in stored if cursor] == ["599"]
        await host.until(lambda: len(host.cards) == 2)


async def test_source_that_begins_after_the_host_was_last_heard_is_a_gap(tmp_path) -> None:
    """A host that is read from another log, which an earlier boot is not in, has a stretch that nobody saw."""
    log, chat, clock = Log(), FakeChat(), Clock()
    async with watched(tmp_path, log, chat, clock) as host:
        position = Position(
            host="host42",
            detector="syslog",
            cursor="/var/log/kern.log:12.9:34",
            baselined_s=NOW - 90_000,
            last_seen_s=NOW - 80_000,
        )
        await host.caught_up()
        assert host.said("gap") == []  # a first contact has none
        await host.engine.store.save_position(position)
    log.old.append(record(1, "Linux version 6.12", at_s=UPTIME - 40_000))
    async with watched(tmp_path, log, chat, clock) as host:
        await host.until(lambda: host.said("gap"))
        assert "begins later" in host.said("gap")[0]


async def test_log_that_was_empty_is_no_other_log(tmp_path) -> None:
    """What the same log says first, after a cut of twenty minutes, is no gap: before that it said nothing."""
    log, clock = Log(), Clock()
    async with watched(tmp_path, log, FakeChat(), clock) as host:
        await host.caught_up()
    clock.now += 1200
    log.old.append(kill(1, 7001, at_s=UPTIME + 1100))
    async with watched(tmp_path, log, FakeChat(), clock) as host:
        await host.until(lambda: len(host.cards) == 1)
        assert host.said("gap") == []


async def test_silent_link_is_not_taken_for_a_host_that_is_there(tmp_path) -> None:
    """While nothing comes, the host is known to have been there only a minute ago: a dead link looks the same."""
    log, clock = Log(), Clock()
    async with watched(tmp_path, log, FakeChat(), clock, timing=replace(FAST, quiet=0.05)) as host:
        await host.caught_up()
        seen_s = (await host.engine.store.position("host42")).last_seen_s
        clock.now += 1000
        for _ in range(3000):
            position = await host.engine.store.position("host42")
            if position.last_seen_s != seen_s:
                break
            await asyncio.sleep(0.01)
        assert position.last_seen_s == clock.now - 60
