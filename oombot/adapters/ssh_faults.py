"""What may go wrong with an SSH login or command, as sentences: what happened, what was not done, how to mend it."""

import shlex
import socket
from pathlib import Path
from typing import Final

import asyncssh
from asyncssh.constants import OPEN_ADMINISTRATIVELY_PROHIBITED

from oombot.adapters.ssh_client import Client
from oombot.adapters.ssh_known import KnownHosts, Offer
from oombot.adapters.ssh_target import SshTarget
from oombot.errors import HostError, HostKeyError, HostLoginError, HostUnreachableError

FAULTS: Final = (asyncssh.Error, OSError, ValueError)

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
    client: Client | None = None,
    jump: SshTarget | None = None,
    running: bool = False,
) -> HostError:
    """The one place where asyncssh's and the system's errors become ours, with what was not done and the fix.

    `client` has noted what the host said and offered; `jump` is the host that it is reached through.
    """
    if isinstance(error, HostError):
        return error
    kind = next(ERRORS[base.__name__] for base in type(error).__mro__ if base.__name__ in ERRORS)
    offer = (client and client.offer) or Offer(host=target.address, address="", port=target.port)
    other_kind = isinstance(error, asyncssh.KeyExchangeFailed) and "host key" in str(error)
    if kind is HostKeyError or (other_kind and (known.keys(offer) or known.authorities(offer))):
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
    if client is None and isinstance(error, asyncssh.ChannelOpenError):
        return HostUnreachableError(
            f"{target.name} opens no further session ({_reason(error)}). Nothing was run.",
            fix=f"Raise MaxSessions in sshd_config of {target.name}, or end other sessions of this account.",
        )
    return _unreachable(error, target, client or Client(), jump)


def behind(error: HostError, target: SshTarget, jump: SshTarget) -> HostError:
    """The fault of a jump host, told of a host behind it."""
    return type(error)(
        f"{target.name} is reached through {jump.name}, and that failed: {error}",
        fix=error.fix,
        jump=error.jump or jump.name,
        retry_after_s=error.retry_after_s,
    )


def _unreachable(
    error: Exception, target: SshTarget, client: Client, jump: SshTarget | None
) -> HostUnreachableError:
    through = f" through {jump.name}" if jump is not None else ""
    if jump is not None and getattr(error, "code", None) == OPEN_ADMINISTRATIVELY_PROHIBITED:
        return HostUnreachableError(
            f"{target.name} can not be reached: {jump.name} does not forward to {target.where}. Nothing was run.",
            fix=f"Allow it in sshd_config of {jump.name}: AllowTcpForwarding yes, PermitOpen {target.where}",
            jump=jump.name,
        )
    if client.refusal:
        return HostUnreachableError(
            f"{target.name} can not be reached at {target.where}{through}: "
            f"it said {client.refusal!r} and hung up before a login. Nothing was run.",
            fix=_busy_fix(target),
        )
    return HostUnreachableError(
        f"{target.name} can not be reached at {target.where}{through}: {_reason(error)}. Nothing was run.",
        fix=_reach_fix(error, target),
    )


def _key_error(error: Exception, target: SshTarget, known: KnownHosts, offer: Offer) -> HostKeyError:
    file = known.file
    shown = f" It now offers {offer.fingerprint}." if offer.fingerprint else ""
    if "revoked" in str(error):
        return HostKeyError(
            f"The host key of {target.name} ({target.where}) is revoked in {file}; nothing was sent.{shown}",
            fix=f"Give {target.name} a new host key. {_enrol(target)}",
        )
    if known.keys(offer):
        return HostKeyError(
            f"The host key of {target.name} ({target.where}) has changed and somebody may be listening in; "
            f"nothing was sent.{shown}",
            fix=f"If it was replaced on purpose: {removal(offer, file)}. {_enrol(target)}",
        )
    if known.authorities(offer):
        return HostKeyError(
            f"{target.name} ({target.where}) shows no certificate of the authority in {file}; nothing was sent.{shown}",
            fix=f"Give its host key a certificate (HostCertificate in its sshd_config). Or: {_enrol(target)}",
        )
    return HostKeyError(
        f"The host key of {target.name} ({target.where}) is not known; nothing was sent.{shown}",
        fix=_enrol(target),
    )


def _enrol(target: SshTarget) -> str:
    """How a person vouches for a host's key: compare first, then write it down."""
    return (
        "Compare the fingerprint with the host's own (on its console: "
        f"ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then: oombot hosts trust {shlex.quote(target.name)}"
    )


def removal(offer: Offer, file: Path) -> str:
    """The command that takes the keys of this host off file."""
    return f"ssh-keygen -R {shlex.quote(offer.name)} -f {shlex.quote(str(file))}"


def _login_fix(target: SshTarget) -> str:
    if target.acts:
        return f"oombot sudoers {shlex.quote(target.name)}"
    login = f"{target.user}@{target.address}" if target.user else target.address
    key = f"-i {shlex.quote(str(Path(target.key_files[0]).expanduser()))} " if target.key_files else ""
    return f"ssh-copy-id {key}-p {target.port or 22} {login}"


def _reach_fix(error: Exception, target: SshTarget) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"Start sshd on {target.name} (sudo systemctl start ssh), or correct the port in the configuration."
    if isinstance(error, socket.gaierror):
        return f"Correct the address of {target.name} in the configuration, or its name in DNS."
    if isinstance(error, asyncssh.ConnectionLost | ConnectionResetError):
        return _busy_fix(target)
    return f"ssh -v -p {target.port or 22} {target.address} true"


def _busy_fix(target: SshTarget) -> str:
    return (
        f"Read sshd's log on {target.name}: it may have reached MaxStartups, have locked this address out "
        "(PerSourcePenalties), or have no host key of the kind that known_hosts vouches for."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    text = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error)
    return str(text).rstrip(".") or type(error).__name__
