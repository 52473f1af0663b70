"""How far a login is from its limit: the arithmetic of the handshake, oombot's login, sshd's own work for it."""

import asyncio
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from benchmarks.figures import Figure
from benchmarks.sshd import Sshd, running_sshd
from oombot.adapters.ssh import SshHosts, SshTarget
from oombot.model import Command
from tests.fleet.fleet import running_fleet
from tests.fleet.server import address

NAME = "distance from the limit: one login"
LOGINS = 200


def run(n: int | None) -> list[Figure]:
    """Log in to a simulated fleet, where our own work is the limit, and to OpenSSH, where sshd's is."""
    logins = n or LOGINS
    with tempfile.TemporaryDirectory(prefix="oombot-bench-") as name:
        ours_ms, rate = asyncio.run(_fleet(logins, Path(name) / "fleet"))
        with running_sshd(Path(name) / "sshd") as sshd:
            walls, sshd_ms = asyncio.run(_openssh(sshd, min(logins, 40)))
    floor = [_arithmetic_ms() for _ in range(logins)]
    middle = sorted(floor)[len(floor) // 2]
    return [
        Figure(
            what="arithmetic of a handshake (2 X25519, an Ed25519 signature and its check)",
            unit="ms",
            values=floor,
        ),
        Figure(
            what="our CPU for a login and a command",
            unit="ms",
            values=[ours_ms],
            note=f"{ours_ms / middle:.0f} times the arithmetic; the rest is asyncssh's packets and their system calls",
        ),
        Figure(what="logins a second, simulated hosts on the other core", unit="/s", values=[rate]),
        Figure(
            what="OpenSSH, one login and a command at a time",
            unit="ms",
            values=walls,
            note=f"sshd itself takes {sshd_ms:.1f} ms of CPU for it: that is the limit on a real host",
        ),
    ]


def _arithmetic_ms() -> float:
    mine, theirs, signer = (
        X25519PrivateKey.generate(),
        X25519PrivateKey.generate(),
        Ed25519PrivateKey.generate(),
    )
    public, verifier = theirs.public_key(), signer.public_key()
    began = time.perf_counter()
    X25519PrivateKey.generate().public_key()
    mine.exchange(public)
    signature = signer.sign(b"x" * 64)
    verifier.verify(signature, b"x" * 64)
    return 1000 * (time.perf_counter() - began)


async def _fleet(count: int, folder: Path) -> tuple[float, float]:
    async with running_fleet(count, folder) as fleet:
        targets = [
            SshTarget(
                name=fleet.name(n),
                address=address(n),
                port=fleet.port,
                user="oombot",
                key_files=(str(fleet.key_file),),
            )
            for n in range(count)
        ]
        async with SshHosts(targets, known_hosts=[str(fleet.known_hosts)]) as hosts:
            began, spent = time.perf_counter(), time.process_time()
            await asyncio.gather(
                *(hosts.run(t.name, Command(argv=("true",)), timeout_s=120) for t in targets)
            )
            wall, cpu = time.perf_counter() - began, time.process_time() - spent
    return 1000 * cpu / count, count / wall


async def _openssh(sshd: Sshd, count: int) -> tuple[list[float], float]:
    walls = []
    before = sshd.cpu_s()
    for number in range(count):
        where = SshTarget(
            name=f"h{number}", address="127.0.0.1", port=sshd.port, user=sshd.user, key_files=(str(sshd.key),)
        )
        async with SshHosts([where], known_hosts=[str(sshd.known_hosts)]) as hosts:
            began = time.perf_counter()
            await hosts.run(where.name, Command(argv=("true",)), timeout_s=60)
            walls.append(1000 * (time.perf_counter() - began))
    await asyncio.sleep(1.0)  # until the last child has been waited for
    return walls, 1000 * (sshd.cpu_s() - before) / count
