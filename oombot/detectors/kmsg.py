"""/dev/kmsg, the kernel's own ring of records: a sequence number tells what was lost."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from oombot.framing.clock import BOOT_ID, HEADER_SH, HostClock, header, mark
from oombot.framing.records import KmsgRecord, kmsg_record
from oombot.model import Command, Entry, Gap, Live

# "BOOTID:SEQ"
_CURSOR = re.compile(rf"(?P<boot_id>{BOOT_ID}):(?P<seq>[0-9]{{1,19}})")

# dd reads what is there and ends. A reader that was overtaken gets EPIPE and ends: the device is opened again, which
# begins at the oldest record, and the reader of this output drops what it has. busybox's dd may
# have no nonblock. A quiet kernel would never tell cat that nobody listens: an empty line twice a minute does.
SCRIPT = (
    r"""main() {
LC_ALL=C PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
"""
    + HEADER_SH
    + r"""
if ! { : </dev/kmsg; } 2>/dev/null; then echo '@@problem /dev/kmsg can not be opened'; exit 3; fi
if dd if=/dev/null iflag=nonblock bs=1 count=0 2>/dev/null; then
  dd if=/dev/kmsg iflag=nonblock bs=8192 2>/dev/null
else
  timeout 2 cat /dev/kmsg 2>/dev/null
fi
echo @@live
trap '' PIPE
beat=0
while :; do
  cat /dev/kmsg 2>/dev/null &
  child=$!
  while sleep 3 && kill -0 "$child" 2>/dev/null; do
    beat=$(((beat + 1) % 10))
    if [ "$beat" -eq 0 ] && ! echo 2>/dev/null; then kill "$child"; exit 0; fi
  done
done
}
main "$@" </dev/null
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kmsg:
    """The detector of the kernel's ring buffer."""

    name: str = "kmsg"
    words: tuple[str, ...] = ()

    def follow(self, cursor: str | None) -> Command:  # noqa: ARG002 — the device can not begin in the middle
        """Ask for the whole ring and what comes: the device knows no other beginning."""
        return Command(argv=("sh", "-s"), stdin=SCRIPT)

    def reader(self, cursor: str | None) -> "KmsgReader":
        """Read the output of `follow(cursor)`, or a bounded excerpt of the same form."""
        return KmsgReader(cursor)


class KmsgReader:
    """Records become entries, each once; a jump in the sequence is a gap."""

    def __init__(self, cursor: str | None) -> None:
        """Begin after the cursor if the host has not been started anew since."""
        self._cursor = _CURSOR.fullmatch(cursor or "")
        self._clock: HostClock | None = None
        self._last: int | None = None
        self._gapless = False  # an excerpt may leave records out, a followed ring may not

    def feed(self, line: bytes) -> Iterable[Entry | Gap | Live]:
        """Take one line; a record begins with a digit, so no log text can look like a mark."""
        record = kmsg_record(line)
        if record is not None:
            return self._record(record)
        if self._clock is None:
            self._clock = header(line)
            return self._resume(self._clock) if self._clock is not None else []
        sign = mark(line)
        if sign is None:
            return []
        self._gapless = self._gapless or isinstance(sign, Live)
        return [sign]

    def _resume(self, clock: HostClock) -> list[Gap]:
        cursor = self._cursor
        if cursor is None:
            return []
        if clock.boot_id != cursor["boot_id"]:
            reason = "the host was started anew; what its kernel wrote last was not seen"
            return [Gap(reason=reason, until_s=clock.booted_s)]
        self._last, self._gapless = int(cursor["seq"]), True
        return []

    def _record(self, record: KmsgRecord) -> list[Entry | Gap | Live]:
        last = self._last
        if last is not None and record.seq <= last:
            return []
        self._last = record.seq
        given: list[Entry | Gap | Live] = []
        if self._gapless and last is not None and record.seq > last + 1:
            lost = record.seq - last - 1
            until_s = (self._clock or HostClock()).at(record.mono_s)
            reason = f"the kernel has overwritten {lost} records before they were read"
            given.append(Gap(reason=reason, until_s=until_s))
        if record.facility == 0:
            given.append(self._entry(record))
        return given

    def _entry(self, record: KmsgRecord) -> Entry:
        clock = self._clock or HostClock()
        time_s = clock.at(record.mono_s)
        return Entry(
            text=record.text,
            mono_s=record.mono_s,
            time_s=time_s,
            approximate=time_s is not None,
            cursor=f"{clock.boot_id}:{record.seq}" if clock.boot_id else None,
            boot_id=clock.boot_id,
            kernel=True,
        )


DETECTOR = Kmsg()
