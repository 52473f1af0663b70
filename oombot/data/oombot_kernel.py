"""Verbs of kernel settings: swappiness, now and at boot.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import functools
import os

from oombot.data.oombot_policy import Policy
from oombot.data.oombot_shape import Verb, no_input, options
from oombot.data.oombot_site import (
    RefusedError,
    Site,
    StepError,
    UntouchedError,
    read_file,
    remove_file,
    write_file,
)

SWAPPINESS = "/proc/sys/vm/swappiness"
SWAPPINESS_FILE = "/etc/sysctl.d/60-oombot.conf"
VALUE, TAG = r"0|[1-9][0-9]{0,2}", r"[A-Za-z0-9_-]{1,64}"


def swappiness_text(value: int, tag: str) -> str:
    """The whole of our file in sysctl.d."""
    return f"# oombot:{tag}\nvm.swappiness = {value}\n"


def _swappiness_words(verb: str, forms: dict[str, str], words: list[str], stdin: str) -> dict[str, int | str]:
    no_input(verb, stdin)
    found = options(verb, words, forms)
    read: dict[str, int | str] = {
        name: word if name.endswith("tag") else int(word) for name, word in found.items()
    }
    if any(isinstance(value, int) and value > 200 for value in read.values()):
        raise RefusedError(f"{verb}: swappiness is within 0 and 200")
    if ("was_value" in read) != ("was_tag" in read):
        raise RefusedError(f"{verb} takes --was-value and --was-tag together")
    return read


def _anywhere(policy: Policy | None, site: Site, **_: object) -> None:
    """The list of operations is all that a policy says about it."""


def set_swappiness(policy: Policy | None, site: Site, was: int, value: int) -> tuple[str, str]:
    """Write vm.swappiness where it still is what was seen."""
    before = _live(site)
    if before != str(was):
        raise UntouchedError(f"vm.swappiness is now {before}, not {was}: nothing was changed")
    try:
        handle = os.open(site.path(SWAPPINESS), os.O_WRONLY)
        try:
            os.write(handle, str(value).encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise UntouchedError(
            f"the kernel does not take {value}: {error.strerror}; nothing was changed"
        ) from None
    try:
        after = _live(site)
    except UntouchedError:
        raise StepError(f"{value} was written, but {SWAPPINESS} can not be read back") from None
    if after != str(value):
        raise StepError(f"vm.swappiness reads {after} after {value} was written")
    return before, after


def _live(site: Site) -> str:
    try:
        with open(site.path(SWAPPINESS), encoding="ascii") as file:
            return file.read().strip()
    except OSError as error:
        raise UntouchedError(f"{SWAPPINESS} can not be read: {error.strerror}; nothing was changed") from None


def keep_swappiness(
    policy: Policy | None,
    site: Site,
    value: int,
    tag: str,
    was_value: int | None = None,
    was_tag: str | None = None,
) -> tuple[str, str]:
    """Write our file, in the place of none or of exactly the one that was seen."""
    was = None if was_value is None or was_tag is None else swappiness_text(was_value, was_tag)
    before = _check_file(site, was)
    write_file(site, SWAPPINESS_FILE, swappiness_text(value, tag).encode(), make=True)
    return before, _said(_file(site))


def drop_swappiness(policy: Policy | None, site: Site, value: int, tag: str) -> tuple[str, str]:
    """Take our file away, if it is exactly the one that was seen."""
    before = _check_file(site, swappiness_text(value, tag))
    remove_file(site, SWAPPINESS_FILE)
    return before, _said(_file(site))


def _check_file(site: Site, wanted: str | None) -> str:
    found = _file(site)
    if found != wanted:
        raise UntouchedError(
            f"{SWAPPINESS_FILE} is not as it was seen (now: {_said(found)}); nothing was changed"
        )
    return _said(found)


def _file(site: Site) -> str | None:
    data = read_file(site, SWAPPINESS_FILE)
    return None if data is None else data.decode("utf-8", "replace")


def _said(text: str | None) -> str:
    return "no file" if text is None else "; ".join(text.split("\n")[:4]).strip("; ")[:200]


KERNEL_VERBS = {
    "set-swappiness": Verb(
        words=functools.partial(_swappiness_words, "set-swappiness", {"--was": VALUE, "--value": VALUE}),
        allowed=_anywhere,
        act=set_swappiness,
    ),
    "keep-swappiness": Verb(
        words=functools.partial(
            _swappiness_words,
            "keep-swappiness",
            {"[--was-value]": VALUE, "[--was-tag]": TAG, "--value": VALUE, "--tag": TAG},
        ),
        allowed=_anywhere,
        act=keep_swappiness,
    ),
    "drop-swappiness": Verb(
        words=functools.partial(_swappiness_words, "drop-swappiness", {"--value": VALUE, "--tag": TAG}),
        allowed=_anywhere,
        act=drop_swappiness,
    ),
}
