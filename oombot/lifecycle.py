"""The states of a request and every move between them, as one table; the diagram in the docs is drawn from it.

    pending ─ approved ─ running ─ applied ─ verified | unverified | contradicted
       │         │          └ failed | unverified
       │         └ stale | expired | failed
       └ denied | expired | stale

A move that is not in the table does not exist. An undo is a new request that points back.
"""

from collections.abc import Mapping
from typing import Final

TRANSITIONS: Final[Mapping[str, frozenset[str]]] = {
    "pending": frozenset({"approved", "denied", "expired", "stale"}),
    "approved": frozenset({"running", "stale", "expired", "failed"}),
    "running": frozenset({"applied", "failed", "unverified"}),
    "applied": frozenset({"verified", "unverified", "contradicted"}),
    "verified": frozenset(),
    "unverified": frozenset(),
    "contradicted": frozenset(),
    "failed": frozenset(),
    "denied": frozenset(),
    "expired": frozenset(),
    "stale": frozenset(),
}

UNFINISHED: Final = ("approved", "running", "applied")  # what a restarted bot must look after
UNDOING: Final = (
    "pending",
    "approved",
    "running",
    "applied",
    "verified",
)  # an undo in these stands in the way
CHANGED: Final = ("verified", "unverified", "contradicted")  # the host may be changed: undo is offered

SAID: Final[Mapping[str, str]] = {
    "pending": "is waiting for a decision",
    "approved": "was already approved",
    "running": "is already running",
    "applied": "was already run",
    "verified": "was already run and verified",
    "unverified": "was already sent to the host; what came of it is not known",
    "contradicted": "was already run; the read-back did not show the wanted value",
    "failed": "has already failed",
    "denied": "was already denied",
    "expired": "has expired",
    "stale": "is stale and was not run",
}


def may_move(state_from: str, state_to: str) -> bool:
    """Whether the table has this move."""
    return state_to in TRANSITIONS.get(state_from, frozenset())
