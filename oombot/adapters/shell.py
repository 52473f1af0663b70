"""How a Command becomes a process: sudo where the login is not root, an end in time, output cut into lines."""

import math
from collections.abc import Iterable
from typing import Final

from oombot.model import Command

LINE_LIMIT: Final = 64 * 1024
OUTPUT_LIMIT: Final = 64 * 1024 * 1024

# $0 is the number of seconds. timeout(1) is missing on some small systems; the bot's own clock then has to do.
_TIMED: Final = (
    'if command -v timeout >/dev/null 2>&1; then exec {0}timeout -s KILL "$0" "$@"; fi; exec {0}"$@"'
)


def argv_for(command: Command, *, become: bool, timeout_s: float | None = None) -> tuple[str, ...]:
    """The argv to run; with `timeout_s` it ends itself on the host even when the link is gone.

    Only root can end what root runs, so sudo stands before timeout, except for an absolute path: that one is
    named in sudoers word by word (the installed helper, which bounds itself).
    """
    sudo = command.sudo and become
    if sudo and command.argv[0].startswith("/"):
        return ("sudo", "-n", *command.argv)
    if timeout_s is None:
        return ("sudo", "-n", *command.argv) if sudo else command.argv
    seconds = str(max(1, math.ceil(timeout_s)))
    return ("sh", "-c", _TIMED.format("sudo -n " if sudo else ""), seconds, *command.argv)


class Lines:
    """Cuts a stream of bytes into lines; the tail of a line over 64 KiB is dropped."""

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

    def close(self) -> Iterable[bytes]:
        """Give the last line, where it had no newline."""
        if self._rest:
            yield bytes(self._rest)
            self._rest.clear()

    def _append(self, part: bytes) -> None:
        self._rest += part[: LINE_LIMIT - len(self._rest)]
