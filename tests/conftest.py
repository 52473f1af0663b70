"""Fixtures that several parts of the tests share."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# no property is about time: a busy machine is no counterexample
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# ------------------------------------------------------------------ what a machine must have


def _need(condition: object, reason: str) -> None:
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"needed in CI: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def need() -> Callable[[object, str], None]:
    """Skip the test with a reason unless the condition holds; with CI=true it fails instead."""
    return _need


# ------------------------------------------------------------------ a real OpenSSH server


@dataclass(frozen=True, kw_only=True)
class Sshd:
    """A running sshd on loopback that the current account may log in to with `key_file`."""

    port: int
    user: str
    key_file: Path
    known_hosts: Path
    pid: int


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _running_sshd(directory: Path, **settings: str) -> Iterator[Sshd]:
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin")
    _need(program, "sshd is missing: apt-get install openssh-server")
    assert program is not None
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's privilege separation demands it
    directory.mkdir(mode=0o700, exist_ok=True)
    port, key, host_key = free_port(), directory / "id_ed25519", directory / "host_key"
    for path in (key, host_key):
        if not path.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    shutil.copy(f"{key}.pub", directory / "authorized_keys")
    kind, blob, *_ = Path(f"{host_key}.pub").read_text().split()
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {blob}\n")
    wanted = {
        "Port": str(port),
        "ListenAddress": "127.0.0.1",
        "HostKey": str(host_key),
        "AuthorizedKeysFile": str(directory / "authorized_keys"),
        "PidFile": "none",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "StrictModes": "no",
        "MaxStartups": "100",
        "LogLevel": "ERROR",
    } | settings
    config = directory / "sshd_config"
    config.write_text("".join(f"{key} {value}\n" for key, value in wanted.items()))
    with subprocess.Popen([program, "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE) as process:
        _wait_for(port, process)
        try:
            yield Sshd(
                port=port,
                user=getpass.getuser(),
                key_file=key,
                known_hosts=directory / "known_hosts",
                pid=process.pid,
            )
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            assert process.stderr is not None
            pytest.fail(f"sshd ended: {process.stderr.read().decode(errors='replace')}")
        time.sleep(0.05)
    pytest.fail("sshd did not listen within 10 s")


@pytest.fixture(scope="session")
def start_sshd() -> Callable[..., AbstractContextManager[Sshd]]:
    """Start an sshd in a folder (its keys stay there) as a context manager; keywords are sshd_config settings."""
    return _running_sshd


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One sshd for the whole run."""
    with _running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server
