"""Services of systemd, from one `systemctl show`."""

import re
from collections.abc import Iterable, Sequence

from oombot.facts.sections import decimal, integer, pairs, text
from oombot.model import Unit

_UNIT_NAME = re.compile(rb"[A-Za-z0-9:_.\\@-]{1,255}")  # src/basic/unit-name.c VALID_CHARS


def units(lines: Sequence[bytes], booted_s: float | None) -> tuple[Unit, ...]:
    """Services between empty lines, by name; `booted_s` turns systemd's own clock into wall time."""
    found = {unit.name: unit for unit in (_unit(block, booted_s) for block in _blocks(lines)) if unit}
    return tuple(found[name] for name in sorted(found))


def _blocks(lines: Sequence[bytes]) -> Iterable[list[bytes]]:
    block: list[bytes] = []
    for line in [*lines, b""]:
        if line:
            block.append(line)
        elif block:
            yield block
            block = []


def _unit(block: Sequence[bytes], booted_s: float | None) -> Unit | None:
    said = pairs(block, b"=")
    name = said.get(b"Id", b"")
    if not _UNIT_NAME.fullmatch(name):
        return None
    words = {key: text(said.get(key, b"")) for key in (b"ActiveState", b"SubState", b"Result", b"Restart")}
    main_pid = integer(said.get(b"MainPID"))
    return Unit(
        name=name.decode(),
        active_state=words[b"ActiveState"],
        sub_state=words[b"SubState"],
        result=words[b"Result"],
        n_restarts=integer(said.get(b"NRestarts")),
        restart=words[b"Restart"],
        exec_main_status=integer(said.get(b"ExecMainStatus")),
        exec_main_code=integer(said.get(b"ExecMainCode")),
        main_pid=main_pid or None,
        control_group=text(said.get(b"ControlGroup", b"")),
        since_s=_since(said, booted_s),
    )


def _since(said: dict[bytes, bytes], booted_s: float | None) -> float | None:
    stamp = said.get(b"StateChangeTimestamp", b"")
    if stamp.startswith(b"@"):
        return decimal(stamp[1:])
    ticks_us = integer(said.get(b"StateChangeTimestampMonotonic"))
    if not ticks_us or booted_s is None:
        return None
    return booted_s + ticks_us / 1e6
