"""The kernel's counter against the log: what is missing is told with numbers, and nothing else is."""

import asyncio
from dataclasses import replace
from typing import Any

from tests.engine.watching import FAST, Log, kill, record, watched
from tests.fakes import Clock, FakeChat


async def test_counter_above_the_log_is_told_once(tmp_path) -> None:
    """The counter says 5, the log shows 3: that is said, with both numbers, once."""
    log, chat = Log(counter=0), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 1)
        log.write(*(kill(600 + n, 7000 + n) for n in range(3)))
        log.counter = 5
        await host.until(lambda: host.said("counter"))
        assert "counter says 5, log shows 3" in host.said("counter")[0]
        seen = log.counts
        await host.until(lambda: log.counts > seen + 5)
        await host.engine.send()
        assert len(host.said("counter")) == 1


async def test_what_a_stream_lost_and_the_log_holds_is_found(tmp_path) -> None:
    """A difference leads to a reading of the whole log first: the kill that it shows is posted, and no gap is told."""
    log, chat = Log(counter=0), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 1)
        log.overlooked.append(kill(700, 7777, at_s=100_050.0))
        log.counter = 1
        await host.until(lambda: len(host.cards) == 1)
        assert await host.kills() == [(7777, False)]
        seen = log.counts
        await host.until(lambda: log.counts > seen + 5)
        await host.engine.send()
        assert host.said("counter") == []


async def test_first_count_settles_what_was_before(tmp_path) -> None:
    """What a kernel counted before the host was first seen is history, whether its log shows it or not."""
    log, chat = Log(counter=9, old=[kill(1, 7000)]), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 3)
        assert chat.posted == []
        log.counter = 10
        await host.until(lambda: host.said("counter"))
        assert "killed 1 process" in host.said("counter")[0]
        assert "counter says 10, log shows 1; 8 were missing before" in host.said("counter")[0]


async def test_what_was_lost_before_the_first_count_of_a_followed_host_is_told(tmp_path) -> None:
    """The first reading's counter is the beginning: a kill that the log loses before the first count is told."""
    log, chat = Log(counter=2, old=[kill(1, 7000)], reading_counts=True), FakeChat()
    async with watched(tmp_path, log, chat, Clock(), timing=replace(FAST, count_first=1.0)) as host:
        await host.caught_up()
        log.counter = 3
        await host.until(lambda: host.said("counter"))
        assert "killed 1 process" in host.said("counter")[0]


async def test_kill_that_is_counted_before_it_is_logged_is_waited_for(tmp_path) -> None:
    """The kernel counts first and logs later: a difference that goes away is no gap."""
    log, chat = Log(counter=0), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 1)
        for number in range(5):
            seen = log.counts
            log.counter = number + 1
            await host.until(lambda seen=seen: log.counts > seen)
            log.write(kill(600 + number, 7000 + number))
            await host.until(lambda number=number: len(host.cards) + len(host.said("digest")) > number)
        await host.until(lambda: log.counts > 20)
        await host.engine.send()
        assert host.said("counter") == []


async def test_victim_that_is_counted_twice(tmp_path) -> None:
    """memory.oom.group counts and prints its first victim twice: three counted, two victims, nothing missing."""
    log, chat = Log(counter=0), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 1)
        log.write(
            kill(600, 7001, at_s=100_000.0),
            kill(601, 7001, at_s=100_000.001),
            kill(602, 7002, at_s=100_000.002),
        )
        await host.until(lambda: len(host.cards) == 2)
        log.counter = 3
        seen = log.counts
        await host.until(lambda: log.counts > seen + 5)
        await host.engine.send()
        assert host.said("counter") == []


async def test_each_boot_counts_from_nothing(tmp_path) -> None:
    """After a reboot the counter begins anew: a kill that was counted there and is not in the log is told."""
    log, chat, clock = Log(counter=4), FakeChat(), Clock()
    async with watched(tmp_path, log, chat, clock) as host:
        await host.until(lambda: log.counts > 2)
    log.boot, log.counter = log.boot.replace("b", "c"), 1
    async with watched(tmp_path, log, chat, clock) as host:
        await host.until(lambda: host.said("counter"))
        assert "counter says 1, log shows 0" in host.said("counter")[0]


async def test_kernel_that_does_not_count_is_no_gap(tmp_path) -> None:
    """Before Linux 4.13 there is no counter: then nothing is claimed about it."""
    log, chat = Log(counter=None), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 1)
        log.write(record(600, "eth0: link up"), kill(601, 7001))
        await host.until(lambda: len(host.cards) == 1 and log.counts > 4)
        assert host.said("counter") == []


async def test_blind_host_tells_that_somebody_was_killed(tmp_path) -> None:
    """Where no log can be read a rise of the counter is told at once, and that nobody knows who it was."""
    log, chat = Log(counter=2, readable=False), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 2)
        assert host.said("counter") == []
        log.counter = 4
        await host.until(lambda: host.said("counter"))
        assert "killed 2 processes for want of memory and who is not known" in host.said("counter")[0]
        seen = log.counts
        await host.until(lambda: log.counts > seen + 10)
        await host.engine.send()
        assert len(host.said("counter")) == 1


async def test_blind_host_that_becomes_readable_names_its_victims(tmp_path) -> None:
    """What was killed since the host was first looked at is posted when the log can be read at last."""
    log, chat = Log(counter=0, readable=False), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 2)
        log.old += [kill(1, 6999), kill(600, 7001, at_s=100_050.0)]
        log.readable = True
        await host.until(lambda: len(host.cards) == 1)
        assert await host.kills() == [(6999, True), (7001, False)]


async def test_host_that_can_not_be_asked_is_not_judged(tmp_path) -> None:
    """A count that fails says nothing, and the host is followed on."""
    log, chat = Log(counter=0), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 1)
        log.down = True
        await asyncio.sleep(0.5)
        log.write(kill(600, 7001))
        await host.until(lambda: len(host.cards) == 1)
        assert (log.follows, host.said("counter")) == (1, [])


async def test_stream_that_has_gone_deaf_is_begun_anew(tmp_path) -> None:
    """A log command that shows nothing of a kill which the log holds is ended, and the next one hears again."""
    log, chat = Log(counter=0), FakeChat()
    async with watched(tmp_path, log, chat, Clock(), timing=replace(FAST, quiet=0.1)) as host:
        await host.until(lambda: log.counts > 1)
        log.overlooked.append(kill(700, 7777, at_s=100_050.0))
        log.counter = 1
        await host.until(lambda: log.follows > 1)
        log.write(kill(701, 7778, at_s=100_060.0))
        await host.until(lambda: len(host.cards) == 2)
        assert host.said("counter") == []


async def test_kill_that_the_log_shows_meanwhile_is_not_told_as_missing(tmp_path) -> None:
    """Where the log has caught up with the counter just before it is told, nothing is told and nothing owed."""
    log, chat = Log(counter=0), FakeChat()
    async with watched(tmp_path, log, chat, Clock()) as host:
        await host.until(lambda: log.counts > 1)
        store = host.engine.store
        shown, asked = store.shown, 0

        async def late(*args: Any) -> int:
            nonlocal asked
            asked += log.counter == 1
            return await shown(*args) + (asked > 3)  # after the third look the kill is there

        store.shown = late  # type: ignore[method-assign]
        log.counter = 1
        await host.until(lambda: asked > 6)
        await host.engine.send()
        assert host.said("counter") == []
        assert (await store.reckoning("host42")).unseen == 0
