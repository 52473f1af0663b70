"""Commands that end before they could be given their input, against a server that answers all in one packet."""

from pathlib import Path

import asyncssh
import pytest

from oombot.adapters.ssh import SshHosts, SshTarget
from oombot.model import Command

EARLY = Command(argv=("true",), stdin="x" * 100)


class Hasty(asyncssh.SSHServerSession[bytes]):
    """Is done the moment it was started."""

    def connection_made(self, chan):
        self._channel = chan

    def exec_requested(self, command):
        return True

    def session_started(self):
        self._channel.write(b"done\n")
        self._channel.exit(0)


class Server(asyncssh.SSHServer):
    """Lets the key in and is hasty."""

    def session_requested(self):
        return Hasty()


@pytest.fixture
async def hosts(tmp_path: Path):
    """A server in this process, web-1."""
    key, host_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    key.write_private_key(tmp_path / "key")
    known = host_key.export_public_key().decode()
    async with asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[host_key],
        authorized_client_keys=asyncssh.import_authorized_keys(key.export_public_key().decode()),
        encoding=None,
        gss_host=None,
    ) as server:
        port = server.get_port()
        (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}")
        target = SshTarget(
            name="web-1", address="127.0.0.1", port=port, user="oombot", key_files=(str(tmp_path / "key"),)
        )
        async with SshHosts([target], known_hosts=[str(tmp_path / "known_hosts")]) as opened:
            yield opened


async def test_a_command_that_ended_before_its_input_came_is_a_result(hosts):
    """What it printed and how it ended is returned; the input that nobody wanted is no fault."""
    for _ in range(20):
        result = await hosts.run("web-1", EARLY, timeout_s=60)
        assert (result.exit_status, result.stdout) == (0, b"done\n")


async def test_a_stream_that_ended_before_its_input_came_has_its_lines(hosts):
    """A follower gets the lines of a command that was quicker than its input."""
    for _ in range(20):
        assert [line async for line in hosts.follow("web-1", EARLY)] == [b"done"]
