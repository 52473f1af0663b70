"""The tools that oombot's reading is measured against, as one would call them for one command on many hosts."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.sshd import Sshd

VENV = Path(__file__).parent.parent / ".venv" / "peers"
COMMAND = "cat /proc/meminfo"
SIGN = "MemTotal:"  # what each host's answer holds once
AT_ONCE = 50

_PSSH = """
import sys
from pssh.clients import ParallelSSHClient
port, user, key, count, at_once, command = sys.argv[1:]
client = ParallelSSHClient(
    ["127.0.0.1"] * int(count), port=int(port), user=user, pkey=key, pool_size=int(at_once), num_retries=1
)
for output in client.run_command(command, stop_on_errors=True):
    for line in output.stdout:
        print(line)
"""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A command to run, with its environment, or why there is none."""

    name: str
    argv: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""
    note: str = ""
    keeps: bool = False  # connections, for a second run

    def forget(self) -> None:
        """End what it keeps for the next time: Ansible's masters would make the next cold run a warm one."""
        for control in Path(self.environment.get("ANSIBLE_SSH_CONTROL_PATH_DIR", "/nonexistent")).glob("*"):
            subprocess.run(
                ["ssh", "-o", f"ControlPath={control}", "-O", "exit", "x"], capture_output=True, check=False
            )


def peers(sshd: Sshd, hosts: int, folder: Path) -> list[Peer]:
    """Every peer, for so many names that all mean the same sshd."""
    names = [f"h{number:03}" for number in range(hosts)]
    config = folder / "ssh_config"
    config.write_text(
        f"Host h*\n HostName 127.0.0.1\n Port {sshd.port}\n User {sshd.user}\n IdentityFile {sshd.key}\n"
        f" IdentitiesOnly yes\n UserKnownHostsFile {sshd.known_hosts}\n GlobalKnownHostsFile none\n"
        " StrictHostKeyChecking yes\n BatchMode yes\n LogLevel ERROR\n"
    )
    (folder / "inventory").write_text("\n".join(names) + "\n")
    return [make(sshd, names, config) for make in (_clush, _pdsh, _pssh, _ansible)]


def _clush(sshd: Sshd, names: Sequence[str], config: Path) -> Peer:
    argv = ("clush", "-w", ",".join(names), "-f", str(AT_ONCE), "-o", f"-F {config}", COMMAND)
    return _installed("clush", argv, "apt-get install clustershell")


def _pdsh(sshd: Sshd, names: Sequence[str], config: Path) -> Peer:
    argv = ("pdsh", "-R", "ssh", "-w", ",".join(names), "-f", str(AT_ONCE), COMMAND)
    environment = {"PDSH_SSH_ARGS_APPEND": f"-F {config}"}
    return _installed("pdsh", argv, "apt-get install pdsh", environment)


def _pssh(sshd: Sshd, names: Sequence[str], config: Path) -> Peer:
    python = str(VENV / "bin" / "python")
    words = (str(sshd.port), sshd.user, str(sshd.key), str(len(names)), str(AT_ONCE), COMMAND)
    has = any(VENV.glob("lib/python*/site-packages/pssh"))
    argv, note = (python, "-c", _PSSH, *words), "checks no host key"
    return (
        Peer(name="parallel-ssh", argv=argv, note=note)
        if has
        else _absent("parallel-ssh", "make bench-peers")
    )


def _ansible(sshd: Sshd, names: Sequence[str], config: Path) -> Peer:
    program = str(VENV / "bin" / "ansible")
    argv = (
        program,
        "all",
        "-i",
        str(config.parent / "inventory"),
        "-f",
        str(AT_ONCE),
        "-m",
        "raw",
        "-a",
        COMMAND,
    )
    environment = {
        "ANSIBLE_SSH_ARGS": f"-F {config} -o ControlMaster=auto -o ControlPersist=60s",  # as by default
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(config.parent / "cp"),
        "ANSIBLE_LOCAL_TEMP": str(config.parent / "ansible"),
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
    }
    return replace(_installed("ansible -m raw", argv, "make bench-peers", environment), keeps=True)


def _installed(
    name: str, argv: Sequence[str], fix: str, environment: Mapping[str, str] | None = None
) -> Peer:
    if shutil.which(argv[0]) is None:
        return _absent(name, fix)
    return Peer(name=name, argv=argv, environment=os.environ | dict(environment or {}))


def _absent(name: str, fix: str) -> Peer:
    return Peer(name=name, missing=f"not installed ({fix})")
