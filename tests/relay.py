"""A TCP relay between a test and a server: it counts, refuses, falls silent, and cuts links at a byte."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK = 4096


class Relay:
    """Passes bytes on. What it does to new links is chosen by its attributes, at any time."""

    def __init__(self, to_port: int) -> None:
        self.port = 0
        self.links = 0  # accepted so far
        self.silent = False  # accept and pass nothing on
        self.up_left: int | None = None  # bytes towards the server until all links are cut
        self.down_left: int | None = None  # the same towards the test
        self._to_port = to_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen: on the same port as before, if there was one."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port or 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Listen no more and cut what is linked."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Cut every link now."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def close(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.links += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if self.silent:
                await reader.read()
            else:
                await self._link(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        self._writers.add(inner_writer)
        ways = [
            asyncio.create_task(self._pass(reader, inner_writer, "up_left")),
            asyncio.create_task(self._pass(inner_reader, writer, "down_left")),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            inner_writer.transport.abort()
            self._writers.discard(inner_writer)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: str) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                allowed = getattr(self, left)
                if allowed is not None:
                    data, allowed = data[:allowed], allowed - len(data)
                    setattr(self, left, max(0, allowed))
                writer.write(data)
                await writer.drain()
                if allowed is not None and allowed <= 0:
                    return


@asynccontextmanager
async def relayed(to_port: int) -> AsyncIterator[Relay]:
    """A relay to a port of this machine."""
    relay = Relay(to_port)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.close()


@contextlib.contextmanager
def closed_port():
    """A port on which nobody listens, and nobody else will while this lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
