"""The output of dmesg, asked for again and again: for hosts that offer neither a journal nor /dev/kmsg."""

import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from oombot.framing import Framing
from oombot.framing.clock import BOOT_ID, HEADER_SH, HostClock, header, mark
from oombot.model import Command, Entry, Gap, Live

_REMEMBERED = 30_000  # lines; a ring of 1 MiB holds fewer
# "BOOTID:SECONDS", the stamp of the last line given
_CURSOR = re.compile(rf"(?P<boot_id>{BOOT_ID}):(?P<mono_s>[0-9]{{1,12}}\.[0-9]{{1,6}})")

# Each line of the log is prefixed, so that none can look like a mark; -r shows the facility.
SCRIPT = (
    r"""main() {
LC_ALL=C PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
"""
    + HEADER_SH
    + r"""
raw=-r
dmesg -r >/dev/null 2>&1 || raw=''
if ! dmesg >/dev/null 2>&1; then echo '@@problem dmesg shows nothing to this account'; exit 3; fi
live=''
while :; do
  echo @@poll || exit 0
  dmesg $raw 2>/dev/null | sed 's/^/|/'
  if [ -z "$live" ]; then echo @@live; live=yes; fi
  sleep 5
done
}
main "$@" </dev/null
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dmesg:
    """The detector of dmesg's text."""

    name: str = "dmesg"
    words: tuple[str, ...] = ()

    def follow(self, cursor: str | None) -> Command:  # noqa: ARG002 — dmesg can not begin in the middle
        """Ask for the whole ring every five seconds."""
        return Command(argv=("sh", "-s"), stdin=SCRIPT)

    def reader(self, cursor: str | None) -> "DmesgReader":
        """Read the output of `follow(cursor)`, or a bounded excerpt: dmesg's lines as they are."""
        return DmesgReader(cursor)


class DmesgReader:
    """Lines become entries, each once, although every poll shows the whole ring."""

    def __init__(self, cursor: str | None) -> None:
        """Begin with the cursor's own line if the host has not been started anew since."""
        self._cursor = _CURSOR.fullmatch(cursor or "")
        self._clock: HostClock | None = None
        self._polled: bool | None = None
        self._framing = Framing()
        self._given: OrderedDict[int, None] = (
            OrderedDict()
        )  # hashes: the rings of a fleet would fill the memory
        self._times: dict[int, int] = {}
        self._fresh_poll = False
        self._from_s: float | None = None

    def feed(self, line: bytes) -> Iterable[Entry | Gap | Live]:
        """Take one line; once polls are announced only lines behind the prefix are the log's."""
        if self._clock is None and (clock := header(line)) is not None:
            self._clock, self._polled = clock, None  # what a login shell has said before decides nothing
            return self._resume(clock)
        poll = line.rstrip() == b"@@poll"
        problem = mark(line) if line.startswith(b"@@problem ") else None
        if self._polled is None and problem is None:
            self._polled = poll
        if not self._polled:
            return [problem] if problem is not None else self._entry(line)
        if line.startswith(b"|"):
            return self._once(line[1:])
        if poll:
            self._begin_poll()
        sign = mark(line)
        return [sign] if sign is not None else []

    def _resume(self, clock: HostClock) -> list[Gap]:
        if self._cursor is None:
            return []
        if clock.boot_id != self._cursor["boot_id"]:
            reason = "the host was started anew; what its kernel wrote last was not seen"
            return [Gap(reason=reason, until_s=clock.booted_s)]
        self._from_s = float(self._cursor["mono_s"])
        return []

    def _begin_poll(self) -> None:
        self._times = {}
        self._framing = Framing()
        self._fresh_poll = bool(self._given)

    def _once(self, line: bytes) -> list[Entry | Gap | Live]:
        """A line without a stamp may well come twice: it is known by how many equals stood before it."""
        known = hash(line)
        count = self._times[known] = self._times.get(known, 0) + 1
        here = hash((known, count))
        new = here not in self._given
        first, self._fresh_poll = self._fresh_poll, False
        if not new:
            self._framing.feed(line)  # a later line may be its second half
            return []
        self._given[here] = None
        if len(self._given) > _REMEMBERED:
            self._given.popitem(last=False)
        gap: list[Entry | Gap | Live] = []
        if first:
            gap = [Gap(reason="the kernel's ring was overwritten between two looks at it")]
        return gap + self._entry(line)

    def _entry(self, line: bytes) -> list[Entry | Gap | Live]:
        entry = self._framing.feed(line)
        if entry is None or entry.kernel is False:
            return []
        if self._from_s is not None and entry.mono_s is not None and entry.mono_s < self._from_s:
            return []
        clock = self._clock or HostClock()
        time_s = clock.at(entry.mono_s)
        known = clock.boot_id is not None and entry.mono_s is not None
        return [
            Entry(
                text=entry.text,
                mono_s=entry.mono_s,
                time_s=time_s,
                approximate=time_s is not None,
                cursor=f"{clock.boot_id}:{entry.mono_s:.6f}" if known else None,
                boot_id=clock.boot_id,
                kernel=entry.kernel,
            )
        ]


DETECTOR = Dmesg()
