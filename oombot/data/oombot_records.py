"""Records of the act helper: one file for each request, created once, whole from its first moment on.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import tempfile
import time
from typing import Any

from oombot.data.oombot_site import RefusedError

ROOT_STATE = "/var/lib/oombot-helper"
KEEP_S = 30 * 86400
HOUR_S = 3600
MAX_RECORDS = 5000
REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
TEMPORARY = ".new-"
OURS = re.compile(rf"{REQUEST_ID.pattern}|{re.escape(TEMPORARY)}[a-z0-9_]{{1,16}}")


class BusyError(RefusedError):
    """Another plan is being run; nothing was."""


def state_directory() -> str:
    """Where the records are: root's own place, or the account's state directory."""
    if os.geteuid() == 0:
        return ROOT_STATE
    return os.path.join(
        os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "oombot-helper"
    )


def prepare(state: str) -> None:
    """Make the directory; one that others can write to is not believed."""
    os.makedirs(state, mode=0o700, exist_ok=True)
    found = os.lstat(state)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise RefusedError(f"{state} must be a directory that only its owner, this account, can write to")


def create(state: str, name: str, record: dict[str, Any]) -> bool:
    """Create a record that is whole from its first moment on; False where there is one already.

    Where it can not be written (a full disk) nothing may be run, since nothing would keep it from running twice.
    """
    try:
        temporary = written(state, record)
        try:
            os.link(temporary, os.path.join(state, name))
            _sync(state)
        except FileExistsError:
            return False
        finally:
            os.unlink(temporary)
    except OSError as error:
        raise RefusedError(
            f"no record can be written in {state}: {error.strerror}; nothing was run"
        ) from None
    return True


def replace(state: str, name: str, record: dict[str, Any]) -> bool:
    """Write the record anew, whole at every moment; False where that fails: it goes on saying what it said."""
    try:
        os.replace(written(state, record), os.path.join(state, name))
        _sync(state)
    except OSError:
        return False
    return True


def written(state: str, record: dict[str, Any]) -> str:
    """The path of a new file that holds the record."""
    handle, path = tempfile.mkstemp(prefix=TEMPORARY, dir=state)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(json.dumps(record))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.unlink(path)
        raise
    return path


def _sync(state: str) -> None:
    handle = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def recorded(state: str, name: str) -> dict[str, Any]:
    """What is written about a request; a plan that says running while nobody runs one was cut off."""
    record = load(state, name)
    lock = take_lock(state) if record["status"] == "running" else None
    if lock is not None:
        record = load(state, name)  # it may have come to its end between the look and the lock
        os.close(lock)
        if record["status"] == "running":
            record.update(status="unreadable", error="the helper ended before the plan did; look at the host")
    return record


def load(state: str, name: str) -> dict[str, Any]:
    """The record as it is written, or that it can not be read."""
    try:
        handle = os.open(os.path.join(state, name), os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(handle, encoding="ascii") as file:
            record = json.load(file)
        return dict(record, status=record["status"])
    except (OSError, ValueError, KeyError, TypeError):
        return {"status": "unreadable", "error": "the record of this request can not be read"}


def take_lock(state: str) -> int | None:
    """The right to run a plan, one at a time on this host; None where it is taken."""
    handle = os.open(os.path.join(state, ".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def turn(state: str, name: str) -> int | None:
    """Wait a little for the plan that runs now; None where it is this very one."""
    for _ in range(50):
        lock = take_lock(state)
        if lock is not None:
            return lock
        if os.path.lexists(os.path.join(state, name)):
            return None
        time.sleep(0.1)
    raise BusyError("another plan is being run on this host")


def prune(state: str) -> None:
    """Forget our own records older than 30 days; what is not ours stays, and no fault here stops a plan."""
    try:
        names = [name for name in os.listdir(state) if OURS.fullmatch(name)]
    except OSError:
        return
    for name in names:
        path = os.path.join(state, name)
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            if stat.S_ISREG(found.st_mode) and time.time() - found.st_mtime > KEEP_S:
                os.unlink(path)


def changes_within(state: str, seconds: float) -> int:
    """How many changes were begun of late, step by step; what can not be read counts as one."""
    since, found = time.time() - seconds, 0
    for entry in os.scandir(state):
        if REQUEST_ID.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime >= since:
            record = load(state, entry.name)
            began, changes = record.get("began_s", since), record.get("changes", 1)
            if record["status"] != "cancelled" and (not isinstance(began, (int, float)) or began >= since):
                found += changes if type(changes) is int and changes > 0 else 1
    return found


def check_room(state: str) -> None:
    """Bound how many records there can be: who only asks for results must not fill the disk."""
    prune(state)
    if len(os.listdir(state)) > MAX_RECORDS:
        raise RefusedError(f"{state} holds more than {MAX_RECORDS} records; nothing more is taken on")
