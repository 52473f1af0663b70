"""Two thousand simulated hosts followed by one bot: time to follow, memory a host, CPU at rest, a storm of kills."""

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure
from tests.fleet.fleet import running_fleet
from tests.fleet.product import followed, running_product, stored

HOSTS, KILLS, STORM_S, REST_S = 2000, 200, 5.0, 60.0
NAME = "a fleet of simulated hosts"


def run(n: int | None) -> list[Figure]:
    """Follow `n` hosts."""
    with tempfile.TemporaryDirectory(prefix="oombot-bench-") as name:
        return asyncio.run(_measure(n or HOSTS, Path(name), REST_S if n is None else 5.0))


async def _measure(hosts: int, folder: Path, rest_s: float) -> list[Figure]:
    alone_mib = await _alone(folder / "alone")
    kills = min(KILLS, hosts)
    (folder / "bot").mkdir()
    async with running_fleet(hosts, folder / "fleet") as fleet:
        began = time.perf_counter()
        async with running_product(fleet, folder / "bot") as bot:
            await followed(fleet, bot, within_s=600)
            follow_s, follow_cpu_s = time.perf_counter() - began, bot.cpu_s()
            await asyncio.sleep(10 if hosts < HOSTS else 70)  # what began with the following comes to rest
            before, clock = bot.cpu_s(), time.perf_counter()
            await asyncio.sleep(rest_s)
            rest = 100 * (bot.cpu_s() - before) / (time.perf_counter() - clock)
            mib = bot.uss_mib()
            clock = time.perf_counter()
            killed = await fleet.kill(0, kills - 1, within_s=STORM_S)
            told_s = time.perf_counter() - clock
            found = await stored(bot, kills, within_s=300)
            stored_s = time.perf_counter() - clock
            await asyncio.sleep(10)
            said = len(bot.messages())
    wanted = sorted((kill["host"], kill["pid"], kill["comm"], kill["anon_rss_kb"]) for kill in killed)
    return [
        Figure(
            what=f"from start until all {hosts} are followed",
            unit="s",
            values=[follow_s],
            note=f"{1000 * follow_cpu_s / hosts:.1f} ms of CPU a host, with start and first readings",
        ),
        Figure(
            what="memory a host",
            unit="KiB",
            values=[1024 * (mib - alone_mib) / hosts],
            note=f"USS {mib:.0f} MiB, of which {alone_mib:.0f} MiB with one host",
        ),
        Figure(what="CPU at rest", unit="% of a core", values=[rest]),
        Figure(
            what=f"{kills} kills within {told_s:.1f} s, all in the store after",
            unit="s",
            values=[stored_s],
            aim="every kill once",
            met=sorted(found) == wanted,
        ),
        Figure(
            what="messages in the channel 10 s later",
            unit="",
            values=[float(said)],
            aim="digests, no flood",
            met=said <= max(12, kills // 10),
        ),
    ]


async def _alone(folder: Path) -> float:
    """What the bot takes with one host, in MiB."""
    folder.mkdir()
    async with running_fleet(1, folder / "fleet") as fleet, running_product(fleet, folder) as bot:
        await followed(fleet, bot, within_s=120)
        await asyncio.sleep(3)
        return bot.uss_mib()
