"""The whole product on the test machine: a real kernel, a real sshd, a real WebSocket, the bot as a process."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from oombot import pit
from oombot.workspace import Workspace

ADA, BEN, CLEO = "U0ADA0001", "U0BEN0002", "U0CLEO003"
DYING_BOT = Path(__file__).parent / "dying_bot.py"

LOCAL = "hosts: [{name: testbox, local: true}]"
CONFIG = """
mode: apply
slack: {channel: oncall}
policy: {approvers: {groups: [S0ONCALL1]}, second_person: always}
"""


async def until(probe: Callable[[], Any], *, within_s: float = 120.0) -> Any:
    """Wait for the probe's first true value; fail when it stays false."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while loop.time() < deadline:
        found = probe()
        if found:
            return found
        await asyncio.sleep(0.05)
    pytest.fail(f"waited {within_s} s in vain")


@dataclass
class Bot:
    """`oombot run` as a process of its own, on a workspace."""

    workspace: Workspace
    folder: Path
    hosts: str
    settings: str = CONFIG
    process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        """Everything that the bot has logged so far, over all its lives."""
        path = self.folder / "bot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def start(self, *, dies_at: str = "", watching: bool = True) -> None:
        """Start it; with `dies_at` it kills itself with SIGKILL there. Waits until it follows and listens."""
        config = self.configure()
        environment = {
            **os.environ,
            "SLACK_API_URL": self.workspace.api_url,
            "SLACK_BOT_TOKEN": self.workspace.bot_token,
            "SLACK_APP_TOKEN": self.workspace.app_token,
            "HOME": str(self.folder),
        }
        program = [str(DYING_BOT), dies_at] if dies_at else ["-m", "oombot"]
        before = self._signs()
        with (self.folder / "bot.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, *program, "run", "-c", str(config), env=environment, stdout=log, stderr=log
            )
        if watching:
            await until(
                lambda: all(new > old for new, old in zip(self._signs(), before, strict=True)) or self.dead
            )
            if not dies_at:
                assert not self.dead, self.log

    def configure(self) -> Path:
        """Write its configuration; the path."""
        config = self.folder / "oombot.yaml"
        config.write_text(f"{self.settings}{self.hosts}\nstore: {self.folder / 'oombot.sqlite'}\n")
        return config

    def _signs(self) -> tuple[int, int]:
        return self.log.count('"started"'), self.log.count('"watching"')

    @property
    def dead(self) -> bool:
        """Whether the process has ended."""
        return self.process is not None and self.process.returncode is not None

    async def kill(self) -> None:
        """kill -9."""
        if self.process is not None and not self.dead:
            self.process.kill()
        await self.died()

    async def died(self) -> None:
        """Wait until it is gone."""
        assert self.process is not None
        async with asyncio.timeout(60):
            await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM, as systemd would; its exit status."""
        if self.process is None or self.dead:
            return -1
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        await self.died()
        assert self.process.returncode is not None
        return self.process.returncode

    def cards(self, pid: int) -> list[dict[str, Any]]:
        """The channel's kill cards of this pid (the card itself, no replies)."""
        return [
            m for m in self.workspace.messages("oncall") if f"(pid {pid})" in m["text"] and not _is_reply(m)
        ]

    def outcomes(self) -> list[dict[str, Any]]:
        """The messages that tell what came of a request."""
        return [m for m in self.workspace.messages("oncall") if "outcome:" in str(m.get("metadata"))]

    def replies(self, words: str) -> list[dict[str, Any]]:
        """Thread messages whose text or blocks hold these words."""
        return [m for m in self.workspace.messages("oncall") if _is_reply(m) and words in str(m)]


def _is_reply(message: dict[str, Any]) -> bool:
    return message.get("thread_ts", message["ts"]) != message["ts"]


@pytest.fixture
async def workspace() -> AsyncIterator[Workspace]:
    """A local Slack."""
    async with Workspace() as opened:
        yield opened


@pytest.fixture
async def small_cgroup(need) -> AsyncIterator[pit.Pit]:
    """A cgroup in which the running kernel kills."""
    kind = pit.possible()
    need(kind in ("cgroup v1", "cgroup v2"), "a real kernel kill needs root and a memory cgroup")
    need(os.access("/dev/kmsg", os.R_OK), "reading the kernel log needs /dev/kmsg")
    assert kind is not None
    with resources.as_file(resources.files("oombot") / "data" / "hog.py") as hog:
        async with pit.Pit(hog, kind) as made:
            yield made


@pytest.fixture
async def bot(workspace: Workspace, tmp_path: Path) -> AsyncIterator[Bot]:
    """A bot for this machine, not started yet."""
    made = Bot(workspace=workspace, folder=tmp_path, hosts=LOCAL)
    yield made
    if made.process is not None and not made.dead:
        await made.kill()
