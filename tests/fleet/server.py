"""The simulated fleet: one process, one SSH listener a host on 127.77.0.0/16, told by JSON lines on standard input.

python tests/fleet/server.py COUNT FOLDER      the first line that it prints says the port; each order gets one line
"""

import asyncio
import copy
import errno
import functools
import gc
import json
import resource
import shlex
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import asyncssh
import psutil
from asyncssh.connection import SSHServerConnection

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.fleet.machine import Machine

_USER = "oombot"


def address(number: int) -> str:
    """Where this host listens."""
    return f"127.77.{number // 250}.{number % 250 + 1}"


class Host:
    """One host's listener and connections, and what is wrong with it now: "", "silent" or "refusing"."""

    def __init__(self, number: int, key: asyncssh.SSHKey) -> None:
        """Take its number and its own host key."""
        self.machine, self.key = Machine(number), key
        self.fault = ""
        self.server: asyncio.Server | None = None
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self.done: dict[str, int] = {}  # logins and commands by kind

    def count(self, what: str) -> None:
        """One more of these."""
        self.done[what] = self.done.get(what, 0) + 1


class Login(asyncssh.SSHServer):
    """Lets in whoever holds the fleet's key."""

    def __init__(self, host: Host) -> None:
        """Take the host that is logged in to."""
        self._host, self._connection = host, None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Remember the connection, so that it can be dropped."""
        self._connection = conn
        self._host.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._host.connections.discard(self._connection)

    def auth_completed(self) -> None:
        """Count the login."""
        self._host.count("login")

    def session_requested(self) -> "Shell":
        """Each channel is one command."""
        return Shell(self._host)


class Shell(asyncssh.SSHServerSession[bytes]):
    """Runs none of the bot's scripts: it recognises what each is for by what it must hold, and answers."""

    def __init__(self, host: Host) -> None:
        """Take the host that is asked."""
        self._host, self._stdin, self._argv = host, bytearray(), []
        self._live = self._begun = False

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Remember the channel."""
        self._channel = chan

    def exec_requested(self, command: str) -> bool:
        """Take the command line; what it is for is on standard input."""
        self._argv = shlex.split(command)
        return True

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Collect standard input."""
        self._stdin += data

    def eof_received(self) -> bool:
        """All is there: answer."""
        if not self._begun:
            self._begun = True
            self._answer()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Follow no more."""
        if self._live:
            self._host.machine.listeners.remove(self._line)

    def _answer(self) -> None:
        script, machine = bytes(self._stdin), self._host.machine
        self._stdin.clear()
        if b"@@meminfo" in script:
            self._end("reading", machine.reading())
        elif b"journalctl" in script and b"@@live" in script:
            self._follow()
        elif b"oom_kill" in script:
            uptime_s = time.time() - machine.booted_s
            said = f"boot_id {machine.boot_id}\nuptime {uptime_s:.2f}\noom_kill {machine.kills}\n"
            self._end("count", said.encode())
        elif self._argv[-2:] == ["cat", "/proc/meminfo"]:
            self._end("meminfo", b"MemTotal:        8000000 kB\n" * 50)
        elif any(word in ("true", "kill") or "kill -KILL" in word for word in self._argv):
            self._end("other", b"")
        else:
            self._end("unknown", b"", status=127)

    def _follow(self) -> None:
        machine = self._host.machine
        self._host.count("follow")
        cursor = next((word for word in self._argv if word.startswith("s=")), "")
        head = machine.mark.encode() + b"\n" + machine.history(cursor) + b"@@live\n"
        self._channel.write(head)
        self._live = True
        machine.listeners.append(self._line)

    def _line(self, line: bytes) -> None:
        self._channel.write(line)

    def _end(self, kind: str, said: bytes, *, status: int = 0) -> None:
        self._host.count(kind)
        self._channel.write(said)
        self._channel.exit(status)


class Fleet:
    """All hosts, and the orders that they are given."""

    def __init__(self, count: int, folder: Path) -> None:
        """Make keys; write known_hosts and the key that the bot logs in with."""
        self._hosts = [Host(n, asyncssh.generate_private_key("ssh-ed25519")) for n in range(count)]
        self._folder = folder
        key = asyncssh.generate_private_key("ssh-ed25519")
        (folder / "id_ed25519").write_bytes(key.export_private_key())
        (folder / "id_ed25519").chmod(0o600)
        self._base = asyncssh.SSHServerConnectionOptions(
            server_factory=asyncssh.SSHServer,
            server_host_keys=[self._hosts[0].key],
            authorized_client_keys=asyncssh.import_authorized_keys(key.export_public_key().decode()),
            allow_pty=False,
            agent_forwarding=False,
            gss_host=None,
            encoding=None,
            compression_algs=["none"],
            login_timeout=120,
        )
        self.port = 0

    async def listen(self) -> None:
        """Listen on one port of all addresses, and write down who they are."""
        for _ in range(20):
            try:
                self.port = _free_port()
                for host in self._hosts:
                    await self._open(host)
                break
            except OSError as error:  # somebody has the port on another address
                if error.errno != errno.EADDRINUSE:
                    raise
                for host in self._hosts:
                    self._close(host)
        known = (
            f"[{address(host.machine.number)}]:{self.port} {host.key.export_public_key().decode()}"
            for host in self._hosts
        )
        (self._folder / "known_hosts").write_text("".join(known))

    async def _open(self, host: Host) -> None:
        if host.server is None:
            loop = asyncio.get_running_loop()
            where = (address(host.machine.number), self.port)
            host.server = await loop.create_server(functools.partial(self._accept, host), *where, backlog=16)

    def _accept(self, host: Host) -> asyncio.Protocol:
        if host.fault == "silent":
            return asyncio.Protocol()  # accepted by its kernel, and nobody there
        options = copy.copy(self._base)
        options.server_factory = functools.partial(Login, host)
        options.protocol_factory = options.server_factory
        pair = asyncssh.load_keypairs(host.key)[0]
        options.server_host_keys = dict.fromkeys(pair.host_key_algorithms, pair)
        return SSHServerConnection(asyncio.get_running_loop(), options)

    @staticmethod
    def _close(host: Host) -> None:
        if host.server is not None:
            host.server.close()
            host.server = None

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what one line on standard input says."""
        hosts = self._hosts[order.get("first", 0) : order.get("last", len(self._hosts) - 1) + 1]
        if order["do"] == "kill":
            return {"kills": await self._kill(hosts, order)}
        if order["do"] in ("silent", "refusing", "heal", "drop"):
            for host in hosts:
                await self._break(host, order["do"])
        return self._state(hosts)

    @staticmethod
    async def _kill(hosts: Iterable[Host], order: dict[str, Any]) -> list[dict[str, object]]:
        """Kill one process a host, spread over so many seconds."""
        killed, all_hosts, began = [], list(hosts), time.monotonic()
        for number, host in enumerate(all_hosts, start=1):
            killed.append(host.machine.kill(order.get("comm", "leaky")))
            due = began + order.get("within_s", 0.0) * number / len(all_hosts)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        return killed

    async def _break(self, host: Host, fault: str) -> None:
        host.fault = "" if fault in ("heal", "drop") else fault
        for connection in tuple(host.connections):
            if fault == "silent":
                connection._transport.pause_reading()
            else:
                connection.abort()
        if fault == "refusing":
            self._close(host)
        elif self.port:
            await self._open(host)

    @staticmethod
    def _state(hosts: Iterable[Host]) -> dict[str, Any]:
        done: dict[str, int] = {}
        for host in hosts:
            for what, number in host.done.items():
                done[what] = done.get(what, 0) + number
        return {
            "connections": sum(len(host.connections) for host in hosts),
            "following": sum(len(host.machine.listeners) for host in hosts),
            "done": done,
            "rss_mib": psutil.Process().memory_info().rss >> 20,
            "cpu_s": time.process_time(),
        }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((address(0), 0))
        return int(probe.getsockname()[1])


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main(count: int, folder: Path) -> None:
    """Listen, then obey until standard input ends."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    fleet = Fleet(count, folder)
    await fleet.listen()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    reader, loop = asyncio.StreamReader(), asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _say({"port": fleet.port})
    while line := await reader.readline():
        try:
            answer = await fleet.obey(json.loads(line))
        except Exception as error:
            answer = {"error": repr(error)}
        _say(answer)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
