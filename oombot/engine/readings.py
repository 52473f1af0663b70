"""Reading a host: one round trip, parsed; the last answer is kept for when the host stops answering."""

from dataclasses import replace
from typing import Any

from oombot import facts, helper_call
from oombot.details import Look
from oombot.engine.context import Context
from oombot.errors import CommandFailedError
from oombot.model import Entry, HostSnapshot, OomKill
from oombot.oom_report import OomReportParser
from oombot.remediations.shape import Remediation
from oombot.sameness import merged


class Readings:
    """Asks hosts and remembers what they said."""

    def __init__(self, context: Context) -> None:
        """Keep nothing but the context: what is remembered is in the store."""
        self._ctx = context

    async def now(self, host: str, *, timeout_s: float | None = None, asked: bool = False) -> HostSnapshot:
        """Read the host; HostError when it can not be asked. The answer is stored as its last reading.

        `asked`: a person waits, so a host that failed of late is tried now.
        """
        settings = self._ctx.settings
        command = helper_call.read(settings.helpers_of(host), int(self._ctx.clock() - settings.since_s))
        result = await self._ctx.hosts.run(
            host, command, timeout_s=timeout_s or settings.read_timeout_s, asked=asked
        )
        taken_s = self._ctx.clock()
        snapshot = self._parsed(host, result.stdout, taken_s)
        if not snapshot.processes and not snapshot.memory_kb:
            said = result.stderr.decode(errors="replace").strip()[:200]
            raise CommandFailedError(
                f"{host} answered, but not with a reading (exit {result.exit_status}: {said or 'no output'})",
                fix="the account needs /bin/sh and awk, and no program that takes over the login",
            )
        await self._ctx.store.save_snapshot(host, taken_s, result.stdout)
        return snapshot

    async def closer(
        self, snapshot: HostSnapshot, look: Look, *, timeout_s: float | None = None, asked: bool = False
    ) -> HostSnapshot:
        """The same snapshot with what a remedy wants to know besides; HostError when the host does not say it."""
        if not look.parts:
            return snapshot
        settings, host = self._ctx.settings, snapshot.host
        command = helper_call.look(settings.helpers_of(host), self._ctx.look_source, look)
        result = await self._ctx.hosts.run(
            host, command, timeout_s=timeout_s or settings.read_timeout_s, asked=asked
        )
        details = helper_call.looked(result.stdout)
        if details is None:
            said = result.stderr.decode(errors="replace").strip()[-200:]
            raise CommandFailedError(
                f"{host} did not answer a closer look (exit {result.exit_status}: {said or 'no output'})",
                fix=f"python3 must be there; where helpers are installed: oombot sudoers {host} --apply",
            )
        return replace(snapshot, details=details)

    async def seen(
        self, host: str, remediation: Remediation, params: Any, *, asked: bool = False
    ) -> HostSnapshot:
        """A fresh reading with the details that this remedy needs for these parameters."""
        snapshot = await self.now(host, asked=asked)
        return await self.closer(snapshot, remediation.look(params, snapshot), asked=asked)

    async def last(self, host: str) -> HostSnapshot | None:
        """The last stored reading, however old; None when there never was one."""
        stored = await self._ctx.store.snapshot(host)
        return None if stored is None else self._parsed(host, stored[1], stored[0])

    def _parsed(self, host: str, raw: bytes, taken_s: float) -> HostSnapshot:
        """The host's answer, with what only the configuration knows: who makes changes there."""
        act = self._ctx.settings.ssh.act
        acts_as = act.user if act is not None and not self._ctx.settings.host(host).local else None
        return replace(facts.parse(raw, host=host, taken_s=taken_s), acts_as=acts_as)

    def kills(self, snapshot: HostSnapshot) -> list[OomKill]:
        """The kills that the reading's kernel log shows, oldest first."""
        return merged(self.prints(snapshot))

    def prints(self, snapshot: HostSnapshot) -> list[OomKill]:
        """The kills as the log has printed them: a victim that its kernel counted twice is there twice."""
        log = snapshot.kernel_log
        detector = self._ctx.detectors.get(log.source or "")
        if detector is None:
            return []
        reader, parser = detector.reader(None), OomReportParser()
        found: list[OomKill] = []
        for line in log.lines:
            for item in reader.feed(line):
                if isinstance(item, Entry):
                    found += parser.feed(item) + parser.repeats()
        return found + parser.close()
