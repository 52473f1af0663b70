"""Verbs of services: restart one, and wait until it stands.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import time
from typing import NamedTuple

from oombot.data.oombot_pending import check_start
from oombot.data.oombot_policy import Policy, check_unit
from oombot.data.oombot_shape import Verb, no_input, options
from oombot.data.oombot_site import Site, UntouchedError, attempt, tell
from oombot.data.oombot_systemd import number, show

# a service by its full name; a template without instance can not be started
SERVICE = r"[A-Za-z0-9_:][A-Za-z0-9:_.\\@-]{0,246}(?<!@)\.service"
STANDING = (
    "Id,LoadState,ActiveState,SubState,Result,Type,InvocationID,Job,NRestarts,Transient"
    ",RefuseManualStart,RefuseManualStop"
)


class Patience(NamedTuple):
    """How long a service is waited for, in seconds."""

    stands: float = 15.0  # so long it must have been active
    at_most: float = 75.0
    between: float = 0.5


PATIENCE = Patience()


def _restart_words(words: list[str], stdin: str) -> dict[str, str]:
    """`--unit U --was INVOCATION --active STATE`: the service, and the run of it that was seen (- = of none)."""
    no_input("restart-unit", stdin)
    forms = {"--unit": SERVICE, "--was": r"[0-9a-f]{32}|-", "--active": "active|failed|inactive"}
    return options("restart-unit", words, forms)


def _restart_allowed(policy: Policy | None, site: Site, unit: str, **_: str) -> None:
    check_unit(policy, unit)


def restart_unit(
    policy: Policy | None, site: Site, unit: str, was: str, active: str, patience: Patience = PATIENCE
) -> tuple[str, str]:
    """Restart a service, or start one that is down, and give what it was before and how it stands afterwards.

    Only where it is still as it was seen. That it died again is no failure of this step: it is what came of it.
    """
    seen = show(site, unit, STANDING)
    _check_restart(seen, unit, was, active)
    check_start(site, but=unit)
    # so that systemd does not count this start against the unit, and leave a running one stopped; one that is not in
    # its memory has no count, and it says so with an error
    attempt(site, "systemctl", "reset-failed", "--", unit)
    tell(site, "systemctl", "restart", "--no-block", "--", unit)
    return _standing(seen), _standing(_settled(site, unit, was, patience))


def _check_restart(seen: dict[str, str], unit: str, was: str, active: str) -> None:
    """UntouchedError where the unit is not the one that was seen, or must not be restarted."""
    why = ""
    if seen.get("Id") != unit or seen.get("LoadState") != "loaded":
        why = f"it is {seen.get('LoadState') or 'not known'}, by the name of {seen.get('Id') or 'nothing'}"
    elif seen.get("Transient") == "yes":
        why = "it is transient: systemd forgets it as soon as it stops"
    elif "yes" in (seen.get("RefuseManualStart"), seen.get("RefuseManualStop")):
        why = "its unit file refuses to be started or stopped by hand"
    elif seen.get("ActiveState") != active or (seen.get("InvocationID") or "-") != was:
        why = f"it is not as it was when the plan was made; now: {_standing(seen)}"
    elif number(seen.get("Job")):
        why = "systemd has a job of it in its queue: somebody starts or stops it just now"
    if why:
        raise UntouchedError(f"{unit}: {why}; nothing was changed")


def _settled(site: Site, unit: str, was: str, patience: Patience) -> dict[str, str]:
    """How it stands once it stood for a while, is down again, or was waited for long enough."""
    end, stands, run = time.monotonic() + patience.at_most, 0.0, ""
    while True:
        now, at = show(site, unit, STANDING), time.monotonic()
        invocation = now.get("InvocationID", "")
        up = now.get("ActiveState") in ("active", "reloading") and invocation not in ("", was)
        if up and not run:
            run, stands = invocation, at + patience.stands
        again = run != "" and (not up or invocation != run)
        stood = run != "" and now.get("ActiveState") == "active" and at >= stands
        if again or stood or at >= end or _ended(now, up=up):
            return now
        time.sleep(patience.between)


def _ended(now: dict[str, str], *, up: bool) -> bool:
    """Whether nothing more is to come of this restart: it ran to its end, failed, or was never begun."""
    if number(now.get("Job")):
        return False
    down = now.get("ActiveState") in ("failed", "inactive") or now.get("SubState", "").startswith("auto-")
    return down or (up and now.get("Type") == "oneshot")


def _standing(seen: dict[str, str]) -> str:
    """A state in one line: active (running), invocation …; failed (oom-kill) says the result."""
    state, sub, result = (seen.get(name) or "?" for name in ("ActiveState", "SubState", "Result"))
    within = result if state == "failed" else f"{sub} after {result}" if sub.startswith("auto-") else sub
    again = number(seen.get("NRestarts"))
    said = f", NRestarts {again}" if again else ""
    return f"{state} ({within}), invocation {seen.get('InvocationID') or '-'}{said}"


RESTART_VERBS: dict[str, Verb] = {
    "restart-unit": Verb(words=_restart_words, allowed=_restart_allowed, act=restart_unit)
}
