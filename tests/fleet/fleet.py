"""The simulated fleet as tests and benchmarks use it: a process of its own that is told what shall happen."""

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fleet.server import address

SERVER = Path(__file__).parent / "server.py"


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """A running fleet of `count` hosts, named host-0000 and so on."""

    count: int
    folder: Path
    port: int
    process: asyncio.subprocess.Process

    @property
    def key_file(self) -> Path:
        """The key that every host lets in."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """Every host's own key."""
        return self.folder / "known_hosts"

    def name(self, number: int) -> str:
        """The name of a host."""
        return f"host-{number:04}"

    def config(self) -> str:
        """The part of a configuration that names all of them."""
        hosts = "\n".join(
            f"  - {{name: {self.name(n)}, address: {address(n)}, port: {self.port}}}"
            for n in range(self.count)
        )
        keys = f"known_hosts: {self.known_hosts}, keys: [{self.key_file}], user: oombot"
        return f"ssh: {{{keys}}}\nhosts:\n{hosts}\n"

    async def order(self, do: str, **words: Any) -> dict[str, Any]:
        """Give an order for the hosts `first` to `last` and wait until it is done."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **words}).encode() + b"\n")
        async with asyncio.timeout(120):
            answer: dict[str, Any] = json.loads(await self.process.stdout.readline())
        assert "error" not in answer, answer
        return answer

    async def kill(
        self, first: int, last: int, *, within_s: float = 0.0, comm: str = "leaky"
    ) -> list[dict[str, Any]]:
        """One kill on each of these hosts; what was killed where."""
        killed = await self.order("kill", first=first, last=last, within_s=within_s, comm=comm)
        return list(killed["kills"])


@asynccontextmanager
async def running_fleet(count: int, folder: Path) -> AsyncIterator[Fleet]:
    """Start a fleet that keeps its keys in this folder; it ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count * 2 + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count * 4 + 1000), hard))  # the bot inherits it
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVER), str(count), str(folder), stdin=pipe, stdout=pipe, limit=64 << 20
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(120):
            line = await process.stdout.readline()
        assert line, "the fleet ended before it listened"
        yield Fleet(count=count, folder=folder, port=json.loads(line)["port"], process=process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
