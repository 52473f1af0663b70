"""The shape of a detector: what a log source must offer, and nothing about any one source."""

from collections.abc import Iterable
from typing import Protocol

from oombot.model import Command, Entry, Gap, Live


class Reader(Protocol):
    """Reads one run of a detector's command, line by line, and remembers what it has already given."""

    def feed(self, line: bytes) -> Iterable[Entry | Gap | Live]:
        """Take one line of output; give entries not given before, gaps, and Live once it has caught up."""
        ...


class Detector(Protocol):
    """A log source. Framing differs per source, the grammar of a report does not (oom_report.py)."""

    @property
    def name(self) -> str:
        """Equal to the file name."""
        ...

    @property
    def words(self) -> tuple[str, ...]:
        """The form of each word that `follow` gives its script: the installed read helper lets no other pass."""
        ...

    def follow(self, cursor: str | None) -> Command:
        """Ask for everything after `cursor` (None: everything there is), then for what comes, for ever."""
        ...

    def reader(self, cursor: str | None) -> Reader:
        """Start reading the output of `follow(cursor)`."""
        ...
