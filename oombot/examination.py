"""Doctor's composition root: opens what can be opened, gathers, and lets the checks judge. Nothing is changed."""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from oombot import app, catalog, installation
from oombot.adapters.own_machine import look_at_file, look_at_machine, look_at_store
from oombot.adapters.slack_checks import SlackChecks
from oombot.adapters.slack_press import Trial, press
from oombot.config import Settings
from oombot.doctor import Line, examine
from oombot.doctor.channels import used
from oombot.doctor.gathered import (
    ChannelFacts,
    Fault,
    FileFacts,
    Gathered,
    MachineFacts,
    PressFacts,
    SlackFacts,
    StoreFacts,
)
from oombot.engine.checkup import Checkup, Doors
from oombot.errors import ConfigError
from oombot.ports import Hosts
from oombot.views import Views


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to look at: the configuration, the hosts (a pattern), and for how long to wait for a real press."""

    config: Path
    pattern: str = "fleet"
    press_wait_s: float | None = None  # None: buttons are not tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Who is told how far it is."""

    begins: Callable[[int], None] = lambda _hosts: None
    done: Callable[[str], None] = lambda _host: None
    says: Callable[[str], None] = lambda _sentence: None


async def lines(wanted: Wanted, listener: Listener) -> tuple[Line, ...]:
    """Gather and judge. An unknown host in the pattern is raised; everything else becomes a line."""
    return examine(await gather(wanted, listener), catalog.checks())


async def gather(wanted: Wanted, listener: Listener) -> Gathered:
    """Ask everybody."""
    try:
        settings = app.load_settings(wanted.config)
    except ConfigError as error:
        return Gathered(
            config_path=str(wanted.config), now_s=time.time(), settings=None, config_problems=error.problems
        )
    names = [host.name for host in settings.select(wanted.pattern)]
    listener.begins(len(names))
    async with AsyncExitStack() as stack:
        problems: tuple[str, ...] = ()
        hosts: Hosts | None = None
        try:
            hosts = await stack.enter_async_context(app.open_hosts(settings))
        except ConfigError as error:
            problems = error.problems
        doors = _Doors(settings, wanted, listener)
        checkup = Checkup(
            settings,
            hosts,
            Doors(store=doors.store, machine=doors.machine, slack=doors.slack),
            clock=time.time,
        )
        found = await checkup.run(names, listener.done)
    return replace(
        found,
        config_path=str(wanted.config),
        config_problems=problems,
        expected_versions=installation.expected_versions(),
    )


class _Doors:
    """The asking that needs the environment."""

    def __init__(self, settings: Settings, wanted: Wanted, listener: Listener) -> None:
        self._settings, self._wanted, self._listener = settings, wanted, listener

    async def store(self) -> StoreFacts:
        url = app.store_url(self._settings, make=False)
        return await look_at_store(url, folder_is_made=self._settings.store is None)

    async def machine(self) -> MachineFacts:
        return await look_at_machine(tuple(self._files()))

    def _files(self) -> Iterator[FileFacts]:
        ssh = self._settings.ssh
        if any(not host.local for host in self._settings.hosts):
            keys = [*ssh.keys, *(ssh.act.keys if ssh.act else ())]
            yield from (look_at_file("key", key) for key in keys)
            yield from (look_at_file("certificate", path) for path in ssh.certificates)
            yield look_at_file("known_hosts", ssh.known_hosts)
            if ssh.config:
                yield look_at_file("ssh_config", ssh.config)
        for name in ("SLACK_BOT_TOKEN_FILE", "SLACK_APP_TOKEN_FILE"):
            if os.environ.get(name):
                yield look_at_file("token", os.environ[name])

    async def slack(self, bot_runs: bool) -> SlackFacts:
        settings = self._settings
        try:
            tokens = app.load_tokens()
        except ConfigError as error:
            return SlackFacts(token_problems=error.problems)
        async with SlackChecks(tokens, api_url=settings.slack.api_url, clock=time.time) as checks:
            found = await checks.ask(
                channels=tuple(used(settings)), approvers=settings.policy.people, bot_runs=bot_runs
            )
            return await self._with_press(checks, found)

    async def _with_press(self, checks: SlackChecks, found: SlackFacts) -> SlackFacts:
        """A real press, in the default channel where the bot is in it, else in the first one where it is."""
        wait_s = self._wanted.press_wait_s
        if wait_s is None or found.auth is not None:
            return found
        here = [facts for facts in found.channels.values() if isinstance(facts, ChannelFacts)]
        open_ones = [facts for facts in here if facts.member and not facts.archived]
        if not open_ones:
            said, fix = "the bot is in no channel of the configuration", "/invite @oombot there, then again"
            return replace(found, press=PressFacts(fault=Fault(said=said, fix=fix)))
        channel, value = open_ones[0], secrets.token_urlsafe(16)

        def waiting() -> None:
            self._listener.says(
                f"Waiting up to {wait_s:.0f} s: somebody (you, for one) must press “It arrives” in "
                f"#{channel.name} of {found.team}, in Slack. Ctrl-C takes the message away again."
            )

        view = Views(app.templates()).press_test(value=value, wait_s=wait_s)
        trial = Trial(channel_id=channel.id, view=view, value=value, wait_s=wait_s, waiting=waiting)
        return replace(found, press=await press(checks, trial))
