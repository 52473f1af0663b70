"""What SSH bears and respects, against a real sshd: failing hosts, refused logins, its limits, cut links."""

import asyncio
import secrets
import socket
import time

import asyncssh
import psutil
import pytest

from oombot.adapters.ssh import Backoff, Limits, Login, SshHosts, SshTarget
from oombot.adapters.ssh_client import Client
from oombot.adapters.ssh_gate import Gate
from oombot.errors import (
    CommandTimeoutError,
    ConfigError,
    HostError,
    HostLoginError,
    HostUnreachableError,
)
from oombot.model import Command
from tests.relay import closed_port, relayed

pytestmark = pytest.mark.sshd

TRUE = Command(argv=("true",))
LONG_S = 60  # for anything that must succeed on a busy machine


@pytest.fixture(scope="module")
def server(start_sshd, tmp_path_factory):
    """One sshd on every loopback address for all tests here."""
    with start_sshd(tmp_path_factory.mktemp("limits"), ListenAddress="0.0.0.0") as running:
        yield running


@pytest.fixture
def known(server, tmp_path):
    """A known_hosts that vouches for the server under every address and port."""
    path = tmp_path / "known_hosts"
    blob = server.known_hosts.read_text().split(" ", 1)[1]
    path.write_text(f"* {blob}[*]:* {blob}")
    return path


def target(server, name="web-1", **changes):
    """The server as a host."""
    values = {
        "name": name,
        "address": "127.0.0.1",
        "port": server.port,
        "user": server.user,
        "key_files": (str(server.key_file),),
    }
    return SshTarget(**values | changes)


def opened(known, *targets, chance=1.0, limits=None, **times):
    """SSH to these hosts, with chance fixed."""
    return SshHosts(
        targets, known_hosts=[str(known)], limits=limits, backoff=Backoff(**times), chance=lambda: chance
    )


async def succeeds(hosts, name="web-1", **how):
    """Run `true` on the host."""
    assert (await hosts.run(name, TRUE, timeout_s=LONG_S, **how)).exit_status == 0


async def fails(hosts, kind, name="web-1", **how):
    """The error of a run."""
    with pytest.raises(kind) as caught:
        await hosts.run(name, TRUE, timeout_s=LONG_S, **how)
    return caught.value


def a_key(folder, name="other"):
    """A key that no host knows."""
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(folder / name)
    return str(folder / name)


# ------------------------------------------------------------------ a host that fails


async def test_a_host_that_fails_is_left_alone_for_a_while(server, known):
    """The second question is answered from memory, with the time of the next try; nothing is sent."""
    async with relayed(server.port) as relay:
        await relay.refuse()
        async with opened(known, target(server, port=relay.port), base_s=200) as hosts:
            first = await fails(hosts, HostUnreachableError)
            assert 190 < first.retry_after_s <= 200
            await relay.start()
            again = await fails(hosts, HostUnreachableError)
            assert "Nothing was run. It was not asked again; the next try is in" in str(again)
            assert 100 < again.retry_after_s <= 200
            assert again.fix == first.fix
            assert relay.links == 0


async def test_who_waits_gets_a_try_now_and_its_success_counts_for_all(server, known):
    """A person's question goes to the host although it failed just now; after that everybody may ask again."""
    async with relayed(server.port) as relay:
        await relay.refuse()
        async with opened(known, target(server, port=relay.port), base_s=200) as hosts:
            await fails(hosts, HostUnreachableError)
            assert "not asked again" not in str(await fails(hosts, HostUnreachableError, asked=True))
            await relay.start()
            await succeeds(hosts, asked=True)
            await succeeds(hosts)
            assert relay.links == 1


async def test_all_who_ask_a_silent_host_share_one_try(server, known):
    """Twenty commands at once make one connection, and one who gives up does not end it for the others."""
    async with relayed(server.port) as relay:
        relay.silent = True
        limits = Limits(connect_s=2.0)
        async with opened(known, target(server, port=relay.port), limits=limits, base_s=200) as hosts:
            short = asyncio.create_task(hosts.run("web-1", TRUE, timeout_s=0.2))
            runs = [asyncio.create_task(hosts.run("web-1", TRUE, timeout_s=LONG_S)) for _ in range(4)]
            with pytest.raises(CommandTimeoutError, match=r"did not answer within 0\.2 s"):
                await short
            errors = await asyncio.gather(*runs, return_exceptions=True)
            assert {type(error) for error in errors} == {HostUnreachableError}
            assert {"no answer in time" in str(error) for error in errors} == {True}
            assert relay.links == 1


async def test_a_connection_that_breaks_is_replaced_at_once(server, known):
    """The first broken link costs nobody a wait: it does not count as a failure."""
    async with (
        relayed(server.port) as relay,
        opened(known, target(server, port=relay.port), base_s=200) as hosts,
    ):
        await succeeds(hosts)
        relay.cut()
        await succeeds(hosts)
        assert relay.links == 2


async def test_a_host_that_drops_every_link_at_once_is_slowed_down(server, known):
    """Logins that work and break again and again end in a wait, as failures do."""
    async with (
        relayed(server.port) as relay,
        opened(known, target(server, port=relay.port), base_s=200) as hosts,
    ):
        for _ in range(3):
            await succeeds(hosts, asked=True)
            connection = hosts.pool.link("web-1").pooled.connection
            relay.cut()
            async with asyncio.timeout(LONG_S):
                await connection.wait_closed()
        await until(lambda: hosts.pool.link("web-1").breaker.wait_s(asked=False) > 100)


# ------------------------------------------------------------------ refused logins


async def test_refused_logins_end_in_quarantine(server, known, tmp_path):
    """After the third refused login only a person gets a try, and only one in a while; sshd would lock us out."""
    wrong = target(server, key_files=(a_key(tmp_path),))
    async with relayed(server.port) as relay:
        wrong = target(server, port=relay.port, key_files=wrong.key_files)
        async with opened(known, wrong, insist_s=0, quarantine_s=5000) as hosts:
            first = await fails(hosts, HostLoginError)
            assert 50 < first.retry_after_s <= 60
            for _ in range(2):
                assert "not asked again" not in str(await fails(hosts, HostLoginError, asked=True))
            assert hosts.pool.link("web-1").breaker.quarantined
            assert relay.links == 3
            last = await fails(hosts, HostLoginError)
            assert 4000 < last.retry_after_s <= 5000
            assert last.fix.startswith("ssh-copy-id")
            assert relay.links == 3


async def test_even_asked_a_refused_login_is_not_repeated_at_once(server, known, tmp_path):
    """Ten people who press at once make one refused login, not ten."""
    async with relayed(server.port) as relay:
        wrong = target(server, port=relay.port, key_files=(a_key(tmp_path),))
        async with opened(known, wrong, insist_s=500) as hosts:
            for _ in range(3):
                await fails(hosts, HostLoginError, asked=True)
            assert relay.links == 1


# ------------------------------------------------------------------ MaxSessions and MaxStartups


@pytest.fixture
def marker():
    """A number of seconds to sleep that no other process sleeps."""
    return f"86402.{secrets.randbelow(10**12):012}"


def remote(marker):
    """Living processes with this word among their arguments."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if marker in (process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


async def until(condition):
    """Wait for something that other processes do."""
    async with asyncio.timeout(LONG_S):
        while not condition():  # noqa: ASYNC110 - other processes can not be waited for
            await asyncio.sleep(0.05)


async def test_the_eleventh_session(server, known, marker):
    """A host that opens no eleventh session is not broken: the ten go on, and the eleventh gets a connection."""
    limits = Limits(sessions=13, full_s=0.1)
    async with opened(known, target(server), limits=limits) as hosts:
        command = Command(argv=("sh", "-c", f"echo up; exec sleep {marker}"))
        lines = [hosts.follow("web-1", command) for _ in range(10)]
        try:
            assert [await anext(each) for each in lines] == [b"up"] * 10
            first = hosts.pool.link("web-1").pooled
            assert first.users == 10
            await succeeds(hosts)
            await until(lambda: len(remote(marker)) == 10)
            assert not first.connection.is_closed()
            assert hosts.pool.link("web-1").breaker.wait_s(asked=False) == 0
        finally:
            for each in lines:
                await each.aclose()
        await until(lambda: not remote(marker))


async def test_a_command_waits_for_a_session_to_end(start_sshd, known, tmp_path, marker):
    """Where the host allows one session, the second command comes after the first, on the same connection."""
    with start_sshd(tmp_path / "one", MaxSessions="1") as one:
        async with SshHosts(
            [target(one)], known_hosts=[str(one.known_hosts)], limits=Limits(full_s=LONG_S)
        ) as hosts:
            await succeeds(hosts)
            connection = hosts.pool.link("web-1").pooled.connection
            first = asyncio.create_task(hosts.run("web-1", Command(argv=("sleep", marker)), timeout_s=LONG_S))
            await until(lambda: remote(marker))
            second = asyncio.create_task(hosts.run("web-1", TRUE, timeout_s=LONG_S))
            await asyncio.sleep(0.2)
            for pid in remote(marker):
                psutil.Process(pid).kill()
            await first
            assert (await second).exit_status == 0
            assert hosts.pool.link("web-1").pooled.connection is connection


async def test_a_command_is_ended_although_no_session_is_left_to_end_it(start_sshd, tmp_path, marker):
    """Where the host allows one session, whoever cancels still leaves nothing running there."""
    with start_sshd(tmp_path / "one", MaxSessions="1") as one:
        async with SshHosts([target(one)], known_hosts=[str(one.known_hosts)]) as hosts:
            task = asyncio.create_task(hosts.run("web-1", Command(argv=("sleep", marker)), timeout_s=600))
            await until(lambda: remote(marker))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await until(lambda: not remote(marker))


async def test_a_host_without_sessions(start_sshd, tmp_path):
    """A host that opens no session at all is said with the setting that forbids it."""
    with start_sshd(tmp_path / "none", MaxSessions="0") as none:
        async with SshHosts([target(none)], known_hosts=[str(none.known_hosts)]) as hosts:
            error = await fails(hosts, HostUnreachableError)
    assert "web-1 opens no further session" in str(error)
    assert "Raise MaxSessions" in error.fix


async def test_a_full_sshd_is_temporary_and_says_so(start_sshd, tmp_path):
    """A login that is dropped by MaxStartups is a fault that passes, with sshd's own words where it gives them."""
    with start_sshd(tmp_path / "full", MaxStartups="1") as full:
        reader, writer = await asyncio.open_connection("127.0.0.1", full.port)
        try:
            while not (await asyncio.wait_for(reader.readline(), LONG_S)).startswith(b"SSH-"):
                writer.close()  # the fixture's own probe may still hold the place
                reader, writer = await asyncio.open_connection("127.0.0.1", full.port)
            async with opened(full.known_hosts, target(full)) as hosts:
                error = await fails(hosts, HostUnreachableError)
                assert error.temporary
                assert "MaxStartups" in error.fix
                writer.close()
                await writer.wait_closed()

                async def again():
                    while True:
                        try:
                            return await succeeds(hosts, asked=True)
                        except HostUnreachableError:
                            await asyncio.sleep(0.1)

                await asyncio.wait_for(again(), LONG_S)
        finally:
            writer.close()


# ------------------------------------------------------------------ jump hosts


async def test_a_chain_of_jump_hosts(server, known):
    """A host behind two others is reached through both, over one connection each."""
    chain = (
        target(server, "gate"),
        target(server, "inner", address="127.0.0.2", jump="gate"),
        target(server, "db-1", address="127.0.0.3", jump="inner"),
        target(server, "db-2", address="127.0.0.4", jump=f"gate,127.0.0.2:{server.port}"),
    )
    async with opened(known, *chain) as hosts:
        show = Command(argv=("sh", "-c", "echo $SSH_CONNECTION"))
        came = [(await hosts.run(name, show, timeout_s=LONG_S)).stdout.split() for name in ("db-1", "db-2")]
        assert [words[2] for words in came] == [b"127.0.0.3", b"127.0.0.4"]
        assert hosts.pool.link("gate").pooled.users == 2
        assert hosts.pool.link("inner").pooled.users == 1


async def test_a_jump_host_that_fails_is_named_for_all_behind_it(server, known):
    """Every host behind a dead gate says which gate it is, and none of them is blamed itself."""
    async with relayed(server.port) as relay:
        await relay.refuse()
        behind = [target(server, f"db-{number}", address="127.0.0.2", jump="gate") for number in range(5)]
        gate = target(server, "gate", port=relay.port)
        async with opened(known, gate, *behind, base_s=200) as hosts:
            for one in behind:
                error = await fails(hosts, HostUnreachableError, one.name)
                assert error.jump == "gate"
                assert str(error).startswith(
                    f"{one.name} is reached through gate, and that failed: gate can not"
                )
                assert error.retry_after_s > 100
            own = await fails(hosts, HostUnreachableError, "gate")
            assert own.jump is None
            await relay.start()
            await succeeds(hosts, "db-0", asked=True)
            await succeeds(hosts, "db-4")


async def test_a_jump_host_that_is_lost_does_not_count_against_those_behind_it(server, known):
    """Links that break with their jump host's leave the host behind untouched: only the jump host is slowed down."""
    async with relayed(server.port) as relay:
        both = (
            target(server, "gate", port=relay.port),
            target(server, "db-1", address="127.0.0.2", jump="gate"),
        )
        async with opened(known, *both, base_s=200) as hosts:
            for _ in range(3):
                await succeeds(hosts, "db-1", asked=True)
                gate, host = hosts.pool.link("gate").pooled, hosts.pool.link("db-1").pooled
                relay.cut()
                async with asyncio.timeout(LONG_S):
                    await host.connection.wait_closed()
                    await gate.connection.wait_closed()
                assert gate.users == 0
            await until(lambda: hosts.pool.link("gate").breaker.wait_s(asked=False) > 100)
            assert hosts.pool.link("db-1").breaker.wait_s(asked=False) == 0


async def test_a_dead_host_behind_a_living_jump_host(server, known):
    """It is the host that can not be reached then, and the sentence says through whom it was tried."""
    with closed_port() as port:
        async with opened(known, target(server, "gate"), target(server, port=port, jump="gate")) as hosts:
            error = await fails(hosts, HostUnreachableError)
            assert error.jump is None
            assert f"can not be reached at 127.0.0.1:{port} through gate" in str(error)
            await succeeds(hosts, "gate")


async def test_a_jump_host_that_does_not_forward(server, known, start_sshd, tmp_path):
    """Where sshd of the jump host forbids forwarding, that one is named with the setting."""
    with start_sshd(tmp_path / "gate", AllowTcpForwarding="no") as closed:
        gate = target(closed, "gate")
        both = tmp_path / "both"
        both.write_text(known.read_text() + closed.known_hosts.read_text())
        async with opened(both, gate, target(server, jump="gate")) as hosts:
            error = await fails(hosts, HostUnreachableError)
    assert error.jump == "gate"
    assert "gate does not forward to" in str(error)
    assert "AllowTcpForwarding" in error.fix


async def test_a_renewed_jump_host_keeps_those_behind_it(server, known):
    """New connections to a jump host do not cut what runs through the old one."""
    async with opened(
        known, target(server, "gate"), target(server, "db-1", address="127.0.0.2", jump="gate")
    ) as hosts:
        lines = hosts.follow("db-1", Command(argv=("sh", "-c", "echo up; read x; echo never")))
        try:
            assert await anext(lines) == b"up"
        finally:
            await lines.aclose()
        old = hosts.pool.link("gate").pooled
        await hosts.renew("gate")
        await succeeds(hosts, "gate")
        assert hosts.pool.link("gate").pooled is not old
        assert not old.connection.is_closed()
        await succeeds(hosts, "db-1")
        await hosts.renew("db-1")
        async with asyncio.timeout(LONG_S):
            await old.connection.wait_closed()


async def test_a_jump_in_a_circle_is_refused_at_start(server, known):
    """Nothing is connected where jump hosts lead back to themselves."""
    circle = [target(server, "a", jump="b"), target(server, "b", jump="a"), target(server, "c", jump="a b")]
    with pytest.raises(ConfigError) as caught:
        await opened(known, *circle).__aenter__()
    assert sorted(problem.split(":")[0] for problem in caught.value.problems) == [
        "host a",
        "host b",
        "host c",
    ]


async def test_proxyjump_of_ssh_config_is_a_pooled_connection_with_our_keys(server, known, tmp_path):
    """The hop that ssh_config names is logged in to as hosts are: same keys, strict host key, shared connection."""
    config = tmp_path / "config"
    config.write_text(
        f"Host db-*\n  ProxyJump {server.user}@gate:{server.port}\n  HostName 127.0.0.2\n  Port {server.port}\n"
        "Host gate\n  HostName 127.0.0.1\n"
    )
    both = [
        target(server, name, address=name, port=None, ssh_config=str(config)) for name in ("db-1", "db-2")
    ]
    async with opened(known, *both) as hosts:
        await succeeds(hosts, "db-1")
        await succeeds(hosts, "db-2")
        [hop] = [link for link in hosts.pool.links() if link.target.name == "gate"]
        assert hop.pooled.users == 2


# ------------------------------------------------------------------ two identities


@pytest.fixture
def acting(server, tmp_path):
    """A key of the acting identity, whose forced command answers in the helper's place."""
    key = a_key(tmp_path, "act")
    public = asyncssh.read_private_key(key).export_public_key("openssh").decode()
    allowed = server.key_file.parent / "authorized_keys"
    before = allowed.read_text()
    allowed.write_text(f'{before}restrict,command="echo acted: $SSH_ORIGINAL_COMMAND; cat" {public}')
    yield Login(user=server.user, key_files=(key,))
    allowed.write_text(before)


async def test_changes_go_through_the_acting_identity(server, known, acting):
    """A command with sudo uses the acting login and is sent bare; everything else uses the watching one."""
    change = Command(argv=("/usr/local/libexec/oombot-helper",), stdin="{}", sudo=True, forced=True)
    async with opened(known, target(server, act=acting)) as hosts:
        result = await hosts.run("web-1", change, timeout_s=LONG_S)
        assert result.stdout == b"acted: /usr/local/libexec/oombot-helper\n{}"
        assert result.stderr == b""
        await succeeds(hosts)
        both = {hosts.pool.link("web-1").pooled, hosts.pool.link("web-1", acting=True).pooled}
        assert len(both) == 2
        await hosts.renew("web-1")
        assert hosts.pool.link("web-1").pooled is None
        assert hosts.pool.link("web-1", acting=True).pooled is None


async def test_without_an_acting_identity_changes_use_the_watching_one(server, known):
    """One login does both where the configuration names one."""
    async with opened(known, target(server)) as hosts:
        assert hosts.pool.link("web-1", acting=True) is hosts.pool.link("web-1")


async def test_an_acting_login_that_is_refused_leaves_the_watching_one_alone(server, known, tmp_path):
    """Each identity is held back by its own refused logins."""
    act = Login(user=server.user, key_files=(a_key(tmp_path),))
    async with opened(known, target(server, act=act)) as hosts:
        with pytest.raises(HostLoginError) as caught:
            await hosts.run("web-1", Command(argv=("true",), sudo=True), timeout_s=LONG_S)
        assert caught.value.fix == "oombot sudoers web-1"
        await succeeds(hosts)


# ------------------------------------------------------------------ cut links


@pytest.mark.parametrize("left", [1, 5_000, 60_000])
async def test_an_answer_that_is_cut_is_never_taken_for_whole(server, known, left):
    """Wherever the link breaks while a command answers, there is an error and no result."""
    command = Command(argv=("head", "-c", "300000", "/dev/zero"))
    async with (
        relayed(server.port) as relay,
        opened(known, target(server, port=relay.port)) as hosts,
    ):
        await succeeds(hosts)
        relay.down_left = left
        error = await asyncio.wait_for(_error(hosts.run("web-1", command, timeout_s=LONG_S)), LONG_S)
        assert isinstance(error, HostUnreachableError)


async def _error(run):
    """The error that this ends in."""
    try:
        result = await run
    except HostUnreachableError as error:
        return error
    pytest.fail(f"a result of {len(result.stdout)} bytes")


async def test_a_script_that_arrives_half_runs_nothing(server, known, tmp_path):
    """A link that breaks while a script is sent leaves it undone on the host, whatever shell reads it."""
    ran = tmp_path / "ran"
    script = f"main() {{\necho ran >{ran}\n{'# padding' * 50_000}\n}}\nmain </dev/null\n"
    command = Command(argv=("sh", "-s"), stdin=script)
    async with (
        relayed(server.port) as relay,
        opened(known, target(server, port=relay.port)) as hosts,
    ):
        await succeeds(hosts)
        relay.up_left = 200_000
        assert isinstance(await _error(hosts.run("web-1", command, timeout_s=LONG_S)), HostUnreachableError)
        assert relay.links == 1
        relay.up_left = None
        assert (await hosts.run("web-1", Command(argv=("ls", str(ran))), timeout_s=LONG_S)).exit_status != 0
        assert (await hosts.run("web-1", command, timeout_s=LONG_S)).exit_status == 0
        assert ran.read_text() == "ran\n"


async def test_closing_is_no_cancel_of_those_who_wait(server, known):
    """A command that waits for a login when SSH is closed ends in a sentence, not in a cancel that nobody asked for."""
    async with relayed(server.port) as relay:
        relay.silent = True
        async with opened(known, target(server, port=relay.port)) as hosts:
            waiting = asyncio.create_task(hosts.run("web-1", TRUE, timeout_s=LONG_S))
            await until(lambda: relay.links == 1)
        with pytest.raises(HostError, match="after it was closed; nothing was sent"):
            await waiting


# ------------------------------------------------------------------ many hosts


@pytest.mark.parametrize(("jump", "allowed"), [(None, 4), ("gate", 2)])
async def test_no_more_logins_at_once_than_allowed(jump, allowed):
    """Thirty logins at once: never more than four under way, and through one jump host never more than two."""
    gate, inside, most = Gate(Limits(handshakes=4, through_a_jump=2), time.monotonic), 0, 0

    async def login():
        nonlocal inside, most
        async with gate.entered(jump, lambda: True):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(login() for _ in range(30)))
    assert (most, inside) == (allowed, 0)


async def test_a_login_that_fails_or_is_given_up_leaves_the_gate():
    """However a login ends, its place is given back once: thirty cancelled ones leave room for exactly one."""
    gate = Gate(Limits(handshakes=1, silent_s=0.0), time.monotonic)

    async def login():
        async with gate.entered(None, lambda: False):
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(login()) for _ in range(30)]
    for task in tasks:
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with gate.entered(None, lambda: True):
        second = asyncio.create_task(login())
        await asyncio.sleep(0.05)
        assert not second.done()
    await second


async def test_hosts_that_do_not_accept_make_room_for_others(server, known):
    """A gate of one place is not held by a host whose address swallows packets."""
    limits = Limits(handshakes=1, silent_s=0.2, connect_s=LONG_S)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port, fillers = full.getsockname()[1], []
        try:
            for _ in range(4):  # a full backlog answers no further SYN
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
                fillers.append(filler)
            both = (target(server, "silent", port=port), target(server))
            async with opened(known, *both, limits=limits) as hosts:
                stuck = asyncio.create_task(hosts.run("silent", TRUE, timeout_s=LONG_S))
                await until(lambda: hosts.pool.link("silent").connecting is not None)
                await succeeds(hosts)
                assert not stuck.done()
                stuck.cancel()
                await asyncio.gather(stuck, return_exceptions=True)
        finally:
            for filler in fillers:
                filler.close()


async def test_frozen_hosts_make_room_for_others(server, known):
    """A gate of one place is not held by a frozen host either, whose kernel accepts and whose sshd never greets."""
    async with relayed(server.port) as relay:
        relay.silent = True
        limits = Limits(handshakes=1, silent_s=0.2, connect_s=LONG_S)
        both = (target(server, "silent", port=relay.port), target(server))
        async with opened(known, *both, limits=limits) as hosts:
            stuck = asyncio.create_task(hosts.run("silent", TRUE, timeout_s=LONG_S))
            await until(lambda: relay.links == 1)
            await succeeds(hosts)
            assert not stuck.done()
            stuck.cancel()
            await asyncio.gather(stuck, return_exceptions=True)


async def test_waiting_behind_the_bots_own_logins_is_not_the_hosts_fault(server, known):
    """A host that was not even tried in time is not said to be slow."""
    async with relayed(server.port) as relay:
        relay.silent = True
        limits = Limits(handshakes=1, silent_s=LONG_S)
        both = (target(server, "silent", port=relay.port), target(server))
        async with opened(known, *both, limits=limits) as hosts:
            first = asyncio.create_task(hosts.run("silent", TRUE, timeout_s=LONG_S))
            await until(lambda: relay.links == 1)
            with pytest.raises(CommandTimeoutError, match="oombot itself is busy logging in to other hosts"):
                await hosts.run("web-1", TRUE, timeout_s=0.3)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)


async def test_hosts_of_one_kind_share_their_options(server, known):
    """A thousand hosts with one login hold one set of options and read the key once."""
    names = [f"web-{number}" for number in range(1000)]
    async with opened(known, *(target(server, name) for name in names)) as hosts:
        assert len({id(hosts.pool._options.of(one)) for one in hosts.pool.targets.values()}) == 1
        assert hosts.pool.keyring.loads == 1


class Wire:
    """A socket that notes what is set on it."""

    family = socket.AF_INET

    def __init__(self):
        self.set = []

    def setsockopt(self, *option):
        self.set.append(option)

    def fileno(self):
        return 7


class Line:
    """A connection of asyncssh as a Client sees it."""

    def __init__(self, wire):
        self.wire, self.received = wire, []

    def get_extra_info(self, name):
        return {"socket": self.wire}.get(name)

    def data_received(self, data, datatype=None):
        self.received.append(data)


def test_every_receive_is_acknowledged_at_once():
    """TCP_QUICKACK is set again after each receive, as the kernel forgets it; else each login stalls for 40 ms."""
    wire, client = Wire(), Client()
    line = Line(wire)
    client.connection_made(line)
    ack = (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    assert wire.set == [(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)]
    for number in range(3):
        line.data_received(b"Exceeded MaxStartups\r\n")
        assert wire.set.count(ack) == number + 1
    assert line.received == [b"Exceeded MaxStartups\r\n"] * 3
    assert client.refusal.startswith("Exceeded MaxStartups")


async def test_a_real_connection_has_it(server, known):
    """The connections that are used are such ones."""
    async with opened(known, target(server)) as hosts:
        await succeeds(hosts)
        connection = hosts.pool.link("web-1").pooled.connection
        wire = connection.get_extra_info("socket")
        assert "data_received" in vars(connection)
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
