"""A dead switch: 200 of 300 simulated hosts stop to answer, and come back. What does the channel hear of it?"""

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure
from tests.fleet.fleet import Fleet, running_fleet
from tests.fleet.product import Product, followed, running_product

HOSTS, GONE = 300, 200
NAME = "a dead switch before many hosts"


def run(n: int | None) -> list[Figure]:
    """Take two thirds of the hosts away; `n` hosts."""
    with tempfile.TemporaryDirectory(prefix="oombot-bench-") as name:
        return asyncio.run(_measure(n or HOSTS, Path(name)))


async def _measure(hosts: int, folder: Path) -> list[Figure]:
    gone = hosts * GONE // HOSTS
    async with running_fleet(hosts, folder / "fleet") as fleet, running_product(fleet, folder) as bot:
        await followed(fleet, bot, within_s=300)
        began = time.perf_counter()
        await fleet.order("silent", first=0, last=gone - 1)
        said_s = await _until_said(bot, began)
        await asyncio.sleep(20)  # whatever else would be said
        said = bot.messages()
        began = time.perf_counter()
        await fleet.order("heal", first=0, last=gone - 1)
        back_s = await _until_back(fleet, bot, began)
        await asyncio.sleep(20)
        after = bot.messages()
    return [
        Figure(what=f"{gone} of {hosts} hosts silent: until it is said", unit="s", values=[said_s]),
        Figure(
            what="messages that say so",
            unit="",
            values=[float(len(said))],
            aim="one",
            met=len(said) == 1,
            note=str(said[0]["text"])[:120],
        ),
        Figure(what="from their return until all are followed", unit="s", values=[back_s]),
        Figure(
            what="messages after that",
            unit="",
            values=[float(len(after))],
            aim="the same one, edited",
            met=len(after) == 1 and after[0]["text"] != said[0]["text"],
            note=str(after[0]["text"])[:120],
        ),
    ]


async def _until_said(bot: Product, began: float) -> float:
    async with asyncio.timeout(400):
        while not bot.messages():
            await asyncio.sleep(0.2)
    return time.perf_counter() - began


async def _until_back(fleet: Fleet, bot: Product, began: float) -> float:
    text = bot.messages()[0]["text"]
    async with asyncio.timeout(600):
        while (await fleet.order("state"))["following"] < fleet.count or bot.messages()[0]["text"] == text:
            await asyncio.sleep(0.2)
    return time.perf_counter() - began
