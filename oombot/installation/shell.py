"""The layout as scripts that an administrator can read and run as root: look, install, remove."""

from typing import Final

from oombot.helper_call import ACT_HELPER, READ_HELPER
from oombot.installation.layout import ACCESS, POLICY, SUDOERS, File, Layout, home

_END: Final = "OOMBOT_END"

_HEAD: Final = r"""main() {
set -eu
umask 022
LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
fail() { echo "oombot: $1" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail 'run this as root; nothing was changed'
"""
_TAIL: Final = '}\nmain "$@" </dev/null\n'

_NEEDS: Final = r"""/usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null ||
  fail 'the helpers need /usr/bin/python3, version 3.9 or newer; nothing was changed'
"""
_NEEDS_SUDO: Final = r"""for word in sudo visudo; do
  command -v "$word" >/dev/null || fail "the acting identity needs $word; nothing was changed"
done
"""

# who can write to a folder above a program that root runs, or above keys, can put another in its place
_SAFE: Final = r"""safe() { # file
  for dir in "${1%/*}" "$(cd "${1%/*}" 2>/dev/null && pwd -P)"; do
    while [ -n "$dir" ]; do
      case $(stat -Lc '%u %a' "$dir" 2>/dev/null) in
        [1-9]*|'0 '*[2367]|'0 '*[2367]?) fail "others than root can write to $dir, so nothing was changed; \
to mend it: chown root:root $dir; chmod go-w $dir";;
      esac
      dir=${dir%/*}
    done
  done
}
"""

# an account is made, or is the one made before: never somebody else's
_ACCOUNT: Final = r"""account() { # user, home, yes where it reads the log
  if found=$(getent passwd "$1"); then
    case $found in
      *":$2:/bin/sh") ;;
      *) fail "the account $1 is there already and is not oombot's; nothing more was changed";;
    esac
  else
    useradd --system --user-group --home-dir "$2" --no-create-home --shell /bin/sh --password '*' "$1"
  fi
  mkdir -p "$2/.ssh"
  if [ -n "$3" ]; then
    for group in systemd-journal adm; do
      if getent group "$group" >/dev/null; then usermod -aG "$group" "$1"; break; fi
    done
  fi
}
put() { # file, mode; its text on standard input. It is there whole or not at all, and sudoers only when visudo agrees.
  mkdir -p "${1%/*}"
  new=$(mktemp "$1.XXXXXX")
  trap 'rm -f "$new"' EXIT
  cat >"$new"
  chmod "$2" "$new"
  chown 0:0 "$new"
  case $1 in
    /etc/sudoers.d/*) visudo -cqf "$new" || { rm -f "$new"; fail "visudo rejects $1: it is not installed"; };;
  esac
  if cmp -s "$new" "$1" && [ "$(stat -c %a:%u "$new")" = "$(stat -c %a:%u "$1")" ]; then rm -f "$new"
  else mv -f "$new" "$1"; echo "installed $1"; fi
}
"""


def install_script(layout: Layout) -> str:
    """Install all of it; run again it changes nothing."""
    sudo = any(file.path == SUDOERS for file in layout.files)
    undo = f"Taken away again by: oombot sudoers {layout.host} --remove"
    lines = [f"#!/bin/sh\n# oombot on {layout.host}: run as root. {undo}\n"]
    lines += [_HEAD, _NEEDS, _NEEDS_SUDO if sudo else "", _SAFE]
    lines += [f"safe {file.path}\n" for file in layout.files]
    lines.append(_ACCOUNT)
    reads = {layout.users[0]: "yes"}  # the watching account is the one that reads the log
    lines += [f"account {user} {home(user)} '{reads.get(user, '')}'\n" for user in layout.users]
    lines += [_put(file) for file in layout.files]
    if sudo:
        gone = f"sudoers as a whole is not valid: {SUDOERS} was taken away again"
        lines.append(f"visudo -cq || {{ rm -f {SUDOERS}; fail '{gone}'; }}\n")
    return "".join([*lines, "echo 'oombot: all is in place'\n", _TAIL])


def _put(file: File) -> str:
    if f"\n{_END}\n" in f"\n{file.text}" or not file.text.endswith("\n"):
        raise ValueError(f"{file.path} can not stand in a script")
    text = f"put {file.path} {file.mode} <<'{_END}'\n{file.text}{_END}\n"
    return f"if [ -e {file.path} ]; then echo 'kept {file.path}'; else\n{text}fi\n" if file.owners else text


# every account that oombot has made, by its home: also one that the configuration no longer names
_OURS: Final = f"""ours() {{ getent passwd | while IFS=: read -r user _ _ _ _ dir shell; do
  if [ "$dir:$shell" = "{ACCESS}/$user:/bin/sh" ]; then echo "$user"; fi
done; }}
"""
# /proc/PID/status and not its owner: sshd's own process of an account belongs to root there
_ENDED: Final = r"""ended() { # account
  for _ in 1 2 3; do
    pids=$(grep -s "^Uid:.*[[:space:]]$(id -u "$1")[[:space:]]" /proc/[0-9]*/status | cut -d/ -f3)
    [ -n "$pids" ] || break
    kill -KILL $pids 2>/dev/null || true
    sleep 1
  done
}
"""


def remove_script(layout: Layout) -> str:
    """Take all of it away: first what lets anybody in, then who is in, then the rest. Records of runs stay."""
    head = f"#!/bin/sh\n# oombot is taken away from {layout.host}: run as root.\n"
    return head + _HEAD + _OURS + _ENDED + _REMOVE + _TAIL


_REMOVE: Final = f"""rm -f {SUDOERS} {ACCESS}/*/.ssh/authorized_keys
for user in $(ours); do
  ended "$user"
  userdel -f "$user" 2>/dev/null || fail "the account $user could not be removed: userdel $user"
  rm -rf "{ACCESS}/$user"; echo "removed the account $user"
done
rm -f {READ_HELPER} {ACT_HELPER} {POLICY}
rmdir {ACCESS} /etc/oombot 2>/dev/null || true
for path in /var/lib/oombot-helper /etc/oombot/frozen; do
  if [ -e "$path" ]; then echo "kept $path: rm -r $path takes it away as well"; fi
done
echo 'oombot: all is taken away'
"""


def look_script(layout: Layout) -> str:
    """Print what is there now of all that the layout names, or an earlier one named; it changes nothing."""
    paths = dict.fromkeys([READ_HELPER, ACT_HELPER, POLICY, SUDOERS, *(file.path for file in layout.files)])
    names = [
        f"set -- {' '.join(paths)} {ACCESS}/*/.ssh/authorized_keys\n",
        f"users='{' '.join(layout.users)}'\n",
    ]
    return "".join([_HEAD, _OURS, *names, _LOOK, _TAIL])


_LOOK: Final = r"""for path in "$@"; do
  if [ -f "$path" ]; then printf '@@file %s ' "$path"; stat -c '%a %u' "$path"; base64 <"$path"; fi
done
for user in $users $(ours); do
  if getent passwd "$user" >/dev/null; then printf '@@account '; getent passwd "$user"; fi
done
echo @@end
"""
