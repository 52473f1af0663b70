"""A fleet asked in the local Slack by the whole bot: replayed hosts, some silent, some gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from oombot import app, config
from oombot.adapters.simulated import SimulatedHosts
from oombot.config import Tokens
from oombot.errors import HostUnreachableError
from oombot.model import Command, CommandResult
from oombot.workspace import Workspace
from tests.e2e.conftest import ADA, Bot, until

TEXT = """
groups: {web: {runbook: 'https://wiki.example.net/web'}}
hosts: [{name: 'web[01-12]', group: web, tags: [front]}, {name: db01}]
read_timeout_s: 60
"""


class PartlyGone(SimulatedHosts):
    """Replayed hosts of which some can not be reached, and one answers only when it is let go."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.gone = {"web03", "web04", "web11"}
        self.slow, self.released = "web07", asyncio.Event()

    async def run(
        self, host: str, command: Command, *, timeout_s: float, asked: bool = False
    ) -> CommandResult:
        if host in self.gone:
            raise HostUnreachableError(
                f"{host} can not be reached: timed out.", fix=f"oombot hosts test {host}"
            )
        if host == self.slow and asked:
            await self.released.wait()
        return await super().run(host, command, timeout_s=timeout_s, asked=asked)


@asynccontextmanager
async def serving(workspace: Workspace, folder: Path, hosts: PartlyGone) -> AsyncIterator[None]:
    """The bot on the workspace, until the block ends."""
    text = f"{TEXT}store: {folder / 'oombot.sqlite'}\n"
    settings = config.load(text, filename="x", environ={"SLACK_API_URL": workspace.api_url})
    tokens = Tokens(bot=workspace.bot_token, app=workspace.app_token)
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.ensure_future(app.serve(settings, tokens, stop=stop, hosts=hosts, ready=ready))
    try:
        async with asyncio.timeout(60):
            await ready.wait()
        yield
    finally:
        stop.set()
        async with asyncio.timeout(60):
            await task


def overviews(workspace: Workspace) -> list[dict[str, Any]]:
    return [m for m in workspace.messages("oncall") if "fleet:" in str(m.get("metadata"))]


async def test_a_fleet_is_one_message_that_grows(workspace: Workspace, tmp_path: Path) -> None:
    """`/oom web*` is one message: it says who is waited for, then all of it, with kills first and reasons folded."""
    names = [f"web{i:02d}" for i in range(1, 13)]
    async with PartlyGone([*names, "db01"]) as hosts, serving(workspace, tmp_path, hosts):
        hosts.trigger("web09")
        await workspace.slash(ADA, "oncall", "/oom web*")
        await until(lambda: "waiting for web07" in str(overviews(workspace)), within_s=120)
        hosts.released.set()
        await until(lambda: "took" in str(overviews(workspace)), within_s=120)
        [said] = overviews(workspace)
        blocks = str(said["blocks"])
        assert "1 of 12 hosts with OOM kills" in blocks
        assert "*web09* 1×" in blocks
        assert "*3 hosts* (web03, web04, web11), the first: web03 can not be reached: timed out." in blocks
        assert "9 of 12 answered, 3 could not be asked" in said["text"]
        assert "db01" not in blocks


@pytest.mark.parametrize("place", ["message_sent=fleet::before", "update=fleet::before"])
async def test_kill_9_leaves_one_message_that_is_mended(bot: Bot, place: str) -> None:
    """Wherever the bot dies while it asks, its restart leaves one overview, which claims no more to be asking."""
    await bot.start(dies_at=place, watching=False)
    await until(lambda: '"started"' in bot.log, within_s=60)
    with contextlib.suppress(Exception):  # its answer may be lost with it
        await bot.workspace.slash(ADA, "oncall", "/oom test*")
    await bot.died()
    await bot.start(watching=False)
    await until(lambda: _ended(overviews(bot.workspace)), within_s=60)
    assert len(overviews(bot.workspace)) == 1


def _ended(said: list[dict[str, Any]]) -> bool:
    """Whether something stands there, and none of it says that hosts are still asked."""
    return bool(said) and all("Still asking" not in one["text"] for one in said)
