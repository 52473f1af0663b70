"""Looks closer at this host for a remedy: one JSON question in, one JSON answer out. It changes nothing, ever.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py), which
is sent to hosts without helpers and is a part of the read helper where that is installed. The question:

  {"parts": [PART…], "unit": NAME, "cgroup": PATH, "folder": PATH}

The answer holds a value for each part, in the shape of oombot/details.py, and `problems`: what could not be read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from oombot.data.oombot_eyes import look_cgroup, look_unit
from oombot.data.oombot_eyes_kernel import look_kernel
from oombot.data.oombot_eyes_swap import look_swap
from oombot.data.oombot_pending import pending
from oombot.data.oombot_site import RefusedError, Site, StepError
from oombot.data.oombot_systemd import UNIT_FORM

LOOKED_AT = ("unit", "cgroup", "folder")

# each part: a function of the site and the question, giving a plain value of JSON
LOOKS: dict[str, Callable[[Site, dict[str, str]], Any]] = {
    "unit": look_unit,
    "pending": lambda site, _names: pending(site),
    "cgroup": look_cgroup,
    "swap": look_swap,
    "kernel": look_kernel,
}


def look_question(question: Any) -> tuple[list[str], dict[str, str]]:
    """The parts and the names of a question; RefusedError for anything that is not of the closed set."""
    if not isinstance(question, dict) or set(question) - {"parts", *LOOKED_AT}:
        raise RefusedError("a look holds parts, unit, cgroup and folder")
    parts, names = question.get("parts"), {name: question.get(name, "") for name in LOOKED_AT}
    if not isinstance(parts, list) or not all(isinstance(part, str) and part in LOOKS for part in parts):
        raise RefusedError("a look has parts that this helper does not know")
    if not all(isinstance(name, str) and len(name) < 4096 and "\0" not in name for name in names.values()):
        raise RefusedError("a look is about names")
    if names["unit"] and not UNIT_FORM.fullmatch(names["unit"]):
        raise RefusedError("unit is no name of a unit")
    for key in ("cgroup", "folder"):
        if names[key] and (not names[key].startswith("/") or ".." in names[key].split("/")):
            raise RefusedError(f"{key} is no plain absolute path")
    return list(dict.fromkeys(parts)), names


def looked(question: Any, site: Site) -> dict[str, Any]:
    """The answer; a part that fails is None, with its reason among the problems."""
    parts, names = look_question(question)
    said: dict[str, Any] = {"problems": []}
    for part in parts:
        try:
            said[part] = LOOKS[part](site, names)
            if part == "unit" and not names["cgroup"]:
                names["cgroup"] = said[part]["control_group"]  # systemd need not be asked again
        except (StepError, RefusedError, OSError, ValueError, KeyError, IndexError) as error:
            said[part] = None
            said["problems"].append(f"{part} could not be read: {error or type(error).__name__}"[:500])
    return said


def look_answer(said: dict[str, Any]) -> bytes:
    """The answer as it is sent: a name that is no UTF-8 (of a file, or of a cgroup) must not make it unreadable."""
    return json.dumps(said, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def look_main(text: str, site: Site | None = None) -> int:
    """Answer one question on standard output."""
    try:
        said = looked(json.loads(text), site or Site())
    except (RefusedError, ValueError) as error:
        said = {"problems": [f"the look was refused: {error}"]}
    sys.stdout.buffer.write(look_answer(said))
    return 0
