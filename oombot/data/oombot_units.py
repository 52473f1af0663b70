"""Verbs of units: write-adjust and remove-adjust, the drop-in of ours that sets OOMScoreAdjust at every start.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).

systemd reads a drop-in at a daemon-reload only and sets the score at a start only: each verb reloads, and the running
processes are written to by set-adj. Where the reload fails the drop-in is put back as it was.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from oombot.data.oombot_pending import check_reload
from oombot.data.oombot_policy import Policy, check_adj, check_unit
from oombot.data.oombot_shape import Verb, no_input, options
from oombot.data.oombot_site import (
    RefusedError,
    Site,
    StepError,
    UntouchedError,
    folder_of,
    read_file,
    remove_empty_folder,
    remove_file,
    tell,
    write_file,
)
from oombot.data.oombot_systemd import show

ADJUSTED_UNIT = r"[A-Za-z0-9_:][A-Za-z0-9:_.\\@-]{0,246}(?<!@)\.service"
ADJUST = r"-?[0-9]{1,4}"
ADJUST_TAG = r"[A-Za-z0-9_-]{1,64}"
# the whole of it: what was changed by hand is not ours any more. It tells whether its folder was made with it
OUR_ADJUST = re.compile(
    r"# oombot: request (?P<tag>[A-Za-z0-9_-]{1,64})(?P<made>, with this folder)?\n"
    r"\[Service\]\nOOMScoreAdjust=(?P<value>-?[0-9]{1,4})\n",
    re.ASCII,
)


class Adjust(NamedTuple):
    """Our drop-in as it stands."""

    value: int
    tag: str
    made: bool  # its folder was made with it


def _adjust_path(unit: str) -> str:
    return f"/etc/systemd/system/{unit}.d/60-oombot.conf"


def _adjust_text(adjust: Adjust) -> bytes:
    made = ", with this folder" if adjust.made else ""
    return f"# oombot: request {adjust.tag}{made}\n[Service]\nOOMScoreAdjust={adjust.value}\n".encode("ascii")


def _adjust_of(site: Site, unit: str) -> Adjust | None:
    """Our drop-in; None where there is none, UntouchedError where somebody else wrote what stands there."""
    data = read_file(site, _adjust_path(unit))
    found = OUR_ADJUST.fullmatch(data.decode("utf-8", "replace")) if data is not None else None
    if data is None:
        return None
    if found is None:
        raise UntouchedError(f"{_adjust_path(unit)} is not as oombot writes it; nothing was changed")
    return Adjust(int(found["value"]), found["tag"], found["made"] is not None)


def _write_adjust_words(words: list[str], stdin: str) -> dict[str, str]:
    """`--unit U --was ABSENT|N --had N --value N --tag T`: had is what systemd holds for the unit now."""
    no_input("write-adjust", stdin)
    forms = {"--unit": ADJUSTED_UNIT, "--was": rf"ABSENT|{ADJUST}", "--had": ADJUST}
    found = options("write-adjust", words, {**forms, "--value": ADJUST, "--tag": ADJUST_TAG})
    if not -1000 <= int(found["value"]) <= 1000:
        raise RefusedError("write-adjust: --value is within -1000 and 1000")
    return found


def _remove_adjust_words(words: list[str], stdin: str) -> dict[str, str]:
    """`--unit U --was N`."""
    no_input("remove-adjust", stdin)
    return options("remove-adjust", words, {"--unit": ADJUSTED_UNIT, "--was": ADJUST})


def _write_adjust_allowed(
    policy: Policy | None, site: Site, unit: str, had: str, value: str, **_: str
) -> None:
    check_unit(policy, unit)
    check_adj(policy, int(had))  # so that what is allowed can be undone
    check_adj(policy, int(value))


def _remove_adjust_allowed(policy: Policy | None, site: Site, unit: str, was: str) -> None:
    check_unit(policy, unit)
    check_adj(policy, int(was))


def write_adjust(
    policy: Policy | None, site: Site, unit: str, was: str, had: str, value: str, tag: str
) -> tuple[str, str]:
    """Let the unit start with this score from now on, and give what systemd held before and holds now."""
    stood = _check_adjust(site, unit, was)
    held = _check_adjusted(site, unit)
    if held != had:
        raise UntouchedError(
            f"systemd has OOMScoreAdjust={held} for {unit} now, not {had}; nothing was changed"
        )
    check_reload(site)
    made = stood.made if stood is not None else not _is_folder(site, unit)
    _put_adjust(site, unit, Adjust(int(value), tag, made))
    try:
        return held, _reloaded(site, unit, value)
    except StepError as error:
        raise _put_back(site, unit, stood, error) from None


def remove_adjust(policy: Policy | None, site: Site, unit: str, was: str) -> tuple[str, str]:
    """Take our drop-in away, and its folder where that was made with it; give what systemd held and holds now."""
    stood = _check_adjust(site, unit, was)
    held = _check_adjusted(site, unit)
    check_reload(site)
    _put_adjust(site, unit, None, made=stood is not None and stood.made)
    try:
        return held, _reloaded(site, unit)
    except StepError as error:
        raise _put_back(site, unit, stood, error) from None


def _check_adjust(site: Site, unit: str, was: str) -> Adjust | None:
    """Our drop-in, where it is as it was seen; UntouchedError where it is not."""
    stood = _adjust_of(site, unit)
    now = "ABSENT" if stood is None else str(stood.value)
    if now != was:
        raise UntouchedError(f"{_adjust_path(unit)} holds {now} now, not {was}; nothing was changed")
    return stood


def _check_adjusted(site: Site, unit: str) -> str:
    """What systemd holds for the unit; UntouchedError where it is none that a drop-in can be written for."""
    seen = show(site, unit, "Id,LoadState,Transient,OOMScoreAdjust")
    if (seen.get("Id"), seen.get("LoadState"), seen.get("Transient")) != (unit, "loaded", "no"):
        state = "transient" if seen.get("Transient") == "yes" else seen.get("LoadState") or "not known"
        raise UntouchedError(
            f"{unit} is {state}, by the name of {seen.get('Id') or '-'}; nothing was changed"
        )
    return seen.get("OOMScoreAdjust", "")


def _is_folder(site: Site, unit: str) -> bool:
    try:
        with folder_of(site, _adjust_path(unit)):
            return True
    except FileNotFoundError:
        return False


def _put_adjust(site: Site, unit: str, adjust: Adjust | None, *, made: bool = False) -> None:
    """Write our drop-in, or take it away; where that fails, its folder is as it was."""
    path = _adjust_path(unit)
    try:
        if adjust is None:
            remove_file(site, path)
        else:
            made = adjust.made
            write_file(site, path, _adjust_text(adjust), make=True)
            made = False
    finally:
        if made:
            remove_empty_folder(site, os.path.dirname(path))


def _reloaded(site: Site, unit: str, wanted: str | None = None) -> str:
    """Let systemd read its files, and give what it holds then; StepError where it is not what is wanted."""
    tell(site, "systemctl", "daemon-reload")
    held = show(site, unit, "OOMScoreAdjust").get("OOMScoreAdjust", "")
    if wanted is not None and held != wanted:
        raise StepError(f"systemd holds OOMScoreAdjust={held} for {unit}, not {wanted}: another file decides")
    return held


def _put_back(site: Site, unit: str, stood: Adjust | None, error: StepError) -> StepError:
    """The error to raise: the drop-in is put back as it stood, and whether systemd knows that is said."""
    try:
        _put_adjust(site, unit, stood, made=stood is None)
        tell(site, "systemctl", "daemon-reload")
    except StepError as again:
        return StepError(f"{error}; {_adjust_path(unit)} was to be put back as it was, which failed: {again}")
    return UntouchedError(f"{error}; {_adjust_path(unit)} was put back as it was")


UNITS_VERBS: dict[str, Verb] = {
    "write-adjust": Verb(words=_write_adjust_words, allowed=_write_adjust_allowed, act=write_adjust),
    "remove-adjust": Verb(words=_remove_adjust_words, allowed=_remove_adjust_allowed, act=remove_adjust),
}
