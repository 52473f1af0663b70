"""The demo: the local workspace, the bot and this machine, with a button that runs it out of memory for real."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from importlib import resources
from pathlib import Path
from typing import Any

import structlog

from oombot import app, config, facts, pit
from oombot.adapters.local import LocalHosts
from oombot.adapters.simulated import SimulatedHosts
from oombot.config import Settings, Tokens
from oombot.errors import OombotError
from oombot.ports import Hosts
from oombot.workspace import PageAction, Workspace

HOST = "localhost"
REPLAY_WANTED = "A recorded host is replayed, as asked."
NO_REAL_KILL = "No memory cgroup can be made or no kernel log read here, so a recorded host is replayed."
Machine = tuple[Hosts, Callable[[], Coroutine[Any, Any, str]], str]
_CONFIG = """
mode: apply
slack:
  channel: oncall
policy:
  approvers:
    groups: [S0ONCALL1]
  second_person: always
hosts:
  - name: localhost
    local: true
"""


def settings(*, store: Path, api_url: str) -> Settings:
    """The demo's configuration: like a real one, with this machine as its only host."""
    text = f"{_CONFIG}store: {store}\n"
    return config.load(text, filename="demo.yaml", environ={"SLACK_API_URL": api_url})


async def serve(*, port: int, say: Callable[[str], None], stop: asyncio.Event, replay: bool = False) -> None:
    """Run the demo until `stop` is set; everything it made is removed. `replay` asks for the recorded host."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oombot-demo-")))
        hosts, run_out, note = await (_recorded(stack, REPLAY_WANTED) if replay else _machine(stack))
        action = PageAction("oom", "Run out of memory", run_out)
        workspace = await stack.enter_async_context(Workspace(port=port, page_actions=(action,)))
        demo = settings(store=folder / "oombot.sqlite", api_url=workspace.api_url)
        tokens = Tokens(bot=workspace.bot_token, app=workspace.app_token)
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            bot = group.create_task(app.serve(demo, tokens, stop=stop, hosts=hosts, ready=ready))
            await _either(ready.wait(), bot)
            if not bot.done():
                say(f"oombot demo: {workspace.url}/?as=U0ADA0001&channel=oncall")
                say(note)


async def _machine(stack: AsyncExitStack) -> Machine:
    """This machine where it lets us kill for real, else a recorded one."""
    kind = pit.possible()
    if kind is not None and await _log_readable():
        try:
            hog = Path(stack.enter_context(resources.as_file(resources.files("oombot") / "data" / "hog.py")))
            real = await stack.enter_async_context(pit.Pit(hog, kind))
        except OSError as error:
            structlog.get_logger("oombot").warning("no_real_kill", error=str(error))
        else:
            hosts = await stack.enter_async_context(LocalHosts(HOST, become=False))

            async def run_out() -> str:
                return (
                    f"leaky (pid {await real.run_out_of_memory()}) now eats memory until the kernel kills it."
                )

            return (
                hosts,
                run_out,
                f"The kernel of this machine kills for real, in a small cgroup ({kind}). Ctrl-C ends it.",
            )
    return await _recorded(stack, NO_REAL_KILL)


async def _recorded(stack: AsyncExitStack, note: str) -> Machine:
    """A host that was recorded while its kernel killed."""
    simulated = await stack.enter_async_context(SimulatedHosts([HOST]))

    async def replay() -> str:
        simulated.trigger(HOST)
        return "A recorded kill is replayed."

    return simulated, replay, note


async def _log_readable() -> bool:
    """Whether the kernel log can be read at all: without it a real kill would go unseen."""
    async with LocalHosts(HOST, become=False) as hosts:
        try:
            result = await hosts.run(HOST, facts.read(int(time.time()) - 60), timeout_s=20)
        except OombotError:
            return False
    return facts.parse(result.stdout, host=HOST, taken_s=0.0).kernel_log.source is not None


async def _either(event: Any, task: "asyncio.Task[None]") -> None:
    waiting = asyncio.ensure_future(event)
    await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
