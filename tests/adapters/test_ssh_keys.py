"""How a login is proved, both ways, against a real sshd: agent, certificates, authorities, hashes, IPv6."""

import asyncio
import os
import subprocess
from contextlib import contextmanager

import pytest

from oombot.adapters.ssh import Backoff, SshHosts, SshTarget
from oombot.errors import ConfigError, HostKeyError, HostLoginError
from oombot.model import Command

pytestmark = pytest.mark.sshd

TRUE = Command(argv=("true",))
LONG_S = 60


def keygen(*words):
    """Run ssh-keygen."""
    subprocess.run(["ssh-keygen", "-q", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def server(start_sshd, tmp_path_factory):
    """An sshd with a certified host key that trusts a user authority, on both loopback addresses."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("users", "machines", "host_key"):
        keygen("-t", "ed25519", "-N", "", "-f", folder / name)
    keygen("-s", folder / "machines", "-I", "web", "-h", "-n", "127.0.0.1,::1", folder / "host_key.pub")
    settings = {
        "ListenAddress": "127.0.0.1\nListenAddress ::1",
        "HostCertificate": str(folder / "host_key-cert.pub"),
        "TrustedUserCAKeys": str(folder / "users.pub"),
    }
    with start_sshd(folder, **settings) as running:
        yield running


@pytest.fixture
def key(tmp_path):
    """A user key that is in no authorized_keys."""
    keygen("-t", "ed25519", "-N", "", "-f", tmp_path / "id")
    return tmp_path / "id"


def certify(server, key, *, serial=1, principal=None, valid="+1h", out=None):
    """A certificate of the user authority for this key, at KEY-cert.pub or elsewhere."""
    authority = server.key_file.parent / "users"
    keygen(
        "-s", authority, "-I", "bot", "-n", principal or server.user, "-z", serial, "-V", valid, f"{key}.pub"
    )
    made = key.with_name(f"{key.name}-cert.pub")
    return made.rename(out) if out else made


def hosts_of(server, known=None, **changes):
    """The server as web-1."""
    values = {
        "name": "web-1",
        "address": "127.0.0.1",
        "port": server.port,
        "user": server.user,
        "key_files": (str(server.key_file),),
    }
    target = SshTarget(**values | changes)
    return SshHosts([target], known_hosts=[str(known or server.known_hosts)], backoff=Backoff(insist_s=0))


async def succeeds(hosts):
    """Run `true`."""
    assert (await hosts.run("web-1", TRUE, timeout_s=LONG_S, asked=True)).exit_status == 0


async def test_a_certificate_beside_the_key_is_used(server, key):
    """KEY-cert.pub opens an account in whose authorized_keys nothing stands."""
    certify(server, key)
    async with hosts_of(server, key_files=(str(key),)) as hosts:
        await succeeds(hosts)


async def test_a_certificate_may_lie_elsewhere(server, key, tmp_path):
    """A certificate that the configuration names is paired with its key."""
    given = certify(server, key, out=tmp_path / "given.pub")
    async with hosts_of(server, key_files=(str(key),), certificates=(str(given),)) as hosts:
        await succeeds(hosts)


async def test_a_renewed_certificate_is_read_again(server, key):
    """A certificate that has run out is refused; once its file is renewed the next login uses it, without a restart."""
    certify(server, key, valid="20200101:20200102")
    async with hosts_of(server, key_files=(str(key),)) as hosts:
        with pytest.raises(HostLoginError):
            await hosts.run("web-1", TRUE, timeout_s=LONG_S)
        certify(server, key, serial=2)
        await succeeds(hosts)
        assert hosts.pool.keyring.loads == 2
        await hosts.renew("web-1")
        await succeeds(hosts)
        assert hosts.pool.keyring.loads == 2


async def test_a_key_file_that_breaks_leaves_the_one_that_was_read(server, tmp_path):
    """A renewal that writes rubbish does not lock the bot out."""
    mine = tmp_path / "mine"
    mine.write_bytes(server.key_file.read_bytes())
    async with hosts_of(server, key_files=(str(mine),)) as hosts:
        mine.write_text("half a k")
        await succeeds(hosts)


async def test_a_certificate_that_is_missing_is_named_at_start(server, key, tmp_path):
    """A file that is not there is a mistake of the configuration."""
    with pytest.raises(
        ConfigError, match=r"host web.*: .*no-such-cert\.pub can not be read: No such file or directory\. "
    ):
        await hosts_of(
            server, key_files=(str(key),), certificates=(str(tmp_path / "no-such-cert.pub"),)
        ).__aenter__()


async def test_a_certificate_for_another_account_is_refused(server, key):
    """The authority decides who may be whom."""
    certify(server, key, principal="somebody-else")
    async with hosts_of(server, key_files=(str(key),)) as hosts:
        with pytest.raises(HostLoginError):
            await hosts.run("web-1", TRUE, timeout_s=LONG_S)


@contextmanager
def agent(key, folder):
    """An ssh-agent with this key, as the environment names it."""
    path, before = folder / "agent.sock", os.environ.get("SSH_AUTH_SOCK")
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL) as process:
        os.environ["SSH_AUTH_SOCK"] = str(path)
        try:
            adding = (
                f"for i in $(seq 300); do ssh-add -q {key} 2>/dev/null && exit 0; sleep 0.1; done; exit 1"
            )
            subprocess.run(["sh", "-c", adding], check=True, timeout=LONG_S)
            yield
        finally:
            del os.environ["SSH_AUTH_SOCK"]
            if before is not None:
                os.environ["SSH_AUTH_SOCK"] = before
            process.terminate()


async def test_without_key_files_the_agent_is_asked(server, tmp_path):
    """Where the configuration names no key, one that only the agent has opens the account."""
    with agent(server.key_file, tmp_path):
        async with hosts_of(server, key_files=()) as hosts:
            await succeeds(hosts)


async def test_with_key_files_the_agent_is_not_asked(server, key, tmp_path):
    """A key that the configuration does not name is not used, though the agent would have it."""
    with agent(server.key_file, tmp_path):
        async with hosts_of(server, key_files=(str(key),)) as hosts:
            with pytest.raises(HostLoginError):
                await hosts.run("web-1", TRUE, timeout_s=LONG_S)


@pytest.mark.parametrize(("pattern", "believed"), [("127.0.0.*", True), ("10.*", False)])
async def test_an_authority_vouches_for_hosts(server, tmp_path, pattern, believed):
    """One @cert-authority line is enough for all hosts of its pattern, and for no others."""
    known = tmp_path / "known"
    authority = (server.key_file.parent / "machines.pub").read_text()
    known.write_text(f"@cert-authority [{pattern}]:* {authority}@cert-authority {pattern} {authority}")
    async with hosts_of(server, known) as hosts:
        if believed:
            await succeeds(hosts)
        else:
            with pytest.raises(HostKeyError, match="is not known"):
                await hosts.run("web-1", TRUE, timeout_s=LONG_S)


async def test_a_revoked_key_is_refused_whoever_certified_it(server, tmp_path):
    """@revoked outweighs the authority."""
    known = tmp_path / "known"
    folder = server.key_file.parent
    key = (folder / "host_key.pub").read_text()
    known.write_text(f"@cert-authority * {(folder / 'machines.pub').read_text()}@revoked * {key}")
    async with hosts_of(server, known) as hosts:
        with pytest.raises(HostKeyError):
            await hosts.run("web-1", TRUE, timeout_s=LONG_S)


async def test_hashed_names_are_found(server, tmp_path):
    """A known_hosts that hides its names vouches all the same, and for the hidden host only."""
    known = tmp_path / "known"
    known.write_text(server.known_hosts.read_text())
    await asyncio.to_thread(keygen, "-H", "-f", known)
    assert "127.0.0.1" not in known.read_text()
    async with hosts_of(server, known) as hosts:
        await succeeds(hosts)
    async with hosts_of(server, known, address="localhost", port=1) as hosts:
        assert not hosts.pool.known.loaded.match("web-9", "", None)[0]


async def test_an_ipv6_address(server, tmp_path):
    """A host may be an IPv6 address; its name in known_hosts and in sentences carries brackets."""
    known = tmp_path / "known"
    blob = server.known_hosts.read_text().split(" ", 1)[1]
    known.write_text(f"[::1]:{server.port} {blob}")
    async with hosts_of(server, known, address="::1") as hosts:
        await succeeds(hosts)
    async with hosts_of(server, tmp_path / "none", address="::1") as hosts:
        with pytest.raises(HostKeyError) as caught:
            await hosts.run("web-1", TRUE, timeout_s=LONG_S)
        assert f"web-1 ([::1]:{server.port})" in str(caught.value)
        offer = hosts.pool.link("web-1").offer
        assert offer.name == f"[::1]:{server.port}"


async def test_the_ciphers_are_the_fast_ones(server):
    """AES comes first, the exchange is a modern one, and nothing is compressed."""
    async with hosts_of(server) as hosts:
        await succeeds(hosts)
        connection = hosts.pool.link("web-1").pooled.connection
        assert connection.get_extra_info("send_cipher") == "aes128-gcm@openssh.com"
        assert connection.get_extra_info("send_compression") == "none"
        options = hosts.pool._options.of(hosts.pool.targets["web-1"])
        assert b"curve25519-sha256" in options.kex_algs[:2]


async def test_an_old_server_is_still_reached(start_sshd, tmp_path):
    """A server that has only one old exchange and cipher is talked to."""
    settings = {"KexAlgorithms": "ecdh-sha2-nistp521", "Ciphers": "aes256-ctr"}
    with start_sshd(tmp_path / "old", **settings) as old:
        async with hosts_of(old) as hosts:
            await succeeds(hosts)
