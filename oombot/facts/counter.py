"""The smallest question to a host: which boot, how long, and how many kills its kernel has counted since."""

from dataclasses import dataclass
from typing import Final

from oombot.facts.sections import decimal, integer, pairs, split, text

SCRIPT: Final = r"""main() {
boot='' up='' key='' value=''
{ read -r boot </proc/sys/kernel/random/boot_id; read -r up value </proc/uptime; } 2>/dev/null
printf '@@count\nboot_id %s\nuptime %s\n' "$boot" "$up"
while read -r key value; do case $key in oom_kill) echo "$key $value";; esac; done 2>/dev/null </proc/vmstat
echo @@end
}
main "$@" </dev/null
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """What the kernel counted; `oom_kill` is None before Linux 4.13, which does not count."""

    boot_id: str
    uptime_s: float
    oom_kill: int | None


def parse(raw: bytes) -> Counter | None:
    """Turn the answer into a count; None where it was cut or is something else."""
    sections = split(raw)
    said = pairs(sections.named.get("count", ()))
    boot_id, uptime_s = text(said.get(b"boot_id", b"")), decimal(said.get(b"uptime"))
    if sections.cut_in is not None or not boot_id or uptime_s is None:
        return None
    return Counter(boot_id=boot_id, uptime_s=uptime_s, oom_kill=integer(said.get(b"oom_kill")))
