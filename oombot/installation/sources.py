"""The programs of a host: their parts are joined by what they import, and the scripts that oombot sends are put in."""

import functools
import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from typing import Final

from oombot import catalog
from oombot.facts import counter, script
from oombot.facts import settings as host_settings

SHEBANG: Final = "#!/usr/bin/python3 -I\n"
_MAIN: Final = '\n\nif __name__ == "__main__":\n    raise SystemExit(serve())\n'
# what the parts of a program take of one another while they are files of their own
_SIBLING = re.compile(r"^from oombot\.data\.(oombot_[a-z_]+) import (?:\([^)]*\)|[^\n(]*)\n", re.MULTILINE)
_FUTURE: Final = "from __future__ import annotations\n"


@functools.cache
def act_source() -> str:
    """The act helper, to be sent along with a call of its `main`."""
    return _joined("oombot_helper")


@functools.cache
def act_program() -> str:
    """The act helper as it is installed."""
    return SHEBANG + act_source() + _MAIN


@functools.cache
def look_source() -> str:
    """The program that looks closer at a host for a remedy, to be sent along with a call of its `look_main`."""
    return _joined("oombot_look")


@functools.cache
def read_program() -> str:
    """The read helper as it is installed, with the very scripts that hosts without helpers are sent."""
    scripts = {"read": script.SCRIPT, "count": counter.SCRIPT, "settings": host_settings.SCRIPT}
    followed = {
        name: (detector.follow(None).stdin, detector.words)
        for name, detector in sorted(catalog.detectors().items())
    }
    rows = "".join(f"    {op!r}: {_literal(text)},\n" for op, text in scripts.items())
    more = "".join(
        f"    {name!r}: ({_literal(text)}, {words!r}),\n" for name, (text, words) in followed.items()
    )
    source = _filled(_joined("oombot_read"), "SCRIPTS", rows)
    return SHEBANG + _filled(source, "FOLLOWED", more) + _MAIN


def expected_versions() -> dict[str, str]:
    """The sha256 of each helper by name, as a host says it when what it has is what this oombot would install."""
    programs = {"oombot-read": read_program(), "oombot-helper": act_program()}
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in programs.items()}


def parts_of(program: str) -> Mapping[str, str]:
    """The text of each part of a program by name: its own stands last, any other after what it imports itself."""
    parts: dict[str, str] = {}
    _add(program, parts)
    return parts


def _add(name: str, parts: dict[str, str]) -> None:
    text = (resources.files("oombot") / "data" / f"{name}.py").read_text(encoding="utf-8")
    for sibling in _SIBLING.findall(text):
        if sibling not in parts:
            _add(sibling, parts)
    parts[name] = text


def _joined(program: str) -> str:
    """The parts as one text: the program's own docstring says what it is, those of the others are left out."""
    *others, (head, own) = (text.split(_FUTURE, 1) for text in parts_of(program).values())
    bodies = [body for _, body in others]
    return head + _FUTURE + "".join(_SIBLING.sub("", body) for body in (*bodies, own))


def _filled(source: str, name: str, rows: str) -> str:
    """Put rows into the empty table of this name."""
    filled, count = re.subn(
        rf"^({name}: .*) = {{}}.*$", lambda one: f"{one[1]} = {{\n{rows}}}", source, flags=re.MULTILINE
    )
    if count != 1:
        raise ValueError(f"the read helper has no table {name} to fill")
    return filled


def _literal(text: str) -> str:
    """A script as a Python literal that people can read."""
    plain = '"""' not in text and not text.endswith(("\\", '"'))
    return f'r"""{text}"""' if plain else repr(text)
