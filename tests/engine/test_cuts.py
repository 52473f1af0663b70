"""A link may be cut at any byte of any record, and the bot may start anew anywhere: each kill is known once, whole."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oombot import app, catalog, config
from oombot.adapters.shell import Lines
from oombot.adapters.sql import SqlStore
from oombot.engine.cards import Cards
from oombot.engine.context import Context
from oombot.engine.follower import Follower
from oombot.engine.positions import Positions
from oombot.engine.timing import Timing
from oombot.errors import HostUnreachableError
from oombot.following import Position
from oombot.model import Command
from oombot.views import Views
from tests.engine.watching import BOOT, KILL, UPTIME
from tests.examples import NOW
from tests.fakes import Clock, FakeChat

PIDS = (7001, 7002, 7003, 7004)
HEADER = f"@@boot {BOOT} {UPTIME} {int(NOW)}\n".encode()
CONSTRAINT = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a,"
    "task=java,pid={pid},uid=1000"
)
TEXTS = [
    line
    for pid in PIDS
    for line in (
        "java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        CONSTRAINT.format(pid=pid),
        KILL.format(pid=pid),
        "eth0: link is up",
    )
]


def _at_s(number: int) -> float:
    """Reports are minutes apart, their lines a millisecond."""
    return UPTIME - 1000 + 60.0 * (number // 4) + 0.001 * (number % 4)


def _kmsg(number: int) -> bytes:
    return f"3,{number},{int(_at_s(number) * 1e6)},-;{TEXTS[number]}".encode()


def _journal(number: int) -> bytes:
    fields = {
        "__CURSOR": f"s=0123456789abcdef;i={number:x};b=fedcba",
        "__REALTIME_TIMESTAMP": str(int((NOW - UPTIME + _at_s(number)) * 1e6)),
        "_SOURCE_MONOTONIC_TIMESTAMP": str(int(_at_s(number) * 1e6)),
        "_BOOT_ID": BOOT.replace("-", ""),
        "_TRANSPORT": "kernel",
        "SYSLOG_FACILITY": "0",
        "MESSAGE": TEXTS[number],
    }
    return json.dumps(fields).encode()


@dataclass
class Source:
    """A host whose log is complete from the start; each run of the log command is cut after so many bytes."""

    detector: str
    cuts: list[int]
    hosts_follow: int = field(default=0)

    async def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """What the log command would print, cut."""
        stream = HEADER + b"".join(line + b"\n" for line in self._lines(command)) + b"@@live\n"
        cut = self.cuts.pop(0) if self.cuts else len(stream)
        for line in Lines().feed(stream[:cut]):
            yield line
        if cut < len(stream) and cut % 2:  # some links end with an error, some streams just end
            raise HostUnreachableError("the link was lost")

    def _lines(self, command: Command) -> list[bytes]:
        if self.detector == "kmsg":
            return [_kmsg(number) for number in range(len(TEXTS))]
        lines, cursor = [_journal(number) for number in range(len(TEXTS))], command.argv[3]
        begin = next((at for at, line in enumerate(lines) if cursor and f'"{cursor}"'.encode() in line), 0)
        return lines[begin:]


async def play(source: Source) -> list[Any]:
    """Follow until the stream has come to its end once, with a new follower for each cut; what is stored then."""
    async with SqlStore.open(":memory:") as store:
        context = Context(
            settings=config.load("mode: observe\nhosts: [{name: host42}]\n", filename="test.yaml"),
            hosts=source,  # type: ignore[arg-type]
            chat=FakeChat(),
            store=store,
            views=Views(app.templates()),
            detectors=catalog.detectors(),
            remediations={},
            helper_source="",
            look_source="",
            clock=Clock(),
            new_id=iter(map(str, range(10_000))).__next__,
            spawn=lambda work: work.close(),
        )
        cards: Any = Cards(context, None)  # type: ignore[arg-type]
        first = Position(
            host="host42", detector=source.detector, cursor=None, baselined_s=1.0, last_seen_s=None
        )
        await store.save_position(first)
        while True:
            left = len(source.cuts)
            position = await store.position("host42")
            follower = Follower(
                context, cards, Positions(context, Timing()), position, timing=Timing(), heard=lambda: None
            )  # type: ignore[arg-type]  # fmt: skip
            with contextlib.suppress(HostUnreachableError):
                await follower.follow(context.detectors[source.detector])
            if not left:
                break
        return [
            replace(incident, kill=replace(incident.kill, report="")) for incident in await store.incidents()
        ]


@pytest.mark.parametrize("detector", ["kmsg", "journald"])
@given(cuts=st.lists(st.integers(0, 6000), max_size=5))
@settings(max_examples=12, deadline=None)
def test_each_kill_is_known_once(detector: str, cuts: list[int]) -> None:
    """Cut anywhere, five times over: four kills, none twice, none without its numbers, each in one message."""
    stored = asyncio.run(play(Source(detector, list(cuts))))
    assert sorted(incident.kill.pid for incident in stored) == list(PIDS)
    assert {incident.kill.anon_rss_kb for incident in stored} == {1000}
    assert {incident.kill.comm for incident in stored} == {"java"}
    assert all(not incident.history and incident.message_key for incident in stored)
