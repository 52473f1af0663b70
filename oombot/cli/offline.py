"""The engine without Slack, for the command line: to ask, and to act on the day Slack is down."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from oombot.adapters.no_chat import NoChat
from oombot.adapters.sql import SqlStore
from oombot.app import Bot, Tasks, make_context, open_hosts, store_url, wire
from oombot.config import Settings
from oombot.engine.outbox import Outbox
from oombot.errors import StoreTakenError


@asynccontextmanager
async def asking(settings: Settings) -> AsyncIterator[Bot]:
    """The engine without Slack, for the command line: it can ask, and never speaks."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(SqlStore.open(store_url(settings)))
        yield await stack.enter_async_context(_without_slack(settings, store, runs=True))


@asynccontextmanager
async def acting(settings: Settings) -> AsyncIterator[tuple[Bot, bool]]:
    """The same for what changes something, and whether it runs here what is approved.

    Where a bot runs on this store it does not: the decision is stored, and that bot takes it up. Else this process
    is the one that acts, and no bot starts until it is done.
    """
    url = store_url(settings)
    async with AsyncExitStack() as stack:
        try:
            store, alone = await stack.enter_async_context(SqlStore.open(url, exclusive=True)), True
        except StoreTakenError:
            store, alone = await stack.enter_async_context(SqlStore.open(url)), False
        yield await stack.enter_async_context(_without_slack(settings, store, runs=alone)), alone


@asynccontextmanager
async def _without_slack(settings: Settings, store: SqlStore, *, runs: bool) -> AsyncIterator[Bot]:
    async with open_hosts(settings) as hosts, asyncio.TaskGroup() as group:
        tasks, chat = Tasks(group), NoChat(settings.policy.accounts.values())
        spawn = tasks.spawn if runs else _left_to_the_bot
        context = make_context(settings, hosts, chat, store, spawn=spawn)
        yield wire(context, outbox=_Unsent(context))
        tasks.cancel()


class _Unsent(Outbox):
    """Messages that wait in the store until a bot sends them."""

    async def settled(self, key: str, *, within_s: float) -> bool:
        """Nobody waits for Slack where there is none."""
        return await super().settled(key, within_s=min(within_s, 0.0))


def _left_to_the_bot(work: Coroutine[Any, Any, None]) -> None:
    work.close()
