"""The shape of a verb of the act helper, and how its words are read.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from oombot.data.oombot_site import RefusedError


class Verb(NamedTuple):
    """One thing that the helper can do. `words` reads the words and the input into arguments, or refuses.

    `allowed(policy, site, **arguments)` refuses what the policy does not allow, before anything of the plan is run.
    `act(policy, site, **arguments)` does it, checks again what it holds open, and gives the value before and after;
    StepError says what went wrong, UntouchedError that besides nothing was changed.
    """

    words: Callable[[list[str], str], dict[str, Any]]
    allowed: Callable[..., None]
    act: Callable[..., tuple[str, str]]
    placed: bool = (
        False  # act is also given `state`, where the records are, and `program`, what a timer is to run
    )


def options(verb: str, words: list[str], forms: dict[str, str]) -> dict[str, str]:
    """Read `--option VALUE` pairs, in the order of `forms` and nothing else; `[--option]` may be left out.

    A value must match the whole of its pattern (ASCII). The keys come back without dashes: --sha-256 is sha_256.
    """
    found: dict[str, str] = {}
    rest = list(words)
    for form, pattern in forms.items():
        option = form.strip("[]")
        if len(rest) >= 2 and rest[0] == option:
            if not re.fullmatch(pattern, rest[1], re.ASCII):
                raise RefusedError(f"{verb}: {option} has not the form that it must have")
            found[option[2:].replace("-", "_")] = rest[1]
            rest = rest[2:]
        elif not form.startswith("["):
            raise RefusedError(f"{verb} takes {' '.join(forms)}, in this order")
    if rest:
        raise RefusedError(f"{verb} takes {' '.join(forms)}, and nothing else")
    return found


def no_input(verb: str, stdin: str) -> None:
    """Refuse bytes on standard input where a verb takes none."""
    if stdin:
        raise RefusedError(f"{verb} takes no input")
