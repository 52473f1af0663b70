"""Hosts that are replayed from a recording, for machines where no kernel can be made to kill for real.

The recording is a real read answer and the real report of a later kill (kernel 6.18, cgroup v1). Clock, pids and
sequence numbers are moved to now; everything else is as the kernel wrote it. Snapshots of it come out as replayed.
"""

import ast
import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from importlib import resources
from types import TracebackType
from typing import Any, Final, Self

from oombot.errors import HostError, UnknownHostError
from oombot.facts import counter
from oombot.model import Command, CommandResult

_VICTIM: Final = 4207  # in the recording
_TICKS: Final = 100
_SET_ADJ: Final = (("--pid", "--start", "--value"), ("--pid", "--start", "--was", "--value"))
_RECORD = re.compile(r"(?P<prio>[0-9]+),[0-9]+,(?P<us>[0-9]+),(?P<rest>.*)")
_CALL = re.compile(r"raise SystemExit\((?P<name>main|look_main)\((?P<text>.+)\)\)\s*\Z")


class _Machine:
    """One replayed host: its processes can be killed, restarted and given another oom_score_adj."""

    def __init__(self, answer: str, report: Iterable[str]) -> None:
        """Take the recorded answer and report."""
        self._boot_id = str(uuid.uuid4())  # a boot of its own, or a later replay would count as the same kill
        self._lines = [
            re.sub(r"^boot_id .*", f"boot_id {self._boot_id}", line) for line in answer.splitlines()
        ]
        self._report = list(report)
        self._booted_s = time.time() - float(self._said("uptime"))
        self._victim = _VICTIM
        self._adjs: dict[int, int] = {}
        self._kills = 0
        self._requests: dict[str, dict[str, Any]] = {}
        self.log = self._lines[self._lines.index("@@log") + 2 : -1]
        self.grown = asyncio.Event()

    def _said(self, key: str) -> str:
        return next(line for line in self._lines if line.startswith(f"{key} ")).split(" ")[1]

    @property
    def mark(self) -> str:
        """The first line of every section of a kernel log."""
        now = time.time()
        return f"@@boot {self._boot_id} {now - self._booted_s:.2f} {now:.0f}"

    def read(self) -> str:
        """The recorded answer as it would be now."""
        now = time.time()
        fresh = {
            "uptime ": f"uptime {now - self._booted_s:.2f}",
            "now ": f"now {now:.0f}",
            "oom_kill ": f"oom_kill {self._kills}",
        }
        found = []
        for line in self._lines[: self._lines.index("@@log") + 1]:
            start = next((key for key in fresh if line.startswith(key)), None)
            if start is not None:
                found.append(fresh[start])
            elif line.endswith(":oom_kill 0"):
                found.append(f"{line[:-1]}{self._kills}")
            else:
                found.append(self._row(line) if line.startswith("p ") else line)
        return "\n".join([*found, self.mark, *self.log, "@@end", ""])

    def count(self) -> str:
        """What the kernel would have counted."""
        uptime_s = time.time() - self._booted_s
        return f"@@count\nboot_id {self._boot_id}\nuptime {uptime_s:.2f}\noom_kill {self._kills}\n@@end\n"

    def _row(self, line: str) -> str:
        words = line.split(" ")
        if int(words[1]) == _VICTIM and self._kills:
            words[1], words[2] = str(self._victim), str(int(words[2]) + self._kills * _TICKS)
        words[-1] = str(self._adjs.get(int(words[1]), words[-1]))
        return " ".join(words)

    def kill(self) -> None:
        """Append the recorded report as if it happened now; the victim is restarted under a new pid."""
        records = [found for found in map(_RECORD.fullmatch, self._report) if found]
        first_us = int(records[0]["us"])
        now_us = int((time.time() - self._booted_s) * 1e6)
        for record in records:
            rest = re.sub(rf"(?<![0-9]){_VICTIM}(?![0-9])", str(self._victim), record["rest"])
            us = now_us + int(record["us"]) - first_us
            self.log.append(f"{record['prio']},{len(self.log)},{us},{rest}")
        self._kills += 1
        self._adjs.pop(self._victim, None)
        self._victim += 100
        self.grown.set()
        self.grown = asyncio.Event()

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the host helper would answer; its promise to run a request once is kept in memory."""
        name = str(request.get("id"))
        if request.get("op") == "result":
            known = self._requests.setdefault(name, {"status": "cancelled", "steps": []})
            return {"status": "absent", "steps": []} if known["status"] == "cancelled" else known
        if name not in self._requests:
            steps: list[Mapping[str, Any]] = []
            for step in request.get("steps", ()):
                steps.append(self._step(list(step["do"])))
                if steps[-1]["exit"]:
                    break
            failed = any(step["exit"] for step in steps)
            self._requests[name] = {"status": "failed" if failed else "done", "steps": steps}
        return self._requests[name]

    def _step(self, argv: list[str]) -> Mapping[str, Any]:
        done = {"argv": argv, "exit": 1, "stdout": "", "stderr": "", "before": None, "after": None}
        options = dict(zip(argv[1::2], argv[2::2], strict=False))
        if argv[:1] != ["set-adj"] or len(argv) % 2 != 1 or tuple(argv[1::2]) not in _SET_ADJ:
            return done | {"stderr": "a replayed host knows only set-adj; nothing was changed"}
        pid, start, value = options["--pid"], options["--start"], options["--value"]
        was = options.get("--was")
        rows = (line.split(" ") for line in self.read().splitlines() if line.startswith("p "))
        before = next((row[-1] for row in rows if row[1:3] == [pid, start]), None)
        if before is None:
            return done | {"stderr": f"process {pid} is gone; nothing was changed"}
        if was is not None and was != before:
            stood = f"not {was} as it was when the plan was made: nothing was changed"
            return done | {"stderr": f"oom_score_adj is now {before}, {stood}"}
        self._adjs[int(pid)] = int(value)
        return done | {"exit": 0, "stdout": f"{before} -> {value}", "before": before, "after": value}


def _looked(question: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer to a closer look: a recording holds no more than its reading, and says so of each part."""
    parts = list(question.get("parts", ()))
    said = "could not be read: the host is replayed from a recording"
    return {**dict.fromkeys(parts), "problems": [f"{part} {said}" for part in parts]}


class SimulatedHosts:
    """Replays one recording under several host names; `trigger` makes its kill happen again."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take the names of the hosts to replay."""
        self._names = tuple(names)
        self._machines: dict[str, _Machine] = {}

    async def __aenter__(self) -> Self:
        """Load the recording."""
        folder = resources.files("oombot") / "data" / "recorded"
        answer = (folder / "host.txt").read_text(encoding="utf-8")
        report = (folder / "report.kmsg").read_text(encoding="utf-8").splitlines()
        self._machines = {name: _Machine(answer, report) for name in self._names}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Refuse further use."""
        self._machines = {}

    def trigger(self, host: str) -> None:
        """Let the recorded kill happen now."""
        self._machine(host).kill()

    async def renew(self, host: str) -> None:
        """There is no connection here."""

    async def run(
        self, host: str, command: Command, *, timeout_s: float, asked: bool = False
    ) -> CommandResult:
        """Answer the read script and the host helper; there is nothing else here that could run."""
        machine = self._machine(host)
        if command.argv[:3] == ("sh", "-s", "--"):
            return CommandResult(exit_status=0, stdout=machine.read().encode())
        if command.stdin == counter.SCRIPT:
            return CommandResult(exit_status=0, stdout=machine.count().encode())
        call = _CALL.search(command.stdin)
        if command.argv[0] != "python3" or call is None:
            said = f"{command.argv[0]}: this host is replayed from a recording\n"
            return CommandResult(exit_status=127, stdout=b"", stderr=said.encode())
        request = json.loads(ast.literal_eval(call["text"]))
        answer = machine.answer(request) if call["name"] == "main" else _looked(request)
        return CommandResult(exit_status=0, stdout=json.dumps(answer).encode() + b"\n")

    async def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """Yield the replayed /dev/kmsg from its first record on, then what comes, until it is closed."""
        machine = self._machine(host)
        yield machine.mark.encode()
        yield b"@@replayed"  # its first cards say so, before a reading does
        at = len(machine.log)
        for line in machine.log[:at]:
            yield line.encode()
        yield b"@@live"
        while True:
            grown = machine.grown
            while at < len(machine.log):
                at += 1
                yield machine.log[at - 1].encode()
            await grown.wait()

    def _machine(self, host: str) -> _Machine:
        if not self._machines:
            raise HostError("Replayed hosts are used before they were opened or after they were closed.")
        if host not in self._machines:
            raise UnknownHostError(f"There is no replayed host {host}; nothing was run.")
        return self._machines[host]
