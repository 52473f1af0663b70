"""The read helper of oombot: answers the closed set of its questions about this host, and nothing else.

Root-owned, run by a key's forced command under an account without privilege; Python 3.9+, standard library only.
It takes no argument and one JSON document on standard input:

  {"op": "read", "since_s": N}                                  the whole host, as oombot's own script prints it
  {"op": "follow", "detector": NAME, "words": [WORD…]}          the kernel log, until nobody listens
  {"op": "count"}   {"op": "settings"}   {"op": "version"}
  {"op": "look", "look": {"parts": [PART…], …}}                 closer, for a remedy (oombot_look.py)

It runs the scripts that oombot sends to hosts without helpers (joined in at install, never taken from the request),
lets nothing of the kernel log out but what is about OOM, and never reads an environment or a command line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from oombot.data.oombot_lines import Followed, Reading
from oombot.data.oombot_look import look_answer, look_question, looked
from oombot.data.oombot_site import RefusedError, Site

MAX_REQUEST = 4096
ASKED_WITHIN_S = 30
LIMIT_S = {"read": 120, "count": 20, "settings": 60}
MAX_LINE = 65_536
CHUNK = 65_536
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin", "LC_ALL": "C"}
HELPERS = ("/usr/local/libexec/oombot-read", "/usr/local/libexec/oombot-helper")
# both are filled in at install: the script of each op; of each detector the script and the form of its words
SCRIPTS: dict[str, str] = {}
FOLLOWED: dict[str, tuple[str, tuple[str, ...]]] = {}


class Asked(NamedTuple):
    """One request: its op, the detector to follow, the script and the words for it."""

    op: str
    detector: str
    script: str
    words: list[str]


def asked(text: str) -> Asked:
    """Read the request; RefusedError for anything that is not of the closed set."""
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedError("the request is not one JSON document") from None
    if not isinstance(request, dict) or not isinstance(request.get("op"), str):
        raise RefusedError("the request names no op")
    op = request.pop("op")
    if op == "look" and set(request) == {"look"}:
        look_question(request["look"])
        return Asked("look", "", json.dumps(request["look"]), [])
    if op == "follow":
        return _followed(request.pop("detector", None), request.pop("words", None), request)
    words = []
    if op == "read":
        since = request.pop("since_s", None)
        if type(since) is not int or not 0 <= since < 10**11:
            raise RefusedError("since_s must be a number of seconds")
        words = [str(since)]
    if op not in SCRIPTS and op != "version":
        raise RefusedError(f"{op[:40]!r} is no op of this helper")
    if request:
        raise RefusedError("the request holds keys that this helper does not know")
    return Asked(op, "", SCRIPTS.get(op, ""), words)


def _followed(detector: Any, words: Any, rest: dict[str, Any]) -> Asked:
    if not isinstance(detector, str) or detector not in FOLLOWED or rest:
        raise RefusedError("follow takes a detector of this helper and its words")
    script, patterns = FOLLOWED[detector]
    if not isinstance(words, list) or len(words) != len(patterns):
        raise RefusedError(f"{detector} takes {len(patterns)} words")
    for word, pattern in zip(words, patterns):  # noqa: B905 — strict= is of Python 3.10
        if not isinstance(word, str) or not re.fullmatch(pattern, word, re.ASCII):
            raise RefusedError(f"a word of {detector} has not the form that it must have")
    return Asked("follow", detector, script, words)


def versions() -> list[bytes]:
    """The installed helpers and the sha256 of each."""
    found = []
    for path in HELPERS:
        with contextlib.suppress(OSError), open(path, "rb") as file:
            found.append(f"{os.path.basename(path)} {hashlib.sha256(file.read()).hexdigest()}".encode())
    return found


def lines_of(child: subprocess.Popen[bytes], deadline: float | None, out: int) -> Iterable[list[bytes]]:
    """The child's output in batches of whole lines, until it ends, time is up, or nobody listens any more."""
    assert child.stdout is not None
    poll, rest = select.poll(), b""
    poll.register(child.stdout.fileno(), select.POLLIN)
    poll.register(out, 0)  # errors only: the link is gone, and a quiet log would never tell
    while True:
        left = None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000))
        events = dict(poll.poll(left))
        if not events or events.get(out):
            return
        chunk = os.read(child.stdout.fileno(), CHUNK)
        *whole, rest = (rest + chunk).split(b"\n")
        yield [line[:MAX_LINE] for line in whole]
        if not chunk:
            if rest:
                yield [rest[:MAX_LINE]]
            return
        rest = rest[: MAX_LINE + 1]


def run(request: Asked, out: int) -> int:
    """Run one script and let out what may leave; its exit status."""
    deadline = time.monotonic() + LIMIT_S[request.op] if request.op in LIMIT_S else None
    child = subprocess.Popen(
        ["/bin/sh", "-s", "--", *request.words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=CLEAN,
        cwd="/",
        start_new_session=True,
    )
    try:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(request.script.encode())
        feed, close = _filter(request)
        for batch in lines_of(child, deadline, out):
            _write(out, [one for line in batch for one in feed(line)])
        _write(out, close())
    finally:
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


def _filter(request: Asked) -> tuple[Callable[[bytes], list[bytes]], Callable[[], list[bytes]]]:
    if request.op == "read":
        reading = Reading()
        return reading.feed, reading.close
    return (Followed(request.detector).feed if request.op == "follow" else lambda line: [line]), list


def _write(out: int, lines: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    while data:
        data = data[os.write(out, data) :]


def answer(text: str, out: int = 1) -> int:
    """Answer one request on `out`; the exit status."""
    try:
        request = asked(text)
    except RefusedError as error:
        sys.stderr.write(f"oombot-read: {error}; nothing was read\n")
        return 64
    if request.op == "version":
        _write(out, versions())
        return 0
    if request.op == "look":
        _write(out, look_answer(looked(json.loads(request.script), Site())).splitlines())
        return 0
    return run(request, out)


def serve() -> int:
    """Read one bounded request from standard input and answer it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    signal.alarm(ASKED_WITHIN_S)
    data = sys.stdin.buffer.read(MAX_REQUEST + 1)
    signal.alarm(0)
    if len(sys.argv) > 1 or len(data) > MAX_REQUEST:
        sys.stderr.write("oombot-read takes no arguments and one small JSON document; nothing was read\n")
        return 64
    with contextlib.suppress(BrokenPipeError):
        return answer(data.decode("utf-8", "replace"))
    return 1
