"""Where each host's log has been read to: in memory, and in the store a little later or at once."""

import asyncio

from oombot.engine.context import Context
from oombot.engine.timing import Timing
from oombot.following import Position


class Positions:
    """Positions that only say "nothing happened until here" are stored together, now and then.

    What a crash makes of that: a stretch is read again, and its kills are recognised by the store.
    """

    def __init__(self, context: Context, timing: Timing) -> None:
        """Know nothing yet."""
        self._ctx, self._timing = context, timing
        self._known: dict[str, Position] = {}
        self._loaded = False
        self._moved: set[str] = set()

    async def load(self) -> None:
        """Take all that is stored, in one look."""
        for position in await self._ctx.store.positions():
            self._known.setdefault(position.host, position)
        self._loaded = True

    async def of(self, host: str) -> Position | None:
        """How far a host was read; None for one never seen."""
        known = self._known.get(host)
        return known if known is not None or self._loaded else await self._ctx.store.position(host)

    async def save(self, position: Position) -> None:
        """Store it before going on."""
        await self._ctx.store.save_position(position)
        self.stored(position)

    def storing(self, host: str) -> None:
        """It is about to be stored together with kills: what was noted until now must not be stored after that."""
        self._moved.discard(host)

    def stored(self, position: Position) -> None:
        """It was stored together with kills."""
        self._known[position.host] = position
        self._moved.discard(position.host)

    def moved(self, position: Position) -> None:
        """Store it with the others, soon."""
        self._known[position.host] = position
        self._moved.add(position.host)

    async def run(self) -> None:
        """Store what has moved, for ever."""
        while True:
            await asyncio.sleep(self._timing.save_every)
            moved, self._moved = self._moved, set()
            if moved:
                try:
                    await self._ctx.store.save_positions([self._known[host] for host in sorted(moved)])
                except Exception:
                    self._moved |= moved
                    self._ctx.log().exception("positions_not_saved")
