"""The whole product: `oombot run` as a process, on a local workspace, following machines of the lab."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oombot.workspace import Workspace
from tests.lab.images import WATCHER, key
from tests.lab.link import Link
from tests.lab.machine import Machine
from tests.lab.qemu import END_WITH_PARENT

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 180.0  # emulation on a busy machine is slow; nothing below is about speed


async def until(probe: Callable[[], Any], *, within_s: float = PATIENCE_S, what: str = "") -> Any:
    """Wait for the probe's first true value, and return it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not (found := probe()):
        assert loop.time() < deadline, f"waited {within_s:.0f} s in vain for {what or probe}"
        await asyncio.sleep(0.2)
    return found


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A kill as the store holds it."""

    host: str
    pid: int
    name: str
    rss_kib: tuple[int, int, int]
    message_key: str
    kill: dict[str, Any] = field(compare=False)


@dataclass
class Product:
    """A bot and its channel; machines are added before `start`."""

    workspace: Workspace
    folder: Path
    settings: str = "mode: propose\nread_timeout_s: 60\n"  # an emulated machine needs seconds for a reading
    ssh: str = ""  # more lines under ssh:, indented by two
    process: asyncio.subprocess.Process | None = None

    def __post_init__(self) -> None:
        """Begin with no hosts."""
        self.hosts: dict[str, str] = {}

    # -------------------------------------------------------------- the bot

    async def add(
        self, name: str, machine: Machine, link: Link | None = None, *, user: str = WATCHER
    ) -> None:
        """Configure the machine as a host, reached over the link, and trust the key that it shows now."""
        port = machine.port if link is None else link.port
        self.hosts[name] = f"{{name: {name}, address: 127.0.0.1, port: {port}, user: {user}}}"
        await self.trust(machine, port)

    async def trust(self, machine: Machine, port: int) -> None:
        """Write the machine's present key into known_hosts, in the place of an older one."""
        mark = f"[127.0.0.1]:{port} "
        path = self.folder / "known_hosts"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines if not line.startswith(mark)]
        path.write_text("".join([*kept, f"{mark}{await machine.host_key()}\n"]))

    @property
    def config(self) -> Path:
        """The configuration, as written by `start` (or `configure`)."""
        return self.folder / "oombot.yaml"

    @property
    def environment(self) -> dict[str, str]:
        """What `oombot` finds in its environment."""
        return os.environ | {
            "SLACK_API_URL": self.workspace.api_url,
            "SLACK_BOT_TOKEN": self.workspace.bot_token,
            "SLACK_APP_TOKEN": self.workspace.app_token,
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
        }

    def configure(self) -> None:
        """Write the configuration."""
        ssh = f"ssh:\n  known_hosts: {self.folder}/known_hosts\n  keys: [{key()}]\n{self.ssh}"
        hosts = "".join(f"  - {line}\n" for line in self.hosts.values())
        store = f"store: {self.folder}/oombot.sqlite\n"
        self.config.write_text(f"{self.settings}{ssh}{store}hosts:\n{hosts}")

    async def start(self, *, first_contact: bool = True) -> None:
        """Start the bot; with `first_contact` wait until it has seen every host, so that what follows is told."""
        self.configure()
        argv = (*END_WITH_PARENT, sys.executable, "-m", "oombot", "run", "-c", str(self.config))
        with (self.folder / "bot.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *argv, env=self.environment, stdout=log, stderr=log
            )
        if first_contact:
            await self.until(lambda: self.seen() >= set(self.hosts), what="the first contact with every host")

    async def kill(self) -> None:
        """kill -9."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it in good order."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            async with asyncio.timeout(60):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def oombot(self, *argv: str, within_s: float = PATIENCE_S) -> tuple[int, str, str]:
        """Run another command of oombot with the same configuration: its exit status, output and errors."""
        self.configure()
        process = await asyncio.create_subprocess_exec(
            *(*END_WITH_PARENT, sys.executable, "-m", "oombot", *argv),
            env=self.environment | {"OOMBOT_CONFIG": str(self.config), "COLUMNS": "200"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(within_s):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")

    async def until(self, probe: Callable[[], Any], *, within_s: float = PATIENCE_S, what: str = "") -> Any:
        """Wait for the probe's first true value while the bot lives; its death is an error at once."""

        def living() -> Any:
            found = probe()
            alive = self.process is None or self.process.returncode is None
            assert found or alive, f"the bot ended:\n{self.log[-4000:]}"
            return found

        return await until(living, within_s=within_s, what=what)

    # -------------------------------------------------------------- what it took in

    @property
    def log(self) -> str:
        """What it has logged, over all its lives."""
        path = self.folder / "bot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask its store; a store that is not there yet has nothing."""
        path = self.folder / "oombot.sqlite"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as store:
            try:
                return store.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error) or "no such column" in str(
                    error
                ):  # migrations are under way
                    return []
                raise

    def seen(self) -> set[str]:
        """Hosts that it has had contact with."""
        return {name for (name,) in self.query("SELECT host FROM positions WHERE baselined_s IS NOT NULL")}

    def kills(self, host: str = "") -> list[Stored]:
        """The kills of its store, history apart."""
        found = []
        for name, text, message in self.query(
            "SELECT host, kill, message_key FROM incidents WHERE NOT history"
        ):
            kill = json.loads(text)
            rss = (kill["anon_rss_kb"], kill["file_rss_kb"], kill["shmem_rss_kb"])
            if host in {"", name}:
                found.append(
                    Stored(
                        host=name,
                        pid=kill["pid"],
                        name=kill["comm"],
                        rss_kib=rss,
                        message_key=message,
                        kill=kill,
                    )
                )
        return found

    async def stored(self, count: int, host: str = "", *, within_s: float = PATIENCE_S) -> list[Stored]:
        """Wait until the store has this many kills."""
        what = f"{count} kills of {host or 'all hosts'} in the store"
        await self.until(lambda: len(self.kills(host)) >= count, within_s=within_s, what=what)
        return self.kills(host)

    def messages(self, words: str = "", channel: str = "oncall") -> list[dict[str, Any]]:
        """What stands in the channel, replies apart; only what holds these words."""
        said = self.workspace.messages(channel)
        return [m for m in said if m.get("thread_ts", m["ts"]) == m["ts"] and words in _text(m)]

    async def message(self, words: str, *, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for a message that holds these words."""
        found = await self.until(
            lambda: self.messages(words), within_s=within_s, what=f"a message with {words!r}"
        )
        return found[0]

    def keys(self) -> list[str]:
        """The bot's own name of each message that stands in the channel."""
        return [_key(message) for message in self.messages()]

    def standing(self, key: str) -> list[dict[str, Any]]:
        """The messages of this name: one, if all is well."""
        return [message for message in self.messages() if _key(message) == key]

    async def quiet(self) -> None:
        """Wait until all that the bot has to say stands in Slack."""
        due = "SELECT count(*) FROM messages WHERE sent_version < version"
        await self.until(lambda: self.query(due) == [(0,)], what="all messages to be sent")

    def report(self) -> str:
        """What helps when a test fails."""
        said = "\n".join(
            f"{m['ts']} {_key(m)}: {m['text'][:300]}" for m in self.workspace.messages("oncall")[-40:]
        )
        kills = Counter((kill.host, kill.message_key) for kill in self.kills())
        return f"BOT LOG\n{self.log[-6000:]}\nSTORE {dict(kills)}\nCHANNEL\n{said}"


def _key(message: dict[str, Any]) -> str:
    return str(((message.get("metadata") or {}).get("event_payload") or {}).get("key", ""))


def _text(message: dict[str, Any]) -> str:
    """Text and blocks as they are read, so that words can be looked for."""
    return message["text"] + json.dumps(message.get("blocks", []), ensure_ascii=False)
