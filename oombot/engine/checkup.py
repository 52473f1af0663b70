"""Gathers what doctor judges: the store, this machine, Slack and every host, each within its own time.

Nothing here judges, and no failure ends it: what can not be asked becomes a fault that a line will tell.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from oombot import facts, helper_call
from oombot.config import Settings
from oombot.doctor.gathered import (
    FaultKind,
    Gathered,
    HostFacts,
    HostFault,
    MachineFacts,
    SlackFacts,
    StoreFacts,
)
from oombot.errors import CommandTimeoutError, HostError, HostKeyError, HostLoginError, HostUnreachableError
from oombot.facts import act_helper
from oombot.facts import settings as host_settings
from oombot.model import Command, CommandResult, HostSnapshot, Json
from oombot.ports import Hosts

AT_ONCE = 32
_ABOUT: Json = {"op": "about"}  # leaves nothing behind on the host
_STOPS: tuple[type[HostError], ...] = (HostUnreachableError, HostKeyError, HostLoginError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Who asks what is no host; `slack` is told whether an oombot runs on the store, so that it leaves that alone."""

    store: Callable[[], Coroutine[Any, Any, StoreFacts]]
    machine: Callable[[], Coroutine[Any, Any, MachineFacts]]
    slack: Callable[[bool], Coroutine[Any, Any, SlackFacts]]


class Checkup:
    """One examination of everything the configuration names."""

    def __init__(
        self,
        settings: Settings,
        hosts: Hosts | None,
        doors: Doors,
        *,
        clock: Callable[[], float],
        at_once: int = AT_ONCE,
    ) -> None:
        """Take the settings and everybody to ask; `at_once` hosts are asked at the same time.

        Without `hosts` (a key or file that could not be opened) no host is asked.
        """
        self._settings, self._hosts, self._doors, self._clock = settings, hosts, doors, clock
        self._gate = asyncio.Semaphore(at_once)

    async def run(self, names: Sequence[str], done: Callable[[str], None] = lambda _host: None) -> Gathered:
        """Ask everybody; `done` hears of each host that is finished with."""
        store = await self._doors.store()
        async with asyncio.TaskGroup() as group:
            machine = group.create_task(self._doors.machine())
            slack = group.create_task(self._doors.slack(store.running_pid is not None))
            hosts = [group.create_task(self._host(name, done)) for name in names]
        return Gathered(
            config_path="",
            now_s=self._clock(),
            settings=self._settings,
            asked_hosts=tuple(names),
            store=store,
            machine=machine.result(),
            slack=slack.result(),
            hosts=tuple(task.result() for task in hosts),
        )

    async def _host(self, name: str, done: Callable[[str], None]) -> HostFacts:
        if self._hosts is None:
            return HostFacts(name=name)
        async with self._gate:
            found = await self._asked(name)
        done(name)
        return found

    async def _asked(self, name: str) -> HostFacts:
        """Settings first, since that is one small round trip; where the way there is shut, nothing else is tried."""
        helpers = self._settings.helpers_of(name)
        found = HostFacts(name=name)
        began_s = self._clock()
        try:
            said = await self._run(name, helper_call.settings(helpers))
        except _STOPS as error:
            return replace(found, fault=host_fault(error))
        except HostError as error:
            found = replace(found, settings_fault=host_fault(error))
        else:
            found = self._with_settings(found, said, began_s)
        found = await self._with_reading(found, name)
        if found.settings_fault is not None and found.reading_fault is not None:
            return replace(HostFacts(name=name), fault=found.reading_fault)
        if helpers == "installed":
            found = await self._with_helpers(found, name)
        return found

    def _with_settings(self, found: HostFacts, said: CommandResult, began_s: float) -> HostFacts:
        took_s = self._clock() - began_s
        settings = host_settings.parse(said.stdout)
        if settings is None:
            return replace(found, settings_fault=_no_answer(found.name, said))
        if settings.now_s is None:
            return replace(found, settings=settings, answered_s=took_s)
        ahead_s = settings.now_s + 0.5 - (began_s + took_s / 2)  # date gives whole seconds
        uncertain_s = took_s / 2 + 0.5
        return replace(found, settings=settings, answered_s=took_s, ahead_s=ahead_s, uncertain_s=uncertain_s)

    async def _with_reading(self, found: HostFacts, name: str) -> HostFacts:
        began_s = self._clock()
        since_s = int(began_s - self._settings.since_s)
        try:
            said = await self._run(name, helper_call.read(self._settings.helpers_of(name), since_s))
        except HostError as error:
            return replace(found, reading_fault=host_fault(error))
        taken_s = self._clock()
        answered_s = found.answered_s if found.answered_s is not None else taken_s - began_s
        snapshot: HostSnapshot = facts.parse(said.stdout, host=name, taken_s=taken_s)
        if not snapshot.processes and not snapshot.memory_kb:
            return replace(found, answered_s=found.answered_s, reading_fault=_no_answer(name, said))
        return replace(
            found,
            answered_s=answered_s,
            snapshot=_light(snapshot),
            processes=len(snapshot.processes),
            cgroups=len(snapshot.cgroups),
            units=len(snapshot.units),
        )

    async def _with_helpers(self, found: HostFacts, name: str) -> HostFacts:
        try:
            said = await self._run(name, helper_call.version("installed"))
            found = replace(found, versions=helper_call.versions(said.stdout) or None)
        except HostError:
            found = replace(found, versions=None)
        try:
            said = await self._run(name, helper_call.act("installed", "", _ABOUT))
        except HostError as error:
            return replace(found, act_fault=host_fault(error))
        about = act_helper.parse(said.stdout)
        if about is None:
            return replace(found, act_fault=_no_answer(name, said))
        return replace(found, act=about)

    async def _run(self, name: str, command: Command) -> CommandResult:
        assert self._hosts is not None
        return await self._hosts.run(name, command, timeout_s=self._settings.read_timeout_s, asked=True)


def host_fault(error: HostError) -> HostFault:
    """A failure of a host as a value."""
    kinds: dict[type[HostError], FaultKind] = {
        HostUnreachableError: "unreachable",
        HostKeyError: "key",
        HostLoginError: "login",
        CommandTimeoutError: "timeout",
    }
    kind: FaultKind = next((found for known, found in kinds.items() if isinstance(error, known)), "failed")
    return HostFault(kind=kind, said=str(error), fix=error.fix, jump=error.jump)


def _light(snapshot: HostSnapshot) -> HostSnapshot:
    """The reading without its tables and its log: thousands of hosts are kept until all are judged."""
    log = replace(snapshot.kernel_log, lines=())
    return replace(snapshot, processes=(), cgroups={}, units=(), own_pids=frozenset(), kernel_log=log)


def _no_answer(name: str, said: CommandResult) -> HostFault:
    words = (
        said.stderr.decode(errors="replace").strip()[:200]
        or said.stdout.decode(errors="replace").strip()[:80]
    )
    return HostFault(
        kind="failed",
        said=f"{name} answered, but not with what was asked (exit {said.exit_status}: {words or 'no output'})",
        fix="the account needs /bin/sh and awk, and no program that takes over the login",
    )
