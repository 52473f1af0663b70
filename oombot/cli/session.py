"""What the verbs share that change something: the engine without Slack, who acts, the wait, the exit status.

0: done, and verified where something was run. 1: refused, failed or not known. 2: a mistake in command or file.
"""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from oombot import app
from oombot.cli import offline
from oombot.cli.drawing import plain
from oombot.cli.persons import acting_person
from oombot.cli.serving import configure_logs
from oombot.config import Settings
from oombot.errors import ConfigError, OombotError, RefusedError, UnknownHostError
from oombot.lifecycle import UNFINISHED
from oombot.proposals import Person, Request

LOOK_EVERY_S = 0.2
LEFTOVER_LOOKS = 300  # a minute
TAKEN_UP_LATEST_S = 15.0  # after run_within_s nobody runs it any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One command at work."""

    settings: Settings
    bot: app.Bot
    console: Console
    turn: offline.Turn

    @property
    def person(self) -> Person:
        """Who acts; NotApproverError where the account is nobody's."""
        return acting_person(self.settings)

    def say(self, text: str) -> None:
        """One line on standard output."""
        self.console.print(plain(text), markup=False, soft_wrap=True)

    def agreed(self, question: str, *, yes: bool) -> bool:
        """Whether to go on: by --yes, or by a y on the terminal."""
        if yes:
            return True
        if not sys.stdin.isatty():
            self.say("Nobody can be asked here: --yes goes on without a question.")
            return False
        return self.console.input(f"{plain(question)} [y/N] ", markup=False).strip().lower() in ("y", "yes")

    async def request(self, name: str) -> Request:
        """The request of this id, or of the beginning of one that waits; RefusedError where there is none."""
        found = await self.bot.context.store.request(name)
        if found is not None:
            return found
        open_ones = await self.bot.context.store.requests(("pending",))
        matching = [request for request in open_ones if len(name) >= 4 and request.id.startswith(name)]
        if len(matching) != 1:
            raise RefusedError("oombot knows no such request. Nothing was run.", fix="oombot pending")
        return matching[0]

    async def ended(self, request_id: str) -> Request:
        """The request once it is at its end, here or in the bot that runs on this store."""
        clock = asyncio.get_running_loop().time
        latest = clock() + self.settings.policy.run_within_s + TAKEN_UP_LATEST_S
        with self.console.status("waiting for the host …") if self.console.is_terminal else nullcontext():
            while True:
                request = await self.bot.context.store.request(request_id)
                if request is None or request.state not in UNFINISHED:
                    break
                if request.state == "approved" and clock() > latest:
                    break
                await asyncio.sleep(LOOK_EVERY_S)
        if request is None:
            raise RefusedError("The request is not in the store any more.")
        return request

    @asynccontextmanager
    async def acting(self) -> AsyncIterator[None]:
        """Run here what is approved within the block, unless a bot runs on this store. Nobody is asked within it."""
        with self.turn.taken():
            await self._leftovers()
            yield

    async def leftovers(self) -> None:
        """Take up what a bot or a command that died has left, as a bot does when it starts."""
        if await self.bot.context.store.requests(UNFINISHED):
            async with self.acting():
                pass

    async def _leftovers(self) -> None:
        if not self.turn.mine:
            return
        await self.bot.runs.recover()
        for _ in range(LEFTOVER_LOOKS):
            if not await self.bot.context.store.requests(UNFINISHED):
                return
            await asyncio.sleep(LOOK_EVERY_S)


Act = Callable[[Session], Awaitable[int]]


def acted(config: Path, act: Act) -> int:
    """Run one verb and give its exit status; what oombot refuses is a sentence on standard error."""
    configure_logs(logging.ERROR)
    return asyncio.run(_acted(app.load_settings(config), act))


def looked(config: Path, act: Act) -> int:
    """The same for what only reads: it keeps no bot from starting."""
    return asyncio.run(_looked(app.load_settings(config), act))


async def _acted(settings: Settings, act: Act) -> int:
    async with offline.acting(settings) as (bot, turn):
        return await _guarded(act, Session(settings=settings, bot=bot, console=_console(), turn=turn))


async def _looked(settings: Settings, act: Act) -> int:
    async with offline.asking(settings) as bot:
        turn = offline.Turn(app.store_url(settings))
        return await _guarded(act, Session(settings=settings, bot=bot, console=_console(), turn=turn))


async def _guarded(act: Act, session: Session) -> int:
    try:
        return await act(session)
    except (ConfigError, UnknownHostError) as error:
        return _told(error, 2)
    except OombotError as error:
        return _told(error, 1)


def _console() -> Console:
    return Console(emoji=False, highlight=False)


def _told(error: OombotError, status: int) -> int:
    lines = [*error.problems] if isinstance(error, ConfigError) else [str(error)]
    lines += [f"it was {error.who}"] if error.who else []
    for line in [*lines, *([f"fix: {error.fix}"] if error.fix else [])]:
        sys.stderr.write(f"oombot: {plain(line)}\n")
    return status


def print_data(data: Any) -> None:
    """Data as JSON on standard output."""
    Console(soft_wrap=True).print_json(json.dumps(data), highlight=False)
