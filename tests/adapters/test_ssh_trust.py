"""Enrolling host keys, against a real OpenSSH server: 127.0.0.1 is the jump host, 127.0.0.2 the host behind it."""

import asyncio
import os
import pty
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncssh
import pytest

from oombot.adapters.ssh import SshHosts, SshTarget
from oombot.adapters.ssh_known import KnownHosts, Offer
from oombot.adapters.ssh_trust import enrol, offered
from oombot.cli.hosts import trusted
from oombot.errors import HostError, HostKeyError, UnknownHostError
from oombot.model import Command

pytestmark = pytest.mark.sshd

TRUE = Command(argv=("true",))


@pytest.fixture(scope="module")
def server(start_sshd, tmp_path_factory):
    """One sshd on every loopback address for all tests here."""
    with start_sshd(tmp_path_factory.mktemp("trust"), ListenAddress="0.0.0.0") as running:
        yield running


@pytest.fixture
def known(tmp_path):
    """A known_hosts file that is not there yet."""
    return tmp_path / "ssh" / "known_hosts"


@pytest.fixture
def config(server, known, tmp_path):
    """A configuration with web-1, and db-1 behind a jump host that is no host of it."""
    path = tmp_path / "oombot.yaml"
    path.write_text(
        f"""
ssh: {{user: {server.user}, known_hosts: {known}, keys: [{server.key_file}]}}
store: {tmp_path}/store.sqlite
hosts:
  - {{name: web-1, aliases: [web], address: 127.0.0.1, port: {server.port}}}
  - {{name: db-1, address: 127.0.0.2, port: {server.port}, jump: "127.0.0.1:{server.port}"}}
"""
    )
    return path


def key_of(server):
    """The server's own public key."""
    return asyncssh.read_public_key(server.key_file.parent / "host_key.pub")


def hosts_of(server, known, **changes):
    """The server as web-1."""
    values = {
        "name": "web-1",
        "address": "127.0.0.1",
        "port": server.port,
        "user": server.user,
        "key_files": (str(server.key_file),),
    }
    return SshHosts([SshTarget(**values | changes)], known_hosts=[str(known)])


async def offer_of(server, known, **changes):
    """What trusting web-1 would show."""
    async with hosts_of(server, known, **changes) as hosts:
        return await offered(hosts.pool, "web-1")


def test_a_key_is_written_once_its_fingerprint_is_given(server, config, known, capsys):
    """The right fingerprint enrols the key in a file of mode 0600; after that it is trusted already."""
    fingerprint = key_of(server).get_fingerprint()
    assert trusted("web", config=config, fingerprint=fingerprint) == 0
    said = capsys.readouterr().out
    assert f"web-1 ([127.0.0.1]:{server.port}) offers this key:\n  ssh-ed25519 {fingerprint}" in said
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in said
    assert stat.S_IMODE(known.stat().st_mode) == 0o600
    assert known.read_text().split()[:2] == [f"[127.0.0.1]:{server.port}", "ssh-ed25519"]
    assert trusted("web-1", config=config, fingerprint="") == 0
    assert "is trusted already" in capsys.readouterr().out
    assert known.read_text().count("\n") == 1


def test_a_file_that_others_read_stays_readable(server, config, known):
    """A known_hosts file keeps its mode: one for the whole machine is not taken from everybody else."""
    known.parent.mkdir(mode=0o700)
    known.write_text("# of this site\n")
    known.chmod(0o644)
    assert trusted("web-1", config=config, fingerprint=key_of(server).get_fingerprint()) == 0
    assert stat.S_IMODE(known.stat().st_mode) == 0o644


def test_no_link_in_the_place_of_the_lock_is_followed(server, config, known, capsys):
    """Run by root in a folder of the bot's account, it makes no file where that account would like one."""
    known.parent.mkdir(mode=0o700)
    aim = known.parent / "nologin"
    known.with_name(f".{known.name}.lock").symlink_to(aim)
    with pytest.raises(HostError, match="can not be written"):
        trusted("web-1", config=config, fingerprint=key_of(server).get_fingerprint())
    assert not aim.exists()
    assert not known.exists()


def test_a_wrong_fingerprint_writes_nothing(config, known, capsys):
    """Another fingerprint than the one offered is refused, and said to be dangerous."""
    assert trusted("web-1", config=config, fingerprint="SHA256:" + "A" * 43) == 1
    assert "nothing was written. Somebody may stand between" in capsys.readouterr().out
    assert not known.exists()


def answered(config, answer):
    """`oombot hosts trust web-1` on a terminal on which somebody types."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        return subprocess.run(
            [sys.executable, "-m", "oombot", "hosts", "trust", "web-1", "-c", str(config)],
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=Path(__file__).parents[2],
        )
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(("answer", "status"), [("y", 1), ("yes", 0)])
def test_on_a_terminal_only_yes_writes_the_key(config, known, answer, status):
    """A short y may be a slip; the whole word is needed."""
    done = answered(config, answer)
    assert (done.returncode, known.exists()) == (status, status == 0), done.stderr


def test_without_a_terminal_the_command_is_shown(server, config, known):
    """Where nobody can type, nothing is written and the way without a question is named."""
    command = [sys.executable, "-m", "oombot", "hosts", "trust", "web-1", "-c", str(config)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    wanted = f"oombot hosts trust web-1 --fingerprint {key_of(server).get_fingerprint()}"
    assert (done.returncode, wanted in done.stdout, known.exists()) == (1, True, False), done.stderr


def test_a_changed_key_is_refused_with_the_command_that_removes_the_old(server, config, known):
    """The new key is not offered for a yes; after the command that is named it is."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key("openssh").decode()
    known.parent.mkdir()
    known.write_text(f"[127.0.0.1]:{server.port} {other}")
    before = known.read_text()
    fingerprint = key_of(server).get_fingerprint()
    with pytest.raises(HostKeyError, match="has changed and somebody may be listening") as caught:
        trusted("web-1", config=config, fingerprint=fingerprint)
    removing = f"ssh-keygen -R '[127.0.0.1]:{server.port}' -f {known}"
    assert removing in caught.value.fix
    assert known.read_text() == before
    subprocess.run(removing, shell=True, check=True, capture_output=True)
    assert trusted("web-1", config=config, fingerprint=fingerprint) == 0


def test_a_revoked_key_is_refused(server, config, known):
    """A key marked @revoked is never enrolled again."""
    known.parent.mkdir()
    known.write_text(f"@revoked * {key_of(server).export_public_key('openssh').decode()}")
    with pytest.raises(HostKeyError, match="is revoked"):
        trusted("web-1", config=config, fingerprint=key_of(server).get_fingerprint())


def test_a_jump_host_is_trusted_first(server, config, known):
    """The host behind names the jump host and the command for it; one after the other both are enrolled."""
    fingerprint = key_of(server).get_fingerprint()
    with pytest.raises(HostKeyError, match=r"db-1 is reached through 127\.0\.0\.1") as caught:
        trusted("db-1", config=config, fingerprint=fingerprint)
    assert caught.value.jump == "127.0.0.1"
    assert caught.value.fix.endswith("oombot hosts trust 127.0.0.1")
    assert not known.exists()
    assert trusted("127.0.0.1", config=config, fingerprint=fingerprint) == 0
    assert trusted("db-1", config=config, fingerprint=fingerprint) == 0
    names = [line.split()[0] for line in known.read_text().splitlines()]
    assert names == [f"[127.0.0.1]:{server.port}", f"[127.0.0.2]:{server.port}"]


def test_who_is_neither_host_nor_jump_host_is_not_asked(config):
    """Only names of the configuration are connected to."""
    with pytest.raises(UnknownHostError):
        trusted("127.0.0.3", config=config, fingerprint="")


async def test_a_refused_login_does_not_hide_the_key(server, known):
    """The key of a host that refuses our account is shown all the same, and once on file it is trusted."""
    offer = await offer_of(server, known, user="nobody-here")
    assert offer.fingerprint == key_of(server).get_fingerprint()
    enrol(known, offer)
    assert await offer_of(server, known, user="nobody-here") is None


def certified(folder):
    """Sign the host key of a folder by an authority; give the authority's public key."""
    authority, key = folder / "authority", folder / "host_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", authority], check=True)
    words = ["ssh-keygen", "-q", "-s", authority, "-I", "web", "-h", "-n", "127.0.0.1", f"{key}.pub"]
    subprocess.run(words, check=True)
    return authority.with_suffix(".pub").read_text()


async def test_a_host_with_a_certificate_of_nobody_we_know_offers_its_bare_key(start_sshd, tmp_path, known):
    """A host certificate helps only those who know its authority; the others enrol the key itself."""
    with start_sshd(tmp_path / "a"):
        authority = certified(tmp_path / "a")  # the keys are there now
    key = tmp_path / "a" / "host_key"
    with start_sshd(tmp_path / "a", HostCertificate=f"{key}-cert.pub") as server:
        offer = await offer_of(server, known)
        assert offer.fingerprint == asyncssh.read_public_key(f"{key}.pub").get_fingerprint()
        known.parent.mkdir()
        known.write_text(f"@cert-authority * {authority}")
        assert await offer_of(server, known) is None
        async with hosts_of(server, known) as hosts:
            assert (await hosts.run("web-1", TRUE, timeout_s=60)).exit_status == 0


async def test_a_host_without_a_certificate_of_its_authority(server, known):
    """It is not said to have changed; its bare key can be enrolled beside the authority's line."""
    authority = asyncssh.generate_private_key("ssh-ed25519").export_public_key("openssh").decode()
    known.parent.mkdir()
    known.write_text(f"@cert-authority * {authority}")
    async with hosts_of(server, known) as hosts:
        with pytest.raises(HostKeyError, match="shows no certificate of the authority") as caught:
            await hosts.run("web-1", TRUE, timeout_s=60)
        assert "HostCertificate" in caught.value.fix
    enrol(known, await offer_of(server, known))
    async with hosts_of(server, known) as hosts:
        assert (await hosts.run("web-1", TRUE, timeout_s=60)).exit_status == 0


def an_offer(number):
    """A key of a host of its own."""
    return Offer(
        host=f"10.0.0.{number}",
        address="",
        port=22,
        key=asyncssh.generate_private_key("ssh-ed25519").convert_to_public(),
    )


def test_keys_enrolled_at_once_are_all_kept(known):
    """Ten writers at the same time lose nothing of each other, and what stood there before stays."""
    known.parent.mkdir()
    known.write_text("# ours, without an end")
    start = threading.Barrier(10)

    def one(number):
        start.wait()
        enrol(known, an_offer(number))

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(one, range(10)))
    lines = known.read_text().splitlines()
    assert lines[0] == "# ours, without an end"
    assert sorted(line.split()[0] for line in lines[1:]) == [f"10.0.0.{number}" for number in range(10)]
    assert {path.name for path in known.parent.iterdir()} == {"known_hosts", ".known_hosts.lock"}


def test_a_key_that_came_meanwhile_is_not_overwritten(known):
    """Between the question and the answer somebody else may have enrolled another key: nothing is written."""
    enrol(known, an_offer(1))
    with pytest.raises(HostKeyError, match=r"has got a key of 10\.0\.0\.1 meanwhile"):
        enrol(known, an_offer(1))
    assert known.read_text().count("\n") == 1


def test_a_link_to_known_hosts_stays_a_link(known, tmp_path):
    """The file behind a symbolic link is replaced, not the link."""
    real = tmp_path / "real"
    real.write_text("")
    known.parent.mkdir()
    known.symlink_to(real)
    enrol(known, an_offer(1))
    assert (known.is_symlink(), real.read_text().startswith("10.0.0.1 ")) == (True, True)


def test_a_file_that_can_not_be_written_is_a_sentence(tmp_path):
    """Where there is no place for the file the key is not trusted, and that is said."""
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match=r"can not be written.*The key is not trusted"):
        enrol(tmp_path / "file" / "known_hosts", an_offer(1))


def test_the_bot_notices_a_key_that_was_enrolled(server, known):
    """A bot that refused a host tries it again at once when known_hosts has changed."""

    async def scene():
        async with hosts_of(server, known) as hosts:
            with pytest.raises(HostKeyError):
                await hosts.run("web-1", TRUE, timeout_s=60)
            with pytest.raises(HostKeyError, match="was not asked again") as caught:
                await hosts.run("web-1", TRUE, timeout_s=60)
            assert caught.value.retry_after_s > 200
            enrol(known, hosts.pool.link("web-1").offer)
            assert (await hosts.run("web-1", TRUE, timeout_s=60)).exit_status == 0

    asyncio.run(scene())
    assert KnownHosts([str(known)]).load() == []
