"""Triage of a busy host on a kept connection: how long an answer takes, and what it costs the host."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.figures import Figure, missing
from benchmarks.sshd import Sshd, running_sshd
from oombot import app, config
from oombot.adapters.sql import SqlStore
from oombot.engine.answers import question
from oombot.model import Command, CommandResult
from oombot.ports import Hosts

PROCESSES, ROUNDS = 500, 30
NAME = f"triage of a host with {PROCESSES} processes, warm"
LAST_PID = Command(argv=("cat", "/proc/loadavg"))  # its last word is the newest pid of the namespace
# the host: a pid namespace of its own, with so many processes and an sshd
_CROWD = (
    'mount -t tmpfs none "$HOME"; i=0; while [ $i -lt "$0" ]; do sleep 86400 & i=$((i+1)); done; exec "$@"'
)


class Counting:
    """Hosts that count the commands sent to them."""

    def __init__(self, hosts: Hosts) -> None:
        """Take the real ones."""
        self._hosts, self.commands = hosts, 0

    async def run(
        self, host: str, command: Command, *, timeout_s: float, asked: bool = False
    ) -> CommandResult:
        """Run and count."""
        self.commands += 1
        return await self._hosts.run(host, command, timeout_s=timeout_s, asked=asked)

    async def renew(self, host: str) -> None:
        """As the real ones do."""
        await self._hosts.renew(host)

    def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """As the real ones do."""
        return self._hosts.follow(host, command)


def run(n: int | None) -> list[Figure]:
    """Ask again and again; `n` rounds."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return [missing(NAME, "a pid namespace needs root and unshare(1)")]
    before = (
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
        _CROWD,
        str(PROCESSES),
    )
    with tempfile.TemporaryDirectory(prefix="oombot-bench-") as name:
        with running_sshd(Path(name) / "sshd", before=before) as sshd:
            return asyncio.run(_measure(sshd, Path(name), n or ROUNDS))


async def _measure(sshd: Sshd, folder: Path, rounds: int) -> list[Figure]:
    settings = config.load(
        f"store: {folder}/store.sqlite\n"
        f"ssh: {{user: {sshd.user}, keys: [{sshd.key}], known_hosts: {sshd.known_hosts}}}\n"
        f"hosts: [{{name: busy, address: 127.0.0.1, port: {sshd.port}}}]\n",
        filename="benchmark",
    )
    async with SqlStore.open(app.store_url(settings)) as store, app.open_hosts(settings) as hosts:
        counting = Counting(hosts)
        no_chat = app._NoChat()  # noqa: SLF001 - nothing is said here
        bot = app.wire(app.make_context(settings, counting, no_chat, store, spawn=lambda work: work.close()))
        walls, commands, processes = [], [], 0
        for _ in range(rounds + 1):
            began, counted = time.perf_counter(), counting.commands
            snapshot = await bot.readings.now("busy", timeout_s=60)
            await bot.answers.fresh(question("busy"), snapshot)
            walls.append(1000 * (time.perf_counter() - began))
            commands.append(float(counting.commands - counted))
            processes = len(snapshot.processes)
        forks = [await _forks(bot, counting) for _ in range(min(rounds, 5))]
    walls, worst = walls[1:], sorted(walls[1:])[max(0, int(len(walls[1:]) * 0.95) - 1)]
    return [
        Figure(
            what=f"question to drawn answer ({processes} processes)",
            unit="ms",
            values=walls,
            aim="p95 under 300 ms",
            met=worst < 300,
        ),
        Figure(what="commands sent", unit="", values=commands[1:], aim="one", met=max(commands) == 1),
        Figure(
            what="processes started on the host",
            unit="",
            values=forks,
            aim="under 15",
            met=max(forks) < 15,
        ),
    ]


async def _forks(bot: app.Bot, hosts: Counting) -> float:
    """The newest pid before and after; what it costs to ask for that is taken off."""
    marks = [await _newest_pid(hosts), await _newest_pid(hosts)]
    await bot.readings.now("busy", timeout_s=60)
    marks.append(await _newest_pid(hosts))
    asking = marks[1] - marks[0]
    return float(marks[2] - marks[1] - asking)


async def _newest_pid(hosts: Counting) -> int:
    result = await hosts.run("busy", LAST_PID, timeout_s=60)
    return int(result.stdout.split()[-1])
