"""From the kernel's kill to the card in the channel: a real kernel, sshd on loopback, the bot as its own process."""

import asyncio
import contextlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from benchmarks.figures import Figure, missing
from benchmarks.sshd import Sshd, running_sshd
from oombot import pit
from tests.fleet.product import Product, running_bot

KILLS, IN_A_ROW = 30, 5  # a sixth card within a minute would be a digest
NAME = "kernel kill to card"
_KILLED = re.compile(rb"Killed process (?P<pid>[0-9]+) ")


def run(n: int | None) -> list[Figure]:
    """Kill, wait for the card, and again; a new bot after each five."""
    kind = pit.possible()
    if kind not in ("cgroup v1", "cgroup v2") or not os.access("/dev/kmsg", os.R_OK):
        return [missing(NAME, "a real kill needs root, a memory cgroup and /dev/kmsg")]
    return [asyncio.run(_measure(kind, n or KILLS))]


async def _measure(kind: pit.Kind, kills: int) -> Figure:
    found: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="oombot-bench-") as name,
        running_sshd(Path(name) / "sshd") as sshd,
    ):
        with resources.as_file(resources.files("oombot") / "data" / "hog.py") as hog:
            async with pit.Pit(hog, kind) as small:
                for row in range(0, kills, IN_A_ROW):
                    folder = Path(name) / f"bot-{row}"
                    folder.mkdir()
                    async with running_bot(_config(sshd), folder) as bot:
                        await _watching(bot)
                        found += [await _one(small, bot) for _ in range(min(IN_A_ROW, kills - row))]
    worst = sorted(found)[max(0, int(len(found) * 0.95) - 1)]
    return Figure(what=NAME, unit="ms", values=found, aim="p95 under 250 ms", met=worst < 250)


def _config(sshd: Sshd) -> str:
    return (
        f"ssh: {{user: {sshd.user}, keys: [{sshd.key}], known_hosts: {sshd.known_hosts}}}\n"
        f"hosts: [{{name: testbox, address: 127.0.0.1, port: {sshd.port}}}]\n"
    )


async def _watching(bot: Product) -> None:
    async with asyncio.timeout(60):
        while '"watching"' not in bot.log:
            await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)


async def _one(small: pit.Pit, bot: Product) -> float:
    """Milliseconds from the kernel's line to the message's own time stamp."""
    with _kmsg() as kmsg:
        victim = await small.run_out_of_memory()
        killed_s = await asyncio.to_thread(_killed, kmsg, victim)
    async with asyncio.timeout(60):
        while not (cards := [m for m in bot.messages() if f"(pid {victim})" in m["text"]]):
            await asyncio.sleep(0.01)
    await asyncio.sleep(2.5)  # the channel's pace is one message a second; the victim is restarted
    return 1000 * (float(cards[0]["ts"]) - killed_s)


def _killed(kmsg: int, pid: int) -> float:
    """When the kernel's own line could be read."""
    while True:
        match = _KILLED.search(os.read(kmsg, 8192))
        if match and int(match["pid"]) == pid:
            return time.time()


@contextlib.contextmanager
def _kmsg() -> Iterator[int]:
    handle = os.open("/dev/kmsg", os.O_RDONLY)
    os.lseek(handle, 0, os.SEEK_END)
    try:
        yield handle
    finally:
        os.close(handle)
