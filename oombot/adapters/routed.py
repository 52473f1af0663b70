"""Several Hosts as one: each name goes to the adapter that knows it."""

from collections.abc import AsyncIterator, Mapping

from oombot.errors import UnknownHostError
from oombot.model import Command, CommandResult
from oombot.ports import Hosts


class RoutedHosts:
    """Sends every command to the Hosts that its host belongs to; opening and closing those is the owner's business."""

    def __init__(self, routes: Mapping[str, Hosts]) -> None:
        """Take the adapter of each host name."""
        self._routes = dict(routes)

    async def run(
        self, host: str, command: Command, *, timeout_s: float, asked: bool = False
    ) -> CommandResult:
        """Run on the host's own adapter."""
        return await self._route(host).run(host, command, timeout_s=timeout_s, asked=asked)

    async def renew(self, host: str) -> None:
        """Renew on the host's own adapter."""
        await self._route(host).renew(host)

    def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """Follow on the host's own adapter."""
        return self._route(host).follow(host, command)

    def _route(self, host: str) -> Hosts:
        if host not in self._routes:
            raise UnknownHostError(f"No host named {host!r} is configured.")
        return self._routes[host]
