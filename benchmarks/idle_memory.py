"""Memory and CPU of an idle bot: one local workspace, one followed host (this machine), half a minute of quiet.

.venv/bin/python benchmarks/idle_memory.py [SECONDS]
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import psutil

from oombot.workspace import Workspace

CONFIG = "mode: propose\nhosts: [{name: testbox, local: true}]\n"


async def main(seconds: float) -> None:
    """Start the bot as a process of its own, let it settle, read its figures."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "oombot.yaml"
        config.write_text(f"{CONFIG}store: {folder}/oombot.sqlite\n")
        async with Workspace() as workspace:
            environment = {
                **os.environ,
                "SLACK_API_URL": workspace.api_url,
                "SLACK_BOT_TOKEN": workspace.bot_token,
                "SLACK_APP_TOKEN": workspace.app_token,
            }
            bot = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "oombot", "run", "-c", str(config), env=environment, stderr=-3
            )
            await asyncio.sleep(seconds / 2)
            process = psutil.Process(bot.pid)
            before = sum(process.cpu_times()[:2])
            await asyncio.sleep(seconds / 2)
            spent = sum(process.cpu_times()[:2]) - before
            memory = process.memory_full_info()
            mib = 1024 * 1024
            print(
                f"rss {memory.rss / mib:.0f} MiB, uss {memory.uss / mib:.0f} MiB, "
                f"cpu {100 * spent / (seconds / 2):.2f} % of a core, {process.num_threads()} threads"
            )
            bot.terminate()
            await bot.wait()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0))
