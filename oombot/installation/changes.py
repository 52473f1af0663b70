"""What an installation would change on a host, file by file, as people read it."""

import base64
import binascii
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oombot.installation.layout import File, Layout, home

_SHORT = 40  # lines of a new file that are shown; the whole of it is what `oombot sudoers HOST` prints


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What a host has of a layout: text, mode and owner by path, and the accounts."""

    files: Mapping[str, tuple[str, str]]  # text, and "MODE UID" as stat prints them
    accounts: Mapping[str, str]  # the line of passwd


def present(raw: str) -> Present | None:
    """Read the answer of the look; None where it was cut or is something else."""
    lines = raw.splitlines()
    if not lines or lines[-1] != "@@end":
        return None
    files: dict[str, tuple[str, str]] = {}
    accounts: dict[str, str] = {}
    path, meta, text = "", "", ""
    for line in [*lines, "@@end"]:
        if not line.startswith("@@"):
            text += line
            continue
        if path:
            try:
                files[path] = (base64.b64decode(text, validate=True).decode("utf-8", "replace"), meta)
            except binascii.Error:
                return None
        path, meta, text = "", "", ""
        if line.startswith("@@file "):
            _, path, meta = line.split(" ", 2)
        elif line.startswith("@@account "):
            row = line.removeprefix("@@account ")
            accounts[row.split(":")[0]] = row
    return Present(files=files, accounts=accounts)


def installing(layout: Layout, now: Present) -> Sequence[str]:
    """One paragraph for each account and file that would change; empty where all is in place."""
    found = []
    for user in layout.users:
        row = now.accounts.get(user)
        if row is None:
            found.append(f"new account {user}: home {home(user)} (root's), no password")
        elif not row.endswith(f":{home(user)}:/bin/sh"):
            found.append(
                f"the account {user} is there already and is not oombot's: the installation will stop there"
            )
    return [*found, *(change for file in layout.files if (change := _change(file, now.files.get(file.path))))]


def _change(file: File, there: tuple[str, str] | None) -> str:
    if there is None:
        lines = file.text.splitlines()
        shown = "\n".join(f"+{line}" for line in lines[:_SHORT])
        return f"new file {file.path}, mode {file.mode}, {len(lines)} lines" + (
            f"\n{shown}" if len(lines) <= _SHORT else ": the whole of it is printed without --apply"
        )
    text, meta = there
    if file.owners:
        return ""
    wanted = f"{int(file.mode, 8):o} 0"
    changes = [f"{file.path}: mode and owner {meta} become {wanted}"] if meta != wanted else []
    diff = difflib.unified_diff(
        text.split("\n"),
        file.text.split("\n"),
        f"{file.path} (now)",
        f"{file.path} (new)",
        lineterm="",
        n=1,
    )
    return "\n".join([*changes, *diff])


def left_over(layout: Layout, now: Present) -> Sequence[str]:
    """Accounts and files of an earlier installation, which this one neither needs nor touches."""
    accounts = [f"account {user}" for user in _ours(now) if user not in layout.users]
    paths = {file.path for file in layout.files}
    return [*accounts, *(f"file {path}" for path in now.files if path not in paths)]


def removing(now: Present) -> Sequence[str]:
    """One line for each account and file that would go; empty where nothing is there."""
    accounts = [f"account {user}, with what it runs now" for user in _ours(now)]
    return [*accounts, *(f"file {path}" for path in now.files)]


def _ours(now: Present) -> Sequence[str]:
    return [user for user, row in now.accounts.items() if row.endswith(f":{home(user)}:/bin/sh")]
