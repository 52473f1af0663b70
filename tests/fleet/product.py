"""The product as a fleet sees it: one `oombot run` of its own on a local workspace, with what it takes and stores."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from oombot.workspace import Workspace
from tests.fleet.fleet import Fleet

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, kw_only=True)
class Product:
    """A bot that follows a fleet."""

    folder: Path
    workspace: Workspace
    process: asyncio.subprocess.Process

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "bot.log").read_text(errors="replace")

    def uss_mib(self) -> float:
        """Memory that is its own."""
        return psutil.Process(self.process.pid).memory_full_info().uss / (1 << 20)

    def cpu_s(self) -> float:
        """Processor time so far."""
        return sum(psutil.Process(self.process.pid).cpu_times()[:2])

    def kills(self) -> list[tuple[str, int, str, int]]:
        """What the store holds, history apart: (host, pid, comm, anonymous RSS)."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.folder}/oombot.sqlite?mode=ro", uri=True)
        ) as store:
            rows = store.execute("SELECT host, kill FROM incidents WHERE NOT history").fetchall()
        kills = [(host, json.loads(kill)) for host, kill in rows]
        return [(host, kill["pid"], kill["comm"], kill["anon_rss_kb"]) for host, kill in kills]

    def message_keys(self) -> list[str]:
        """The message that names each stored kill, kill by kill."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.folder}/oombot.sqlite?mode=ro", uri=True)
        ) as store:
            return [key for (key,) in store.execute("SELECT message_key FROM incidents WHERE NOT history")]

    def messages(self) -> list[dict[str, Any]]:
        """What stands in the channel, replies apart."""
        said = self.workspace.messages("oncall")
        return [m for m in said if m.get("thread_ts", m["ts"]) == m["ts"]]


@asynccontextmanager
async def running_product(fleet: Fleet, folder: Path) -> AsyncIterator[Product]:
    """Start a bot for this fleet; it ends with the block."""
    async with running_bot(fleet.config(), folder) as product:
        yield product


@asynccontextmanager
async def running_bot(hosts: str, folder: Path) -> AsyncIterator[Product]:
    """Start a bot with this part of a configuration; it ends with the block."""
    config = folder / "oombot.yaml"
    config.write_text(f"mode: propose\n{hosts}store: {folder}/oombot.sqlite\n")
    async with Workspace() as workspace:
        environment = os.environ | {
            "SLACK_API_URL": workspace.api_url,
            "SLACK_BOT_TOKEN": workspace.bot_token,
            "SLACK_APP_TOKEN": workspace.app_token,
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
        }
        argv = (sys.executable, "-m", "oombot", "run", "-c", str(config))
        with (folder / "bot.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=log, stderr=log)
        try:
            yield Product(folder=folder, workspace=workspace, process=process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(30):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def followed(fleet: Fleet, product: Product, *, within_s: float) -> None:
    """Wait until the bot follows every host of the fleet."""
    async with asyncio.timeout(within_s):
        while (await fleet.order("state"))["following"] < fleet.count:
            assert product.process.returncode is None, product.log[-4000:]
            await asyncio.sleep(0.2)


async def stored(product: Product, count: int, *, within_s: float) -> list[tuple[str, int, str, int]]:
    """Wait until the store holds so many kills."""
    async with asyncio.timeout(within_s):
        while len(found := product.kills()) < count:  # noqa: ASYNC110 - another process's file can not be waited for
            await asyncio.sleep(0.2)
    return found


async def told(product: Product, keys: set[str], *, within_s: float) -> list[dict[str, Any]]:
    """Wait until the channel holds all these messages; what it holds."""
    async with asyncio.timeout(within_s):
        while True:
            said = product.messages()
            marks = " ".join(str(message.get("metadata")) for message in said)
            if all(key in marks for key in keys):
                return said
            await asyncio.sleep(0.2)
