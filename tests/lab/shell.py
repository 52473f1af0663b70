"""A root shell on a machine of the lab, by the ssh command: the tests' own hand, apart from the bot's."""

import shlex
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


class ShellError(Exception):
    """A command on a machine failed, or the machine did not answer."""


@dataclass(frozen=True, kw_only=True)
class Shell:
    """How to reach one machine."""

    port: int
    key: Path
    folder: Path  # for the connection that commands share
    user: str = "root"

    def run(self, *argv: str, stdin: bytes = b"", timeout_s: float = 90, check: bool = True) -> str:
        """Run a command and return what it printed; with `check` a failure is an error that tells everything."""
        command = [
            *("ssh", "-F", "none", "-i", str(self.key), "-p", str(self.port), "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
            *("-o", "ConnectTimeout=60", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=30"),
            *("-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", f"ControlPath={self._control}"),
            *(f"{self.user}@127.0.0.1", shlex.join(argv)),
        ]
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise ShellError(f"{shlex.join(argv)[:200]}: no answer within {timeout_s:.0f} s") from error
        if check and done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace")[-2000:]
            raise ShellError(f"{shlex.join(argv)[:200]} ended with {done.returncode}: {said}")
        return done.stdout.decode(errors="replace")

    def until_up(self, *, within_s: float) -> None:
        """Wait until the machine's sshd lets us in."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                self.run("true", timeout_s=30)
            except ShellError as error:
                if time.monotonic() > deadline:
                    raise ShellError(f"no login within {within_s:.0f} s: {error}") from error
                time.sleep(0.5)
            else:
                return

    def hang_up(self) -> None:
        """End the shared connection: the machine behind it is going away."""
        subprocess.run(
            ["ssh", "-F", "none", "-O", "exit", "-o", f"ControlPath={self._control}", "127.0.0.1"],
            capture_output=True,
            check=False,
            timeout=30,
        )
        self._control.unlink(missing_ok=True)

    @property
    def _control(self) -> Path:
        return self.folder / f"ssh-{self.user}"


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
