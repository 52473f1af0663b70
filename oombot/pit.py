"""The demo's pit: a small memory cgroup with two processes, where the running kernel kills one for real."""

import asyncio
import contextlib
import os
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

LIMIT_MIB = 48
LEAKY, NEIGHBOUR = "leaky", "neighbour"
LEAKY_MIB, NEIGHBOUR_MIB = 2, 12
RESTART_S = 1.0

Kind = Literal["cgroup v1", "cgroup v2", "systemd-run --user"]

_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")


class Pit:
    """Two processes under one memory limit: `leaky`, which is restarted when it dies, and `neighbour`."""

    def __init__(self, hog: Path, kind: Kind, *, name: str | None = None) -> None:
        """Take the script of the processes and how the limit is set on this machine."""
        self._hog, self.kind = hog, kind
        self.name = name or f"oombot-demo-{os.getpid()}"
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._keeper: asyncio.Task[None] | None = None

    @property
    def leaky_pid(self) -> int:
        """The pid of the process that leaks."""
        return self._processes[LEAKY].pid

    @property
    def neighbour_pid(self) -> int:
        """The pid of the process that does not."""
        return self._processes[NEIGHBOUR].pid

    @property
    def cgroup(self) -> Path:
        """The cgroup's directory."""
        return (_V1 if self.kind == "cgroup v1" else _V2) / self.name

    async def __aenter__(self) -> Self:
        """Make the cgroup and start both processes."""
        if self.kind != "systemd-run --user":
            self._make_cgroup()
        try:
            await self._start(NEIGHBOUR, NEIGHBOUR_MIB)
            if self.kind == "systemd-run --user":
                await self._limit_slice()
            await self._start(LEAKY, LEAKY_MIB)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        self._keeper = asyncio.create_task(self._keep_leaky())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes and remove the cgroup: nothing is left behind."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for process in self._processes.values():
            await _end(process)
        if self.kind == "systemd-run --user":
            for verb in ("stop", "revert"):
                await _systemctl(verb, self._slice)
        else:
            for _ in range(50):
                with contextlib.suppress(OSError):
                    self.cgroup.rmdir()
                if not self.cgroup.exists():
                    return
                await asyncio.sleep(0.05)

    async def run_out_of_memory(self) -> int:
        """Tell the leaky process to eat until the kernel kills it; its pid."""
        process = self._processes[LEAKY]
        assert process.stdin is not None
        process.stdin.write(b"grow\n")
        await process.stdin.drain()
        return process.pid

    def _make_cgroup(self) -> None:
        if self.kind == "cgroup v2":
            control = _V2 / "cgroup.subtree_control"
            if "memory" not in control.read_text(encoding="ascii").split():
                control.write_text("+memory", encoding="ascii")
        self.cgroup.mkdir()
        limit = "memory.limit_in_bytes" if self.kind == "cgroup v1" else "memory.max"
        (self.cgroup / limit).write_text(str(LIMIT_MIB * 1024 * 1024), encoding="ascii")
        swap = self.cgroup / "memory.swap.max"
        if swap.exists():
            swap.write_text("0", encoding="ascii")

    @property
    def _slice(self) -> str:
        return f"{self.name.replace('-', '_')}.slice"

    async def _limit_slice(self) -> None:
        """Cap both processes together: the slice exists once its first scope runs.

        systemd also accepts a limit that it can not set, and what is not capped would eat the whole machine.
        """
        limits = (f"MemoryMax={LIMIT_MIB}M", "MemorySwapMax=0")
        done = await _systemctl("set-property", "--runtime", self._slice, *limits)
        if done != 0 or _limit_above(self.neighbour_pid) != LIMIT_MIB * 1024 * 1024:
            raise OSError("systemd did not set the limit: the memory controller is not delegated to users")

    async def _start(self, name: str, keep_mib: int) -> None:
        argv = [sys.executable, "-I", str(self._hog), name, str(keep_mib)]
        if self.kind == "systemd-run --user":
            argv = [
                "systemd-run",
                "--user",
                "--quiet",
                "--collect",
                "--scope",
                f"--slice={self._slice}",
                *argv,
            ]
        else:
            argv.append(str(self.cgroup / "cgroup.procs"))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe)
        self._processes[name] = process
        assert process.stdout is not None
        async with asyncio.timeout(20):
            if await process.stdout.readline() != b"ready\n":
                raise OSError(f"the demo's process {name} did not start under {self.kind}")

    async def _keep_leaky(self) -> None:
        while True:
            await self._processes[LEAKY].wait()
            await _end(self._processes[LEAKY])
            await asyncio.sleep(RESTART_S)
            await self._start(LEAKY, LEAKY_MIB)


async def _systemctl(*words: str) -> int:
    """Ask the user's systemd; its exit status."""
    nowhere = asyncio.subprocess.DEVNULL
    argv = ("systemctl", "--user", "--quiet", *words)
    return await (await asyncio.create_subprocess_exec(*argv, stdout=nowhere, stderr=nowhere)).wait()


def _limit_above(pid: int) -> int | None:
    """The memory limit of the cgroup above this process's own, as the kernel has it; None where it has none."""
    try:
        paths = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
        path = next(line.removeprefix("0::/") for line in paths if line.startswith("0::/"))
        return int(((_V2 / path).parent / "memory.max").read_text(encoding="ascii"))
    except (OSError, StopIteration, ValueError):
        return None


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close its input, which ends it; kill it when that does not."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(3):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def possible() -> Kind | None:
    """How this machine lets us make a small memory cgroup; None where it does not."""
    if os.geteuid() == 0:
        if (_V1 / "memory.limit_in_bytes").exists() and os.access(_V1, os.W_OK):
            return "cgroup v1"
        controllers = _V2 / "cgroup.controllers"
        readable = controllers.exists() and os.access(_V2, os.W_OK)
        return (
            "cgroup v2" if readable and "memory" in controllers.read_text(encoding="ascii").split() else None
        )
    user_bus = Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent")) / "systemd" / "private"
    return "systemd-run --user" if shutil.which("systemd-run") and user_bus.exists() else None
