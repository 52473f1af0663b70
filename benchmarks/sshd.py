"""A real OpenSSH server for benchmarks: Debian's sshd on loopback, as strict as it is on a host."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

SSHD = "/usr/sbin/sshd"


@dataclass(frozen=True, kw_only=True)
class Sshd:
    """A running sshd; `pid` is that of its listener."""

    port: int
    key: Path
    known_hosts: Path
    pid: int
    user: str

    def cpu_s(self) -> float:
        """What it and its children that have ended took of the processor: they are waited for by the listener."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)


@contextmanager
def running_sshd(folder: Path, *, before: Sequence[str] = ()) -> Iterator[Sshd]:
    """Start it with new keys; `before` is a command that runs sshd's own, which is appended to it.

    As root it gets an empty home, as an account for oombot should have: a shell's start-up files cost more than ssh.
    """
    if not shutil.which(SSHD):
        raise OSError("sshd is missing: apt-get install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    for name in ("id_ed25519", "host_key"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    host_key = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile {folder}/pid\n"
        f"AuthorizedKeysFile {folder}/id_ed25519.pub\nPasswordAuthentication no\nStrictModes no\n"
        "KbdInteractiveAuthentication no\nMaxStartups 1000\nMaxSessions 100\nLogLevel ERROR\n"
    )
    if os.geteuid() == 0 and not before:
        before = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$HOME" && exec "$0" "$@"')
    argv = [*before, SSHD, "-D", "-e", "-f", str(config)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(port, process)
            yield Sshd(
                port=port,
                key=folder / "id_ed25519",
                known_hosts=folder / "known_hosts",
                pid=process.pid,
                user=getpass.getuser(),
            )
        finally:
            process.terminate()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:  # unshare(1) waits for what it runs, which ends with it
                process.kill()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise OSError("sshd did not listen")
