"""A host behind the port that runs the real helper code on a machine of files, and what goes wrong with it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from oombot import helper_call
from oombot.data.oombot_helper import answer
from oombot.data.oombot_look import looked
from oombot.errors import HostError, HostUnreachableError
from oombot.model import Command, CommandResult, HostSnapshot
from tests.engine.cut_helper import place
from tests.examples import GIB, NOW, a_process, a_snapshot
from tests.fakes import wished
from tests.systemd import MIB, Systemd

UNIT, PID = "api.service", 4242
TEXT = "[Service]\nExecStart=/usr/bin/api\n"


class CutHost:
    """host42 with api.service: read, looked at and changed by the code that real hosts run."""

    def __init__(self, folder: Path, trouble: str, after: int, *, state: str = "active") -> None:
        self.base, self.trouble, self.after = folder, trouble, after
        self.machine = Systemd(folder, ram_b=4 << 30)
        self.machine.file("/proc/sys/vm/swappiness", "60\n")
        pids = (PID,) if state == "active" else ()
        self.machine.unit(UNIT, TEXT, state=state, pids=pids, current_b=64 * MIB, peak_b=80 * MIB)
        self.boot_id, self.down, self.sent = "b" * 32, asyncio.Event(), 0
        self.approved = False
        self.events: dict[str, str] = {}  # files of the machine that change with the run

    @property
    def acts(self) -> list[str]:
        """What was really done, a line for each step."""
        acts = self.base / "acts"
        return acts.read_text().splitlines() if acts.exists() else []

    def before_the_run(self) -> None:
        """What happens between the approval and the run."""
        if self.trouble == "rebooted":
            self.boot_id = "c" * 32
        elif self.trouble == "unit vanished" and UNIT in self.machine_units():
            self.machine.forget(UNIT)
        elif self.trouble == "pid reused":
            self.machine.process(PID, "other", path=f"/system.slice/{UNIT}", start=99)

    def machine_units(self) -> dict[str, Any]:
        """What systemd knows."""
        known: dict[str, Any] = json.loads((self.machine.base / "state.json").read_text())["units"]
        return known

    # ------------------------------------------------------------------ in the place of Readings
    async def now(self, host: str, *, timeout_s: float | None = None, asked: bool = False) -> HostSnapshot:
        """A reading: the processes that are there."""
        root, found = self.machine.root / "proc", [a_process(7, "sshd", cgroup="/system.slice/ssh.service")]
        stat = root / str(PID) / "stat"
        if stat.exists():
            comm, start = (root / str(PID) / "comm").read_text().strip(), int(stat.read_text().split()[21])
            adj = int((root / str(PID) / "oom_score_adj").read_text())
            found.append(
                a_process(PID, comm, start_ticks=start, oom_score_adj=adj, cgroup=f"/system.slice/{UNIT}")
            )
        memory = {"MemTotal": 4 * GIB, "MemFree": GIB, "MemAvailable": GIB, "SwapTotal": GIB, "SwapFree": GIB}
        return a_snapshot(*found, has_systemd=True, boot_id=self.boot_id, taken_s=NOW, memory_kb=memory)

    async def seen(self, host: str, remediation: Any, params: Any, *, asked: bool = False) -> HostSnapshot:
        """A reading and a closer look, by the helper's own eyes."""
        if self.approved:
            self.before_the_run()
        snapshot = await self.now(host)
        question = asdict(remediation.look(params, snapshot))
        if not question["parts"]:
            return snapshot
        question["parts"] = list(question["parts"])
        details = helper_call.looked(json.dumps(looked(question, self.machine.site)).encode())
        return replace(snapshot, details=details)

    # ------------------------------------------------------------------ the port
    async def run(
        self, host: str, command: Command, *, timeout_s: float, asked: bool = False
    ) -> CommandResult:
        """Send a plan, at most once, or ask what became of one."""
        body = wished(command)
        if body["op"] != "run":
            return CommandResult(
                exit_status=0, stdout=json.dumps(answer(json.dumps(body), place(self.base))).encode()
            )
        self.sent += 1
        words = ("-m", "tests.engine.cut_helper", str(self.base), self.trouble, str(self.after))
        helper = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parent.parent.parent,
        )
        said, _ = await helper.communicate(json.dumps(body).encode())
        for path, text in self.events.items():
            self.machine.file(path, text)
        if self.trouble == "bot killed":
            self.down.set()
            await asyncio.Event().wait()
        if self.trouble in ("link cut", "dies", "dies late"):
            raise HostUnreachableError("the link was lost")
        return CommandResult(exit_status=0, stdout=said)

    def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """Nothing to follow here."""
        raise HostError("not here")
