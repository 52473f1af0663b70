"""Decisions on the command line, beside a bot and without one; Slack shows them as soon as there is one again."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oombot import config
from oombot.cli.persons import own_account
from oombot.workspace import Workspace
from tests.e2e.conftest import ADA, LOCAL, Bot, until

WITHIN_S = 120.0


class Terminal:
    """`oombot` on a terminal of its own."""

    def __init__(self, folder: Path, file: Path, *words: str) -> None:
        """Start a command."""
        self._handle, end = pty.openpty()
        environment = os.environ | {"HOME": str(folder), "COLUMNS": "400", "OOMBOT_CONFIG": str(file)}
        argv = [sys.executable, "-m", "oombot", *words]
        self._process = subprocess.Popen(argv, env=environment, stdin=end, stdout=end, stderr=end)
        os.close(end)
        os.set_blocking(self._handle, False)
        self.said = ""

    def shows(self, words: str) -> bool:
        """Whether it has said this by now."""
        try:
            while data := os.read(self._handle, 65536):
                self.said += data.decode(errors="replace")
        except OSError:  # nothing more by now, or it has ended
            pass
        return words in self.said

    async def asks(self) -> None:
        """Wait for its question."""
        await until(lambda: self.shows("[y/N]") or self._process.poll() is not None, within_s=WITHIN_S)
        assert self.shows("[y/N]"), self.said

    def answer(self, text: str) -> None:
        """Type a line."""
        os.write(self._handle, f"{text}\n".encode())

    async def ends(self) -> int:
        """Wait for its end; the exit status."""
        await until(lambda: not self.shows("\0") and self._process.poll() is not None, within_s=WITHIN_S)
        self.shows("")
        return self._process.wait()

    def close(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        os.close(self._handle)


class Console:
    """The command line beside the bot, as a person who may approve what they asked for."""

    def __init__(self, bot: Bot) -> None:
        """Give the account of this process to Ada."""
        account = own_account(config.load(LOCAL, filename="test.yaml"))
        users = f"approvers: {{users: [{ADA}]}}, second_person: never, accounts: {{{account}: {ADA}}}"
        bot.settings = f"mode: apply\nslack: {{channel: oncall}}\npolicy: {{{users}}}\n"
        self._bot, self._open, self._file = bot, list[Terminal](), bot.configure()

    def type(self, *words: str) -> Terminal:
        """Start a command."""
        self._open.append(Terminal(self._bot.folder, self._file, *words))
        return self._open[-1]

    async def requests(self) -> list[dict[str, Any]]:
        """What is stored about the host, newest first."""
        listed = self.type("history", "testbox", "--json")
        assert await listed.ends() == 0, listed.said
        found: list[dict[str, Any]] = json.loads(listed.said)
        return found

    async def propose(self, pid: int, value: int) -> str:
        """Propose a score without approving it; the id, once its card stands in Slack with its buttons."""
        asked = self.type("fix", "testbox", "oom_score_adj", f"value={value}", "--pid", str(pid))
        await asked.asks()
        asked.answer("n")
        assert await asked.ends() == 0, asked.said
        [made] = [one for one in await self.requests() if one["state"] == "pending"]
        await until(lambda: "'approve'" in cards(self._bot.workspace, made["id"]), within_s=WITHIN_S)
        return str(made["id"])

    def close(self) -> None:
        """End what was started."""
        for one in self._open:
            one.close()


@pytest.fixture
def console(bot: Bot) -> Iterator[Console]:
    """The command line of the bot's host."""
    made = Console(bot)
    yield made
    made.close()


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process whose score may be raised."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def cards(workspace: Workspace, request_id: str) -> str:
    """All that stands in Slack about a plan, as text."""
    found = [m for m in workspace.messages("oncall") if f"plan:{request_id}" in str(m.get("metadata"))]
    return str([message.get("blocks") for message in found])


def adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


async def decided(bot: Bot, request_id: str) -> None:
    """Wait until no card of the plan in Slack has a button any more, and the outcome is told."""
    await until(lambda: "'approve'" not in cards(bot.workspace, request_id), within_s=WITHIN_S)
    await until(
        lambda: [m for m in bot.outcomes() if request_id in str(m.get("metadata"))], within_s=WITHIN_S
    )
    assert cards(bot.workspace, request_id) != "[]"


async def test_the_bot_runs_what_was_decided_beside_it(bot: Bot, console: Console, sleeper: int) -> None:
    """While a bot holds the store the command writes the decision; the bot runs it, and both show what came of it."""
    await bot.start()
    before = adj(sleeper)
    request_id = await console.propose(sleeper, before + 100)
    approving = console.type("approve", request_id, "--yes")
    assert await approving.ends() == 0, approving.said
    assert (adj(sleeper), "verified" in approving.said) == (before + 100, True), approving.said
    await decided(bot, request_id)
    undoing = console.type("undo", request_id, "--yes")
    assert await undoing.ends() == 0, undoing.said
    assert adj(sleeper) == before
    assert '"run_of_another_bot"' not in bot.log


async def test_a_bot_starts_while_somebody_is_asked(bot: Bot, console: Console, sleeper: int) -> None:
    """A prompt keeps no bot from starting; what is answered then is left to that bot."""
    await bot.start()
    before = adj(sleeper)
    request_id = await console.propose(sleeper, before + 100)
    await bot.kill()
    approving = console.type("approve", request_id)
    await approving.asks()
    await bot.start()
    assert adj(sleeper) == before
    approving.answer("y")
    assert await approving.ends() == 0, approving.said
    assert adj(sleeper) == before + 100
    await decided(bot, request_id)


async def test_what_was_decided_without_a_bot_is_shown_by_the_next(
    bot: Bot, console: Console, sleeper: int
) -> None:
    """Without a bot the command runs it; the card that stands in Slack loses its buttons when a bot is back."""
    await bot.start()
    before = adj(sleeper)
    request_id = await console.propose(sleeper, before + 100)
    await bot.kill()
    approving = console.type("approve", request_id, "--yes")
    assert await approving.ends() == 0, approving.said
    assert adj(sleeper) == before + 100
    assert "'approve'" in cards(bot.workspace, request_id)
    await asyncio.gather(bot.start(), decided(bot, request_id))
