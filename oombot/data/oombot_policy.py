"""The host's own policy: what its owner lets the act helper do, whoever asks and whatever was approved elsewhere.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import pwd
import stat
from typing import Any, NamedTuple

from oombot.data.oombot_site import RefusedError

POLICY = "/etc/oombot/policy.json"
MAX_POLICY = 65_536
# what a host can not be reached or run without is never changed, whatever the policy says
NEVER = ("ssh.service", "ssh@*", "sshd*", "systemd-*", "dbus*", "init.scope", "polkit.service")


class Policy(NamedTuple):
    """What is allowed on this host."""

    operations: tuple[str, ...]  # verbs
    units: tuple[str, ...]  # globs of units; a process of none counts as ""
    owners: tuple[str, ...]  # globs of the accounts that a process may belong to
    oom_score_adj: tuple[int, int]  # lowest and highest, of what is written and of what is replaced
    changes_per_hour: int
    swap_folders: tuple[str, ...] = ()  # directories that swap files may be put in; none: no swap files
    swap_max_mib: int = 0  # of all swap files of ours together


def load_policy(path: str, *, required: bool) -> Policy | None:
    """The policy of this host; None where there is none and none is required. Any fault refuses everything."""
    try:
        text = _owned_text(path)
    except FileNotFoundError:
        if required:
            raise RefusedError(f"this host has no policy: its owner must write {path} first") from None
        return None
    except OSError as error:
        raise RefusedError(f"the policy of this host ({path}) can not be read: {error.strerror}") from None
    try:
        return _policy(json.loads(text, object_pairs_hook=_once))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RefusedError(
            f"the policy of this host ({path}) is wrong: {error}; nothing is allowed"
        ) from None


def _owned_text(path: str) -> str:
    """The file's text, where only root or this account can have written it: no link, no open folder."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, folder)
        handle = os.open(os.path.basename(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        stack.callback(os.close, handle)
        for found in (os.fstat(folder), os.fstat(handle)):
            if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
                raise RefusedError(
                    f"the policy of this host ({path}) can be written by others: it is not believed"
                )
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_POLICY:
            raise RefusedError(f"the policy of this host ({path}) is no small regular file")
        return os.read(handle, MAX_POLICY).decode("utf-8", "replace")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One object of JSON, in which nothing stands twice: the last one would win, and nobody would see it."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} stands there twice")
        found[name] = value
    return found


def _policy(raw: Any) -> Policy:
    if not isinstance(raw, dict):
        raise TypeError("it must be one JSON object")
    unknown = set(raw) - set(Policy._fields)
    missing = set(Policy._fields) - set(raw) - set(Policy._field_defaults)
    if unknown or missing:
        raise ValueError(f"unknown {sorted(unknown)}, missing {sorted(missing)}")
    for name in ("operations", "units", "owners"):
        if not isinstance(raw[name], list) or not all(isinstance(one, str) and one for one in raw[name]):
            raise ValueError(f"{name} must be a list of words")
    for name in ("swap_folders",):
        given = raw.get(name, [])
        if not isinstance(given, list) or not all(
            isinstance(one, str) and one.startswith("/") for one in given
        ):
            raise ValueError(f"{name} must be a list of absolute paths")
    span, count, swap = raw["oom_score_adj"], raw["changes_per_hour"], raw.get("swap_max_mib", 0)
    if type(swap) is not int or swap < 0:
        raise ValueError("swap_max_mib must be a whole number")
    if not isinstance(span, list) or [type(one) for one in span] != [int, int] or span[0] > span[1]:
        raise ValueError("oom_score_adj must be [lowest, highest]")
    if type(count) is not int or count < 0:
        raise ValueError("changes_per_hour must be a whole number")
    return Policy(
        operations=tuple(raw["operations"]),
        units=tuple(raw["units"]),
        owners=tuple(raw["owners"]),
        oom_score_adj=(span[0], span[1]),
        changes_per_hour=count,
        swap_folders=tuple(raw.get("swap_folders", [])),
        swap_max_mib=swap,
    )


def check_operation(policy: Policy | None, verb: str) -> None:
    """Refuse a verb that the host's owner does not allow."""
    if policy is not None and verb not in policy.operations:
        raise RefusedError(f"{verb} is not among the operations that this host's policy allows")


def check_unit(policy: Policy | None, unit: str) -> None:
    """Refuse a unit that the host's owner does not allow."""
    if policy is None:
        return
    within, _, name = unit.rpartition("/")
    if any(fnmatch.fnmatchcase(name, glob) for glob in NEVER):
        raise RefusedError(f"{unit} is never changed: the host could not be run without it")
    if not any(fnmatch.fnmatchcase("" if within else name, glob) for glob in policy.units):
        raise RefusedError(
            f"{unit or 'a process of no unit'} is not among the units that this host's policy allows"
        )


def check_owner(policy: Policy | None, uid: int) -> None:
    """Refuse what belongs to an account that the host's owner does not allow."""
    names = [str(uid)]
    with contextlib.suppress(KeyError):
        names.append(pwd.getpwuid(uid).pw_name)
    if policy is not None and not any(
        fnmatch.fnmatchcase(name, glob) for name in names for glob in policy.owners
    ):
        raise RefusedError(f"{names[-1]} is not among the owners that this host's policy allows")


def check_adj(policy: Policy | None, value: int) -> None:
    """Refuse a score outside of the range, be it written or replaced: so what is allowed can be undone."""
    if policy is not None and not policy.oom_score_adj[0] <= value <= policy.oom_score_adj[1]:
        low, high = policy.oom_score_adj
        raise RefusedError(
            f"oom_score_adj {value} is outside of {low} to {high}, which this host's policy allows"
        )


def unit_of(cgroup: str) -> str:
    """The unit that systemd put a process in, from its /proc/PID/cgroup: the outermost, since what lies below a
    delegated one is named by whoever it was given to. Empty where there is none; with its path where others than
    slices lie above it: then a container's systemd has named it, not this host's."""
    rows = [line.split(":", 2) for line in cgroup.splitlines()]
    paths = {row[1]: row[2] for row in rows if len(row) == 3}
    path = paths.get("name=systemd", paths.get("", ""))
    parts = path.strip("/").split("/")
    for at, part in enumerate(parts):
        if part.endswith((".service", ".scope")):
            return (
                part if all(above.endswith(".slice") for above in parts[:at]) else "/".join(parts[: at + 1])
            )
    return ""
