"""Verbs of scores: set-adj writes oom_score_adj of one process.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import os
import re

from oombot.data.oombot_policy import Policy, check_adj, check_owner, check_unit, unit_of
from oombot.data.oombot_shape import Verb
from oombot.data.oombot_site import MAX_FILE, RefusedError, Site, StepError, UntouchedError

PF_KTHREAD = 0x00200000
NUMBERS = {"pid": r"[0-9]{1,10}", "start": r"[0-9]{1,20}", "was": r"-?[0-9]{1,4}", "value": r"-?[0-9]{1,4}"}


def _set_adj_words(words: list[str], stdin: str) -> dict[str, int]:
    """`--pid P --start S [--was B] --value V`, in this order and nothing else."""
    options = ["--pid", "--start", *(["--was"] if len(words) == 8 else []), "--value"]
    if len(words) != 2 * len(options) or words[::2] != options or stdin:
        raise RefusedError("set-adj takes --pid P --start S [--was B] --value V and no input")
    found = {}
    for at, option in enumerate(options):
        name, word = option[2:], words[2 * at + 1]
        if not re.fullmatch(NUMBERS[name], word, re.ASCII):
            raise RefusedError(f"set-adj: {option} must be a number")
        found[name] = int(word)
    if found["pid"] <= 1 or not -1000 <= found["value"] <= 1000:
        raise RefusedError("set-adj: PID 1 is never changed, and --value is within -1000 and 1000")
    return found


def _set_adj_allowed(policy: Policy | None, site: Site, pid: int, value: int, **_: int) -> None:
    """Whether the policy allows it as far as can be seen before; `set_adj` looks again at what it has opened."""
    check_adj(policy, value)
    if policy is None:
        return
    try:
        folder = os.open(site.path(f"/proc/{pid}"), os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return  # gone: the step says so
    try:
        _check_policy(policy, folder)
        check_adj(policy, int(_read(folder, "oom_score_adj")))
    except (FileNotFoundError, ProcessLookupError):
        return
    finally:
        os.close(folder)


def _check_policy(policy: Policy | None, folder: int) -> None:
    """Refuse a process of a unit or of an account that the policy does not allow."""
    if policy is not None:
        check_unit(policy, unit_of(_read(folder, "cgroup")))
        uids = [line.split() for line in _read(folder, "status").splitlines() if line.startswith("Uid:")]
        for uid in {int(word) for word in uids[0][1:3]}:  # real and effective
            check_owner(policy, uid)


def set_adj(
    policy: Policy | None, site: Site, pid: int, start: int, value: int, was: int | None = None
) -> tuple[str, str]:
    """Write oom_score_adj of one process, found by pid and start time; give the value before and after.

    With `was` only where that still stands: what somebody else set meanwhile is not overwritten.
    """
    try:
        folder = os.open(site.path(f"/proc/{pid}"), os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        raise UntouchedError(f"process {pid} is gone; nothing was changed") from None
    try:
        try:
            _check_process(folder, pid, start)
            _check_policy(policy, folder)
            before = _write_adj(folder, pid, value, was, policy)
        except (FileNotFoundError, ProcessLookupError):
            raise UntouchedError(f"process {pid} ended meanwhile; nothing was changed") from None
        except RefusedError as error:
            raise UntouchedError(f"{error}; nothing was changed") from None
        return before, _read_back(folder, pid, value)
    finally:
        os.close(folder)


def _check_process(folder: int, pid: int, start: int) -> None:
    """An opened /proc/PID stays with its process: a later one of the same pid can not be hit through it."""
    text = _read(folder, "stat")
    fields = text[text.rindex(")") + 2 :].split()  # the name may hold blanks and brackets; from field 3 on
    flags, started = int(fields[6]), int(fields[19])
    if started != start:
        raise UntouchedError(
            f"pid {pid} is another process now (started at tick {started}); nothing was changed"
        )
    if flags & PF_KTHREAD:
        raise UntouchedError(f"pid {pid} is a kernel thread; nothing was changed")


def _write_adj(folder: int, pid: int, value: int, was: int | None, policy: Policy | None = None) -> str:
    """Write the value and give the one before; whatever is raised here, nothing was written."""
    try:
        handle = os.open("oom_score_adj", os.O_WRONLY, dir_fd=folder)
    except PermissionError:
        raise UntouchedError(f"process {pid} belongs to another account; nothing was changed") from None
    try:
        before = _read(folder, "oom_score_adj").strip()
        check_adj(policy, int(before))
        if was is not None and int(before) != was:
            stood = f"not {was} as it was when the plan was made: nothing was changed"
            raise UntouchedError(f"oom_score_adj is now {before}, {stood}")
        os.write(handle, str(value).encode())  # one write: a buffered file would hide the kernel's answer
    except PermissionError:
        reason = "that needs CAP_SYS_RESOURCE, which root in a container often lacks; nothing was changed"
        raise UntouchedError(
            f"the kernel refused to set process {pid} to {value} (EACCES): {reason}"
        ) from None
    finally:
        os.close(handle)
    return before


def _read_back(folder: int, pid: int, value: int) -> str:
    """What stands there after the write."""
    try:
        after = _read(folder, "oom_score_adj").strip()
    except (FileNotFoundError, ProcessLookupError):
        raise StepError(f"process {pid} ended right after {value} was written") from None
    if after != str(value):
        raise StepError(f"oom_score_adj of process {pid} reads {after} after {value} was written")
    return after


def _read(folder: int, name: str) -> str:
    handle = os.open(name, os.O_RDONLY, dir_fd=folder)
    with os.fdopen(handle, "rb") as file:
        return file.read(MAX_FILE).decode("utf-8", "replace")  # whole: a deep cgroup makes long lines


ADJ_VERBS = {"set-adj": Verb(words=_set_adj_words, allowed=_set_adj_allowed, act=set_adj)}
