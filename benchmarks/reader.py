"""oombot's side of the reading benchmark, a process of its own like each peer: one cold round, then warm ones.

python -m benchmarks.reader PORT USER KEY KNOWN_HOSTS HOSTS ROUNDS (same|reading)      prints one JSON line a round
"""

import asyncio
import json
import sys
import time

from oombot import facts
from oombot.adapters.ssh import SshHosts, SshTarget
from oombot.model import Command

SAME = Command(argv=("cat", "/proc/meminfo"))


async def main(words: list[str]) -> None:
    """Ask all hosts at once, again and again; the connections stay."""
    port, user, key, known_hosts, hosts, rounds, kind = words
    targets = [
        SshTarget(name=f"h{number:03}", address="127.0.0.1", port=int(port), user=user, key_files=(key,))
        for number in range(int(hosts))
    ]
    command = SAME if kind == "same" else facts.read(int(time.time()) - 3600)
    async with SshHosts(targets, known_hosts=[known_hosts]) as opened:
        for _ in range(int(rounds)):
            began, spent = time.perf_counter(), time.process_time()
            results = await asyncio.gather(*(opened.run(t.name, command, timeout_s=120) for t in targets))
            if kind == "reading":
                for target, result in zip(targets, results, strict=True):
                    facts.parse(result.stdout, host=target.name, taken_s=0.0)
            answers = sum(b"MemTotal:" in result.stdout for result in results)
            wall, cpu = time.perf_counter() - began, time.process_time() - spent
            print(json.dumps({"wall_s": wall, "cpu_s": cpu, "answers": answers}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
