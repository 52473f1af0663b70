"""The act helper of oombot: runs an approved plan on this host, at most once, and keeps what came of it.

Standard library of Python 3.9+ only. Installed it is a root-owned program without arguments; else it is sent by
standard input with a call of `main` as its last line. No shell, ever. A request is one JSON object, the answer
another one on standard output:

  {"op": "run", "id": ID, "steps": [{"do": [VERB, ARG…], "stdin": ""}], "approver": WHO}
  {"op": "result", "id": ID}
  {"op": "about"}

The status is done or failed (a step that failed stopped it), running, unreadable (begun, and nobody knows how it
ended), absent or cancelled (never begun, and from now on never will be), refused or frozen (nothing was run).

Before the first step STATE/ID is created exclusively: a late or repeated request runs nothing and gets what stands
there. STATE is not the bot's own state directory, which systemd gives to the bot's account. Under systemd a plan
runs as the transient unit oombot-act-ID, so that it outlives the link that brought it.

It can not see approvals: who holds the key can ask for anything that the policy of this host allows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import syslog
import time
from functools import partial
from typing import Any, NamedTuple

from oombot.data.oombot_pending import starting_kills
from oombot.data.oombot_policy import POLICY, Policy, check_operation, load_policy
from oombot.data.oombot_records import (
    HOUR_S,
    REQUEST_ID,
    BusyError,
    changes_within,
    check_room,
    create,
    prepare,
    prune,
    recorded,
    replace,
    state_directory,
    turn,
)
from oombot.data.oombot_site import RefusedError, Site, StepError, UntouchedError
from oombot.data.oombot_timer import back_record, forget_back
from oombot.data.oombot_verbs import VERBS

FROZEN = "/etc/oombot/frozen"
JOURNAL = "/run/systemd/journal/socket"
MAX_REQUEST = 65_536
MAX_STEPS = 500
MAX_NOTE = 150_000  # more than the longest plan needs: none may hide its end
ASKED_WITHIN_S = 30
BACK_TRIES = 100  # of some 5 s each, while another plan is being run
UNIT_S = 300
# in system.slice a start would set limits that wait for any of its many units, and kill
UNIT_SLICE = "-.slice"
NOT_RUN = "; this step was not run, nor is any after it"
KEYS = {"run": {"op", "id", "steps", "approver"}, "result": {"op", "id"}, "about": {"op"}}
WHO = re.compile(r"[A-Za-z0-9@._:-]{1,64}")


class Place(NamedTuple):
    """The files of this host that count."""

    state: str
    frozen: str = FROZEN
    policy: str = POLICY
    journal: str = JOURNAL
    installed: bool = False  # then a policy must be there; code that is sent along could leave it out anyway
    inside: bool = False  # this is the transient unit already
    systemd: str = "/run/systemd/system"
    systemd_run: str = "systemd-run"
    site: Site = Site()


def run(place: Place, name: str, steps: object, *, rated: bool = True) -> dict[str, Any]:
    """Run the whole plan, once. What a timer puts back is not `rated`: it was counted when the timer was set."""
    if os.path.lexists(os.path.join(place.state, name)):
        return recorded(place.state, name)
    refused = frozen(place)
    if refused:
        return refused
    policy = load_policy(place.policy, required=place.installed)
    plan = plan_of(place.site, steps, policy)
    lock = turn(place.state, name)
    if lock is None:
        return recorded(place.state, name)
    try:
        prune(place.state)
        changes = sum(1 + len(arguments.get("steps", ())) for _, arguments in plan) if rated else 1
        if rated:
            _check_rate(place.state, changes, policy)
        record = {"status": "running", "steps": [], "began_s": time.time(), "changes": changes}
        if create(place.state, name, record):
            return _steps(place, name, record, plan, policy)
    finally:
        os.close(lock)
    return recorded(place.state, name)


def _check_rate(state: str, changes: int, policy: Policy | None) -> None:
    made = changes_within(state, HOUR_S)
    if policy is not None and made + changes > policy.changes_per_hour:
        raise RefusedError(
            f"{policy.changes_per_hour} changes an hour is what this host's policy allows; "
            f"{made} were begun within it and this plan has {changes}"
        )


def frozen(place: Place) -> dict[str, Any] | None:
    """That nothing is to be changed here now; None where nobody said so."""
    if not os.path.lexists(place.frozen):
        return None
    return {"status": "frozen", "error": f"changes on this host are frozen ({place.frozen})", "steps": []}


def _steps(
    place: Place, name: str, record: dict[str, Any], plan: list[Any], policy: Policy | None
) -> dict[str, Any]:
    kept = True
    for argv, arguments in plan:
        record["steps"].append(_step(place, argv, arguments, policy) if kept else _unkept(argv))
        if record["steps"][-1]["exit"]:
            break
        kept = replace(place.state, name, record)
    record.update(status="failed" if record["steps"][-1]["exit"] else "done", ended_s=time.time())
    replace(place.state, name, record)
    return record


def plan_of(site: Site, steps: object, policy: Policy | None) -> list[Any]:
    """Check every step before the first is run."""
    if not isinstance(steps, list) or not 0 < len(steps) <= MAX_STEPS:
        raise RefusedError(f"a plan has 1 to {MAX_STEPS} steps")
    found = []
    for step in steps:
        if not isinstance(step, dict) or set(step) - {"do", "stdin"}:
            raise RefusedError("a step holds do and stdin")
        argv, stdin = step.get("do"), step.get("stdin", "")
        if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
            raise RefusedError("a step is a list of words")
        if argv[0] not in VERBS:
            raise RefusedError(f"{argv[0][:40]!r} is no verb of this helper")
        arguments = VERBS[argv[0]].words(argv[1:], stdin)
        check_operation(policy, argv[0])
        VERBS[argv[0]].allowed(policy, site, **arguments)
        if "steps" in arguments:
            plan_of(
                site, arguments["steps"], policy
            )  # what is to be run later is checked now, and again then
        found.append((argv, arguments))
    return found


def _unkept(argv: list[Any]) -> dict[str, Any]:
    """A step that is left out: were the plan cut off now, the record would tell too little of what was done."""
    said = f"no record of the step before could be written{NOT_RUN}"
    empty = {"stdout": "", "before": None, "after": None}
    return {"argv": argv, "exit": 1, "stderr": said, **empty, "untouched": True}


def _step(place: Place, argv: list[Any], arguments: dict[str, Any], policy: Policy | None) -> dict[str, Any]:
    result = {"argv": argv, "exit": 1, "stdout": "", "stderr": "", "before": None, "after": None}
    stop = frozen(place)
    if stop:
        return dict(result, stderr=f"{stop['error']}{NOT_RUN}", untouched=True)
    given = {"state": place.state, "program": partial(_back_program, place)} if VERBS[argv[0]].placed else {}
    try:
        result["before"], result["after"] = VERBS[argv[0]].act(policy, place.site, **arguments, **given)
    except UntouchedError as error:
        return dict(result, stderr=str(error), untouched=True)
    except StepError as error:
        return dict(result, stderr=str(error))
    except Exception as error:  # whatever it is: a record that goes on saying "running" would tell nobody
        return dict(result, stderr=f"{argv[0]} failed: {error or type(error).__name__}")
    return dict(result, exit=0, stdout=f"{result['before']} -> {result['after']}")


def result_of(place: Place, name: str) -> dict[str, Any]:
    """What came of a request. One that was never begun is cancelled here and now, for good."""
    if not os.path.lexists(os.path.join(place.state, name)):
        if name.endswith(
            back_record("")
        ):  # a timer may still be about to run it: asking does not call it off
            return {"status": "absent", "steps": []}
        check_room(place.state)
    if create(place.state, name, {"status": "cancelled", "steps": []}):
        return {"status": "absent", "steps": []}
    return recorded(place.state, name)


def about(place: Place) -> dict[str, Any]:
    """What this helper is and what it would allow now."""
    said = frozen(place) or {"status": "ready"}
    said["version"] = hashlib.sha256(source().encode()).hexdigest()
    try:
        policy = load_policy(place.policy, required=place.installed)
        said["policy"] = None if policy is None else policy._asdict()
    except RefusedError as error:
        said.update(status="refused", error=str(error))
    return said


def request_of(text: str) -> dict[str, Any]:
    """One request of the closed set, or RefusedError."""
    try:
        request = json.loads(text) if len(text) <= MAX_REQUEST else None
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"this is no request: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("op"), str) or request["op"] not in KEYS:
        raise RefusedError("a request is one small JSON object, its op run, result or about")
    if set(request) - KEYS[request["op"]]:
        raise RefusedError("the request holds keys that this helper does not know")
    if request["op"] == "about":
        return request
    for key, form in (("id", REQUEST_ID), ("approver", WHO)):
        word = request.get(key, "unknown")
        if not isinstance(word, str) or not form.fullmatch(word):
            raise RefusedError(f"{key} has not the form that it must have")
    if "id" not in request:
        raise RefusedError("the request has no id")
    return request


def answer(text: str, place: Place) -> dict[str, Any]:
    """What is to be answered to one request; one that changes or cancels is noted in the host's journal."""
    request: dict[str, Any] = {}
    try:
        request = request_of(text)
        if request["op"] == "about":
            return about(place)
        prepare(place.state)
        if request["op"] == "result":
            said = result_of(place, request["id"])
        else:
            said = in_unit(text, place, request) or run(place, request["id"], request.get("steps"))
    except RefusedError as error:
        said = {"status": "refused", "error": str(error), "steps": []}
    if not said.pop("noted", False):
        note(request, said, place.journal)
    return said


def in_unit(text: str, place: Place, request: dict[str, Any]) -> dict[str, Any] | None:
    """Run the plan as a transient unit named after it; None where it is to be run here: there is no systemd, or
    starting a unit would kill another one by a limit that waits."""
    if place.inside or os.geteuid() != 0 or not os.path.isdir(place.systemd):
        return None
    if os.path.lexists(os.path.join(place.state, request["id"])) or frozen(place):
        return None
    plan_of(place.site, request.get("steps"), load_policy(place.policy, required=place.installed))
    if starting_kills(place.site, UNIT_SLICE):
        return None
    call = f"main({text!r}, {_inside(place)})"
    words = [
        place.systemd_run,
        f"--unit=oombot-act-{request['id']}",
        "--description=A change approved in oombot",
    ]
    words += ["--collect", "--quiet", "--pipe", "--wait", f"--property=RuntimeMaxSec={UNIT_S}"]
    words += ["--property=OOMScoreAdjust=-900", f"--slice={UNIT_SLICE}", sys.executable, "-I", "-"]
    with os.fdopen(os.memfd_create("oombot"), "wb+") as program:
        program.write(_program(call).encode())
        program.seek(0)
        with contextlib.suppress(OSError, ValueError, TypeError):
            done = subprocess.run(words, stdin=program, capture_output=True, cwd="/", env=_CLEAN, check=False)
            return dict(json.loads(done.stdout), noted=True)
    return _instead(place, request)


def _instead(place: Place, request: dict[str, Any]) -> dict[str, Any]:
    """Run here a plan whose unit did not answer; the record lets only one of the two run.

    What is refused here is cancelled: the unit may have been started all the same, and would run it later.
    """
    try:
        said = run(place, request["id"], request.get("steps"))
    except RefusedError as error:
        said = {"status": "refused", "error": str(error), "steps": []}
    if said["status"] not in ("refused", "frozen"):
        return said
    cancelled = create(place.state, request["id"], {"status": "cancelled", "steps": []})
    return said if cancelled else recorded(place.state, request["id"])


def _program(call: str) -> str:
    """This whole program again, with a call as its last line."""
    return f"__name__ = 'sent'\nSOURCE = {source()!r}\nexec(SOURCE)\n{call}\n"


def _inside(place: Place) -> str:
    """The place as source text, for a unit of its own."""
    return f"Place(*{tuple(place._replace(inside=True))!r})"


def _back_program(place: Place, name: str, steps: list[Any]) -> str:
    return _program(f"put_back({name!r}, {steps!r}, {_inside(place)})")


def put_back(name: str, steps: list[Any], place: Place) -> None:
    """What a timer runs: the way back, once; its own record says what came of it, also that nothing was run."""
    record = back_record(name)
    said: dict[str, Any] = {}
    for _ in range(BACK_TRIES):
        try:
            prepare(place.state)
            said = run(place, record, steps, rated=False)
        except RefusedError as error:
            said = {"status": "refused", "error": str(error), "steps": []}
            if isinstance(error, BusyError):
                continue  # each look takes a while
        break
    if said["status"] in ("refused", "frozen"):
        with contextlib.suppress(RefusedError):
            create(place.state, record, dict(said, ended_s=time.time()))
    note({"op": "put-back", "id": record, "approver": "timer"}, said, place.journal)
    with contextlib.suppress(StepError):  # a left-over program of a fired timer is no part of what came of it
        forget_back(place.site, name)


_CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def source() -> str:
    """The text of this program: it was sent along, or is the installed file."""
    if "SOURCE" in globals():
        return str(globals()["SOURCE"])
    with open(os.path.realpath(sys.argv[0]), encoding="utf-8") as file:
        return file.read()


def note(request: dict[str, Any], said: dict[str, Any], journal: str) -> None:
    """One record for each request in the host's own journal, which the bot can not rewrite."""
    name, who = request.get("id", "-"), request.get("approver", "-")
    changes = "; ".join(
        " ".join(one["argv"]) + f": {one['before']} -> {one['after']} {one['stderr']}".rstrip()
        for one in said.get("steps", [])
    )
    message = f"oombot {request.get('op', 'request')} {name} approved by {who}: {said['status']}"
    message = " ".join(f"{message} {changes or said.get('error', '')}".split())[:MAX_NOTE]
    fields = {
        "MESSAGE": message,
        "PRIORITY": "5",
        "SYSLOG_IDENTIFIER": "oombot-helper",
        "OOMBOT_REQUEST": name,
        "OOMBOT_APPROVER": who,
        "OOMBOT_STATUS": said["status"],
    }
    data = "".join(f"{key}={value}\n" for key, value in fields.items()).encode("utf-8", "replace")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.sendto(data, journal)
    except OSError:
        syslog.openlog("oombot-helper", 0, syslog.LOG_AUTH)
        syslog.syslog(syslog.LOG_NOTICE, message)


def main(text: str, place: Place | None = None) -> int:
    """Answer one request on standard output; who asked may be gone by then."""
    said = answer(text, place or Place(state_directory()))
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
    return 0


def serve() -> int:
    """The installed program: no arguments, one bounded JSON document on standard input."""
    signal.alarm(ASKED_WITHIN_S)
    data = sys.stdin.buffer.read(MAX_REQUEST + 1)
    signal.alarm(0)
    text = data.decode("utf-8", "replace") if len(sys.argv) == 1 else ""
    return main(text, Place(state_directory(), installed=True))
