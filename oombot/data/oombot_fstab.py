"""Verbs of fstab: our one line for a swap file, added and taken away; every other byte stays.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import functools
import os
import re

from oombot.data.oombot_policy import Policy
from oombot.data.oombot_shape import Verb, no_input, options
from oombot.data.oombot_site import RefusedError, Site, StepError, UntouchedError, attempt, write_file
from oombot.data.oombot_swaps import FSTAB, SWAP_PATH, fstab_lines, line_for, lines_about


def plain_swap_path(path: str) -> str:
    """The path of a swap file of ours, or RefusedError; its form is checked already, its parts are here."""
    if not {".", ".."}.isdisjoint(path.split("/")):
        raise RefusedError("a swap file has a plain path")
    return path


def check_swap_folder(policy: Policy | None, site: Site, path: str, **_: object) -> None:
    """Refuse a folder that the host's owner does not allow for swap files; no list allows none."""
    folders = () if policy is None else policy.swap_folders
    if policy is not None and os.path.dirname(path) not in [folder.rstrip("/") or "/" for folder in folders]:
        raise RefusedError(
            f"{os.path.dirname(path)} is not among the swap_folders that this host's policy allows"
        )


def _fstab_words(verb: str, words: list[str], stdin: str) -> dict[str, str]:
    no_input(verb, stdin)
    return {"path": plain_swap_path(options(verb, words, {"--path": SWAP_PATH})["path"])}


def add_fstab(policy: Policy | None, site: Site, path: str) -> tuple[str, str]:
    """Add our line at the end; a last line that did not end stays so, with ours behind it."""
    lines = fstab_lines(site)
    if lines_about(lines, path):
        raise UntouchedError(f"{FSTAB} names {path} or its tag already; nothing was changed")
    faults, ends = _parse_errors(site), lines[-1] == ""
    longer = [*lines[:-1], line_for(path), ""] if ends else [*lines, line_for(path)]
    _write_lines(site, lines, longer)
    if _parse_errors(site) > faults:
        wrong = f"findmnt --verify does not take {FSTAB} with our line"
        try:
            _write_lines(site, longer, lines)
        except StepError as error:
            raise StepError(f"{wrong}, which could not be taken out again: {error}") from None
        raise UntouchedError(f"{wrong}; it is as it was")
    if lines_about(fstab_lines(site), path) != [line_for(path)]:
        raise StepError(f"{FSTAB} does not hold our line for {path} although it was written")
    return "no line", line_for(path)


def remove_fstab(policy: Policy | None, site: Site, path: str) -> tuple[str, str]:
    """Take exactly our line away; one that somebody has edited is not ours any more."""
    lines = fstab_lines(site)
    found = lines_about(lines, path)
    if found != [line_for(path)]:
        stands = "; ".join(found) or "nothing"
        raise UntouchedError(
            f"{FSTAB} does not hold exactly our line for {path} but: {stands}; nothing was changed"
        )
    at = lines.index(line_for(path))
    _write_lines(site, lines, lines[:at] + lines[at + 1 :])
    if lines_about(fstab_lines(site), path):
        raise StepError(f"{FSTAB} still holds our line for {path} although it was written without")
    return line_for(path), "no line"


def _write_lines(site: Site, seen: list[str], lines: list[str]) -> None:
    """Write these lines over those that were seen; UntouchedError where others stand there by now."""
    if fstab_lines(site) != seen:
        raise UntouchedError(f"somebody has changed {FSTAB} just now; it is left as it is")
    write_file(site, FSTAB, "\n".join(lines).encode("utf-8", "surrogateescape"))


def _parse_errors(site: Site) -> int:
    """How many parse errors findmnt finds; 0 where it is not there to find any."""
    try:
        done = attempt(site, "findmnt", "--verify", "--tab-file", site.path(FSTAB))
    except StepError:
        return 0
    found = re.search(r"([0-9]+) parse errors?", (done.stdout + done.stderr).decode("utf-8", "replace"))
    return int(found[1]) if found else 0


FSTAB_VERBS = {
    name: Verb(words=functools.partial(_fstab_words, name), allowed=check_swap_folder, act=act)
    for name, act in (("add-fstab", add_fstab), ("remove-fstab", remove_fstab))
}
