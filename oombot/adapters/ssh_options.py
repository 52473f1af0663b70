"""What all logins of one kind share: keys and certificates read once, ssh_config parsed once, algorithms in order."""

import asyncio
from pathlib import Path
from typing import Any, Final

import asyncssh
import asyncssh.kex

from oombot.adapters.ssh_target import SshTarget

# chacha20 comes first by default and costs twice as much as AES on any processor of this century
_CIPHERS: Final = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
_EXCHANGES: Final = (
    "mlkem768x25519-sha256",  # asyncssh 2.24 with a cryptography that has ML-KEM
    "curve25519-sha256",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group14-sha256",
)

_Files = tuple[tuple[str, ...], tuple[str, ...]]


class Keyring:
    """Private keys with their certificates, shared by all hosts, and read again when a file is renewed."""

    def __init__(self) -> None:
        """Start with nothing read."""
        self.loads = 0
        self._pairs: dict[_Files, list[asyncssh.SSHKeyPair]] = {}
        self._stamps: dict[_Files, tuple[tuple[int, ...], ...]] = {}

    def load(self, target: SshTarget) -> list[asyncssh.SSHKeyPair]:
        """The key pairs of a target, read where they are not yet; KEY-cert.pub beside a key is used as well."""
        files = (target.key_files, target.certificates)
        if files not in self._pairs:
            self._read(files)
        return self._pairs[files]

    async def current(self, target: SshTarget) -> list[asyncssh.SSHKeyPair]:
        """The key pairs as the files are now; where a file can not be read, those read before."""
        files = (target.key_files, target.certificates)
        if _stamps(files) != self._stamps.get(files):
            try:
                await asyncio.to_thread(self._read, files)
            except (OSError, ValueError):
                return self._pairs[files]
        return self._pairs[files]

    def _read(self, files: _Files) -> None:
        stamps = _stamps(files)
        keys, certificates = files
        pairs = list[asyncssh.SSHKeyPair]()
        for key in keys:
            given = [_path(certificate) for certificate in certificates]
            pairs += asyncssh.load_keypairs(_path(key), certlist=given or ())
        self._pairs[files], self._stamps[files] = pairs, stamps
        self.loads += 1


class Options:
    """The options of a login: one object for all hosts that differ by address only."""

    def __init__(self, connect_s: float) -> None:
        """Take the time for a login, from the first packet on."""
        self._connect_s = connect_s
        self._made: dict[tuple[str | None, ...], asyncssh.SSHClientConnectionOptions] = {}

    def of(self, target: SshTarget) -> asyncssh.SSHClientConnectionOptions:
        """The options for this target; ssh_config is parsed once for each host, the rest is shared."""
        own = (target.ssh_config, target.address, str(target.port)) if target.ssh_config else ()
        kind = (target.user, "keys" if target.key_files else "agent", *own)
        if kind not in self._made:
            self._made[kind] = _options(target, self._connect_s)
        return self._made[kind]


def _options(target: SshTarget, connect_s: float) -> asyncssh.SSHClientConnectionOptions:
    chosen: dict[str, Any] = {"username": target.user} if target.user else {}
    if target.key_files:
        chosen["agent_path"] = None
        chosen["client_keys"] = []  # the real ones are given for each login
    known_algorithms = {name.decode() for name in asyncssh.kex.get_kex_algs()}
    return asyncssh.SSHClientConnectionOptions(
        config=[_path(target.ssh_config)] if target.ssh_config else None,
        host=target.address,
        port=target.port or (),
        known_hosts=asyncssh.import_known_hosts(""),  # the real ones are given for each login
        preferred_auth=["publickey"],
        gss_host=None,
        gss_kex=False,
        gss_auth=False,
        agent_forwarding=False,
        x11_forwarding=False,
        kex_algs=[name for name in _EXCHANGES if name in known_algorithms],
        encryption_algs=list(_CIPHERS),
        compression_algs=["none"],
        connect_timeout=connect_s,
        login_timeout=0,  # connect_timeout covers the login too
        keepalive_interval=20,
        keepalive_count_max=2,
        **chosen,
    )


def _path(text: str) -> str:
    return str(Path(text).expanduser())


def _stamps(files: _Files) -> tuple[tuple[int, ...], ...]:
    """What changes when a key or a certificate is renewed."""
    keys, certificates = files
    paths = [Path(_path(name)) for name in (*keys, *(f"{key}-cert.pub" for key in keys), *certificates)]
    found = (path.stat() if path.exists() else None for path in paths)
    return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else () for stat in found)
