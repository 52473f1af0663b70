"""The contract of Hosts, the same for every adapter."""

import asyncio
import os
from contextlib import asynccontextmanager

import pytest

from oombot import facts
from oombot.adapters.local import LocalHosts
from oombot.adapters.routed import RoutedHosts
from oombot.adapters.simulated import SimulatedHosts
from oombot.adapters.ssh import SshHosts, SshTarget
from oombot.errors import CommandTimeoutError, UnknownHostError
from oombot.model import Command


@asynccontextmanager
async def opened(kind, request):
    """The adapter of this kind with one host, web-1."""
    if kind == "ssh":
        sshd = request.getfixturevalue("sshd")
        target = SshTarget(
            name="web-1",
            address="127.0.0.1",
            port=sshd.port,
            user=sshd.user,
            key_files=(str(sshd.key_file),),
        )
        async with SshHosts([target], known_hosts=[str(sshd.known_hosts)]) as hosts:
            yield hosts
    elif kind == "simulated":
        async with SimulatedHosts(["web-1"]) as hosts:
            yield hosts
    else:
        async with LocalHosts("web-1") as hosts:
            yield RoutedHosts({"web-1": hosts}) if kind == "routed" else hosts


async def _all(lines):
    async for _ in lines:
        pass


REAL = ["local", "routed", pytest.param("ssh", marks=pytest.mark.sshd)]
ALL = [*REAL, "simulated"]


@pytest.mark.parametrize("kind", ALL)
async def test_a_host_can_be_read(kind, request):
    """The read script gives a whole snapshot through every adapter."""
    async with opened(kind, request) as hosts:
        result = await hosts.run("web-1", facts.read(0), timeout_s=20)
    seen = facts.parse(result.stdout, host="web-1", taken_s=0.0)
    assert result.exit_status == 0
    assert not [problem for problem in seen.problems if "cut" in problem]
    assert seen.boot_id
    assert seen.memory_kb["MemTotal"] > 0
    assert len(seen.processes) > 3
    assert seen.replayed == (kind == "simulated")


@pytest.mark.parametrize("kind", ALL)
async def test_an_unknown_host(kind, request):
    """A name that is not configured is refused, by run and by follow."""
    async with opened(kind, request) as hosts:
        with pytest.raises(UnknownHostError):
            await hosts.run("web-2", Command(argv=("true",)), timeout_s=5)
        with pytest.raises(UnknownHostError):
            await anext(hosts.follow("web-2", Command(argv=("true",))))


@pytest.mark.parametrize("kind", REAL)
async def test_exit_status_is_a_result(kind, request):
    """A command that fails is not an error of the adapter."""
    async with opened(kind, request) as hosts:
        result = await hosts.run(
            "web-1", Command(argv=("sh", "-c", "cat; echo e >&2; exit 7"), stdin="in"), timeout_s=20
        )
    assert (result.exit_status, result.stdout, result.stderr) == (7, b"in", b"e\n")


@pytest.mark.parametrize("kind", REAL)
async def test_no_answer_in_time(kind, request):
    """A command over its time is a CommandTimeoutError."""
    async with opened(kind, request) as hosts:
        with pytest.raises(CommandTimeoutError):
            await hosts.run("web-1", Command(argv=("sleep", "600")), timeout_s=1)


@pytest.mark.parametrize("kind", REAL)
async def test_follow_ends_with_its_command(kind, request):
    """Lines come in order and the iterator ends; a failing command ends it as well, and half a line is no line."""
    async with opened(kind, request) as hosts:
        command = Command(argv=("sh", "-c", "cat; echo b; printf c; exit 3"), stdin="a\n")
        assert [line async for line in hosts.follow("web-1", command)] == [b"a", b"b"]


@pytest.mark.parametrize("kind", ALL)
async def test_a_follow_can_be_left_at_any_time(kind, request):
    """Cancelling whoever waits for the next line ends the follow."""
    async with opened(kind, request) as hosts:
        command = Command(argv=("sh", "-c", "echo up; sleep 600"))
        lines = hosts.follow("web-1", command)
        await anext(lines)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_all(lines), 0.2)
        await lines.aclose()


@pytest.mark.parametrize("kind", REAL)
async def test_a_script_cut_short_runs_nothing(kind, request, tmp_path):
    """The read script, ended early, prints no section at all."""
    script = facts.read(0).stdin
    async with opened(kind, request) as hosts:
        for cut in (100, len(script) // 2, script.rindex("main")):
            command = Command(argv=("sh", "-s", "--", "0"), stdin=script[:cut])
            assert b"@@" not in (await hosts.run("web-1", command, timeout_s=20)).stdout


@pytest.mark.parametrize("kind", ALL)
async def test_a_renewed_host_answers(kind, request):
    """After renew the next command works, also one that a person waits for."""
    async with opened(kind, request) as hosts:
        await hosts.renew("web-1")
        result = await hosts.run("web-1", facts.read(0), timeout_s=60, asked=True)
    assert facts.parse(result.stdout, host="web-1", taken_s=0.0).boot_id


@pytest.mark.parametrize("kind", REAL)
async def test_the_bots_own_surroundings_change_nothing(kind, request):
    """Language, TMOUT and ENV of the bot's process are not those of its commands."""
    strange = {
        "LC_ALL": "tr_TR.UTF-8",
        "LANG": "de_DE.UTF-8",
        "TMOUT": "1",
        "ENV": "/nowhere",
        "BASH_ENV": "/nowhere",
    }
    before = {name: os.environ.get(name) for name in strange}
    os.environ.update(strange)
    try:
        async with opened(kind, request) as hosts:
            shown = await hosts.run("web-1", Command(argv=("env",)), timeout_s=60)
            reading = await hosts.run("web-1", facts.read(0), timeout_s=60)
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
    assert not {f"{name}={value}".encode() for name, value in strange.items()} & set(
        shown.stdout.splitlines()
    )
    assert facts.parse(reading.stdout, host="web-1", taken_s=0.0).processes_whole
