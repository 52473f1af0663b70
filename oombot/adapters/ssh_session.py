"""One command on one SSH channel: whose turn it is, what it printed, how it ended, and whether it was started."""

import asyncio
import contextlib
import signal
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import asyncssh

from oombot.adapters.shell import OUTPUT_LIMIT
from oombot.errors import CommandTimeoutError

_BUFFER: Final = 256 * 1024
_KILLED: Final = 128
_STDERR_KEPT: Final = 64 * 1024  # of a stream; what follows is dropped


class Turns:
    """So many commands at once on one host. The last place is kept for changes: reads never fill it."""

    def __init__(self, host: str, count: int) -> None:
        """Take the host's name, for people, and the number of places."""
        self._host = host
        self._busy = 0
        self._places = asyncio.Semaphore(count)
        self._reads = asyncio.Semaphore(count - 1)

    @contextlib.asynccontextmanager
    async def taken(self, *, change: bool, within_s: float) -> AsyncIterator[None]:
        """Wait for a place and hold it; the time is the bot's own fault, so the host is not blamed for it."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(within_s):
                    if not change:
                        await stack.enter_async_context(self._reads)
                    await stack.enter_async_context(self._places)
            except TimeoutError:
                raise CommandTimeoutError(
                    f"oombot itself is busy with {self._busy} other commands on {self._host} and found no place for "
                    f"this one within {within_s:g} s; nothing was sent."
                ) from None
            self._busy += 1
            try:
                yield
            finally:
                self._busy -= 1


class Session(asyncssh.SSHClientSession[bytes]):
    """Collects a command's output. `opened` is true once a command may have been sent: never repeat it then."""

    def __init__(self, *, streaming: bool = False) -> None:
        """Collect all output, or, streaming, hand it on by `chunks` and slow the host down meanwhile."""
        self.opened = False
        self.overflow = False
        self.status: int | None = None
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.ended = asyncio.Event()
        self._streaming = streaming
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._more = asyncio.Event()
        self._lost: Exception | None = None
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """Remember the channel; the command is sent right after this."""
        self._channel = chan
        self.opened = True

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Keep output; past the limit the command is given up, not the bot's memory."""
        if not self._streaming:
            (self.stdout if datatype is None else self.stderr).extend(data)
            if len(self.stdout) + len(self.stderr) > OUTPUT_LIMIT:
                self.overflow = True
                self.ended.set()
        elif datatype is not None:
            self.stderr.extend(data[: _STDERR_KEPT - len(self.stderr)])
        else:
            self._chunks.append(data)
            self._waiting += len(data)
            if self._waiting > _BUFFER and self._channel is not None:
                self._channel.pause_reading()
            self._more.set()

    def exit_status_received(self, status: int) -> None:
        """Keep the exit status."""
        self.status = status

    def exit_signal_received(self, signal: str, *_: object) -> None:
        """Keep a death by signal as shells show it."""
        self.status = _KILLED + _signal_number(signal)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits: the channel is closed, with its link where `exc` says so."""
        self._lost = exc
        self.ended.set()
        self._more.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Output as it comes, to the end; raises what cut the link."""
        while True:
            self._more.clear()
            while self._chunks:
                chunk = self._chunks.popleft()
                self._waiting -= len(chunk)
                if self._waiting <= _BUFFER and self._channel is not None and not self.ended.is_set():
                    self._channel.resume_reading()
                yield chunk
            if self.ended.is_set():
                break
            await self._more.wait()
        if self._lost is not None:
            raise self._lost
        if self.status is None:
            raise asyncssh.ConnectionLost("the channel was closed before the command ended")


def _signal_number(name: str) -> int:
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        return 0
