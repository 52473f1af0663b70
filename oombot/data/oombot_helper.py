"""The host helper of oombot: runs an approved plan on this host, at most once, and keeps what came of it.

Standard library of Python 3.9+ only, sent by standard input with a call of `main` as its last line. No shell, ever.
A request is one JSON object, the answer another one on standard output:

  {"op": "run", "id": ID, "steps": [{"do": [VERB, ARG…], "stdin": ""}]}
  {"op": "result", "id": ID}

The status is done or failed (a step that failed stopped it), running, unreadable (begun, and nobody knows how it
ended), absent or cancelled (never begun, and from now on never will be), refused or frozen (nothing was run).

Before the first step STATE/ID is created exclusively: a late or repeated request runs nothing and gets what stands
there. STATE is not the bot's own state directory, which systemd gives to the bot's account.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import sys
import tempfile
import time
from typing import Any

ROOT_STATE = "/var/lib/oombot-helper"
FROZEN = "/etc/oombot/frozen"
KEEP_S = 30 * 86400
PF_KTHREAD = 0x00200000
REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
TEMPORARY = ".new-"
OURS = re.compile(rf"{REQUEST_ID.pattern}|{re.escape(TEMPORARY)}[a-z0-9_]{{1,16}}")
NUMBERS = {"pid": r"[0-9]{1,10}", "start": r"[0-9]{1,20}", "was": r"-?[0-9]{1,4}", "value": r"-?[0-9]{1,4}"}


class RefusedError(Exception):
    """The request must not be run; nothing was."""


class StepError(Exception):
    """A step could not be done; what it says is shown to people."""


def set_adj(pid: int, start: int, value: int, was: int | None = None) -> tuple[str, str]:
    """Write oom_score_adj of one process, found by pid and start time; give the value before and after.

    With `was` only where that still stands: what somebody else set meanwhile is not overwritten.
    """
    try:
        folder = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        raise StepError(f"process {pid} is gone; nothing was changed") from None
    try:
        try:
            _check_process(folder, pid, start)
            before = _write_adj(folder, pid, value, was)
        except (FileNotFoundError, ProcessLookupError):
            raise StepError(f"process {pid} ended meanwhile; nothing was changed") from None
        return before, _read_back(folder, pid, value)
    finally:
        os.close(folder)


def _check_process(folder: int, pid: int, start: int) -> None:
    """An opened /proc/PID stays with its process: a later one of the same pid can not be hit through it."""
    text = _read(folder, "stat")
    fields = text[text.rindex(")") + 2 :].split()  # the name may hold blanks and brackets; from field 3 on
    flags, started = int(fields[6]), int(fields[19])
    if started != start:
        raise StepError(f"pid {pid} is another process now (started at tick {started}); nothing was changed")
    if flags & PF_KTHREAD:
        raise StepError(f"pid {pid} is a kernel thread; nothing was changed")


def _write_adj(folder: int, pid: int, value: int, was: int | None) -> str:
    """Write the value and give the one before; whatever is raised here, nothing was written."""
    try:
        handle = os.open("oom_score_adj", os.O_WRONLY, dir_fd=folder)
    except PermissionError:
        raise StepError(f"process {pid} belongs to another account; nothing was changed") from None
    try:
        before = _read(folder, "oom_score_adj").strip()
        if was is not None and int(before) != was:
            stood = f"not {was} as it was when the plan was made: nothing was changed"
            raise StepError(f"oom_score_adj is now {before}, {stood}")
        os.write(handle, str(value).encode())  # one write: a buffered file would hide the kernel's answer
    except PermissionError:
        reason = "that needs CAP_SYS_RESOURCE, which root in a container often lacks; nothing was changed"
        raise StepError(f"the kernel refused to set process {pid} to {value} (EACCES): {reason}") from None
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
    try:
        return os.read(handle, 4096).decode("utf-8", "replace")
    finally:
        os.close(handle)


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


VERBS = {"set-adj": (_set_adj_words, set_adj)}


def state_directory() -> str:
    """Where the records are: root's own place, or the account's state directory."""
    if os.geteuid() == 0:
        return ROOT_STATE
    return os.path.join(
        os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "oombot-helper"
    )


def _prepare(state: str) -> None:
    """Make the directory; one that others can write to is not believed."""
    os.makedirs(state, mode=0o700, exist_ok=True)
    found = os.lstat(state)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise RefusedError(f"{state} must be a directory that only its owner, this account, can write to")


def _create(state: str, name: str, record: dict[str, Any]) -> bool:
    """Create a record that is whole from its first moment on; False where there is one already."""
    temporary = _written(state, record)
    try:
        os.link(temporary, os.path.join(state, name))
        _sync(state)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def _replace(state: str, name: str, record: dict[str, Any]) -> None:
    os.replace(_written(state, record), os.path.join(state, name))
    _sync(state)


def _written(state: str, record: dict[str, Any]) -> str:
    handle, path = tempfile.mkstemp(prefix=TEMPORARY, dir=state)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(json.dumps(record))
        file.flush()
        os.fsync(file.fileno())
    return path


def _sync(state: str) -> None:
    handle = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _recorded(state: str, name: str) -> dict[str, Any]:
    """What is written about a request; a plan that says running while nobody runs one was cut off."""
    record = _load(state, name)
    lock = _lock(state) if record["status"] == "running" else None
    if lock is not None:
        record = _load(state, name)  # it may have come to its end between the look and the lock
        os.close(lock)
        if record["status"] == "running":
            record.update(status="unreadable", error="the helper ended before the plan did; look at the host")
    return record


def _load(state: str, name: str) -> dict[str, Any]:
    try:
        with open(os.path.join(state, name), encoding="ascii") as file:
            record = json.load(file)
        return dict(record, status=record["status"])
    except (OSError, ValueError, KeyError, TypeError):
        return {"status": "unreadable", "error": "the record of this request can not be read"}


def _lock(state: str) -> int | None:
    """The right to run a plan, one at a time on this host; None where it is taken."""
    handle = os.open(os.path.join(state, ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _prune(state: str) -> None:
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


def run(state: str, name: str, steps: object, frozen: str) -> dict[str, Any]:
    """Run the whole plan, once."""
    if os.path.exists(os.path.join(state, name)):
        return _recorded(state, name)
    if os.path.lexists(frozen):
        return {"status": "frozen", "error": f"changes on this host are frozen ({frozen})", "steps": []}
    plan = _plan(steps)
    lock = _turn(state, name)
    if lock is None:
        return _recorded(state, name)
    try:
        _prune(state)
        record = {"status": "running", "steps": [], "began_s": time.time()}
        if _create(state, name, record):
            return _steps(state, name, record, plan)
    finally:
        os.close(lock)
    return _recorded(state, name)


def _turn(state: str, name: str) -> int | None:
    """Wait a little for the plan that runs now; None where it is this very one."""
    for _ in range(50):
        lock = _lock(state)
        if lock is not None:
            return lock
        if os.path.exists(os.path.join(state, name)):
            return None
        time.sleep(0.1)
    raise RefusedError("another plan is being run on this host")


def _steps(state: str, name: str, record: dict[str, Any], plan: list[Any]) -> dict[str, Any]:
    for argv, arguments in plan:
        record["steps"].append(_step(argv, arguments))
        if record["steps"][-1]["exit"]:
            break
        _replace(state, name, record)
    record.update(status="failed" if record["steps"][-1]["exit"] else "done", ended_s=time.time())
    _replace(state, name, record)
    return record


def _plan(steps: object) -> list[Any]:
    """Check every step before the first is run."""
    if not isinstance(steps, list) or not steps:
        raise RefusedError("a plan has at least one step")
    found = []
    for step in steps:
        argv, stdin = (step.get("do"), step.get("stdin", "")) if isinstance(step, dict) else (None, "")
        if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
            raise RefusedError("a step is a list of words")
        if argv[0] not in VERBS:
            raise RefusedError(f"{argv[0][:40]!r} is no verb of this helper")
        found.append((argv, VERBS[argv[0]][0](argv[1:], stdin)))
    return found


def _step(argv: list[Any], arguments: dict[str, Any]) -> dict[str, Any]:
    result = {"argv": argv, "exit": 1, "stdout": "", "stderr": "", "before": None, "after": None}
    try:
        result["before"], result["after"] = VERBS[argv[0]][1](**arguments)
    except StepError as error:
        return dict(result, stderr=str(error))
    except (OSError, ValueError, IndexError) as error:
        return dict(result, stderr=f"{argv[0]} failed: {error}")
    return dict(result, exit=0, stdout=f"{result['before']} -> {result['after']}")


def result_of(state: str, name: str) -> dict[str, Any]:
    """What came of a request. One that was never begun is cancelled here and now, for good."""
    if _create(state, name, {"status": "cancelled", "steps": []}):
        return {"status": "absent", "steps": []}
    return _recorded(state, name)


def answer(request: dict[str, Any], state: str, frozen: str) -> dict[str, Any]:
    """What is to be answered to one request."""
    name, op = request["id"], request["op"]
    if not isinstance(name, str) or not REQUEST_ID.fullmatch(name) or op not in ("run", "result"):
        raise RefusedError("op is run or result, id 8 to 64 letters, digits, _ and -")
    _prepare(state)
    return run(state, name, request.get("steps"), frozen) if op == "run" else result_of(state, name)


def main(text: str, state: str = "", frozen: str = FROZEN) -> int:
    """Answer one request on standard output."""
    try:
        said = answer(json.loads(text), state or state_directory(), frozen)
    except RefusedError as error:
        said = {"status": "refused", "error": str(error), "steps": []}
    except (ValueError, KeyError, TypeError) as error:
        said = {"status": "refused", "error": f"this is no request: {error}", "steps": []}
    sys.stdout.write(json.dumps(said) + "\n")
    return 0
