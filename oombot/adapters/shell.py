"""How a Command becomes a process: sudo where the login is not root, an end in time, output cut into lines."""

import math
import re
from collections.abc import Iterable
from typing import Final

from oombot.model import Command

LINE_LIMIT: Final = 64 * 1024
OUTPUT_LIMIT: Final = 64 * 1024 * 1024

# $0 is the number of seconds. timeout(1) is missing on some small systems; the bot's own clock then has to do.
_TIMED: Final = (
    'if command -v timeout >/dev/null 2>&1; then exec {0}timeout -s KILL "$0" "$@"; fi; exec {0}"$@"'
)
_UNTIMED: Final = 'exec {0}"$@"'
# first line of standard error: who to kill. sshd passes no signals on for root, and none through sudo.
_ANNOUNCED: Final = 'read -r _ _ _ _ group _ 2>/dev/null </proc/$$/stat; echo "@@pid $$ ${group:-$$}" >&2; '
_PIDS: Final = re.compile(rb"^@@pid (?P<pid>[0-9]{1,9}) (?P<group>[0-9]{1,9})\n", re.MULTILINE)


def argv_for(
    command: Command, *, become: bool, timeout_s: float | None = None, announce: bool = False
) -> tuple[str, ...]:
    """The argv to run; with `timeout_s` it ends itself on the host even when the link is gone.

    Only root can end what root runs, so sudo stands before timeout, except for an absolute path: that one is
    named in sudoers word by word (the installed helper, which bounds itself). `announce` prints the process and
    its group to standard error first, for `announced`. A forced command is none of this: sshd runs its own.
    """
    if command.forced:
        return command.argv
    sudo = "sudo -n " if command.sudo and become else ""
    if sudo and command.argv[0].startswith("/"):
        return ("sudo", "-n", *command.argv)
    if timeout_s is None and not announce:
        return ("sudo", "-n", *command.argv) if sudo else command.argv
    script = (_ANNOUNCED if announce else "") + (_UNTIMED if timeout_s is None else _TIMED).format(sudo)
    return ("sh", "-c", script, str(math.ceil(max(timeout_s or 1, 1))), *command.argv)


def announced(stderr: bytes) -> tuple[bytes, tuple[int, int] | None]:
    """Standard error without the announcement, and the process and its group that it named."""
    found = _PIDS.search(stderr)
    if found is None:
        return stderr, None
    return stderr[: found.start()] + stderr[found.end() :], (int(found["pid"]), int(found["group"]))


def kill_argv(pids: tuple[int, int]) -> tuple[str, ...]:
    """End a command that was announced, with everything in its process group (dash's kill knows no `--`)."""
    pid, group = pids
    return (
        "sh",
        "-c",
        'for p in "$@"; do kill -KILL "$p"; done 2>/dev/null',
        "sh",
        f"-{group}",
        f"-{pid}",
        f"{pid}",
    )


class Lines:
    """Cuts a stream of bytes into lines; the tail of a line over 64 KiB is dropped.

    So is a last line without its newline: a stream may end anywhere, and half a record would pass for a whole one.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """Take the next bytes; give the lines that are whole now, without their newline."""
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            self._append(part)
            yield bytes(self._rest)
            self._rest.clear()
        self._append(rest)

    def _append(self, part: bytes) -> None:
        self._rest += part[: LINE_LIMIT - len(self._rest)]
