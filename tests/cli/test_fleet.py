"""`oombot ask PATTERN` as a process: tables, data, exit status; and what `check` says of an import."""

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import config, oombot

TEXT = """\
inventory: {ansible: [hosts.ini]}
store: store.sqlite
ssh: {known_hosts: known_hosts}
hosts: [{name: testbox, local: true, become: none, tags: [x]}]
"""
INI = "[web]\nweb[1:3] ansible_host=127.0.0.1 ansible_port=1\n[win]\nwin1 ansible_connection=winrm\n"


@pytest.fixture
def fleet(tmp_path: Path) -> str:
    """One host that answers and three whose port nobody listens on."""
    (tmp_path / "hosts.ini").write_text(INI)
    (tmp_path / "known_hosts").touch()
    return config(tmp_path, TEXT)


def test_check_reports_the_import(tmp_path: Path, fleet: str) -> None:
    """`check` says how many hosts came from which file, and what was left out."""
    done = oombot("check", "-c", fleet, folder=tmp_path)
    assert done.returncode == 0
    assert "hosts.ini:4: win1 is left out: its connection is 'winrm', not ssh" in done.stdout
    assert "hosts.ini: 3 host(s) in 2 group(s) imported" in done.stdout
    assert "ok: mode propose, 4 host(s)" in done.stdout


def test_mistakes_of_an_import_have_their_place(tmp_path: Path, fleet: str) -> None:
    """A mistake in an imported file is a line with that file, and the exit is 2."""
    (tmp_path / "hosts.ini").write_text("ok\na;reboot\ntestbox\n")
    done = oombot("check", "-c", fleet, folder=tmp_path)
    assert done.returncode == 2
    assert "hosts.ini:2: name: " in done.stderr


def test_all_as_data(tmp_path: Path, fleet: str) -> None:
    """`--json` gives every host with its answer or its reason, ranked; exit 1 since some could not be asked."""
    done = oombot("ask", "fleet", "--json", "-c", fleet, folder=tmp_path)
    data = json.loads(done.stdout)
    assert (done.returncode, data["total"], data["answered"], data["failed"]) == (1, 4, 1, 3)
    assert data["hosts"][0]["host"] == "testbox"
    assert {host["host"] for host in data["hosts"] if "can not be reached" in host["reason"]} == {
        "web1",
        "web2",
        "web3",
    }


def test_tables_and_what_is_missing(tmp_path: Path, fleet: str) -> None:
    """The tables name who answered and who did not; names of a range that are no host are told."""
    done = oombot("ask", "web[3-4],tag:x", "-c", fleet, folder=tmp_path)
    assert done.returncode == 1
    assert "web[3-4],tag:x: 1 of 2 answered, 1 could not be asked." in done.stdout
    assert "in the range, but no hosts of the configuration: web4" in done.stdout
    assert "web1" not in done.stdout


def test_all_answered_is_exit_0(tmp_path: Path, fleet: str) -> None:
    """A pattern whose hosts all answered ends with 0."""
    assert oombot("ask", "tag:x", "-c", fleet, folder=tmp_path).returncode == 0


def test_nothing_meant_is_a_mistake(tmp_path: Path, fleet: str) -> None:
    """A group that is not there, and a process asked of many, are mistakes: exit 2 with the way out."""
    wrong = oombot("ask", "group:webs", "-c", fleet, folder=tmp_path)
    many = oombot("ask", "web*", "nginx", "-c", fleet, folder=tmp_path)
    assert (wrong.returncode, many.returncode) == (2, 2)
    assert "Did you mean group:web?" in wrong.stderr
    assert "fix: oombot ask HOST nginx" in many.stderr
