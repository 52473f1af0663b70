"""Enrolling a host: the key it offers at a real login, and the line in known_hosts that vouches for it."""

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from oombot.adapters.ssh_faults import removal
from oombot.adapters.ssh_known import KINDS, KnownHosts, Offer
from oombot.adapters.ssh_link import Link
from oombot.adapters.ssh_pool import Pool
from oombot.errors import HostError, HostKeyError, HostLoginError, UnknownHostError


async def offered(pool: Pool, host: str) -> Offer | None:
    """The key that the host offers and nobody vouches for; None where known_hosts vouches for it already.

    It is a login as any other, never a look at the port alone: sshd counts those against us. A key that has changed
    or was revoked is a HostKeyError, and so is an unknown key of the jump host before it.
    """
    link = _link(pool, host)
    try:
        return await _try(pool, link)
    except HostKeyError:
        if link.offer is None or link.offer.key is not None or pool.known.keys(link.offer):
            raise
    link.kinds = KINDS  # no certificate, or one of an authority that is not on file: ask for the bare key
    return await _try(pool, link)


async def _try(pool: Pool, link: Link) -> Offer | None:
    try:
        await pool.connected(link, asked=True)
    except HostLoginError as error:
        if error.jump is not None:
            raise
    except HostKeyError as error:
        mine = error.jump is None and link.offer is not None and link.offer.key is not None
        if not mine or link.offer is None or pool.known.keys(link.offer):
            raise
        return link.offer
    return None


def _link(pool: Pool, host: str) -> Link:
    """The login of a host of the configuration, or of a hop that is none."""
    if host in pool.targets:
        return pool.link(host)
    for link in pool.links():
        if link.target.name == host:
            return link
    raise UnknownHostError(f"There is no host {host} to reach by SSH; nothing was sent.")


def enrol(file: Path, offer: Offer) -> None:
    """Add the offered key to known_hosts: under a lock, as a whole or not at all; a new file is its owner's alone."""
    if offer.key is None:
        raise HostKeyError(f"{offer.host} showed no key; nothing was written.")
    path = file.expanduser().resolve()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path):
            known = KnownHosts([str(path)])
            problems = known.load()
            if problems:
                raise HostError(f"{problems[0]} in {path}; nothing was written.", fix=f"mend or move {path}")
            if known.keys(offer):
                raise HostKeyError(
                    f"{path} has got a key of {offer.name} meanwhile; nothing was written.",
                    fix=f"run oombot hosts trust again; to take that key away: {removal(offer, path)}",
                )
            _append(
                path, f"{offer.name} {offer.key.export_public_key('openssh').decode().strip()}\n".encode()
            )
    except OSError as error:
        raise HostError(
            f"{path} can not be written: {error.strerror}. The key is not trusted.",
            fix="run it as the account that owns the file, or name another in ssh.known_hosts",
        ) from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW  # root may run this in an account's folder
    lock = os.open(path.with_name(f".{path.name}.lock"), flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _append(path: Path, line: bytes) -> None:
    before = path.read_bytes() if path.exists() else b""
    gap = b"" if not before or before.endswith(b"\n") else b"\n"
    old = path.stat() if path.exists() else None
    owner = old or path.parent.stat()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as new:
            new.write(before + gap + line)
            new.flush()
            if os.geteuid() == 0:  # run by root for the bot's account, which must be able to read it
                os.fchown(new.fileno(), owner.st_uid, owner.st_gid)
            if old is not None:  # a file for the whole machine stays one
                os.fchmod(new.fileno(), stat.S_IMODE(old.st_mode) & 0o755)
            os.fsync(new.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
