"""The card of a kill: posted from the log at once, then edited as the host tells more."""

import asyncio

from oombot import triage
from oombot.engine.context import Context
from oombot.engine.drafts import incident_key
from oombot.engine.readings import Readings
from oombot.errors import HostError, RefusedError
from oombot.model import Draft, Gap, HostSnapshot, Incident

LOOKS_S = (0.0, 10.0, 60.0)  # when the host is read again after a kill: at once, restarted?, still up?
EARLIER_S = 7 * 86400.0
RECENT_S = 600.0


class Cards:
    """Draws incident cards from what is stored and what the host says now."""

    def __init__(self, context: Context, readings: Readings) -> None:
        """Take the shared parts."""
        self._ctx, self._readings = context, readings

    async def draft(
        self, incident: Incident, *, snapshot: HostSnapshot | None, replayed: bool = False
    ) -> Draft:
        """The card as a message; without a snapshot it says what the log alone says."""
        story = await self.story(incident, snapshot=snapshot)
        view = self._ctx.views.incident(
            story,
            incident_id=incident.id,
            mode=self._ctx.settings.mode,
            late=story.late,
            replayed=replayed or (snapshot is not None and snapshot.replayed),
            suggestion=self._suggestion(incident, snapshot),
        )
        return Draft(key=incident_key(incident.id), channel=incident.channel, view=view)

    async def story(self, incident: Incident, *, snapshot: HostSnapshot | None) -> triage.KillStory:
        """The kill in sentences, with the earlier kills of its host."""
        earlier = await self._ctx.store.incidents(incident.host, since_s=incident.seen_s - EARLIER_S)
        return triage.about_kill(
            incident.kill,
            host=incident.host,
            snapshot=snapshot,
            earlier=[other.kill for other in earlier if other.id != incident.id and _before(other, incident)],
            seen_s=incident.seen_s,
        )

    async def enrich(self, incident: Incident) -> None:
        """Read the host a few times after the kill and edit the card; a host that is silent leaves it as it is."""
        for wait_s in LOOKS_S:
            await asyncio.sleep(wait_s)
            try:
                snapshot = await self._readings.now(incident.host)
            except HostError as error:
                self._ctx.log(host=incident.host, incident=incident.id).warning(
                    "not_enriched", error=str(error)
                )
                continue
            known = (
                await self._ctx.store.incident(incident.id) or incident
            )  # a second print may have told more
            await self._ctx.store.put_messages([await self.draft(known, snapshot=snapshot)])
            self._ctx.wake.set()

    async def recover(self) -> None:
        """After a restart: go on with the cards that were still being filled in."""
        since = self._ctx.clock() - RECENT_S
        for incident in await self._ctx.store.incidents(since_s=since):
            if not incident.history and incident.seen_s > since:
                self._ctx.spawn(self.enrich(incident))

    async def gap(self, host: str, gap: Gap) -> None:
        """Say that a stretch of a host's log was not seen: silence would claim that nothing happened."""
        draft = Draft(
            key=f"gap:{host}:{self._ctx.new_id()}",
            channel=self._ctx.settings.channel(host),
            view=self._ctx.views.host_gap(host, gap.reason, since_s=gap.since_s),
        )
        await self._ctx.store.put_messages([draft])
        self._ctx.wake.set()

    def suggested(self, incident: Incident, snapshot: HostSnapshot) -> tuple[str, object] | None:
        """The first remediation that offers something for this kill: (name, params)."""
        for name, remediation in self._ctx.remediations.items():
            params = remediation.suggest(incident.kill, snapshot)
            if params is not None:
                return name, params
        return None

    def _suggestion(self, incident: Incident, snapshot: HostSnapshot | None) -> str | None:
        if snapshot is None:
            return None
        found = self.suggested(incident, snapshot)
        if found is None:
            return None
        name, params = found
        remediation = self._ctx.remediations[name]
        try:
            return remediation.title(params, remediation.inspect(params, snapshot))
        except RefusedError:
            return None


def _before(other: Incident, incident: Incident) -> bool:
    mine, theirs = incident.kill.time_s, other.kill.time_s
    return other.seen_s <= incident.seen_s if mine is None or theirs is None else theirs <= mine
