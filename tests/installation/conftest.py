"""A site to break into: a real sshd in a mount namespace of its own, on which `oombot sudoers` has installed."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from oombot.cli.sudoers import Wanted, applied

# /etc is a copy; /usr/local and /var/lib are empty; all of it goes with the last process of the namespace
SETUP = """set -e
mkdir -p "$1/etc"
cp -a /etc/. "$1/etc/"
mount --bind "$1/etc" /etc
mount -t tmpfs -o mode=0755 tmpfs /usr/local
mount -t tmpfs -o mode=0755 tmpfs /var/lib
rm -rf /etc/oombot /etc/sudoers.d/oombot
mkdir -p /run/sshd /run/sudo
cp "$1/admin.pub" /etc/ssh/keys_root
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
"""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A host with both identities, its administrator and a thief of the bot's keys."""

    folder: Path
    port: int
    pid: int

    @property
    def wanted(self) -> Wanted:
        """What the administrator types."""
        ssh = f"ssh -F {self.folder}/ssh_config -i {self.folder}/admin"
        return Wanted(host="web-1", config=self.folder / "oombot.yaml", login="root", ssh=ssh, yes=True)

    def root(self, *argv: str, check: bool = True) -> str:
        """Run a command as root within the host."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", *argv],
            capture_output=True,
            text=True,
            check=check,
            timeout=120,
        )
        return done.stdout + done.stderr

    def steal(self, key: str, *argv: str, stdin: str = "", user: str = "", options: tuple[str, ...] = ()):
        """Use a key of the bot's with whatever words; gives the finished process."""
        login = user or {"watch": "oombot", "act": "oombot-act"}[key]
        words = ["ssh", "-F", f"{self.folder}/ssh_config", "-i", f"{self.folder}/{key}", *options]
        return subprocess.run(
            [*words, f"{login}@127.0.0.1", *argv],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=os.environ | {"LC_EVIL": "1", "PYTHONPATH": "/tmp", "BASH_ENV": "/tmp/x", "ENV": "/tmp/x"},
        )

    def act(self, request: dict[str, object]) -> dict[str, object]:
        """Ask the act helper by the act key."""
        done = self.steal("act", stdin=json.dumps(request))
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="package")
def site(need, tmp_path_factory):
    """The site, installed and removed by the command line."""
    need(os.geteuid() == 0, "runs only as root, who can make accounts and mounts")
    for word in ("sshd", "visudo", "sudo", "useradd", "unshare", "nsenter"):
        need(shutil.which(word, path="/usr/sbin:/usr/bin:/sbin:/bin"), f"{word} is missing")
    allowed = subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0
    need(allowed, "mount namespaces can not be made here")
    folder = tmp_path_factory.mktemp("site")
    folder.chmod(0o755)
    for name in ("admin", "watch", "act", "host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with contextlib.ExitStack() as stack:
        made, process = _started(folder)
        stack.callback(process.wait, 30)
        stack.callback(process.kill)
        assert applied(made.wanted, remove=False) == 0
        yield made


def _started(folder: Path) -> tuple[Site, "subprocess.Popen[bytes]"]:
    """Start its sshd; a port that was taken meanwhile is tried no second time by the same number."""
    from tests.conftest import free_port

    for _ in range(5):
        port = free_port()
        _configure(folder, port)
        with (folder / "sshd.log").open("wb") as log:
            words = ["unshare", "-m", "--propagation", "private", "sh", "-c", SETUP, "sh", str(folder)]
            process = subprocess.Popen(words, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if "listening on" in (folder / "sshd.log").read_text().lower():
                return Site(folder=folder, port=port, pid=process.pid), process
            time.sleep(0.05)
        process.kill()
        process.wait()
    raise AssertionError((folder / "sshd.log").read_text())


def _configure(folder: Path, port: int) -> None:
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\nAcceptEnv *\n"
        "AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/keys_%u\nPasswordAuthentication no\nStrictModes yes\n"
        "PermitRootLogin prohibit-password\nMaxStartups 100\nLogLevel INFO\nPermitUserEnvironment yes\n"
        "Subsystem sftp internal-sftp\nAllowTcpForwarding yes\nPermitTunnel yes\nAllowAgentForwarding yes\n"
    )
    kind, blob, *_ = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {blob}\n")
    (folder / "ssh_config").write_text(
        f"Host *\nPort {port}\nUserKnownHostsFile {folder}/known_hosts\nStrictHostKeyChecking yes\nBatchMode yes\n"
        "IdentitiesOnly yes\nIdentityAgent none\nSendEnv LC_EVIL PYTHONPATH BASH_ENV ENV\nLogLevel ERROR\n"
    )
    (folder / "oombot.yaml").write_text(
        f"mode: propose\nhelpers: installed\nssh:\n  known_hosts: {folder}/known_hosts\n  keys: [{folder}/watch]\n"
        f"  act: {{keys: [{folder}/act]}}\n"
        f"hosts: [{{name: web-1, address: 127.0.0.1, port: {port}, user: oombot}}]\n"
    )
