"""Memory and CPU of an idle bot that follows one host, and how fast the command line answers."""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.figures import Figure
from tests.fleet.fleet import running_fleet
from tests.fleet.product import followed, running_product

NAME = "an idle bot, one host followed"
REST_S = 30.0


def run(n: int | None) -> list[Figure]:
    """Let it settle, then look; `n` is the number of starts of the command line."""
    helps = [_help_ms() for _ in range(n or 10)]
    with tempfile.TemporaryDirectory(prefix="oombot-bench-") as name:
        rest = asyncio.run(_rest(Path(name), REST_S if n is None else 5.0))
    return [*rest, Figure(what="`oombot --help`", unit="ms", values=helps)]


def _help_ms() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "oombot", "--help"], check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - began)


async def _rest(folder: Path, rest_s: float) -> list[Figure]:
    async with running_fleet(1, folder / "fleet") as fleet:
        began = time.perf_counter()
        async with running_product(fleet, folder) as bot:
            await followed(fleet, bot, within_s=120)
            follow_s = time.perf_counter() - began
            await asyncio.sleep(rest_s / 2)
            before = bot.cpu_s()
            await asyncio.sleep(rest_s)
            share = 100 * (bot.cpu_s() - before) / rest_s
            memory = psutil.Process(bot.process.pid).memory_full_info()
    return [
        Figure(what="from start until the host is followed", unit="s", values=[follow_s]),
        Figure(what="memory of its own (USS)", unit="MiB", values=[memory.uss / (1 << 20)]),
        Figure(what="resident memory", unit="MiB", values=[memory.rss / (1 << 20)]),
        Figure(what="CPU at rest", unit="% of a core", values=[share]),
    ]
