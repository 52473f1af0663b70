"""Hosts over SSH against a real OpenSSH server: what it does, what it refuses, and that nothing is left behind."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
from pathlib import Path

import asyncssh
import psutil
import pytest

from oombot.adapters.ssh import Limits, SshHosts, SshTarget
from oombot.adapters.ssh_faults import ERRORS, to_host_error
from oombot.adapters.ssh_known import KnownHosts
from oombot.adapters.ssh_session import Turns
from oombot.errors import (
    CommandFailedError,
    CommandTimeoutError,
    ConfigError,
    HostError,
    HostKeyError,
    HostLoginError,
    HostUnreachableError,
    UnknownHostError,
)
from oombot.model import Command

pytestmark = pytest.mark.sshd

TRUE = Command(argv=("true",))


def target(sshd, name="web-1", **changes):
    """The target of the fixture's sshd."""
    values = {
        "name": name,
        "address": "127.0.0.1",
        "port": sshd.port,
        "user": sshd.user,
        "key_files": (str(sshd.key_file),),
    }
    return SshTarget(**values | changes)


@pytest.fixture
async def hosts(sshd):
    """The sshd of the run as the only host, web-1."""
    async with SshHosts([target(sshd)], known_hosts=[str(sshd.known_hosts)]) as opened:
        yield opened


@pytest.fixture
def marker():
    """A number of seconds to sleep that no other process sleeps."""
    return f"86401.{secrets.randbelow(10**12):012}"


def remote(marker):
    """Living processes with this word among their arguments."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if marker in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


async def gone(marker):
    """Wait until no such process lives."""
    async with asyncio.timeout(60):
        while remote(marker):  # noqa: ASYNC110 - other processes can not be waited for
            await asyncio.sleep(0.05)


async def started(marker):
    """Wait until such a process lives."""
    async with asyncio.timeout(60):
        while not remote(marker):  # noqa: ASYNC110 - other processes can not be waited for
            await asyncio.sleep(0.05)


async def test_arguments_arrive_as_they_are(hosts):
    """Blanks, quotes, semicolons and newlines are data in an argument."""
    words = ("we b; rm -rf /.service", "a'b\"c", "x\ny", "$HOME", "", "*")
    result = await hosts.run("web-1", Command(argv=("printf", "%s\\0", *words)), timeout_s=60)
    assert result.stdout.split(b"\0")[:-1] == [word.encode() for word in words]


async def test_stdin_reaches_the_command_and_streams_stay_apart(hosts):
    """Standard input is given whole, output and errors come back separately with the exit status."""
    command = Command(argv=("sh", "-c", "cat; echo oops >&2; exit 3"), stdin="ä" * 200_000)
    result = await hosts.run("web-1", command, timeout_s=60)
    assert (result.exit_status, result.stdout, result.stderr) == (3, ("ä" * 200_000).encode(), b"oops\n")


async def test_a_command_that_reads_no_input_does_not_hang(hosts):
    """Input that nobody reads is dropped when the command ends."""
    result = await hosts.run("web-1", Command(argv=("true",), stdin="x" * 1_000_000), timeout_s=60)
    assert result.exit_status == 0


async def test_death_by_signal_is_shown_as_shells_do(hosts):
    """A command killed by SIGKILL exits with 137."""
    result = await hosts.run("web-1", Command(argv=("sh", "-c", "kill -KILL $$")), timeout_s=60)
    assert result.exit_status == 137


async def test_timeout_ends_the_command_on_the_host(hosts, marker):
    """A command over its time is a sentence here and no process there."""
    await hosts.run("web-1", TRUE, timeout_s=60)
    with pytest.raises(CommandTimeoutError, match=r"did not finish sleep within 3 s"):
        await hosts.run("web-1", Command(argv=("sleep", marker)), timeout_s=3)
    await gone(marker)


async def test_cancel_ends_the_command_on_the_host(hosts, marker):
    """Whoever cancels a run leaves nothing running, children included."""
    command = Command(argv=("sh", "-c", f"sleep {marker} & sleep {marker}"))
    task = asyncio.create_task(hosts.run("web-1", command, timeout_s=60))
    await started(marker)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(marker)


async def test_host_kills_by_itself_when_the_link_is_gone(sshd, marker):
    """The time limit travels with the command, so that it ends even when nobody can reach the host."""
    async with SshHosts([target(sshd)], known_hosts=[str(sshd.known_hosts)]) as hosts:
        await hosts.run("web-1", TRUE, timeout_s=60)
        task = asyncio.create_task(hosts.run("web-1", Command(argv=("sleep", marker)), timeout_s=4))
        await started(marker)
        hosts.pool.link("web-1").pooled.connection.abort()
        with pytest.raises(HostUnreachableError, match="whether it finished is not known"):
            await task
    await gone(marker)


async def test_follow_yields_lines_and_ends_with_the_command(hosts):
    """Lines come without their newline; a last one that has none is cut, and not given."""
    command = Command(argv=("sh", "-c", "cat; printf 'b\\n\\nc'"), stdin="a\n")
    assert [line async for line in hosts.follow("web-1", command)] == [b"a", b"b", b""]


async def test_closing_a_follow_ends_the_command(hosts, marker):
    """A follower that is closed leaves no process on the host."""
    lines = hosts.follow("web-1", Command(argv=("sh", "-c", f"echo up; sleep {marker}; :")))
    assert await anext(lines) == b"up"
    await started(marker)
    await lines.aclose()
    await gone(marker)


async def test_a_line_without_end_is_bounded(hosts):
    """The tail of a line over 64 KiB is dropped, the next line is whole."""
    command = Command(argv=("sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo next"))
    lines = [line async for line in hosts.follow("web-1", command)]
    assert [len(lines[0]), lines[1]] == [65536, b"next"]


async def test_a_slow_reader_loses_nothing(hosts):
    """A follower that is read slowly slows the host down instead of filling the bot."""
    count = 0
    async for line in hosts.follow("web-1", Command(argv=("seq", "1", "300000"))):
        count += 1
        assert line == str(count).encode()
        if count % 50_000 == 0:
            await asyncio.sleep(0.05)
    assert count == 300_000


async def test_more_sessions_than_sshd_allows(hosts):
    """Eleven and more commands at once all succeed: five run, the others wait."""
    results = await asyncio.gather(
        *(hosts.run("web-1", Command(argv=("echo", str(number))), timeout_s=60) for number in range(25))
    )
    assert [result.stdout for result in results] == [f"{number}\n".encode() for number in range(25)]


SLEEP = Command(argv=("sleep", "2"))


async def test_waiting_for_a_turn_is_not_the_hosts_time(hosts):
    """A command that waits for our own others longer than its time still has all of that time on the host."""
    await hosts.run("web-1", TRUE, timeout_s=60)
    turns = hosts.pool.link("web-1").turns
    async with contextlib.AsyncExitStack() as held:
        for _ in range(5):
            await held.enter_async_context(turns.taken(change=False, within_s=1))
        waiting = asyncio.create_task(hosts.run("web-1", TRUE, timeout_s=3))
        await asyncio.sleep(3.2)
        assert not waiting.done()
    assert (await waiting).exit_status == 0


async def test_no_turn_in_time_is_our_own_fault(sshd, marker):
    """Where our own commands fill the host's places the sentence says so, and nothing is sent."""
    async with SshHosts(
        [target(sshd)], known_hosts=[str(sshd.known_hosts)], limits=Limits(turn_s=0.3)
    ) as hosts:
        busy = [
            asyncio.create_task(hosts.run("web-1", Command(argv=("sleep", "600")), timeout_s=30))
            for _ in range(5)
        ]
        await asyncio.sleep(0.1)
        said = r"^oombot itself is busy with 5 other commands on web-1 .* within 0.3 s; nothing was sent\.$"
        with pytest.raises(CommandTimeoutError, match=said):
            await hosts.run("web-1", Command(argv=("sleep", marker)), timeout_s=30)
        with pytest.raises(CommandTimeoutError, match=said):
            await anext(hosts.follow("web-1", Command(argv=("sleep", marker))))
        assert remote(marker) == []
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        assert (await hosts.run("web-1", TRUE, timeout_s=60)).exit_status == 0


async def test_a_change_does_not_wait_behind_reads(hosts):
    """While reads fill their places and more of them wait, a change begins at once."""
    await hosts.run("web-1", TRUE, timeout_s=60)
    reads = [
        asyncio.create_task(hosts.run("web-1", Command(argv=("sleep", "600")), timeout_s=600))
        for _ in range(12)
    ]
    try:
        await asyncio.sleep(0.2)
        await hosts.run("web-1", Command(argv=("true",), sudo=True), timeout_s=60)
        assert [task for task in reads if task.done()] == []
    finally:
        for task in reads:
            task.cancel()
        await asyncio.gather(*reads, return_exceptions=True)


async def test_a_cancelled_wait_gives_its_turn_back():
    """Whoever leaves while waiting, or while holding a place, leaves the places whole."""
    turns = Turns("web-1", 3)

    async def held(*, change):
        async with turns.taken(change=change, within_s=60):
            await asyncio.sleep(60)

    for _ in range(20):
        tasks = [asyncio.create_task(held(change=number % 3 == 0)) for number in range(9)]
        for task in tasks:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with turns.taken(change=False, within_s=1), turns.taken(change=False, within_s=1):
        with pytest.raises(CommandTimeoutError, match="busy with 2 other commands"):
            async with turns.taken(change=False, within_s=0.01):
                pass
        async with turns.taken(change=True, within_s=1):
            with pytest.raises(CommandTimeoutError, match="busy with 3 other commands"):
                async with turns.taken(change=True, within_s=0.01):
                    pass


async def test_a_refused_session_is_tried_on_a_new_connection(start_sshd, tmp_path):
    """Where sshd opens no channel the sentence says so, and the pooled connection is not used for ever."""
    with start_sshd(tmp_path, MaxSessions="1") as server:
        async with SshHosts([target(server)], known_hosts=[str(server.known_hosts)]) as hosts:
            lines = hosts.follow("web-1", Command(argv=("sh", "-c", "echo up; sleep 30")))
            assert await anext(lines) == b"up"
            result = await hosts.run("web-1", TRUE, timeout_s=60)
            assert result.exit_status == 0
            await lines.aclose()


async def test_nothing_runs_twice_when_the_link_breaks(start_sshd, tmp_path, marker):
    """A command that was started is never started again, even when its connection is lost."""
    counter = tmp_path / "ran"
    command = Command(argv=("sh", "-c", f"echo ran >> {counter}; exec sleep {marker}"))
    with start_sshd(tmp_path / "sshd") as server:
        async with SshHosts([target(server)], known_hosts=[str(server.known_hosts)]) as hosts:
            await hosts.run("web-1", TRUE, timeout_s=60)
            task = asyncio.create_task(hosts.run("web-1", command, timeout_s=60))
            await started(marker)
            for process in psutil.Process(server.pid).children(recursive=True):
                if process.name().startswith("sshd"):
                    process.kill()
            with pytest.raises(HostUnreachableError, match="whether it finished is not known"):
                await task
            assert (await hosts.run("web-1", TRUE, timeout_s=60)).exit_status == 0
    assert counter.read_text() == "ran\n"
    for pid in remote(marker):  # sshd was killed before it could do that
        os.kill(pid, signal.SIGKILL)
    await gone(marker)


async def test_a_dead_pooled_connection_is_replaced(hosts):
    """After sshd dropped the connection the next command gets a new one by itself."""
    await hosts.run("web-1", TRUE, timeout_s=60)
    hosts.pool.link("web-1").pooled.connection.abort()
    assert (await hosts.run("web-1", TRUE, timeout_s=60)).exit_status == 0


async def test_a_frozen_host_is_a_timeout(start_sshd, tmp_path):
    """A host that accepts and then says nothing any more answers with a sentence within the time given."""
    with start_sshd(tmp_path) as server:
        async with SshHosts([target(server)], known_hosts=[str(server.known_hosts)]) as hosts:
            await hosts.run("web-1", TRUE, timeout_s=60)
            family = psutil.Process(server.pid).children(recursive=True)
            for process in family:
                process.send_signal(signal.SIGSTOP)
            try:
                async with asyncio.timeout(60):
                    with pytest.raises(CommandTimeoutError, match="did not answer within 1 s"):
                        await hosts.run("web-1", TRUE, timeout_s=1)
            finally:
                for process in family:
                    process.send_signal(signal.SIGCONT)
            assert (await hosts.run("web-1", TRUE, timeout_s=60)).exit_status == 0


async def test_a_host_frozen_before_login_is_a_timeout(start_sshd, tmp_path):
    """A port that accepts and never greets ends in time as well."""
    with start_sshd(tmp_path) as server:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            async with (
                asyncio.timeout(60),
                SshHosts([target(server)], known_hosts=[str(server.known_hosts)]) as hosts,
            ):
                with pytest.raises(CommandTimeoutError):
                    await hosts.run("web-1", TRUE, timeout_s=1)
        finally:
            os.kill(server.pid, signal.SIGCONT)


async def refused(hosts, kind):
    """The error of a run that must fail before anything is sent."""
    async with hosts:
        with pytest.raises(kind) as caught:
            await hosts.run("web-1", TRUE, timeout_s=60)
    return caught.value


async def test_an_unknown_host_key_is_refused(sshd, tmp_path):
    """Nobody vouches for the host: nothing is sent, the offered key and the fix are named."""
    error = await refused(SshHosts([target(sshd)], known_hosts=[str(tmp_path / "none")]), HostKeyError)
    assert "is not known; nothing was sent" in str(error)
    assert "SHA256:" in str(error)
    assert "Compare the fingerprint" in error.fix
    assert error.fix.endswith("oombot hosts trust web-1")


async def test_a_changed_host_key_is_refused(sshd, tmp_path):
    """Another key than the one on file is said to have changed, with the way to compare and replace it."""
    asyncssh.generate_private_key("ssh-ed25519").write_public_key(tmp_path / "other.pub")
    kind, blob, *_ = (tmp_path / "other.pub").read_text().split()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.port} {kind} {blob}\n")
    error = await refused(SshHosts([target(sshd)], known_hosts=[str(known)]), HostKeyError)
    assert "has changed" in str(error)
    assert "nothing was sent" in str(error)
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}' -f {known}" in error.fix


async def test_a_host_key_of_another_kind_counts_as_changed(sshd, tmp_path):
    """A host that no longer has a key of the kind on file has changed, even where sshd itself hangs up first."""
    asyncssh.generate_private_key("ecdsa-sha2-nistp256").write_public_key(tmp_path / "other.pub")
    kind, blob, *_ = (tmp_path / "other.pub").read_text().split()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.port} {kind} {blob}\n")
    error = await refused(SshHosts([target(sshd)], known_hosts=[str(known)]), HostKeyError)
    assert "has changed" in str(error)
    assert "ssh-keygen -R" in error.fix


async def test_a_revoked_host_key_is_refused(sshd, tmp_path):
    """A key marked @revoked is refused although it is on file."""
    known = tmp_path / "known_hosts"
    text = sshd.known_hosts.read_text()
    known.write_text(f"{text}@revoked {text}")
    error = await refused(SshHosts([target(sshd)], known_hosts=[str(known)]), HostKeyError)
    assert "is revoked" in str(error)


async def test_a_refused_port(sshd):
    """Where nothing listens the sentence names address and port, and how to mend it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        hosts = SshHosts([target(sshd, port=port)], known_hosts=[str(sshd.known_hosts)])
        error = await refused(hosts, HostUnreachableError)
    assert f"can not be reached at 127.0.0.1:{port}" in str(error)
    assert "Nothing was run" in str(error)
    assert "systemctl start ssh" in error.fix
    assert error.temporary


async def test_an_address_that_does_not_exist(sshd):
    """A name without an address is a sentence about the name."""
    hosts = SshHosts([target(sshd, address="no-such-host.invalid")], known_hosts=[str(sshd.known_hosts)])
    error = await refused(hosts, HostUnreachableError)
    assert "Correct the address of web-1" in error.fix


async def test_a_wrong_user(sshd):
    """An account that the host does not have is a login error with the command that mends it."""
    hosts = SshHosts([target(sshd, user="nobody-here")], known_hosts=[str(sshd.known_hosts)])
    error = await refused(hosts, HostLoginError)
    assert "refused the login of nobody-here" in str(error)
    assert error.fix.startswith("ssh-copy-id")
    assert not error.temporary


async def test_a_wrong_key_is_not_tried_again_at_once(sshd, tmp_path):
    """A refused login is answered from memory for a while: sshd locks out who insists."""
    key = tmp_path / "key"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(key)
    hosts = SshHosts([target(sshd, key_files=(str(key),))], known_hosts=[str(sshd.known_hosts)])
    async with hosts:
        with pytest.raises(HostLoginError):
            await hosts.run("web-1", TRUE, timeout_s=60)
        with pytest.raises(HostLoginError, match="was not asked again"):
            await hosts.run("web-1", TRUE, timeout_s=60)


async def test_use_before_open_and_after_close_is_refused(sshd):
    """Outside its context SshHosts sends nothing."""
    hosts = SshHosts([target(sshd)], known_hosts=[str(sshd.known_hosts)])
    with pytest.raises(HostError, match="before SSH was opened"):
        await hosts.run("web-1", TRUE, timeout_s=60)
    async with hosts:
        pass
    with pytest.raises(HostError, match="after it was closed"):
        await hosts.run("web-1", TRUE, timeout_s=60)


async def test_who_waits_for_a_turn_when_it_closes_is_refused(sshd):
    """A command that still waited when SSH was closed opens no new connection."""
    async with SshHosts([target(sshd)], known_hosts=[str(sshd.known_hosts)]) as hosts:
        await hosts.run("web-1", TRUE, timeout_s=60)
        runs = [asyncio.create_task(hosts.run("web-1", SLEEP, timeout_s=60)) for _ in range(6)]
        await asyncio.sleep(0.2)
    *running, waiting = await asyncio.gather(*runs, return_exceptions=True)
    assert {type(error) for error in running} == {HostUnreachableError}
    assert "after it was closed; nothing was sent" in str(waiting)


async def test_a_host_that_is_not_configured(hosts):
    """Only names of the configuration are looked up."""
    with pytest.raises(UnknownHostError, match="no host web-9"):
        await hosts.run("web-9", TRUE, timeout_s=60)


async def test_every_wrong_file_is_named_at_start(sshd, tmp_path):
    """Keys that are missing or not keys are all reported at once, before anything is connected."""
    bad = tmp_path / "bad"
    bad.write_text("no key")
    missing = tmp_path / "missing"
    wrong = [target(sshd, "a", key_files=(str(bad),)), target(sshd, "b", key_files=(str(missing),))]
    with pytest.raises(ConfigError) as caught:
        await SshHosts(wrong, known_hosts=[]).__aenter__()
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["host a", "host b"]


async def test_known_hosts_is_parsed_once(sshd, tmp_path):
    """Ten thousand lines are read one time for many logins, and again only when the file changes."""
    known = tmp_path / "known_hosts"
    blob = sshd.known_hosts.read_text().split(" ", 1)[1]
    known.write_text(
        "".join(f"h{number}.example {blob}" for number in range(10_000)) + sshd.known_hosts.read_text()
    )
    names = [f"web-{number}" for number in range(8)]
    async with SshHosts([target(sshd, name) for name in names], known_hosts=[str(known)]) as hosts:
        await asyncio.gather(*(hosts.run(name, TRUE, timeout_s=30) for name in names))
        assert hosts.pool.known.loads == 1
        known.write_text(sshd.known_hosts.read_text())
        hosts.pool.link("web-0").pooled.connection.abort()
        await hosts.run("web-0", TRUE, timeout_s=30)
        assert hosts.pool.known.loads == 2


async def test_one_connection_serves_many_commands(hosts):
    """Commands at once share one login."""

    async def parent():
        command = Command(argv=("sh", "-c", "echo $SSH_CONNECTION"))
        return (await hosts.run("web-1", command, timeout_s=60)).stdout

    assert len(set(await asyncio.gather(*(parent() for _ in range(6))))) == 1


async def test_a_jump_host_is_a_pooled_connection(sshd):
    """A host behind another is reached through that one's connection, its key checked all the same."""
    behind = target(sshd, "db-1", jump="web-1")
    async with SshHosts([target(sshd), behind], known_hosts=[str(sshd.known_hosts)]) as hosts:
        assert (await hosts.run("db-1", TRUE, timeout_s=60)).exit_status == 0
        assert hosts.pool.link("web-1").pooled.connection is not None


async def test_ssh_config_names_the_host(sshd, tmp_path):
    """HostName, Port and User come from ssh_config where one is given."""
    config = tmp_path / "config"
    config.write_text(f"Host db\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {sshd.user}\n")
    alias = target(sshd, "db-1", address="db", port=None, user=None, ssh_config=str(config))
    async with SshHosts([alias], known_hosts=[str(sshd.known_hosts)]) as hosts:
        assert (await hosts.run("db-1", TRUE, timeout_s=60)).exit_status == 0


async def test_output_without_end_is_refused(hosts):
    """A command that prints without end is ended before it fills the bot's memory."""
    with pytest.raises(CommandFailedError, match="printed over 64 MiB"):
        await hosts.run("web-1", Command(argv=("cat", "/dev/zero")), timeout_s=60)


@pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is missing")
async def test_sudo_is_not_used_where_the_login_is_root(sshd, hosts, need):
    """A command that asks for root runs as it is when the login is root already."""
    need(sshd.user == "root", "runs only as root")
    result = await hosts.run("web-1", Command(argv=("id", "-u"), sudo=True), timeout_s=60)
    assert result.stdout == b"0\n"


def test_every_error_of_asyncssh_is_mapped():
    """An error class that asyncssh grows must be put into the table before it can surprise anybody."""
    public = [
        value for value in vars(asyncssh).values() if isinstance(value, type) and issubclass(value, Exception)
    ]
    unmapped = {
        kind.__name__
        for kind in public
        if kind.__name__ not in ERRORS and not issubclass(kind, asyncssh.SFTPError)
    }
    assert unmapped == set()


@pytest.mark.parametrize("error", [OSError(5, "I/O error"), ValueError("x"), asyncssh.ProtocolError("bad")])
def test_whatever_comes_is_a_host_error(error):
    """No foreign error leaves the adapter, and each says what was not done."""
    mapped = to_host_error(error, SshTarget(name="web-1", address="web-1.example"), KnownHosts([]))
    assert "Nothing was run" in str(mapped)
    assert mapped.fix


def test_fixture_knows_only_its_own_port(sshd):
    """The fixture's known_hosts vouches for its own port and nothing else."""
    assert Path(sshd.known_hosts).read_text().startswith(f"[127.0.0.1]:{sshd.port} ")
