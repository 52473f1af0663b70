"""The kernel's lines in a file that a syslog daemon writes; rotation is followed, truncation is a gap."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from oombot.framing.clock import HEADER_SH, HostClock, header, latest_syslog_time, mark
from oombot.framing.pasted import syslog_frame
from oombot.model import Command, Entry, Gap, Live

FILES = ("/var/log/kern.log", "/var/log/messages", "/var/log/syslog")
_PATHS = "|".join(re.escape(path) for path in FILES)
# "PATH:INODE:OFFSET"
_CURSOR = re.compile(rf"(?P<path>{_PATHS}):(?P<inode>[0-9]{{1,20}}):(?P<offset>[0-9]{{1,18}})")
# the script's word before each stretch of a file
_FROM = re.compile(rf"@@from (?P<path>{_PATHS}) (?P<inode>[0-9]{{1,20}}) (?P<offset>[0-9]{{1,18}})\s*")

# Each line of the log is prefixed, so that none can look like a mark. A stretch ends with a whole line: what the
# daemon has half written waits for the next look. First contact reads at most the last 8 MiB.
SCRIPT = (
    r"""main() {
LC_ALL=C PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin root=${4:-}
export LC_ALL PATH
"""
    + HEADER_SH
    + r"""
echo @@files
look() { set -- $(ls -Lin "$1" 2>/dev/null); inode=${1:-} size=${6:-0}; }
piece() { tail -c "+$(($2 + 1))" "$1" | head -c "$3"; }
stretch() { # file, its name in the cursor, inode, from, to
  length=$(($5 - $4))
  [ "$length" -gt 0 ] || return 0
  if [ -n "$(piece "$1" "$4" "$length" | tail -c 1)" ]; then
    length=$((length - $(piece "$1" "$4" "$length" | tail -n 1 | wc -c)))
  fi
  [ "$length" -gt 0 ] || return 0
  printf '@@from %s %s %s\n' "$2" "$3" "$4" || exit 0
  piece "$1" "$4" "$length" | sed 's/^/|/'
  from=$((from + length))
}
file=''
for name in "$1" /var/log/kern.log /var/log/messages /var/log/syslog; do
  if [ -n "$name" ] && [ -r "$root$name" ] && [ -f "$root$name" ]; then file=$name; break; fi
done
if [ -z "$file" ]; then echo '@@problem no kern.log, messages or syslog in /var/log can be read'; exit 3; fi
known='' from=0
if [ "$file" = "$1" ]; then known=$2 from=$3; fi
look "$root$file"
if [ -z "$known" ]; then
  known=$inode
  if [ "$size" -gt 8388608 ]; then from=$((size - 8388608)); fi
fi
live='' beat=0
while :; do
  look "$root$file"
  if [ -n "$inode" ] && [ "$inode" != "$known" ]; then
    now=$inode end=$size
    look "$root$file.1"
    if [ "$inode" = "$known" ]; then stretch "$root$file.1" "$file" "$inode" "$from" "$size"
    else echo '@@gap the log file was replaced and the old one is gone'; fi
    known=$now inode=$now size=$end from=0
  fi
  if [ -n "$inode" ]; then
    if [ "$size" -lt "$from" ]; then echo '@@gap the log file was truncated'; from=0; fi
    stretch "$root$file" "$file" "$inode" "$from" "$size"
  fi
  if [ -z "$live" ]; then echo @@live; live=yes; fi
  beat=$(((beat + 1) % 15))
  if [ "$beat" -eq 0 ]; then echo || exit 0; fi
  sleep 2
done
}
main "$@" </dev/null
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Syslog:
    """The detector of syslog files."""

    name: str = "syslog"
    words: tuple[str, ...] = (rf"(?:{_PATHS})?", r"[0-9]{0,20}", r"[0-9]{0,18}")

    def follow(self, cursor: str | None) -> Command:
        """Ask for the file from the cursor's place on, then look every two seconds."""
        known = _CURSOR.fullmatch(cursor or "")
        place = known.group("path", "inode", "offset") if known else ("", "", "")
        return Command(argv=("sh", "-s", "--", *place), stdin=SCRIPT)

    def reader(self, cursor: str | None) -> "SyslogReader":  # noqa: ARG002 — the script says where it begins
        """Read the output of `follow(cursor)`, or a bounded excerpt: the file's lines as they are."""
        return SyslogReader()


class SyslogReader:
    """Lines with the tag `kernel:` become entries. Any account may write that tag, so none is proved."""

    def __init__(self) -> None:
        """Begin at the place that the script names."""
        self._clock: HostClock | None = None
        self._files: bool | None = None
        self._place: tuple[str, str, int] | None = None

    def feed(self, line: bytes) -> Iterable[Entry | Gap | Live]:
        """Take one line; once files are announced only lines behind the prefix are the log's."""
        if self._clock is None and (clock := header(line)) is not None:
            self._clock = clock
            return []
        if self._files is None:
            self._files = line.rstrip() == b"@@files"
            if self._files:
                return []
        if not self._files:
            return self._entry(line)
        if line.startswith(b"|"):
            if self._place is not None:
                path, inode, offset = self._place
                self._place = (path, inode, offset + len(line))  # the prefix stands for the newline
            return self._entry(line[1:])
        if (begin := _FROM.fullmatch(line.decode("ascii", "replace"))) is not None:
            self._place = (begin["path"], begin["inode"], int(begin["offset"]))
            return []
        sign = mark(line)
        return [sign] if sign is not None else []

    def _entry(self, line: bytes) -> list[Entry]:
        frame = syslog_frame(line.decode("utf-8", "replace"))
        if frame is None:
            return []
        text, stamp, time_s, mono_s = frame
        if time_s is None and stamp:
            time_s = latest_syslog_time(stamp, self._clock or HostClock())
        cursor = ":".join(map(str, self._place)) if self._place is not None else None
        return [Entry(text=text, mono_s=mono_s, time_s=time_s, cursor=cursor)]


DETECTOR = Syslog()
