"""The engine without Slack, for the command line: to ask, and to act on the day Slack is down."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

from sqlalchemy.engine import make_url

from oombot.adapters.database import claimed
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
        yield await stack.enter_async_context(_without_slack(settings, store, runs=lambda: True))


class Turn:
    """The right to run what is approved: this process has it only while it has taken it, and no bot runs on the store.

    Where a bot does, a decision is stored, and that bot takes it up. While a person is asked nobody has it, so that
    an answer that does not come keeps no bot from starting.
    """

    def __init__(self, url: str) -> None:
        """Begin without it."""
        self._url, self.mine = url, False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take it for the block, where no bot has it."""
        with ExitStack() as stack:
            with suppress(StoreTakenError):
                stack.enter_context(claimed(make_url(self._url)))
                self.mine = True
            try:
                yield
            finally:
                self.mine = False


@asynccontextmanager
async def acting(settings: Settings) -> AsyncIterator[tuple[Bot, Turn]]:
    """The same for what changes something: what is approved is run here within a turn that was taken."""
    url = store_url(settings)
    turn = Turn(url)
    async with SqlStore.open(url) as store, _without_slack(settings, store, runs=lambda: turn.mine) as bot:
        yield bot, turn


@asynccontextmanager
async def _without_slack(
    settings: Settings, store: SqlStore, *, runs: Callable[[], bool]
) -> AsyncIterator[Bot]:
    async with open_hosts(settings) as hosts, asyncio.TaskGroup() as group:
        tasks, chat = Tasks(group), NoChat(settings.policy.accounts.values())

        def spawn(work: Coroutine[Any, Any, None]) -> None:
            if runs():
                tasks.spawn(work)
            else:
                work.close()  # left to the bot

        context = make_context(settings, hosts, chat, store, spawn=spawn)
        yield wire(context, outbox=_Unsent(context))
        tasks.cancel()


class _Unsent(Outbox):
    """Messages that wait in the store until a bot sends them."""

    async def settled(self, key: str, *, within_s: float) -> bool:
        """Nobody waits for Slack where there is none."""
        return await super().settled(key, within_s=min(within_s, 0.0))
