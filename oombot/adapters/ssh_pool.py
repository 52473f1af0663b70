"""The connections of all hosts: one for each login, made when it is needed, through jump hosts where there are any."""

import asyncio
import contextlib
import copy
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import asyncssh

from oombot.adapters.breaker import Backoff, Breaker
from oombot.adapters.ssh_client import Client
from oombot.adapters.ssh_faults import FAULTS, behind, to_host_error
from oombot.adapters.ssh_gate import Gate, Limits
from oombot.adapters.ssh_known import KINDS, KnownHosts, Offer
from oombot.adapters.ssh_link import Link, Pooled
from oombot.adapters.ssh_options import Keyring, Options
from oombot.adapters.ssh_target import SshTarget, chained
from oombot.errors import ConfigError, HostError, HostKeyError, HostLoginError, UnknownHostError


class Pool:
    """Knows every login, and connects it when a command needs it."""

    def __init__(
        self,
        targets: Iterable[SshTarget],
        *,
        known_hosts: Sequence[str],
        limits: Limits,
        backoff: Backoff,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Take the hosts and the known_hosts files; nothing is read yet."""
        self.targets = {target.name: target for target in targets}
        self.known = KnownHosts(known_hosts)
        self.keyring = Keyring()
        self._limits, self._backoff, self._chance = limits, backoff, chance
        self._options = Options(limits.connect_s)
        self._links: dict[tuple[str, bool], Link] = {}
        self._pool: set[Pooled] = set()
        self._gate: Gate | None = None

    async def open(self) -> None:
        """Read keys, known_hosts and ssh_config; a ConfigError names everything that is wrong."""
        problems = await asyncio.to_thread(self._load)
        if problems:
            raise ConfigError(problems)
        self._gate = Gate(self._limits, time.monotonic)

    def _load(self) -> list[str]:
        problems = self.known.load()
        wanted = {}
        for name, target in self.targets.items():
            try:
                self._options.of(target)
                self.keyring.load(target)
                self.keyring.load(target.acting)
            except FAULTS as error:
                problems.append(f"host {name}: {_unread(error)}")
                continue
            wanted[name] = target
        found, wrong = chained(wanted, self._jump_of)
        for key, target in found.items():
            self._links[key, False] = self._link_to(target)
            if target.act is not None:
                self._links[key, True] = self._link_to(target.acting)
        return problems + wrong

    def _jump_of(self, target: SshTarget) -> str | None:
        """The ProxyJump that ssh_config has for it."""
        jump = self._options.of(target).tunnel if target.ssh_config else None
        return jump if isinstance(jump, str) else None

    def _link_to(self, target: SshTarget) -> Link:
        breaker = Breaker(clock=time.monotonic, chance=self._chance, backoff=self._backoff)
        return Link(target, breaker, self._limits.sessions)

    async def close(self) -> None:
        """Close every connection and refuse further use."""
        self._gate = None
        connecting = [link.connecting for link in self._links.values() if link.connecting is not None]
        for task in connecting:
            task.cancel()
        await asyncio.gather(*connecting, return_exceptions=True)
        connections = [pooled.connection for pooled in self._pool]
        for connection in connections:
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.gather(*(each.wait_closed() for each in connections), return_exceptions=True)
        for connection in connections:
            connection.abort()
        await asyncio.sleep(0)  # asyncssh closes sockets in the next rounds of the loop
        self._pool.clear()
        self._links.clear()

    def link(self, host: str, *, acting: bool = False) -> Link:
        """The login for a host: the acting one where there is one and it is wanted, else the watching one."""
        self._check_open(host)
        found = self._links.get((host, True)) if acting else None
        found = found or self._links.get((host, False))
        if found is None:
            raise UnknownHostError(f"There is no host {host} to reach by SSH; nothing was sent.")
        return found

    def _check_open(self, host: str) -> None:
        if self._gate is None:
            raise HostError(
                f"{host} is asked before SSH was opened or after it was closed; nothing was sent."
            )

    def queued(self, link: Link) -> bool:
        """Whether its login, or that of a jump host before it, waits for the bot's own others."""
        return link.queued or (link.target.jump is not None and self.queued(self.link(link.target.jump)))

    def links(self) -> Iterator[Link]:
        """Every watching login, hops between hosts included."""
        return (link for (_, acting), link in self._links.items() if not acting)

    async def connected(self, link: Link, *, asked: bool = False) -> Pooled:
        """The link's connection, made where there is none.

        All who need it wait for the same try, and one who gives up does not end it: a slow host is there next time.
        """
        if link.pooled is not None and link.pooled.usable:
            return link.pooled
        if link.connecting is None or link.connecting.done():
            self._check_open(link.target.name)  # a command that waited may come after the end
            if isinstance(link.error, HostKeyError) and self.known.stamps() != link.seen:
                link.breaker.reset()
            link.check(asked=asked)
            link.connecting = asyncio.create_task(self._connect(link, asked=asked))
            link.connecting.add_done_callback(_looked_at)
        connecting = link.connecting
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            if connecting.cancelled():
                self._check_open(link.target.name)  # it was closed: that is no cancel of whoever waits
            raise

    async def _connect(self, link: Link, *, asked: bool) -> Pooled:
        target = link.target
        through = await self._through(target, asked=asked)
        await self.known.refresh()
        chosen: dict[str, Any] = {"server_host_key_algs": list(link.kinds)} if link.kinds else {}
        if target.key_files:
            chosen["client_keys"] = await self.keyring.current(target)
        try:
            client, connection = await self._tried(link, through, chosen)
        except BaseException:
            if through is not None:
                through.release()
            raise
        link.breaker.connected()
        link.error = link.offer = None
        link.root = connection.get_extra_info("username") == "root"
        link.pooled = pooled = Pooled(connection)
        self._pool.add(pooled)
        client.on_lost = lambda: self._lost(link, pooled, through)
        if connection.is_closed():
            client.on_lost()
        return pooled

    async def _tried(
        self, link: Link, through: Pooled | None, chosen: dict[str, Any]
    ) -> tuple[Client, asyncssh.SSHClientConnection]:
        client = Client()
        try:
            return client, await self._login(link, client, through, chosen)
        except BaseException as error:
            client.abort()
            if (
                client.hung_up
                and isinstance(error, asyncssh.ConnectionLost | ConnectionError)
                and "server_host_key_algs" not in chosen
            ):
                # sshd may hang up where it has no key of the kind on file: learn which it has
                return await self._tried(link, through, {**chosen, "server_host_key_algs": list(KINDS)})
            if isinstance(error, FAULTS):
                raise self._failed(link, error, client, through) from error
            raise

    async def _login(
        self, link: Link, client: Client, through: Pooled | None, chosen: dict[str, Any]
    ) -> asyncssh.SSHClientConnection:
        target = link.target
        assert self._gate is not None
        link.queued = True
        try:
            async with self._gate.entered(target.jump, lambda: client.greeted):
                link.queued = False
                return await asyncssh.connect(
                    target.address,
                    target.port or (),
                    tunnel=through.connection if through is not None else None,
                    config=None,
                    options=self._options.of(target),
                    known_hosts=self.known.loaded,
                    client_factory=lambda: client,
                    **chosen,
                )
        finally:
            link.queued = False

    async def _through(self, target: SshTarget, *, asked: bool) -> Pooled | None:
        """The connection of the jump host, with this host as one of its users."""
        if target.jump is None:
            return None
        jump = self.link(target.jump)
        try:
            pooled = await self.connected(jump, asked=asked)
        except HostError as error:
            raise behind(error, target, jump.target) from error
        pooled.users += 1
        return pooled

    def _failed(self, link: Link, error: Exception, client: Client, through: Pooled | None) -> HostError:
        """What went wrong with a login, remembered; a host is not blamed for the jump host before it."""
        target = link.target
        jump = self.link(target.jump).target if target.jump is not None else None
        mapped = to_host_error(error, target, self.known, client=client, jump=jump)
        if through is not None and jump is not None and through.connection.is_closed():
            return behind(mapped, target, jump)
        if isinstance(mapped, HostLoginError):
            link.breaker.refused()
        elif isinstance(mapped, HostKeyError):
            link.breaker.distrusted()
            nothing = Offer(host=target.address, address="", port=target.port)
            link.offer, link.seen = client.offer or nothing, self.known.stamps()
        else:
            link.breaker.failed()
        mapped.retry_after_s = link.breaker.wait_s(asked=False)
        link.error = copy.copy(mapped)  # without the frames of this try
        return mapped

    def _lost(self, link: Link, pooled: Pooled, through: Pooled | None) -> None:
        """A connection is over: by us, or by itself."""
        if pooled not in self._pool:
            return
        self._pool.discard(pooled)
        if through is not None:
            through.release()
        if not pooled.retired and self._gate is not None:
            # a jump host that goes closes those behind it before itself: judge when it is through with that
            asyncio.get_running_loop().call_soon(self._judge_loss, link, through)

    @staticmethod
    def _judge_loss(link: Link, through: Pooled | None) -> None:
        if through is None or not through.connection.is_closed():
            link.breaker.lost()


def _looked_at(task: "asyncio.Task[Pooled]") -> None:
    """Nobody may be left to hear of a failure; it is remembered all the same."""
    if not task.cancelled():
        task.exception()


def _unread(error: Exception) -> str:
    """What is wrong with a key, a certificate or an ssh_config, in words."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename} can not be read: {error.strerror}. Correct its name under ssh:"
    return str(error)
