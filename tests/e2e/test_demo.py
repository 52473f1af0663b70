"""`oombot demo` as a newcomer starts it: for real, and replayed; Ctrl-C leaves nothing behind."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import until


class Demo:
    """A running demo and its page's data."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, printed: str) -> None:
        self.process, self.url, self.printed = process, url, printed

    async def press(self, action: str) -> None:
        """Press one of the page's own buttons."""
        async with aiohttp.ClientSession() as session:
            headers = {"Origin": self.url}
            async with session.post(f"{self.url}/page/action/{action}", json={}, headers=headers) as answer:
                assert answer.status == 200, await answer.text()

    async def screen(self) -> str:
        """Everything that the page shows to Ada."""
        url = f"{self.url}/page/state?as=U0ADA0001"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.text()


@asynccontextmanager
async def started(*words: str) -> AsyncIterator[Demo]:
    """Start it on any free port and wait for its address; it is ended whatever the test does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "oombot", "demo", "--port", "0", *words, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            first = (await process.stdout.readline()).decode()
            second = (await process.stdout.readline()).decode()
        found = re.search(r"(http://127\.0\.0\.1:\d+)/", first)
        assert found is not None, first
        yield Demo(process, found[1], second)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.wait()


async def stop(demo: Demo) -> int:
    """Ctrl-C."""
    demo.process.send_signal(signal.SIGINT)
    async with asyncio.timeout(30):
        return await demo.process.wait()


async def shown(demo: Demo, words: str) -> str:
    """Wait until the page shows these words."""
    for _ in range(300):
        text = await demo.screen()
        if words in text:
            return text
        await asyncio.sleep(0.1)
    pytest.fail(f"never shown: {words}")


async def test_replayed_demo_says_so() -> None:
    """Where no real kill is possible a recorded one is replayed, and its card says so."""
    async with started("--replay") as demo:
        assert "replayed" in demo.printed
        await demo.press("oom")
        assert "replayed" in await shown(demo, "OOM kill")
        assert await stop(demo) == 0


@pytest.mark.kill
async def test_real_demo_leaves_nothing_behind(small_cgroup: Any) -> None:
    """The kernel of this machine kills, the card comes, and Ctrl-C removes processes, cgroup and files."""
    async with started() as demo:
        assert "kills for real" in demo.printed
        await demo.press("oom")
        await shown(demo, "OOM kill: leaky on localhost")
        pid = demo.process.pid
        assert await stop(demo) == 0
    await until(lambda: not list(Path("/sys/fs/cgroup").glob(f"**/oombot-demo-{pid}")))
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if f"oombot-demo-{pid}" in _read(path)]
    assert left == []
    assert not Path(f"/proc/{pid}").exists()


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
