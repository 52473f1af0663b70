"""What doctor asks a host: its account, kernel settings, log sources and rights; one constant script and its parser.

POSIX sh, run by dash, bash and busybox alike: one function called in the last line, so that half a script runs
nothing. It only reads; `@@end` proves that all arrived. Whether sudo may be used is asked by `sudo -n -l`, which runs
nothing; it is never waited for before the rest is told.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from oombot.facts.sections import integer, pairs, split, text
from oombot.model import Command

SCRIPT: Final = r"""main() {
LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin SYSTEMD_PAGER=
export LC_ALL PATH SYSTEMD_PAGER
asked='' line='' key='' dir='' type='' options='' why='' value=''
say() { printf '%s %s\n' "$1" "$2"; }
first() { line=''; { IFS= read -r line <"$2"; } 2>/dev/null; [ -z "$line" ] || say "$1" "$line"; }
there() {
  dir=${2%/*}
  if [ -e "$2" ]; then say "$1" yes; elif [ -e "$dir" ] && [ ! -x "$dir" ]; then say "$1" hidden; else say "$1" no; fi
}
if command -v sudo >/dev/null 2>&1; then { sudo -n -l; exit; } >/dev/null 2>&1 & asked=$!; fi
echo @@host
say now "$(date +%s)"
say user "$(id -un 2>/dev/null)"
say uid "$(id -u 2>/dev/null)"
say groups "$(id -Gn 2>/dev/null)"
first kernel /proc/sys/kernel/osrelease
say machine "$(uname -m)"
first init /proc/1/comm
if [ -d /run/systemd/system ]; then
  systemctl --version 2>/dev/null | { IFS= read -r line; say systemd "$line"; }
  for key in systemd-oomd earlyoom nohang nohang-desktop; do
    say "killer_$key" "$(systemctl is-active "$key.service" 2>/dev/null)"
  done
fi
say python "$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)"
echo @@kernel
for key in vm.overcommit_memory vm.overcommit_ratio vm.panic_on_oom vm.oom_kill_allocating_task vm.oom_dump_tasks \
  vm.swappiness kernel.panic kernel.dmesg_restrict; do
  first "$key" "/proc/sys/${key%%.*}/${key#*.}"
done
while read -r key value _; do
  case $key in MemTotal:|SwapTotal:|SwapFree:|CommitLimit:|Committed_AS:) say "$key" "$value";; esac
done 2>/dev/null </proc/meminfo
while read -r key value; do case $key in oom_kill) say oom_kill "$value";; esac; done 2>/dev/null </proc/vmstat
if [ ! -e /proc/pressure/memory ]; then say psi no
elif { IFS= read -r line </proc/pressure/memory; } 2>/dev/null; then say psi yes
else say psi off; fi
while read -r _ dir type options _; do
  case $type in
    cgroup2) say cgroup2 "$dir"; first controllers "$dir/cgroup.controllers";;
    cgroup) case ",$options," in *,memory,*) say cgroup1 "$dir";; esac;;
    proc) if [ "$dir" = /proc ]; then say proc "$options"; fi;;
  esac
done 2>/dev/null </proc/mounts
echo @@logs
if ! command -v journalctl >/dev/null 2>&1; then say journald 'journalctl is not installed'
else
  line=$(journalctl -q --no-pager -o json -n 1 _TRANSPORT=kernel 2>/dev/null | head -c 1)
  if [ "$line" = '{' ]; then say journald ok; else say journald 'no kernel entry is visible to this account'; fi
  there journal_kept /var/log/journal
fi
why=$(dd if=/dev/kmsg of=/dev/null iflag=nonblock bs=8192 count=1 2>&1) && why=ok
say kmsg "${why%%
*}"
why=$(dmesg 2>&1 | head -n 1)
case $why in '['*|'<'*|' '*) why=ok;; '') why='the ring buffer is empty';; esac
say dmesg "$why"
why=''
for line in /var/log/kern.log /var/log/messages /var/log/syslog; do
  if [ -r "$line" ] && [ -s "$line" ]; then why=ok; say syslog_file "$line"; break
  elif [ -e "$line" ]; then why="$line is there, but this account may not read it"; fi
done
say syslog "${why:-no kern.log, messages or syslog in /var/log}"
echo @@helpers
there read_helper /usr/local/libexec/oombot-read
there act_helper /usr/local/libexec/oombot-helper
there policy /etc/oombot/policy.json
there frozen /etc/oombot/frozen
echo @@sudo
if [ -z "$asked" ]; then say sudo missing
else
  line=''
  read -r _ _ line _ 2>/dev/null </proc/$asked/stat
  case $line in
    ''|Z) if wait "$asked"; then say sudo yes
        sudo -n -l 2>/dev/null | while read -r line; do case $line in '('*) say may "$line";; esac; done
      else say sudo no; fi;;
    *) say sudo slow;;
  esac
fi
echo @@end
}
main "$@" </dev/null
"""

_VERSION = re.compile(r"systemd (?P<major>[0-9]{1,4})(?:\s|$)")
_HIDEPID = re.compile(r"(?:^|,)hidepid=(?P<value>[a-z0-9]{1,12})(?:,|$)")
_SOURCES: Final = ("journald", "kmsg", "dmesg", "syslog")  # in the order in which a reading tries them
_ROOT_RULE = re.compile(
    r"\((?:ALL|root)(?: ?: ?[A-Za-z]+)?\) (?:[A-Z_]+: ?)*NOPASSWD: (?:[A-Z_]+: ?)*ALL(?:$|,)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What a host says about itself; None and empty where it did not say."""

    now_s: float | None = None
    user: str = ""
    uid: int | None = None
    groups: tuple[str, ...] = ()
    kernel: str = ""
    machine: str = ""
    init: str = ""
    systemd: int | None = None
    python: str = ""
    other_killers: tuple[str, ...] = ()  # userspace killers that are active
    numbers: Mapping[str, int]  # vm.overcommit_memory, MemTotal:, oom_kill, …
    psi: str = ""  # yes, no (not built in), off (built in, switched off)
    cgroup2: str = ""
    controllers: tuple[str, ...] = ()
    cgroup1: str = ""
    hidepid: str = ""
    sources: Mapping[str, str]  # log source → "ok" or why not, in the order of a reading
    journal_kept: bool | None = None  # whether the journal outlives a reboot
    read_helper: bool | None = None
    act_helper: bool | None = None
    policy: bool | None = None
    frozen: bool | None = None
    sudo: str = ""  # yes, no, missing, slow
    sudo_rules: tuple[str, ...] = ()
    cut: bool = False  # the answer ended early: what is missing is unknown, not absent

    @property
    def any_root(self) -> bool:
        """Whether sudo lets this account run anything as root without a password."""
        return any(_ROOT_RULE.search(rule) for rule in self.sudo_rules)


def ask() -> Command:
    """Ask for all of it in one round trip."""
    return Command(argv=("sh", "-s"), stdin=SCRIPT)


def parse(raw: bytes) -> HostSettings | None:
    """Turn the answer into values, without ever raising; None where it is no such answer."""
    sections = split(raw)
    named = sections.named
    if not named.get("host"):
        return None
    host, kernel = _said(named.get("host", ())), _said(named.get("kernel", ()))
    log, helpers = _said(named.get("logs", ())), _said(named.get("helpers", ()))
    return HostSettings(
        now_s=_number(host.get("now")),
        user=host.get("user", ""),
        uid=_number(host.get("uid")),
        groups=tuple(host.get("groups", "").split()),
        kernel=host.get("kernel", ""),
        machine=host.get("machine", ""),
        init=host.get("init", ""),
        systemd=_systemd(host.get("systemd", "")),
        python=host.get("python", ""),
        other_killers=tuple(
            key.removeprefix("killer_")
            for key, value in host.items()
            if key.startswith("killer_") and value == "active"
        ),
        numbers={key: number for key, value in kernel.items() if (number := _number(value)) is not None},
        psi=kernel.get("psi", ""),
        cgroup2=kernel.get("cgroup2", ""),
        controllers=tuple(kernel.get("controllers", "").split()),
        cgroup1=kernel.get("cgroup1", ""),
        hidepid=_hidepid(kernel.get("proc", "")),
        sources={name: log[name] for name in _SOURCES if log.get(name)},
        journal_kept=_yes(log.get("journal_kept")),
        read_helper=_yes(helpers.get("read_helper")),
        act_helper=_yes(helpers.get("act_helper")),
        policy=_yes(helpers.get("policy")),
        frozen=_yes(helpers.get("frozen")),
        sudo=_said(named.get("sudo", ())).get("sudo", ""),
        sudo_rules=tuple(text(line[4:]) for line in named.get("sudo", ()) if line.startswith(b"may ")),
        cut=sections.cut_in is not None,
    )


def _said(lines: Sequence[bytes]) -> dict[str, str]:
    return {text(key): text(value) for key, value in pairs(lines).items()}


def _number(word: str | None) -> int | None:
    return integer(word.encode()) if word else None


def _yes(word: str | None) -> bool | None:
    return {"yes": True, "no": False}.get(word or "")


def _systemd(line: str) -> int | None:
    found = _VERSION.match(line)
    return int(found["major"]) if found else None


def _hidepid(options: str) -> str:
    found = _HIDEPID.search(options)
    return found["value"] if found and found["value"] not in {"0", "off"} else ""
