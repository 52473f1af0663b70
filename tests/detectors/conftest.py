"""Running a detector's script as a host would: by a shell, from standard input."""

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

import pytest

from oombot.detectors.shape import Reader
from oombot.model import Command, Entry, Gap, Live

Items = list[Entry | Gap | Live]


def read(reader: Reader, lines: Sequence[bytes]) -> Items:
    """Feed lines, give everything."""
    return [item for line in lines for item in reader.feed(line)]


@pytest.fixture(params=["sh", "busybox"])
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Each shell that a host may have."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"{request.param} is missing")
    return (program, "sh") if request.param == "busybox" else (program,)


@pytest.fixture
def run(shell: tuple[str, ...]) -> Callable[..., tuple[int | None, list[bytes]]]:
    """Run a command's script until it ends, or has said what is waited for: its exit status and its lines."""

    def run_it(
        command: Command,
        *more: str,
        env: Mapping[str, str] | None = None,
        until: tuple[bytes, int] = (b"@@live", 1),
    ) -> tuple[int | None, list[bytes]]:
        assert command.argv[0] == "sh"
        process = subprocess.Popen(
            [*shell, *command.argv[1:], *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(command.stdin.encode())
        process.stdin.close()
        out, deadline = b"", time.monotonic() + 20.0
        while time.monotonic() < deadline:
            ready, _, _ = select.select([process.stdout], [], [], 0.3)
            data = os.read(process.stdout.fileno(), 1 << 20) if ready else b""
            out += data
            caught_up = out.split(b"\n").count(until[0]) >= until[1]
            if (ready and not data) or (caught_up and not ready):
                break
        status = process.poll() if caught_up else process.wait(5)
        if status is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()
        return status, out.split(b"\n")[:-1]

    return run_it
