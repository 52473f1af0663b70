"""Hosts for the bot's own machine."""

import asyncio
import os
import time
from pathlib import Path

import psutil
import pytest

from oombot import facts
from oombot.adapters.local import LocalHosts
from oombot.adapters.shell import LINE_LIMIT, Lines, announced, argv_for, kill_argv
from oombot.errors import CommandFailedError, CommandTimeoutError, HostError, UnknownHostError
from oombot.model import Command


@pytest.fixture
async def hosts():
    """This machine as web-1."""
    async with LocalHosts("web-1") as opened:
        yield opened


@pytest.fixture
def marker():
    """A number of seconds to sleep that no other process sleeps."""
    return f"86400.{time.monotonic_ns()}"


def living(marker):
    """Living processes with this word among their arguments."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if marker in (process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


async def test_a_timeout_kills_the_whole_group(hosts, marker):
    """A command over its time is ended with its children."""
    command = Command(argv=("sh", "-c", f"sleep {marker} & sleep {marker}"))
    with pytest.raises(CommandTimeoutError, match="it was killed"):
        await hosts.run("web-1", command, timeout_s=0.5)
    assert living(marker) == []


async def test_cancel_kills_the_whole_group(hosts, marker):
    """Whoever cancels leaves nothing running."""
    command = Command(argv=("sh", "-c", f"sleep {marker} & sleep {marker}"))
    task = asyncio.create_task(hosts.run("web-1", command, timeout_s=60))
    async with asyncio.timeout(10):
        while len(living(marker)) < 2:  # noqa: ASYNC110 - other processes can not be waited for
            await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert living(marker) == []


async def test_closing_a_follow_kills_the_command(hosts, marker):
    """A closed follower leaves no process."""
    lines = hosts.follow("web-1", Command(argv=("sh", "-c", f"echo up; sleep {marker}; :")))
    assert await anext(lines) == b"up"
    await lines.aclose()
    assert living(marker) == []


async def test_children_do_not_get_the_bots_secrets(hosts):
    """The environment of a command holds a path, a language and a home, and nothing of the bot's own."""
    os.environ["OOMBOT_TEST_TOKEN"] = "xoxb-secret"
    try:
        result = await hosts.run("web-1", Command(argv=("env",)), timeout_s=5)
    finally:
        del os.environ["OOMBOT_TEST_TOKEN"]
    keys = {line.split(b"=")[0].decode() for line in result.stdout.splitlines()}
    assert keys <= {"PATH", "LC_ALL", "HOME", "USER", "LOGNAME", "XDG_STATE_HOME", "PWD", "SHLVL", "_"}


async def test_output_without_end_is_refused(hosts):
    """A command that prints without end is killed before it fills memory."""
    with pytest.raises(CommandFailedError, match="more than 64 MiB"):
        await hosts.run("web-1", Command(argv=("cat", "/dev/zero")), timeout_s=30)


async def test_what_can_not_be_executed(hosts, tmp_path):
    """A missing program exits with 127, one that may not be run with 126, as in a shell."""
    missing = await hosts.run("web-1", Command(argv=("no-such-program",)), timeout_s=5)
    plain = tmp_path / "plain"
    plain.write_text("")
    denied = await hosts.run("web-1", Command(argv=(str(plain),)), timeout_s=5)
    assert (missing.exit_status, denied.exit_status) == (127, 126)
    with pytest.raises(CommandFailedError, match="can not run"):
        await anext(hosts.follow("web-1", Command(argv=("no-such-program",))))


async def test_use_before_open_and_after_close():
    """Outside its context it runs nothing."""
    hosts = LocalHosts("web-1")
    with pytest.raises(HostError, match="before it was opened"):
        await hosts.run("web-1", Command(argv=("true",)), timeout_s=5)
    async with hosts:
        with pytest.raises(UnknownHostError):
            await hosts.run("web-2", Command(argv=("true",)), timeout_s=5)
    with pytest.raises(HostError, match="after it was closed"):
        await hosts.run("web-1", Command(argv=("true",)), timeout_s=5)


async def test_the_bot_is_among_the_pids_it_must_not_touch(hosts):
    """A reading of this machine names the bot's own process."""
    result = await hosts.run("web-1", facts.read(0), timeout_s=20)
    seen = facts.parse(result.stdout, host="web-1", taken_s=0.0)
    assert os.getpid() in seen.own_pids
    assert 1 not in seen.own_pids


def test_sudo_stands_before_timeout():
    """Only root can end what root runs; an installed helper is named exactly as sudoers has it."""
    command = Command(argv=("id", "-u"), sudo=True)
    assert argv_for(command, become=False) == ("id", "-u")
    assert argv_for(command, become=True) == ("sudo", "-n", "id", "-u")
    assert 'exec sudo -n timeout -s KILL "$0" "$@"' in argv_for(command, become=True, timeout_s=1.2)[2]
    assert argv_for(command, become=True, timeout_s=1.2)[3:] == ("2", "id", "-u")
    helper = Command(argv=("/usr/local/libexec/oombot-helper",), sudo=True)
    assert argv_for(helper, become=True, timeout_s=9) == ("sudo", "-n", "/usr/local/libexec/oombot-helper")


def test_a_forced_command_is_sent_bare():
    """What sshd replaces by its own command carries no sudo, no clock and no announcement."""
    command = Command(argv=("oombot-read",), sudo=True, forced=True)
    assert argv_for(command, become=True, timeout_s=9, announce=True) == ("oombot-read",)


def test_an_announcement_is_found_and_taken_out():
    """The pids are cut out of standard error wherever noise of a login shell has put them."""
    assert announced(b"motd\n@@pid 12 10\noops\n") == (b"motd\noops\n", (12, 10))
    assert announced(b"@@pid x\n") == (b"@@pid x\n", None)
    assert kill_argv((12, 10))[-3:] == ("-10", "-12", "12")


def test_lines_are_cut_the_same_however_they_arrive():
    """Whole or byte by byte, the lines are equal, none is longer than the limit, and one without its end is none."""
    stream = b"a\n\nbc\n" + b"x" * (LINE_LIMIT + 10) + b"\nend"

    def cut(size):
        lines = Lines()
        return [line for at in range(0, len(stream), size) for line in lines.feed(stream[at : at + size])]

    assert cut(len(stream)) == cut(1) == cut(7)
    assert [len(line) for line in cut(4096)] == [1, 0, 2, LINE_LIMIT]


def test_this_machine_has_a_shell():
    """The adapter counts on /bin/sh."""
    assert Path("/bin/sh").exists()
