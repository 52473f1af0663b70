"""The host keys on file: known_hosts, parsed once for all hosts and again when it changes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncssh

# The kinds of host keys, best first; where none is on file the host is asked for the first that it has.
KINDS: Final = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A host key that was shown to us and not believed, and under which names it was looked up."""

    host: str
    address: str
    port: int | None
    key: asyncssh.SSHKey | None = None

    @property
    def fingerprint(self) -> str:
        """The key's SHA256 fingerprint; empty where the connection ended before a key was shown."""
        return self.key.get_fingerprint() if self.key is not None else ""

    @property
    def name(self) -> str:
        """The name that known_hosts has for this host: with its port where that is not 22."""
        return self.host if (self.port or 22) == 22 else f"[{self.host}]:{self.port}"


class KnownHosts:
    """The known_hosts files, parsed once and again only when one of them has changed."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Take the paths; nothing is read yet, and nobody is known."""
        self.paths = tuple(Path(path).expanduser() for path in paths)
        self.loaded = asyncssh.import_known_hosts("")
        self.loads = 0
        self._stamps: tuple[tuple[int, ...], ...] = ()

    @property
    def file(self) -> Path:
        """The file that people are told of, and new keys are written to."""
        return self.paths[0] if self.paths else Path("~/.ssh/known_hosts").expanduser()

    def load(self) -> list[str]:
        """Read the files; give what is wrong with them. A file that is not there knows nobody."""
        stamps = self.stamps()
        try:
            self.loaded = asyncssh.read_known_hosts([str(path) for path in self.paths if path.exists()])
        except (OSError, ValueError) as error:
            return [f"known_hosts: {error}"]
        finally:
            self._stamps = stamps
        self.loads += 1
        return []

    async def refresh(self) -> None:
        """Read the files again if they have changed, off the event loop; a wrong file leaves the old keys."""
        if self.stamps() != self._stamps:
            await asyncio.to_thread(self.load)

    def keys(self, offer: Offer) -> bool:
        """Whether a key is on file for the host of this offer."""
        return bool(self._match(offer)[0])

    def authorities(self, offer: Offer) -> bool:
        """Whether an authority is on file that could vouch for the host of this offer."""
        return bool(self._match(offer)[1])

    def _match(self, offer: Offer) -> Sequence[object]:
        try:
            return self.loaded.match(offer.host, offer.address, offer.port)
        except ValueError:
            return (), ()

    def stamps(self) -> tuple[tuple[int, ...], ...]:
        """What changes when a file changes."""
        found = (path.stat() if path.exists() else None for path in self.paths)
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else () for stat in found)
