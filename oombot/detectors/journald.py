"""The systemd journal: everything after a cursor from all boots, then what comes."""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from oombot.framing.clock import HEADER_SH, HostClock, header, mark
from oombot.framing.records import JournalRecord, journal_record
from oombot.model import Command, Entry, Gap, Live

_REMEMBERED = 500  # cursors; the second phase begins a little before the end of the first
_HISTORY = "-30d"
_BEFORE_S = 60
_DRIFT_S = 120.0  # more than that is a host's clock that was set since

# "JOURNALCURSOR@SECONDS"; sd_journal_get_cursor() writes "s=…;i=…;b=…;m=…;t=…;x=…" in hexadecimal
_CURSOR = re.compile(r"(?P<journal>[0-9a-z;=]{20,400})@(?P<realtime_s>[0-9]{1,12})")

# Phase 1 asks inclusively: its first record proves that nothing was vacuumed in between. A cursor of another journal
# makes journalctl fail or stay silent, then the time of the cursor is asked for. Where the proof fails, the oldest
# entry of the system's journal tells whether the stretch since the host was last followed is still there. A journalctl
# that ends early (journald vacuums under its feet) is asked once more. -k would mean the current boot only; -f with a
# cursor shows ten lines, so phase 2 overlaps by time and the reader drops what it has given.
SCRIPT = (
    r"""main() {
LC_ALL=C PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
"""
    + HEADER_SH
    + r"""
if ! command -v journalctl >/dev/null 2>&1; then echo '@@problem journalctl is not installed'; exit 3; fi
read_all() { journalctl -q --no-pager -o json --all "$@" _TRANSPORT=kernel 2>/dev/null; }
oldest() {
  journalctl -q --no-pager --system -o json --output-fields=_BOOT_ID 2>/dev/null | head -n 1 |
    sed -n 's/.*"__REALTIME_TIMESTAMP" *: *"\([0-9]*\)[0-9]\{6\}".*/@@oldest \1/p'
}
after() { # the journal from the cursor on, on 4; how that went, on 3
  { read_all --cursor="$1"; echo "ended $?" >&3; } | {
    IFS= read -r line || { echo silent >&3; exit 0; }
    case $line in *"\"$1\""*) ;; *) oldest;; esac
    printf '%s\n' "$line"
    exec cat
  } >&4
}
exec 4>&1
status=0
if [ -n "$1" ]; then
  went=$(after "$1" 3>&1)
  case $went in *silent*|*'ended 0'*) ;; *) echo; went=$(after "$1" 3>&1);; esac
  case $went in
    *silent*) oldest; read_all --since="@$2"; status=$?;;
    *'ended 0'*) ;;
    *) echo; echo '@@gap journalctl ended before it had shown the whole journal';;
  esac
else
  read_all --since="$2"; status=$?
fi
if [ "$status" -ne 0 ]; then echo '@@problem journalctl can not read the journal'; exit 3; fi
echo @@live
exec journalctl -q --no-pager -o json --all -f --since=-15s _TRANSPORT=kernel 2>/dev/null
}
main "$@" </dev/null
"""
)
_OLDEST = re.compile(rb"@@oldest (?P<second>[0-9]{1,12})\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Journald:
    """The detector of systemd's journal."""

    name: str = "journald"
    words: tuple[str, ...] = (r"(?:[0-9a-z;=]{20,400})?", r"[0-9]{1,12}|-30d")

    def follow(self, cursor: str | None) -> Command:
        """Ask for what came after the cursor, for the last days on first contact, and then for what comes."""
        known = _CURSOR.fullmatch(cursor or "")
        if known is None:
            return Command(argv=("sh", "-s", "--", "", _HISTORY), stdin=SCRIPT)
        since_s = max(0, int(known["realtime_s"]) - _BEFORE_S)
        return Command(argv=("sh", "-s", "--", known["journal"], str(since_s)), stdin=SCRIPT)

    def reader(self, cursor: str | None) -> "JournalReader":
        """Read the output of `follow(cursor)`, or a bounded excerpt of the same form."""
        return JournalReader(cursor)


class JournalReader:
    """Journal lines become entries; a first record other than the cursor's own is a gap."""

    def __init__(self, cursor: str | None) -> None:
        """Begin after the cursor; None begins anywhere."""
        self._proof = _CURSOR.fullmatch(cursor or "")
        self._clock: HostClock | None = None
        self._kept_s: float | None = None  # since when the system's journal holds everything
        self._given: deque[int] = deque(
            maxlen=_REMEMBERED
        )  # hashes: cursors of a fleet would fill the memory

    def feed(self, line: bytes) -> Iterable[Entry | Gap | Live]:
        """Take one line; a journal line begins with a brace, so no log text can look like a mark."""
        if not line.startswith(b"{"):
            return self._control(line)
        record = journal_record(line)
        if record is None:
            return []
        gap = self._prove(record.cursor, record.realtime_s)
        entry = self._entry(record)
        return [*gap, *([entry] if entry is not None else [])]

    def _control(self, line: bytes) -> Iterable[Gap | Live]:
        if self._clock is None:
            self._clock = header(line)
            return []
        if (oldest := _OLDEST.fullmatch(line)) is not None:
            self._kept_s = float(oldest["second"])
            return []
        sign = mark(line)
        if isinstance(sign, Live):
            return [*self._prove(None, self._clock.now_s), sign]
        return [sign] if sign is not None else []

    def _prove(self, cursor: str | None, at_s: float | None) -> list[Gap]:
        proof, self._proof = self._proof, None
        if proof is None:
            return []
        if cursor == proof["journal"]:
            self._given.append(hash(proof["journal"]))
            return []
        since_s = float(proof["realtime_s"])
        until_s = at_s if at_s is not None and at_s >= since_s else None  # a clock was set: nobody knows
        reason = "the journal no longer holds the entry read last"
        return [Gap(reason=reason, since_s=since_s, until_s=until_s, kept_s=self._kept_s)]

    def _entry(self, record: JournalRecord) -> Entry | None:
        if record.cursor is not None:
            known = hash(record.cursor)
            if known in self._given:
                return None
            self._given.append(known)
        if not record.kernel or record.text is None:
            return None
        time_s, approximate = self._time(record)
        cursor = f"{record.cursor}@{int(record.realtime_s)}" if record.cursor and record.realtime_s else ""
        return Entry(
            text=record.text,
            mono_s=record.mono_s,
            time_s=time_s,
            approximate=approximate,
            cursor=cursor if _CURSOR.fullmatch(cursor) else None,  # one that can not be resumed from is none
            boot_id=record.boot_id,
            kernel=True,
        )

    def _time(self, record: JournalRecord) -> tuple[float | None, bool]:
        """__REALTIME_TIMESTAMP is when journald received the entry, minutes late where it started late; so in the
        host's present boot the kernel's own stamp is preferred. The kernel's clock drifts by seconds a week: where it
        says that the entry is a little younger than its reception, the reception is right. Of an earlier boot the
        start is not known."""
        clock = self._clock
        if clock is not None and clock.boot_id is not None and clock.boot_id == record.boot_id:
            time_s = clock.at(record.boottime_s if record.boottime_s is not None else record.mono_s)
            if time_s is not None:
                late_s = 0.0 if record.realtime_s is None else time_s - record.realtime_s
                return (record.realtime_s, False) if 0 < late_s < _DRIFT_S else (time_s, True)
        return record.realtime_s, False


DETECTOR = Journald()
