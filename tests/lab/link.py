"""The network between the bot and one machine: a TCP forwarder that can be cut, go silent, or hold everything back."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: a close sends RST


class Link:
    """One way to one machine; `port` on 127.0.0.1 stays the same whatever happens. Make it with `link()`."""

    def __init__(self, target: int) -> None:
        """Forward to this port of 127.0.0.1."""
        self.target = target
        self.port = 0
        self.connections = 0  # that were let in, so far
        self._open = asyncio.Event()
        self._open.set()
        self._refusing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: set[asyncio.StreamWriter] = set()
        self._dead: set[asyncio.StreamWriter] = set()  # nothing passes here any more

    def cut(self) -> None:
        """Reset every connection, and every new one at once, until `mend`."""
        self._refusing = True
        for writer in tuple(self._sockets):
            _reset(writer)

    def drop(self) -> None:
        """Let nothing pass and tell nobody, until `mend`; what was open then stays silent for ever."""
        self._open.clear()
        self._dead |= self._sockets

    def stall(self) -> None:
        """Hold everything back until `mend`, then go on as if nothing had been."""
        self._open.clear()

    def mend(self) -> None:
        """Be a good network again."""
        self._refusing = False
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):  # by `end`; asyncio's servers log it as an error
            await self._forward(reader, writer)
        self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._sockets.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return _reset(writer)
            await self._open.wait()
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target)
            self._sockets.add(far)
            self.connections += 1
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far))
                both.create_task(self._pump(far_reader, writer))
        except* (OSError, _OverError):
            pass
        finally:
            for one in (writer, far):
                if one is not None:
                    self._sockets.discard(one)
                    self._dead.discard(one)
                    one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._open.wait()
            if writer in self._dead:
                continue
            writer.write(data)
            await writer.drain()
        if writer in self._dead:  # the end of one side is not told to the other either
            await asyncio.Event().wait()
        raise _OverError

    async def end(self) -> None:
        """Close everything."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _OverError(Exception):
    """One side has closed."""


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()


@asynccontextmanager
async def link(target: int) -> AsyncIterator[Link]:
    """Forward a new port to this one."""
    made = Link(target)
    server = await asyncio.start_server(made._serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.end()
