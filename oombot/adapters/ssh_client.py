"""What an SSH login needs and what may go wrong with it: targets, keys, known hosts, and sentences for faults."""

import asyncio
import shlex
import socket
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncssh

from oombot.errors import HostError, HostKeyError, HostLoginError, HostUnreachableError

# chacha20 comes first by default and costs twice as much as AES on any processor of this century
_CIPHERS: Final = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshTarget:
    """Where and as whom to log in.

    Without `key_files` the agent and the usual keys are tried; `user` and `port` None leave it to `ssh_config`.
    `jump` names another target to go through. `become` False means that sudo is never used.
    """

    name: str
    address: str
    port: int | None = None
    user: str | None = None
    key_files: tuple[str, ...] = ()
    ssh_config: str | None = None
    jump: str | None = None
    become: bool = True

    @property
    def where(self) -> str:
        """The address as people write it."""
        return f"{self.address}:{self.port or 22}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A host key that was shown to us and not believed, and under which names it was looked up."""

    host: str
    address: str
    port: int | None
    fingerprint: str = ""


class KnownHosts:
    """The known_hosts files, parsed once and again only when one of them has changed."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Take the paths; nothing is read yet, and nobody is known."""
        self.paths = tuple(Path(path).expanduser() for path in paths)
        self.loaded = asyncssh.import_known_hosts("")
        self.loads = 0
        self._stamps: tuple[tuple[int, int], ...] = ()

    def load(self) -> list[str]:
        """Read the files; give what is wrong with them. A file that is not there knows nobody."""
        stamps = self._stat()
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
        if self._stat() != self._stamps:
            await asyncio.to_thread(self.load)

    def knows(self, offer: Offer) -> bool:
        """Whether any key or authority is on file for the host of this offer."""
        try:
            return any(self.loaded.match(offer.host, offer.address, offer.port)[:2])
        except ValueError:
            return False

    def _stat(self) -> tuple[tuple[int, int], ...]:
        found = (path.stat() if path.exists() else None for path in self.paths)
        return tuple((stat.st_mtime_ns, stat.st_size) if stat else (0, 0) for stat in found)


class Client(asyncssh.SSHClient):
    """Acknowledges at once and notes the key that a host offered. It never accepts one by itself."""

    def __init__(self) -> None:
        """Start with no key seen; `offer` is one that known_hosts does not vouch for."""
        self.offer: Offer | None = None
        self._connection: asyncssh.SSHClientConnection | None = None

    def abort(self) -> None:
        """Drop a connection whose login did not come to an end."""
        if self._connection is not None:
            self._connection.abort()

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Re-arm TCP_QUICKACK after each receive: sshd's Nagle and our delayed ACK cost 42 ms a login otherwise."""
        self._connection = conn
        sock = conn.get_extra_info("socket")
        if _QUICKACK is None or sock is None or sock.family == socket.AF_UNIX:
            return
        receive = conn.data_received

        def data_received(data: bytes, datatype: int | None = None) -> None:
            receive(data, datatype)
            if sock.fileno() >= 0:
                sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

        vars(conn)["data_received"] = data_received

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Note the key that known_hosts does not vouch for, and refuse it."""
        self.offer = Offer(host=host, address=addr, port=port, fingerprint=key.get_fingerprint())
        return False


def options_for(target: SshTarget, keys: MutableMapping[str, Any]) -> asyncssh.SSHClientConnectionOptions:
    """Parse ssh_config and load the keys of one host, once; `keys` shares loaded keys between hosts."""
    for path in target.key_files:
        if path not in keys:
            keys[path] = asyncssh.load_keypairs(str(Path(path).expanduser()))
    chosen: dict[str, Any] = {"username": target.user} if target.user else {}
    if target.key_files:
        chosen["client_keys"] = [pair for path in target.key_files for pair in keys[path]]
        chosen["agent_path"] = None
    return asyncssh.SSHClientConnectionOptions(
        config=[str(Path(target.ssh_config).expanduser())] if target.ssh_config else None,
        host=target.address,
        port=target.port or (),
        known_hosts=asyncssh.import_known_hosts(""),  # the real ones are given for each login
        preferred_auth=["publickey"],
        gss_host=None,
        gss_kex=False,
        gss_auth=False,
        agent_forwarding=False,
        x11_forwarding=False,
        encryption_algs=list(_CIPHERS),
        compression_algs=["none"],
        connect_timeout=15,
        login_timeout=20,
        keepalive_interval=15,
        keepalive_count_max=2,
        **chosen,
    )


def quoted(argv: Sequence[str]) -> str:
    """The one line that the login shell gets."""
    return shlex.join(argv)


# Every error class of asyncssh, by name; those of SFTP, listeners and processes are not used here and can not come.
ERRORS: Final[dict[str, type[HostError]]] = {
    "HostKeyNotVerifiable": HostKeyError,
    "PermissionDenied": HostLoginError,
    "IllegalUserName": HostLoginError,
    "KeyEncryptionError": HostLoginError,
    "KeyExportError": HostLoginError,
    "KeyGenerationError": HostLoginError,
    "KeyImportError": HostLoginError,
    "PasswordChangeRequired": HostLoginError,
    "BreakReceived": HostUnreachableError,
    "SignalReceived": HostUnreachableError,
    "TerminalSizeChanged": HostUnreachableError,
    "ChannelListenError": HostUnreachableError,
    "ChannelOpenError": HostUnreachableError,
    "CompressionError": HostUnreachableError,
    "ConfigParseError": HostUnreachableError,
    "ConnectionLost": HostUnreachableError,
    "DisconnectError": HostUnreachableError,
    "Error": HostUnreachableError,
    "KeyExchangeFailed": HostUnreachableError,
    "MACError": HostUnreachableError,
    "PacketDecodeError": HostUnreachableError,
    "ProcessError": HostUnreachableError,
    "ProtocolError": HostUnreachableError,
    "ProtocolNotSupported": HostUnreachableError,
    "ServiceNotAvailable": HostUnreachableError,
    "TimeoutError": HostUnreachableError,
    "SFTPError": HostUnreachableError,
    "OSError": HostUnreachableError,
    "ValueError": HostUnreachableError,
}


def to_host_error(
    error: Exception,
    target: SshTarget,
    known: KnownHosts,
    *,
    offered: Offer | None = None,
    running: bool = False,
) -> HostError:
    """The one place where asyncssh's and the system's errors become ours, with what was not done and the fix."""
    if isinstance(error, HostError):
        return error
    kind = next(ERRORS[base.__name__] for base in type(error).__mro__ if base.__name__ in ERRORS)
    offer = offered or Offer(host=target.address, address="", port=target.port)
    other_kind = isinstance(error, asyncssh.KeyExchangeFailed) and "host key" in str(error)
    if kind is HostKeyError or (other_kind and known.knows(offer)):
        return _key_error(error, target, known, offer)
    if kind is HostLoginError:
        return HostLoginError(
            f"{target.name} ({target.where}) refused the login of {target.user or 'this account'}: {error}. "
            "Nothing was run.",
            fix=_login_fix(target),
        )
    if running:
        return HostUnreachableError(
            f"The link to {target.name} was lost while a command ran ({_reason(error)}); "
            "whether it finished is not known."
        )
    return HostUnreachableError(
        f"{target.name} can not be reached at {target.where}: {_reason(error)}. Nothing was run.",
        fix=_reach_fix(error, target),
    )


def _key_error(error: Exception, target: SshTarget, known: KnownHosts, offer: Offer) -> HostKeyError:
    file = known.paths[0] if known.paths else Path("~/.ssh/known_hosts")
    shown = f" It now offers {offer.fingerprint}." if offer.fingerprint else ""
    if "revoked" in str(error):
        return HostKeyError(
            f"The host key of {target.name} ({target.where}) is revoked in {file}; nothing was sent.{shown}",
            fix=f"Give {target.name} a new host key. {_enrol(target, file)}",
        )
    if known.knows(offer):
        name = target.address if (target.port or 22) == 22 else f"[{target.address}]:{target.port}"
        return HostKeyError(
            f"The host key of {target.name} ({target.where}) has changed and somebody may be listening in; "
            f"nothing was sent.{shown}",
            fix=f"If it was replaced on purpose: ssh-keygen -R {shlex.quote(name)} -f {shlex.quote(str(file))}. "
            f"{_enrol(target, file)}",
        )
    return HostKeyError(
        f"The host key of {target.name} ({target.where}) is not known; nothing was sent.{shown}",
        fix=_enrol(target, file),
    )


def _enrol(target: SshTarget, file: Path) -> str:
    """How a person vouches for a host's key: compare first, then write it down."""
    return (
        f"Compare the fingerprint with the host's own (there: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), "
        f"then: ssh-keyscan -p {target.port or 22} {shlex.quote(target.address)} >> {shlex.quote(str(file))}"
    )


def _login_fix(target: SshTarget) -> str:
    login = f"{target.user}@{target.address}" if target.user else target.address
    key = f"-i {shlex.quote(target.key_files[0])} " if target.key_files else ""
    return f"ssh-copy-id {key}-p {target.port or 22} {login}"


def _reach_fix(error: Exception, target: SshTarget) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"Start sshd on {target.name} (sudo systemctl start ssh), or correct the port in the configuration."
    if isinstance(error, socket.gaierror):
        return f"Correct the address of {target.name} in the configuration, or its name in DNS."
    if isinstance(error, asyncssh.ConnectionLost | ConnectionResetError):
        return (
            f"Read sshd's log on {target.name}: it may have reached MaxStartups, have locked this address out "
            "(PerSourcePenalties), or have no host key of the kind that known_hosts vouches for."
        )
    if isinstance(error, asyncssh.ChannelOpenError):
        return f"Raise MaxSessions in sshd_config of {target.name}, or end other sessions of this account."
    return f"ssh -v -p {target.port or 22} {target.address} true"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    text = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error)
    return str(text).rstrip(".") or type(error).__name__
