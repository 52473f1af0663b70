"""The composition root: builds every adapter, wires the engine, runs it in one TaskGroup, shuts it down in order."""

import asyncio
import gc
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import structlog

from oombot import catalog, config, installation
from oombot.adapters.local import LocalHosts
from oombot.adapters.routed import RoutedHosts
from oombot.adapters.slack import SlackChat
from oombot.adapters.slack_listeners import SlackListeners
from oombot.adapters.sql import SqlStore
from oombot.adapters.ssh import Login, SshHosts, SshTarget
from oombot.adapters.ssh_target import chained
from oombot.config import Settings, Tokens
from oombot.engine.answers import Answers
from oombot.engine.cards import Cards
from oombot.engine.context import Context
from oombot.engine.desk import Desk
from oombot.engine.dialogs import Dialogs
from oombot.engine.fleet import Fleet
from oombot.engine.inquiries import Inquiries
from oombot.engine.outbox import Outbox
from oombot.engine.people import People
from oombot.engine.readings import Readings
from oombot.engine.remedies import Remedies
from oombot.engine.runs import Runs
from oombot.engine.timekeeper import Timekeeper
from oombot.engine.watch import Watch
from oombot.errors import ConfigError
from oombot.ports import Chat, Hosts
from oombot.views import Views

SWEEP_EVERY_S = 5.0
TIME_EVERY_S = 30.0
SETTLED_S, SETTLE_AGAIN_S = 60.0, 3600.0
GC_THRESHOLDS = (20_000, 50, 100)
READY_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bot:
    """The wired engine."""

    context: Context
    readings: Readings
    answers: Answers
    fleet: Fleet
    outbox: Outbox
    cards: Cards
    runs: Runs
    remedies: Remedies
    desk: Desk
    watch: Watch
    timekeeper: Timekeeper


def wire(context: Context, *, outbox: Outbox | None = None) -> Bot:
    """Put the engine's parts together."""
    readings, people, outbox = Readings(context), People(context), outbox or Outbox(context)
    answers, cards, runs = (
        Answers(context, readings),
        Cards(context, readings),
        Runs(context, readings, people, outbox),
    )
    remedies = Remedies(context, readings, people, runs)
    fleet = Fleet(context, readings, answers)
    desk = Desk(
        context=context,
        readings=readings,
        answers=answers,
        remedies=remedies,
        people=people,
        cards=cards,
        fleet=fleet,
        dialogs=Dialogs(context=context, readings=readings, remedies=remedies, people=people),
        inquiries=Inquiries(context=context, remedies=remedies, people=people),
    )
    watch = Watch(context, readings, cards)
    return Bot(
        context=context,
        readings=readings,
        answers=answers,
        fleet=fleet,
        outbox=outbox,
        cards=cards,
        runs=runs,
        remedies=remedies,
        desk=desk,
        watch=watch,
        timekeeper=Timekeeper(context, readings),
    )


async def serve(
    settings: Settings,
    tokens: Tokens,
    *,
    stop: asyncio.Event,
    hosts: Hosts | None = None,
    ready: asyncio.Event | None = None,
) -> None:
    """Run the bot until `stop` is set: recover, follow every host, send, listen."""
    async with AsyncExitStack() as stack:
        chat = await stack.enter_async_context(SlackChat(token=tokens.bot, api_url=settings.slack.api_url))
        store = await stack.enter_async_context(SqlStore.open(store_url(settings), exclusive=True))
        own_hosts = hosts if hosts is not None else await stack.enter_async_context(open_hosts(settings))
        async with asyncio.TaskGroup() as group:
            tasks = Tasks(group)
            context = make_context(settings, own_hosts, chat, store, spawn=tasks.spawn)
            bot = wire(context)
            tasks.spawn(bot.outbox.run())
            tasks.spawn(_sweep(bot))
            tasks.spawn(_keep_time(bot))
            tasks.spawn(_settle())
            await bot.runs.recover()
            await bot.cards.recover()
            await bot.fleet.recover()
            await bot.watch.load()
            tasks.spawn(bot.watch.keep())
            for host in settings.hosts:
                tasks.spawn(bot.watch.run(host.name))
            async with SlackListeners(chat, bot.desk, app_token=tokens.app):
                context.log(mode=settings.mode, hosts=len(settings.hosts)).info("started")
                if ready is not None:
                    tasks.spawn(_when_hearing(bot, ready))
                await stop.wait()
            tasks.cancel()


def make_context(
    settings: Settings,
    hosts: Hosts,
    chat: Chat,
    store: SqlStore,
    *,
    spawn: Callable[[Coroutine[Any, Any, None]], None],
) -> Context:
    """The engine's context with the real clock and real chance."""
    return Context(
        settings=settings,
        hosts=hosts,
        chat=chat,
        store=store,
        views=Views(templates()),
        detectors=catalog.detectors(),
        remediations=catalog.remediations(),
        helper_source=installation.act_source(),
        look_source=installation.look_source(),
        clock=time.time,
        new_id=_new_id,
        spawn=spawn,
        flag=_flag,
        replica=socket.gethostname(),
        version=metadata.version("oombot"),
    )


def _new_id() -> str:
    """A name that nobody guesses, for requests above all; people type it, so it does not begin like an option."""
    return secrets.token_urlsafe(16).lstrip("-_")


def _flag() -> str:
    """The file in the state directory that freezes all changes, where it is; one that can not be looked for counts."""
    path = state_directory(make=False) / "frozen"
    try:
        path.lstat()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} ({error.strerror})"
    return str(path)


@asynccontextmanager
async def open_hosts(settings: Settings) -> AsyncIterator[Hosts]:
    """Local hosts by subprocess, all others by SSH."""
    async with AsyncExitStack() as stack:
        routes: dict[str, Hosts] = {}
        for host in settings.hosts:
            if host.local:
                local = LocalHosts(host.name, become=host.become == "sudo")
                routes[host.name] = await stack.enter_async_context(local)
        remote = [host for host in settings.hosts if not host.local]
        if remote:
            ssh = await stack.enter_async_context(ssh_hosts(settings))
            routes |= {host.name: ssh for host in remote}
        yield RoutedHosts(routes)


def ssh_hosts(settings: Settings) -> SshHosts:
    """All hosts but local ones, not opened yet."""
    return SshHosts(_targets(settings), known_hosts=[settings.ssh.known_hosts])


def wrong_jumps(settings: Settings) -> list[str]:
    """What is wrong with the chains of jump hosts, as far as the configuration alone names them."""
    return chained({target.name: target for target in _targets(settings)})[1]


def _targets(settings: Settings) -> list[SshTarget]:
    called = {name: each.name for each in settings.hosts for name in (each.name, *each.aliases)}
    return [_target(settings, host, called) for host in settings.hosts if not host.local]


def _target(settings: Settings, host: config.Host, called: Mapping[str, str]) -> SshTarget:
    ssh = settings.ssh
    act = Login(user=ssh.act.user, key_files=ssh.act.keys, certificates=ssh.certificates) if ssh.act else None
    return SshTarget(
        name=host.name,
        address=host.address or host.name,
        port=host.port,
        user=settings.user(host.name),
        key_files=ssh.keys,
        certificates=ssh.certificates,
        ssh_config=ssh.config,
        jump=_jump(settings, host, called),
        become=host.become == "sudo",
        act=act,
    )


def _jump(settings: Settings, host: config.Host, called: Mapping[str, str]) -> str | None:
    """The chain to a host; a host that is part of its group's chain is reached by what stands before it."""
    chain = settings.jump(host.name)
    if chain is None:
        return None
    hops = [called.get(hop.strip(), hop.strip()) for hop in chain.split(",")]
    if host.jump is None and host.name in hops:
        hops = hops[: hops.index(host.name)]
    return ",".join(hops) or "none"


def store_url(settings: Settings, *, make: bool = True) -> str:
    """The database: where the configuration says, else in the state directory (systemd's, or XDG's)."""
    if settings.store and "://" in settings.store:
        return settings.store
    if settings.store:
        return f"sqlite+aiosqlite:///{Path(settings.store).expanduser()}"
    return f"sqlite+aiosqlite:///{state_directory(make=make) / 'oombot.sqlite'}"


def state_directory(*, make: bool = True) -> Path:
    """$STATE_DIRECTORY under systemd, else $XDG_STATE_HOME/oombot; made when it is not there, if `make`."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(given) if given else Path(home) / "oombot"
    if make:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def load_settings(path: Path) -> Settings:
    """Read the configuration file; ConfigError when it can not be read or is wrong."""
    return load_noted(path)[0]


def load_noted(path: Path) -> tuple[Settings, tuple[str, ...]]:
    """The same, with what was imported from the inventories that it names."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        said = "can not be read: there is no such file. Name your configuration by -c FILE or OOMBOT_CONFIG"
        raise ConfigError([f"{path}: {said}"]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: can not be read: {getattr(error, 'strerror', error)}"]) from error

    def read_file(name: str) -> str:
        return (path.parent / Path(name).expanduser()).read_text(encoding="utf-8")

    return config.load_noted(
        text,
        filename=str(path),
        environ=os.environ,
        read_file=read_file,
        actions=tuple(catalog.remediations()),
    )


def load_tokens() -> Tokens:
    """Both Slack tokens, from the environment or from the files that SLACK_…_TOKEN_FILE name."""
    files = {}
    for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"):
        path = os.environ.get(f"{name}_FILE")
        if path:
            try:
                files[name] = Path(path).read_text(encoding="utf-8")
            except OSError as error:
                raise ConfigError([f"{name}_FILE={path} can not be read: {error}"]) from error
    return config.tokens(os.environ, files)


def templates() -> Mapping[str, str]:
    """The templates by name, from the wheel or from the source tree."""
    packaged = resources.files("oombot") / "data" / "templates"
    folder = packaged if packaged.is_dir() else Path(__file__).parent.parent / "templates"
    return {
        item.name: item.read_text(encoding="utf-8") for item in folder.iterdir() if item.name.endswith(".j2")
    }


def example_config() -> str:
    """The example configuration, from the wheel or from the source tree."""
    packaged = resources.files("oombot") / "data" / "oombot.yaml"
    source = Path(__file__).parent.parent / "config" / "oombot.yaml"
    return packaged.read_text(encoding="utf-8") if packaged.is_file() else source.read_text(encoding="utf-8")


def data_text(name: str) -> str:
    """A text file of the package's data."""
    return (resources.files("oombot") / "data" / name).read_text(encoding="utf-8")


class Tasks:
    """Work started on the side: a failure is logged and never takes the others down."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        """Start them in this group."""
        self._group = group
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Start one."""
        task = self._group.create_task(self._guard(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def cancel(self) -> None:
        """End them all: what they were doing is in the store, and is taken up at the next start."""
        for task in tuple(self._running):
            task.cancel()

    @staticmethod
    async def _guard(work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            structlog.get_logger("oombot").exception("task_failed")


async def _when_hearing(bot: Bot, ready: asyncio.Event) -> None:
    """Set `ready` once a host is followed live, or when that takes too long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(READY_WITHIN_S):
            await bot.watch.hearing.wait()
    ready.set()


async def _sweep(bot: Bot) -> None:
    while True:
        try:
            await bot.remedies.expire()
            await bot.runs.recover()
        except Exception:
            bot.context.log().exception("sweep_failed")
        await asyncio.sleep(SWEEP_EVERY_S)


async def _keep_time(bot: Bot) -> None:
    while True:
        try:
            await bot.timekeeper.look()
        except Exception:
            bot.context.log().exception("timekeeper_failed")
        await asyncio.sleep(TIME_EVERY_S)


async def _settle() -> None:
    """Keep the collector of cycles off what stays: over thousands of connections, one of its walks is a pause.

    What became garbage since is freed once an hour, at the price of one such walk.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    wait_s = SETTLED_S
    while True:
        await asyncio.sleep(wait_s)
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        wait_s = SETTLE_AGAIN_S
