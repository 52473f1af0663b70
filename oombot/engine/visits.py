"""One person doing one thing in Slack: who, where, and the ways to answer them alone."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from oombot.model import Json
from oombot.proposals import Person

Say = Callable[[Json, bool], Awaitable[None]]  # an ephemeral view; true = in place of the one before
SayIn = Callable[[str, Json], Awaitable[None]]  # an ephemeral view in a channel


class Modal(Protocol):
    """A dialog of the person who pressed: opened at once, filled in later."""

    async def open(self, view: Json) -> None:
        """Open it; the trigger lives three seconds."""
        ...

    async def update(self, view: Json) -> None:
        """Replace its content."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One person doing one thing. `private` is what the dialog carries in which they pressed; "" outside of one."""

    person: Person
    channel_id: str
    say: Say
    modal: Modal
    private: str = ""
