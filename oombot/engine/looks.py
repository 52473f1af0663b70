"""Looking at a host after its kills: one reading serves all the cards that wait for it."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from oombot.engine.context import Context
from oombot.engine.readings import Readings
from oombot.errors import HostError
from oombot.model import Draft, HostSnapshot, Incident

LOOKS_S = (0.0, 10.0, 60.0)  # after a kill: how is the host, is the victim back, is it still up
APART_S = 5.0  # between two readings for cards
AGAIN_S, TRIES = 15.0, 20  # a silent host is tried again, for five minutes


class Drawing(Protocol):
    """What draws an incident's card."""

    async def earlier(self, host: str) -> Sequence[Incident]:
        """The host's kills of late."""
        ...

    async def draft(
        self,
        incident: Incident,
        *,
        snapshot: HostSnapshot | None,
        replayed: bool = False,
        unread: str = "",
        earlier: Sequence[Incident] | None = None,
    ) -> Draft:
        """The card as a message."""
        ...


class Looks:
    """The cards of one host that are still being filled in."""

    def __init__(
        self, context: Context, readings: Readings, drawing: Drawing, host: str, *, again_s: float
    ) -> None:
        """Wait for the first kill."""
        self._again_s, self._apart_s = again_s, min(APART_S, again_s)
        self._ctx, self._readings, self._drawing, self._host = context, readings, drawing, host
        self._due: dict[str, tuple[float, int, int]] = {}  # incident → next look, looks done, tries failed
        self._news = asyncio.Event()
        self._running = False
        self._looked_s = float("-inf")
        self._last: HostSnapshot | None = None  # about_kill ignores one from before the kill

    def add(self, incident_id: str) -> None:
        """Look at once, and again later."""
        self._due[incident_id] = (self._ctx.clock() + LOOKS_S[0], 0, 0)
        self._news.set()
        if not self._running:
            self._running = True
            self._ctx.spawn(self._run())

    async def _run(self) -> None:
        try:
            while self._due:
                await self._wait()
                try:
                    await self._look()
                except Exception:  # a full disk, say: the cards stay due
                    self._ctx.log(host=self._host).exception("look_failed")
                    await asyncio.sleep(self._again_s)
        finally:
            self._running = False
            self._last = None

    async def _wait(self) -> None:
        """Sleep until the next look is due, or until there is another kill; a starving host is not hammered."""
        self._news.clear()
        now = self._ctx.clock()
        if now < self._looked_s:  # the clock was set back: no card waits for as long as that
            self._looked_s = float("-inf")
            self._due = {one: (min(at, now), looks, tries) for one, (at, looks, tries) in self._due.items()}
        due = max(min(at for at, _, _ in self._due.values()), self._looked_s + self._apart_s)
        if due > now:
            try:
                async with asyncio.timeout(due - now):
                    await self._news.wait()
            except TimeoutError:
                return

    async def _look(self) -> None:
        now = self._ctx.clock()
        due = [incident_id for incident_id, (at, _, _) in self._due.items() if at <= now]
        if not due or now < self._looked_s + self._apart_s:
            return
        self._looked_s = now
        snapshot, problem = await self._read()
        self._last = snapshot or self._last
        earlier = await self._drawing.earlier(self._host)
        for incident_id in due:
            if snapshot is not None or self._due[incident_id][2] + 1 >= TRIES:
                await self._draw(incident_id, earlier, unread=problem)
            self._move_on(incident_id, read=snapshot is not None)

    async def _read(self) -> tuple[HostSnapshot | None, str]:
        try:
            return await self._readings.now(self._host), ""
        except HostError as error:
            self._ctx.log(host=self._host).warning("not_enriched", error=str(error))
            return None, str(error)

    def _move_on(self, incident_id: str, *, read: bool) -> None:
        """Plan the next look; a host that has been silent for too long gets none."""
        _, looks, tries = self._due.pop(incident_id)
        now = self._ctx.clock()
        if read and looks + 1 < len(LOOKS_S):
            self._due[incident_id] = (now + LOOKS_S[looks + 1] - LOOKS_S[looks], looks + 1, 0)
        elif not read and tries + 1 < TRIES:
            self._due[incident_id] = (now + self._again_s, looks, tries + 1)

    async def _draw(self, incident_id: str, earlier: Sequence[Incident], *, unread: str) -> None:
        incident = await self._ctx.store.incident(incident_id)  # a second print may have told more since
        if incident is None:
            return
        try:
            draft = await self._drawing.draft(incident, snapshot=self._last, unread=unread, earlier=earlier)
        except Exception:
            self._ctx.log(host=self._host, incident=incident_id).exception("card_not_drawn")
            return
        await self._ctx.store.put_messages([draft])
        self._ctx.wake.set()
