"""Hosts for the machine that the bot itself runs on: plain processes, each in its own process group."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from types import TracebackType
from typing import Self

from oombot.adapters.shell import OUTPUT_LIMIT, Lines, argv_for
from oombot.errors import CommandFailedError, CommandTimeoutError, HostError, UnknownHostError
from oombot.model import Command, CommandResult

_CHUNK = 64 * 1024
_KEPT = ("HOME", "USER", "LOGNAME", "XDG_STATE_HOME")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LocalHosts:
    """Runs commands on this machine under one host name.

    Children get a small environment of their own: the bot's holds its secrets.
    """

    def __init__(self, name: str, *, become: bool = True) -> None:
        """Take the name this machine has in the configuration; `become` allows sudo where the bot is not root."""
        self._name = name
        self._become = become and os.geteuid() != 0
        self._open = False

    async def __aenter__(self) -> Self:
        """Open for use."""
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Refuse further use."""
        self._open = False

    async def renew(self, host: str) -> None:
        """Each command here is a process of its own; there is nothing to renew."""

    async def run(
        self, host: str, command: Command, *, timeout_s: float, asked: bool = False
    ) -> CommandResult:
        """Run to the end; on time-out or cancel the whole process group is killed."""
        self._check(host)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._run(command, timeout_s)
        except TimeoutError:
            raise CommandTimeoutError(
                f"{host} did not finish {command.argv[0]} within {timeout_s:g} s; it was killed."
            ) from None

    async def _run(self, command: Command, timeout_s: float) -> CommandResult:
        try:
            process = await self._start(command, timeout_s, stderr=asyncio.subprocess.PIPE)
        except OSError as error:
            return _not_started(command, error)
        try:
            stdout, stderr = await _talk(process, command.stdin)
            status = await process.wait()
        finally:
            await _end(process)
        return CommandResult(
            exit_status=status if status >= 0 else 128 - status, stdout=stdout, stderr=stderr
        )

    async def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """Yield lines until the command ends; closing the iterator kills it."""
        self._check(host)
        try:
            process = await self._start(command, None, stderr=asyncio.subprocess.DEVNULL)
        except OSError as error:
            raise CommandFailedError(f"{host} can not run {command.argv[0]}: {error.strerror}.") from error
        lines = Lines()
        writing = asyncio.create_task(_write(process, command.stdin))
        try:
            assert process.stdout is not None
            while chunk := await process.stdout.read(_CHUNK):
                for line in lines.feed(chunk):
                    yield line
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await _end(process)

    def _check(self, host: str) -> None:
        if not self._open:
            raise HostError(
                "The local host is used before it was opened or after it was closed; nothing was run."
            )
        if host != self._name:
            raise UnknownHostError(f"There is no host {host} here; nothing was run.")

    async def _start(
        self, command: Command, timeout_s: float | None, *, stderr: int
    ) -> asyncio.subprocess.Process:
        timed = timeout_s if command.sudo and self._become else None  # without sudo we can kill it ourselves
        return await asyncio.create_subprocess_exec(
            *argv_for(
                replace(command, forced=False), become=self._become, timeout_s=timed
            ),  # no key, no force
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={"PATH": _PATH, "LC_ALL": "C"} | {key: os.environ[key] for key in _KEPT if key in os.environ},
            cwd="/",
            start_new_session=True,
        )


def _not_started(command: Command, error: OSError) -> CommandResult:
    """What a shell would have answered: 127 not found, 126 not executable."""
    status = 127 if isinstance(error, FileNotFoundError) else 126
    return CommandResult(
        exit_status=status, stdout=b"", stderr=f"{command.argv[0]}: {error.strerror}\n".encode()
    )


async def _talk(process: asyncio.subprocess.Process, stdin: str) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    parts = (_read(process.stdout), _read(process.stderr), _write(process, stdin))
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        stdout, stderr, _ = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(stdout, bytes)
    assert isinstance(stderr, bytes)
    return stdout, stderr


async def _write(process: asyncio.subprocess.Process, stdin: str) -> None:
    """Give the command its standard input; it may well end without having read all of it."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(stdin.encode())
        await process.stdin.drain()
    process.stdin.close()


async def _read(stream: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while chunk := await stream.read(_CHUNK):
        found += chunk
        if len(found) > OUTPUT_LIMIT:
            raise CommandFailedError("The command printed more than 64 MiB; it was killed.")
    return bytes(found)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of the group, children that outlived their parent included, and empty its pipes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    streams = [stream for stream in (process.stdout, process.stderr) if stream is not None]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await asyncio.gather(process.wait(), *(_empty(stream) for stream in streams))


async def _empty(stream: asyncio.StreamReader) -> None:
    """Throw away what was printed: asyncio closes a pipe only once it is read to its end."""
    while await stream.read(_CHUNK):
        pass
