"""The card of a kill: posted from the log at once, then edited as the host tells more."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from oombot import triage
from oombot.engine import plans
from oombot.engine.context import Context
from oombot.engine.drafts import incident_key
from oombot.engine.looks import AGAIN_S, Looks
from oombot.engine.readings import Readings
from oombot.errors import HostError, RefusedError, UnknownHostError
from oombot.following import STORM, Card, Digest
from oombot.model import Draft, Gap, HostSnapshot, Incident
from oombot.remediations.shape import Remediation

EARLIER_S = 7 * 86400.0
RECENT_S = 600.0
RECENT_KILLS = 200
TIERS = ("green", "amber", "red", "black")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A remedy worth a button under a card."""

    remediation: str
    params: Any
    title: str
    rank: tuple[bool, int, str] = (True, 0, "")


class Cards:
    """Draws incident cards from what is stored and what the host says now."""

    def __init__(self, context: Context, readings: Readings, *, again_s: float = AGAIN_S) -> None:
        """Take the shared parts; a silent host is looked at again after `again_s`."""
        self._ctx, self._readings, self._again_s = context, readings, again_s
        self._looks: dict[str, Looks] = {}
        # per host, what was proved on its last reading: a storm of kills asks the host once
        self._proved: dict[str, tuple[HostSnapshot, dict[tuple[str, Any], Offer | None]]] = {}
        self._recent: dict[str, deque[float]] = {}  # when the last kills of a channel were seen

    async def draft(
        self,
        incident: Incident,
        *,
        snapshot: HostSnapshot | None,
        replayed: bool = False,
        unread: str = "",
        earlier: Sequence[Incident] | None = None,
    ) -> Draft:
        """The card as a message; without a snapshot it says what the log alone says, and `unread` why."""
        if earlier is None:
            earlier = await self.earlier(incident.host)
        offers = [] if snapshot is None else await self.offers(incident, snapshot)
        return self._drawn(
            incident, snapshot=snapshot, replayed=replayed, unread=unread, earlier=earlier, offers=offers
        )

    def _drawn(
        self,
        incident: Incident,
        *,
        snapshot: HostSnapshot | None,
        replayed: bool,
        unread: str,
        earlier: Sequence[Incident],
        offers: Sequence[Offer] = (),
    ) -> Draft:
        story = self._story(incident, snapshot=snapshot, unread=unread, earlier=earlier)
        view = self._ctx.views.incident(
            story,
            incident_id=incident.id,
            mode=self._ctx.settings.mode,
            late=story.late,
            replayed=replayed or (snapshot is not None and snapshot.replayed),
            offers=[(offer.remediation, offer.title) for offer in offers],
            runbook=self._runbook(incident.host),
        )
        return Draft(key=incident_key(incident.id), channel=incident.channel, view=view)

    async def earlier(self, host: str) -> Sequence[Incident]:
        """The host's kills of late, to tell recurrence."""
        since = self._ctx.clock() - EARLIER_S
        return await self._ctx.store.incidents(host, since_s=since, limit=RECENT_KILLS)

    async def story(
        self,
        incident: Incident,
        *,
        snapshot: HostSnapshot | None,
        unread: str = "",
        earlier: Sequence[Incident] | None = None,
    ) -> triage.KillStory:
        """The kill in sentences, with the earlier kills of its host."""
        if earlier is None:
            earlier = await self.earlier(incident.host)
        return self._story(incident, snapshot=snapshot, unread=unread, earlier=earlier)

    @staticmethod
    def _story(
        incident: Incident, *, snapshot: HostSnapshot | None, unread: str, earlier: Sequence[Incident]
    ) -> triage.KillStory:
        return triage.about_kill(
            incident.kill,
            host=incident.host,
            snapshot=snapshot,
            earlier=[other.kill for other in earlier if other.id != incident.id and _before(other, incident)],
            seen_s=incident.seen_s,
            unread=unread,
        )

    async def card(self, incident: Incident, *, replayed: bool) -> Card:
        """What draws the card from the log alone, should the store decide that this kill gets one.

        A kill whose card can not be drawn is told in plain words, never lost.
        """
        # in a storm it is drawn by chance only, and filled in then
        earlier = () if self._storm(incident) else await self.earlier(incident.host)

        def drawn() -> Draft:
            try:
                return self._drawn(incident, snapshot=None, replayed=replayed, unread="", earlier=earlier)
            except Exception:
                self._ctx.log(host=incident.host, incident=incident.id).exception("card_not_drawn")
                text = f"OOM kill on {incident.host}: pid {incident.kill.pid}. Its card could not be drawn."
                view = self._ctx.views.notice(text, fix=f"/oom {incident.host}")
                return Draft(key=incident_key(incident.id), channel=incident.channel, view=view)

        return drawn

    def _storm(self, incident: Incident) -> bool:
        """Whether this kill most likely goes into a digest; the store decides."""
        recent = self._recent.setdefault(incident.channel, deque(maxlen=STORM.cards))
        storm = len(recent) == STORM.cards and incident.seen_s - recent[0] <= STORM.within_s
        recent.append(incident.seen_s)
        return storm

    def digest(self, digest: Digest) -> Draft:
        """The kills of a storm in one message, in plain words where they can not be drawn."""
        try:
            view = self._ctx.views.digest(digest)
        except Exception:
            self._ctx.log(key=digest.key).exception("digest_not_drawn")
            text = f"{digest.kills} OOM kills on {digest.hosts} hosts. Their list could not be drawn."
            view = self._ctx.views.notice(text, fix="/oom HOST")
        return Draft(key=digest.key, channel=digest.channel, view=view)

    def enrich(self, incident: Incident) -> None:
        """Fill the card in from readings of the host: at once, after 10 s, after 60 s."""
        looks = self._looks.get(incident.host)
        if looks is None:
            looks = self._looks[incident.host] = Looks(
                self._ctx, self._readings, self, incident.host, again_s=self._again_s
            )
        looks.add(incident.id)

    async def recover(self) -> None:
        """After a restart: go on with the cards that were still being filled in."""
        since = self._ctx.clock() - RECENT_S
        for incident in await self._ctx.store.incidents(limit=RECENT_KILLS):
            if incident.message_key == incident_key(incident.id) and incident.seen_s > since:
                self.enrich(incident)

    async def gap(self, host: str, gap: Gap, *, name: str) -> None:
        """Say that a stretch of a host's log was not seen; `name` is the gap's own, so that it is said once."""
        key = f"gap:{host}:{name}"
        if await self._ctx.store.message(key) is not None:
            return  # read again: it ended when it was told
        draft = Draft(
            key=key,
            channel=self._ctx.settings.channel(host),
            view=self._ctx.views.host_gap(host, gap.reason, since_s=gap.since_s, until_s=gap.until_s),
        )
        await self._ctx.store.put_messages([draft])
        self._ctx.wake.set()

    async def offers(self, incident: Incident, snapshot: HostSnapshot, *, only: str = "") -> list[Offer]:
        """What remediations suggest for this kill and could do right now, each proved by a whole plan.

        What mends the cause comes before a mitigation, and the lesser risk before the greater. With `only` no other
        remedy is looked at, since each look is a visit to the host.
        """
        known = self._proved.get(incident.host)
        if known is None or known[0] is not snapshot:
            known = self._proved[incident.host] = (snapshot, {})
        found = []
        for name, remediation in self._ctx.remediations.items():
            params = remediation.suggest(incident.kill, snapshot) if only in ("", name) else None
            if params is not None:
                try:
                    if (name, params) not in known[1]:
                        known[1][name, params] = await self._proof(remediation, params, snapshot)
                except HostError:
                    break  # a host that thrashes is not asked once more for each remedy
                found.append(known[1][name, params])
        return sorted((offer for offer in found if offer is not None), key=lambda offer: offer.rank)

    async def _proof(self, remediation: Remediation, params: Any, snapshot: HostSnapshot) -> Offer | None:
        """The offer of a whole plan; None where it can not be made now. HostError where the host does not tell."""
        try:
            closer = await self._readings.closer(snapshot, remediation.look(params, snapshot))
            plan = plans.make(remediation, params, closer, self._ctx.settings.policy, tag="suggested")
        except RefusedError:
            return None
        rank = (plan.mitigation, TIERS.index(plan.risk), remediation.name)
        return Offer(remediation=remediation.name, params=params, title=plan.title, rank=rank)

    def _runbook(self, host: str) -> str | None:
        """The link of the host's group; a kill of a host that was taken out since has none."""
        try:
            return self._ctx.settings.runbook(host)
        except UnknownHostError:
            return None


def _before(other: Incident, incident: Incident) -> bool:
    mine, theirs = incident.kill.time_s, other.kill.time_s
    return other.seen_s <= incident.seen_s if mine is None or theirs is None else theirs <= mine
