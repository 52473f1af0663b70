"""`oombot hosts list` and `hosts test`; `hosts trust` stands with its keys, in adapters/test_ssh_trust.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from oombot.cli.hosts import listed, readable
from oombot.errors import UnknownHostError
from tests.relay import closed_port

LONG_S = 120
ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path):
    """Write a configuration with this text."""

    def written(text):
        path = tmp_path / "oombot.yaml"
        path.write_text(f"store: {tmp_path}/store.sqlite\n{text}")
        return path

    return written


INVENTORY = """
groups:
  db: {jump: gate.example}
hosts:
  - {name: here, local: true}
  - {name: "web[1-2]", aliases: [], tags: [eu], port: 2222}
  - {name: six, address: "2001:db8::1", port: 22, helpers: installed}
  - {name: db-1, aliases: [main], group: db}
"""


def test_the_inventory_as_data(config, capsys):
    """Each host stands once, with its address, group, tags, jump host and helpers; nobody was seen yet."""
    assert listed("fleet", config=config(INVENTORY), as_json=True) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["here", "web1", "web2", "six", "db-1"]
    assert [row["address"] for row in rows.values()] == [
        "this machine",
        "web1:2222",
        "web2:2222",
        "[2001:db8::1]:22",
        "db-1",
    ]
    assert (rows["db-1"]["jump"], rows["db-1"]["group"], rows["web1"]["tags"]) == (
        "gate.example",
        "db",
        ["eu"],
    )
    assert (rows["six"]["helpers"], rows["web1"]["helpers"]) == ("installed", "sent")
    assert {row["last_seen_s"] for row in rows.values()} == {None}


def test_the_inventory_as_a_table_of_what_was_asked_for(config, capsys):
    """A pattern chooses; what is not known is a dash, and never is said as never."""
    assert listed("group:db", config=config(INVENTORY), as_json=False) == 0
    said = capsys.readouterr().out
    assert "db-1, main" in said
    assert "never" in said
    assert "web1" not in said
    with pytest.raises(UnknownHostError):
        listed("no-such-host", config=config(INVENTORY), as_json=False)


def test_a_host_that_can_be_read_is_seen(config, capsys):
    """After a test that went well the exit is 0, and the list knows when the host answered."""
    path = config("hosts: [{name: here, local: true}]\n")
    assert readable("here", config=path, as_json=True) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["host"], row["ok"], row["error"]) == ("here", True, "")
    assert listed("here", config=path, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)[0]["last_seen_s"] > 1_600_000_000


@pytest.mark.sshd
def test_what_fails_is_said_once_for_all_behind_a_jump_host(sshd, config, capsys):
    """One line a host; the dead jump host's fault stands once, with how many are behind it; the exit is 1."""
    with closed_port() as port:
        path = config(
            f"""
ssh: {{user: {sshd.user}, known_hosts: {sshd.known_hosts}, keys: [{sshd.key_file}]}}
groups: {{db: {{jump: "127.0.0.1:{port}"}}}}
hosts:
  - {{name: web-1, address: 127.0.0.1, port: {sshd.port}}}
  - {{name: "db-[1-5]", address: 127.0.0.1, port: {sshd.port}, group: db}}
"""
        )
        assert readable("fleet", config=path, as_json=False) == 1
    said = capsys.readouterr().out
    assert said.count("see below") == 5
    assert "5 host(s) behind 127.0.0.1:" in said
    assert said.count("is reached through 127.0.0.1, and that failed") == 1
    assert said.count("  fix: ") == 1
    assert "1 of 6 hosts can be read" in said


@pytest.mark.parametrize("words", [("list",), ("test",)])
def test_the_commands_are_there(config, words):
    """Both parse and run as a process."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "oombot",
            "hosts",
            *words,
            "-c",
            config("hosts: [{name: here, local: true}]\n"),
        ],
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, "here" in done.stdout) == (0, True), done.stderr
