"""The audit trail as a whole: checked from its first line on, and as JSON lines for whoever keeps it elsewhere."""

import json
from collections.abc import AsyncIterator

from oombot import trail
from oombot.ports import Store
from oombot.proposals import TrailLine
from oombot.trail import Fault

_AT_ONCE = 1000


async def lines(store: Store) -> AsyncIterator[TrailLine]:
    """Every line, oldest first."""
    after = 0
    while some := await store.trail(after=after, limit=_AT_ONCE):
        for line in some:
            yield line
        after = some[-1].seq


async def verify(store: Store, *, kept: str = "") -> list[Fault]:
    """What is wrong with the chain; empty = every line stands as it was written, and none is missing.

    `kept`: a hash that was kept elsewhere (the log has each one); a chain that was made anew lacks it.
    """
    head = await store.trail_head()  # first: a line that is written meanwhile is no fault
    found = [line async for line in lines(store) if head is None or line.seq <= head[0]]
    faults = list(trail.faults(found, head))
    if kept and not any(line.hash == kept for line in found):
        faults.append(Fault(seq=0, what=f"no line has the hash {kept}, which was kept elsewhere"))
    return faults


async def export(store: Store) -> AsyncIterator[str]:
    """Every line as one JSON object, oldest first."""
    async for line in lines(store):
        yield json.dumps(trail.exported(line), sort_keys=True)
