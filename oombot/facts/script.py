"""The one script that reads a host: POSIX sh, sent by standard input, run by dash, bash and busybox alike.

It is one function called in the last line, so a script that arrives half runs nothing. What is printed are sections
that begin with `@@name`; the log is the last one, since its lines are anybody's, and `@@end` proves that all arrived.

The process table is read by grep, not by awk's getline: mawk ends at the first read error, and a process that
vanishes between open and read is one. grep goes on, and names the file before each line, which also keeps a
newline within a comm from looking like a line of its own. The number of forks does not depend on the host's load.

Whether the login has sudo is asked by `sudo -n -l`, which runs nothing and sends no mail where the answer is no
(sudoers(5)). It runs beside the rest and is never waited for: root can not be ended by a login that is not.
"""

from typing import Final

# One line a process: p PID START PPID UID KTHREAD VSIZE ANON FILE SHMEM SWAP PTE SCORE ADJ, then its name, then its
# cgroup. 2097152 is PF_KTHREAD. Then every cgroup seen and its ancestors are read by one more grep.
_PROCESSES: Final = r"""
BEGIN { FS = "\001" }
{
  i = index($0, ":"); split(substr($0, 1, i - 1), part, "/"); pid = part[1]; kind = part[2]; text = substr($0, i + 1)
  if (kind == "stat") {
    if (pid in stat) stat[pid] = stat[pid] "\n" text
    else { stat[pid] = text; order[++count] = pid }
  } else if (kind == "status") {
    i = index(text, ":"); key = substr(text, 1, i - 1); text = substr(text, i + 2)
    if (key != "Name") { split(text, part, " "); text = part[1] }
    seen[pid, key] = text
  } else if (kind == "cgroup") {
    first = index(text, ":"); rest = substr(text, first + 1); i = index(rest, ":"); path = substr(rest, i + 1)
    if (i > 1) seen[pid, "cgroup"] = path
    else if (!((pid, "cgroup") in seen)) seen[pid, "cgroup"] = path
  } else seen[pid, kind] = text
}
function value(pid, key) { return ((pid, key) in seen) && seen[pid, key] != "" ? seen[pid, key] : "-" }
function quoted(path) { gsub(/[^A-Za-z0-9\/._-]/, "\\\\&", path); return path }
END {
  for (k = 1; k <= count; k++) {
    pid = order[k]; text = stat[pid]
    while ((i = index(text, ")")) > 0) text = substr(text, i + 1)
    split(text, f, " ")
    print "p", pid, f[20], f[2], value(pid, "Uid"), int(f[7] / 2097152) % 2, value(pid, "VmSize"), \
      value(pid, "RssAnon"), value(pid, "RssFile"), value(pid, "RssShmem"), value(pid, "VmSwap"), \
      value(pid, "VmPTE"), value(pid, "oom_score"), value(pid, "oom_score_adj")
    print "n " (((pid, "Name") in seen) ? seen[pid, "Name"] : "")
    if (!((pid, "cgroup") in seen)) { print "g"; continue }
    path = seen[pid, "cgroup"]; print "g " path
    while (path != "" && path != "/" && !(path in groups)) {
      groups[path] = 1; list[++total] = path
      while (path != "" && substr(path, length(path)) != "/") path = substr(path, 1, length(path) - 1)
      path = substr(path, 1, length(path) - 1)
    }
  }
  if (("", "cut") in seen) print "cut"
  print "@@cgroups"; print "root " root
  if (total && root != "") {
    fflush()
    for (k = 1; k <= total; k++) {
      split(files, names, " ")
      for (i = 1; i in names; i++) print quoted(root list[k] "/" names[i]) | cmd
    }
    close(cmd)
  }
}
"""

# Lines inside or next to a report, the newest `cap` bytes of them; a MESSAGE that journald gives as an array of
# bytes can not be searched, so it is kept.
_JOURNAL: Final = r"""
function keep(line) {
  lines[++last] = line; size += length(line) + 1
  while (size > cap && gone < last - 1) { size -= length(lines[++gone]) + 1; delete lines[gone]; cut = 1 }
}
/invoked oom-killer/ { left = 4000 }
/Killed process|[Kk]ill process|oom-kill:constraint|[Oo]ut of memory|no killable|oom_reaper/ {
  keep($0); if (index($0, "Killed process")) left = 0; next
}
/Tasks? in |memory: usage|callbacks suppressed|"MESSAGE" ?: ?\[/ { keep($0); next }
left > 0 { left--; keep($0) }
END {
  if (cut) print "cut"
  print "@@log"; print mark
  for (k = gone + 1; k <= last; k++) print lines[k]
}
"""

_SCRIPT: Final = r"""main() {
LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin SYSTEMD_PAGER=
export LC_ALL PATH SYSTEMD_PAGER
since=$1 boot='' up='' now=$(date '+%s %z') kernel='''' line='' root='' files='' log='' why='' uid='' asked='' page=''
zone=${now##* } now=${now%% *}
copy() { while IFS= read -r line || [ -n "$line" ]; do printf '%s\n' "$line"; done; }
{ read -r boot </proc/sys/kernel/random/boot_id; read -r up line </proc/uptime
  read -r kernel </proc/sys/kernel/osrelease; } 2>/dev/null
while read -r key line root; do case $key in Uid:) uid=$line; break;; esac; done 2>/dev/null </proc/$$/status
while read -r key line root; do
  case $key in KernelPageSize:) page=$((line * 1024)); break;; esac
done 2>/dev/null </proc/$$/smaps
printf '@@host\nboot_id %s\nuptime %s\nnow %s\nkernel %s\n' "$boot" "$up" "$now" "$kernel"
printf 'page %s\nuid %s\nself %s\n' "${page:-$(getconf PAGESIZE 2>/dev/null)}" "$uid" "$$"
if command -v python3 >/dev/null 2>&1; then echo 'python yes'; fi
if [ -d /run/systemd/system ]; then echo 'systemd yes'; fi
if [ "${uid:-0}" != 0 ]; then
  if command -v sudo >/dev/null 2>&1; then { sudo -n -l; exit; } >/dev/null 2>&1 & asked=$!
  else echo 'sudo no'; fi
fi
echo @@meminfo; copy 2>/dev/null </proc/meminfo
echo @@swaps; copy 2>/dev/null </proc/swaps
echo @@pressure; copy 2>/dev/null </proc/pressure/memory
echo @@vmstat
while read -r key line; do case $key in oom_kill) echo "$key $line";; esac; done 2>/dev/null </proc/vmstat
root=''
while read -r _ dir type options _; do
  case $type in
    cgroup2) if [ -z "$root" ]; then root=$dir; files='memory.max memory.current memory.swap.max memory.events'; fi;;
    cgroup) case ",$options," in *,memory,*) root=$dir
      files='memory.limit_in_bytes memory.usage_in_bytes memory.memsw.limit_in_bytes memory.oom_control'; break;; esac;;
  esac
done 2>/dev/null </proc/mounts
echo @@processes
cd /proc && {
  grep -aHs '' [0-9]*/stat
  if [ $? -ge 126 ]; then echo /cut:; fi
  grep -aHsE '^(-?[0-9]+$|[0-9]+:([^:]*,)?memory(,[^:]*)?:|0::)' [0-9]*/oom_score [0-9]*/oom_score_adj [0-9]*/cgroup
  if [ $? -ge 126 ]; then echo /cut:; fi
  exec grep -aHsE '^(Name|Uid|VmSize|RssAnon|RssFile|RssShmem|VmSwap|VmPTE):' [0-9]*/status
} 2>/dev/null | awk -v root="$root" -v files="$files" \
  -v cmd="exec xargs grep -aHsE '^([0-9]+|max)\$|^oom_kill ' 2>/dev/null" '@PROCESSES@'
cd /
echo @@units
if [ -d /run/systemd/system ]; then
  set -- -p Id,ActiveState,SubState,Result,NRestarts,Restart,ExecMainStatus,ExecMainCode,MainPID,ControlGroup \
    -p StateChangeTimestamp,StateChangeTimestampMonotonic '*.service'
  systemctl show --no-pager --timestamp=unix "$@" 2>/dev/null || systemctl show --no-pager "$@" 2>&1 || echo "failed $?"
fi
if [ -n "$asked" ]; then
  echo @@sudo; line=''
  read -r _ _ line _ 2>/dev/null </proc/$asked/stat
  case $line in ''|Z) wait "$asked"; case $? in 0) echo 'sudo yes';; 1) echo 'sudo no';; esac;; esac
fi
mark="@@boot ${boot:--} ${up:-0} ${now:-0} $zone"
echo @@log_source
if ! command -v journalctl >/dev/null 2>&1; then
  echo 'tried journald: journalctl is not installed'
elif journalctl -q --no-pager -o json _TRANSPORT=kernel 2>/dev/null | (
  IFS= read -r line || exit 1
  exec </dev/null
  case $line in '{'*) printf 'source journald\noldest %s\n' "$line";; *) exit 1;; esac
  { journalctl -q --no-pager -o json --since="@$since" --output-fields="@FIELDS@" _TRANSPORT=kernel 2>/dev/null ||
    journalctl -q --no-pager -o json --since="@$since" _TRANSPORT=kernel 2>/dev/null; } |
    awk -v cap=1048576 -v mark="$mark" '@JOURNAL@'
  exit 0
); then log=done
else echo 'tried journald: no kernel entry is visible'
fi
if [ -z "$log" ]; then
  log=$(dd if=/dev/kmsg iflag=nonblock bs=8192 2>/dev/null | tail -c 1048576)
  if [ ${#log} -ge 1048575 ]; then echo cut; fi
  if [ -z "$log" ]; then
    why=$(dd if=/dev/kmsg of=/dev/null iflag=nonblock bs=8192 count=1 2>&1) && why='the ring buffer is empty'
  fi
  if [ -n "$log" ]; then printf 'source kmsg\n@@log\n%s\n%s\n' "$mark" "$log"
  else printf 'tried kmsg: %s\n' "${why%%
*}"; fi
fi
if [ -z "$log" ]; then
  if why=$(dmesg 2>&1 | tail -c 1048576) && case $why in '['*|'<'*|' '*) true;; *) false;; esac; then
    log=$why
    if [ ${#log} -ge 1048575 ]; then echo cut; fi
    printf 'source dmesg\n@@log\n%s\n%s\n' "$mark" "$log"
  else printf 'tried dmesg: %s\n' "${why%%
*}"; fi
fi
if [ -z "$log" ]; then
  for why in /var/log/kern.log /var/log/messages /var/log/syslog; do
    if [ -r "$why" ] && [ -s "$why" ]; then
      log=$why
      printf 'source syslog\n@@log\n%s\n' "$mark"
      grep -a 'kernel:' "$why" | tail -c 1048576
      break
    fi
  done
  [ -n "$log" ] || printf 'tried syslog: no readable kern.log, messages or syslog in /var/log\nuser %s\n@@log\n' \
    "$(id -un 2>/dev/null)"
fi
echo @@end
}
main "$@" </dev/null
"""

_FIELDS: Final = (
    "MESSAGE,PRIORITY,SYSLOG_FACILITY,SYSLOG_IDENTIFIER,_BOOT_ID,_MACHINE_ID,"
    "_SOURCE_MONOTONIC_TIMESTAMP,_SOURCE_BOOTTIME_TIMESTAMP,_TRANSPORT,_UID"
)

SCRIPT: Final = (
    _SCRIPT.replace("@PROCESSES@", _PROCESSES).replace("@JOURNAL@", _JOURNAL).replace("@FIELDS@", _FIELDS)
)
