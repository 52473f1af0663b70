"""Verbs of time: put-back lets a timer of this host put something back later, keep calls that off.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
The timer and the program that it runs are lost at a reboot, as is everything that they may put back.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from oombot.data.oombot_pending import starting_kills
from oombot.data.oombot_policy import Policy
from oombot.data.oombot_records import create, load
from oombot.data.oombot_shape import Verb, no_input, options
from oombot.data.oombot_site import (
    RefusedError,
    Site,
    StepError,
    UntouchedError,
    attempt,
    remove_empty_folder,
    remove_file,
    tell,
    write_file,
)
from oombot.data.oombot_systemd import show

BACK_FOLDER = "/run/oombot"  # a file system in memory: gone at a reboot, as the timer is
BACK_NAME = r"[A-Za-z0-9_-]{8,59}"
BACK_SHORTEST_S, BACK_LONGEST_S = 300, 604_800
BACK_UNIT_S = 600


def back_timer(name: str) -> str:
    """The timer that puts back what a request changed."""
    return f"oombot-back-{name}.timer"


def back_record(name: str) -> str:
    """The record of what it did, which may be made only once."""
    return f"{name}-back"


def _put_back_words(words: list[str], stdin: str) -> dict[str, Any]:
    """`--after SECONDS --name REQUEST`, and the steps of the way back on standard input."""
    found = options("put-back", words, {"--after": r"[0-9]{1,6}", "--name": BACK_NAME})
    after = int(found["after"])
    if not BACK_SHORTEST_S <= after <= BACK_LONGEST_S:
        raise RefusedError(f"put-back: --after is within {BACK_SHORTEST_S} and {BACK_LONGEST_S} seconds")
    try:
        steps = json.loads(stdin)
    except (ValueError, RecursionError):
        raise RefusedError("put-back takes the steps of the way back, as JSON") from None
    for step in steps if isinstance(steps, list) else []:
        if (
            isinstance(step, dict)
            and isinstance(step.get("do"), list)
            and step["do"][:1] in (["put-back"], ["keep"])
        ):
            raise RefusedError("put-back: a way back sets and ends no timer of its own")
    return {"name": found["name"], "after": after, "steps": steps}


def _put_back_allowed(policy: Policy | None, site: Site, **_: Any) -> None:
    """Whether there is a systemd to keep the time; the way back itself is checked as a plan, before anything is run."""
    if os.geteuid() != 0:
        raise RefusedError("put-back needs root: only root's timers outlive the login")
    if not os.path.isdir(site.path("/run/systemd/system")):
        raise RefusedError("put-back: this host has no systemd, whose timer would put it back")
    if starting_kills(site, "-.slice"):
        raise RefusedError("put-back: starting what the timer runs would set a limit that waits, and kill")


def put_back_later(
    policy: Policy | None,
    site: Site,
    name: str,
    after: int,
    steps: list[Any],
    state: str,
    program: Callable[[str, list[Any]], str],
) -> tuple[str, str]:
    """Start the timer; UntouchedError where it does not stand then."""
    path = f"{BACK_FOLDER}/{name}.py"
    if os.path.lexists(os.path.join(state, back_record(name))):
        raise UntouchedError(f"{name} was put back already, or was to be kept")
    if os.path.lexists(site.path(path)):
        raise UntouchedError(f"{back_timer(name)} is set already; it stays as it is")
    write_file(site, path, program(name, steps).encode(), mode=0o600, make=True)
    # not in system.slice: starting a unit there would set limits that wait for the slice's other units, and kill
    unit, said = back_timer(name)[: -len(".timer")], "The way back of a change approved in oombot"
    words = [
        f"--unit={unit}",
        f"--description={said}",
        f"--on-active={after}",
        "--timer-property=AccuracySec=1s",
    ]
    words += ["--collect", "--quiet", "--slice=-.slice", "--property=OOMScoreAdjust=-900"]
    words += [f"--property=RuntimeMaxSec={BACK_UNIT_S}", sys.executable, "-I", site.path(path)]
    try:
        tell(site, "systemd-run", *words)
        found = show(site, back_timer(name), "ActiveState").get("ActiveState")
    except StepError as error:
        found = str(error)
    if found != "active":
        forget_back(site, name)
        raise UntouchedError(f"no timer was set, nothing will put it back by itself: {found}")
    return "no timer", f"{back_timer(name)} in {after} s"


def _keep_words(words: list[str], stdin: str) -> dict[str, str]:
    """`--name REQUEST`."""
    no_input("keep", stdin)
    return options("keep", words, {"--name": BACK_NAME})


def _keep_allowed(policy: Policy | None, site: Site, **_: Any) -> None:
    """Calling off is allowed where setting is: the verb itself is in the policy."""


def keep(
    policy: Policy | None, site: Site, name: str, state: str, program: Callable[[str, list[Any]], str]
) -> tuple[str, str]:
    """See to it that no timer puts it back from now on. One that has fired is not stopped: it has done so already.

    The record decides: who makes it first, this or the timer's run, goes on; plans run one at a time on a host.
    """
    try:
        kept = create(state, back_record(name), {"status": "cancelled", "steps": []})
    except RefusedError as error:
        raise UntouchedError(f"the timer is still set: {error}") from None
    if not kept:
        return back_timer(name), f"it has fired already: {load(state, back_record(name))['status']}"
    with contextlib.suppress(
        StepError
    ):  # the record alone calls it off: what it would run finds that, and ends
        attempt(site, "systemctl", "stop", "--", back_timer(name))
        forget_back(site, name)
    return back_timer(name), "called off"


def forget_back(site: Site, name: str) -> None:
    """Take away the program that the timer would have run."""
    remove_file(site, f"{BACK_FOLDER}/{name}.py")
    remove_empty_folder(site, BACK_FOLDER)


TIMER_VERBS = {
    "put-back": Verb(words=_put_back_words, allowed=_put_back_allowed, act=put_back_later, placed=True),
    "keep": Verb(words=_keep_words, allowed=_keep_allowed, act=keep, placed=True),
}
