"""One SSH login as asyncssh sees it: quick acknowledgement, a limit for silence, what the host said and offered."""

import socket
from collections.abc import Callable
from typing import Final

import asyncssh

from oombot.adapters.ssh_known import Offer

_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)
_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", None)
_SILENT_MS: Final = (
    60_000  # sent and not acknowledged for so long: the link is dead, whatever keepalive thinks
)
_GREETING: Final = 255  # bytes; sshd refuses by a line in the place of its version ("Exceeded MaxStartups")


class Client(asyncssh.SSHClient):
    """Acknowledges at once and notes the key that a host offered. It never accepts one by itself."""

    def __init__(self) -> None:
        """Start with no connection and no key seen; `offer` is one that known_hosts does not vouch for."""
        self.offer: Offer | None = None
        self.authority = False  # the key offered came with a certificate of an authority nobody vouches for
        self.on_lost: Callable[[], None] = lambda: None
        self._greeting = bytearray()
        self._connection: asyncssh.SSHClientConnection | None = None

    @property
    def refusal(self) -> str:
        """What the host said in the place of its version; empty where it greeted or said nothing."""
        text = self._greeting.decode(errors="replace")
        return "" if "SSH-" in text else "".join(sign for sign in text if sign.isprintable()).strip()

    @property
    def greeted(self) -> bool:
        """Whether an SSH server answered at all."""
        return self._connection is not None and bool(self._connection.get_extra_info("server_version"))

    @property
    def hung_up(self) -> bool:
        """Whether an SSH server answered and the connection ended before it had shown a key."""
        no_key = self._connection is not None and self._connection.get_server_host_key() is None
        return self.greeted and self.offer is None and no_key

    def abort(self) -> None:
        """Drop a connection whose login did not come to an end."""
        if self._connection is not None:
            self._connection.abort()

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Re-arm TCP_QUICKACK after each receive: sshd's Nagle and our delayed ACK cost 42 ms a login otherwise."""
        self._connection = conn
        sock = conn.get_extra_info("socket")
        tcp = sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}
        if tcp and _USER_TIMEOUT is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, _SILENT_MS)
        receive = conn.data_received

        def data_received(data: bytes, datatype: int | None = None) -> None:
            if len(self._greeting) < _GREETING:
                self._greeting += data[: _GREETING - len(self._greeting)]
            receive(data, datatype)
            if tcp and _QUICKACK is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

        vars(conn)["data_received"] = data_received

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever keeps this connection that it is over, and let go of it."""
        if self._connection is not None:
            vars(self._connection).pop("data_received", None)
        self.on_lost()

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Note the key that known_hosts does not vouch for, and refuse it."""
        self.offer = Offer(host=host, address=addr, port=port, key=key)
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Note that an authority which known_hosts does not have vouches for the host, and refuse it."""
        self.offer, self.authority = Offer(host=host, address=addr, port=port), True
        return False
