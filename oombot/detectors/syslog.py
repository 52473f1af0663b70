"""The kernel's lines in a file that a syslog daemon writes; rotation is followed, truncation is a gap."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from oombot.framing.clock import HEADER_SH, HostClock, header, latest_syslog_time, mark
from oombot.framing.pasted import syslog_frame
from oombot.model import Command, Entry, Gap, Live

FILES = ("/var/log/kern.log", "/var/log/messages", "/var/log/syslog")
_PATHS = "|".join(re.escape(path) for path in FILES)
# which file it is: "INODE.HEAD", where HEAD is the cksum of its first line, at most 256 bytes of it; an oombot before
# 0.2 wrote the inode alone
_FILE = r"[0-9]{1,20}(?:\.[0-9]{1,10})?"
# "PATH:FILE:OFFSET". The installed read helper checks these three words by the same patterns.
_CURSOR = re.compile(rf"(?P<path>{_PATHS}):(?P<file>{_FILE}):(?P<offset>[0-9]{{1,18}})")
# the script's word before each stretch of a file
_FROM = re.compile(rf"@@from (?P<path>{_PATHS}) (?P<file>{_FILE}) (?P<offset>[0-9]{{1,18}})\s*")

# Each line of the log is prefixed, so that none can look like a mark. A stretch ends with a whole line: what the
# daemon has half written waits for the next look. First contact reads at most the last 8 MiB. The same inode may be
# another file by now, and a copy has another inode: the first line tells them apart. What was rotated, by renaming or
# by copying, is read to its end while it is not compressed.
SCRIPT = (
    r"""main() {
LC_ALL=C PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin root=${4:-}
export LC_ALL PATH
"""
    + HEADER_SH
    + r"""
echo @@files
look() { set -- $(ls -Lin "$1" 2>/dev/null); inode=${1:-} size=${6:-0}; }
first() { set -- $(head -n 1 "$1" 2>/dev/null | head -c 256 | cksum); head=$1; }
piece() { tail -c "+$(($2 + 1))" "$1" | head -c "$3"; }
stretch() { # file, its name in the cursor, which file it is, from, to
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
known='' head_known='' from=0
if [ "$file" = "$1" ]; then
  known=${2%%.*} from=$3
  case $2 in *.*) head_known=${2#*.};; esac
fi
look "$root$file"
if [ -z "$known" ]; then
  known=$inode
  if [ "$size" -gt 8388608 ]; then from=$((size - 8388608)); fi
fi
same_head() { [ "$from" -eq 0 ] || [ -z "$head_known" ] || [ "$head" = "$head_known" ]; }
replaced() { # what is left of the file that was there before
  look "$root$file.1"
  first "$root$file.1"
  if [ -n "$inode" ] && [ "$size" -ge "$from" ] && same_head &&
    { [ "$inode" = "$known" ] || { [ "$from" -gt 0 ] && [ -n "$head_known" ]; }; }; then
    stretch "$root$file.1" "$file" "$inode.$head" "$from" "$size"
  elif [ "$now" = "$known" ]; then echo '@@gap the log file was truncated'
  else echo '@@gap the log file was replaced and the old one is gone'; fi
  known=$now from=0
}
live='' beat=0
while :; do
  look "$root$file"
  if [ -n "$inode" ] && { [ "$inode" != "$known" ] || [ "$size" -ne "$from" ]; }; then
    now=$inode end=$size
    first "$root$file"
    if [ "$now" != "$known" ] || [ "$end" -lt "$from" ] || ! same_head; then replaced; first "$root$file"; fi
    head_known=$head
    stretch "$root$file" "$file" "$now.$head" "$from" "$end"
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
    words: tuple[str, ...] = (rf"(?:{_PATHS})?", rf"(?:{_FILE})?", r"[0-9]{0,18}")

    def follow(self, cursor: str | None) -> Command:
        """Ask for the file from the cursor's place on, then look every two seconds."""
        known = _CURSOR.fullmatch(cursor or "")
        place = known.group("path", "file", "offset") if known else ("", "", "")
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
            self._clock, self._files = clock, None  # what a login shell has said before decides nothing
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
            self._place = (begin["path"], begin["file"], int(begin["offset"]))
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
