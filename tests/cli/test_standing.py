"""`oombot can|whoami|freeze|unfreeze|audit`: who may what, the switch that stops changes, and the trail."""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.cli.test_changes import ADA, ALONE, BEN, FOUR_EYES, REMEDY, adj, oombot, propose, requests, written
from tests.cli.test_changes import _at_home as at_home  # noqa: F401 — a fixture
from tests.cli.test_changes import sleeper as sleeper  # noqa: PLC0414 — a fixture


def tiers(file: str, *words: str) -> dict[str, dict[str, object]]:
    """What `oombot can` says as data, by tier."""
    said = json.loads(oombot("can", REMEDY, "testbox", *words, "--json", "-c", file).stdout)
    return {row["tier"]: row for row in said["tiers"]}


def test_can_says_who_may(tmp_path: Path) -> None:
    """An approver may; with four eyes not their own; a stranger may not, and the rule is named."""
    file = written(tmp_path, FOUR_EYES)
    assert [(row["approve"], row["own"]) for row in tiers(file).values()] == [(True, False)] * 2
    stranger = tiers(file, "--as", "U0NOBODY1")
    assert [row["approve"] for row in stranger.values()] == [False, False]
    assert "not among" in str(stranger["red"]["why"])
    assert oombot("can", REMEDY, "testbox", "--as", "U0NOBODY1", "-c", file).returncode == 1
    assert oombot("can", "nonsense", "testbox", "-c", file).returncode == 2


def test_whoami(tmp_path: Path) -> None:
    """The account and the person it is mapped to; an account of nobody is exit 1."""
    said = oombot("whoami", "--json", "-c", written(tmp_path, ALONE))
    assert (said.returncode, json.loads(said.stdout)["user"]) == (0, ADA)
    nobody = tmp_path / "nobody.yaml"
    nobody.write_text("hosts: [{name: testbox, local: true}]\nstore: store.sqlite\n")
    said = oombot("whoami", "-c", str(nobody))
    assert (said.returncode, "nobody in policy.accounts" in said.stderr) == (1, True)


def test_frozen_runs_nothing(tmp_path: Path, sleeper: int) -> None:
    """While changes are frozen an approval is refused; afterwards it counts."""
    file, before = written(tmp_path, ALONE), adj(sleeper)
    assert oombot("freeze", "looking", "-c", file).returncode == 0
    done = propose(file, sleeper, "--yes")
    assert (done.returncode, "frozen" in done.stderr, adj(sleeper)) == (1, True, before)
    done = oombot("unfreeze", "-c", file)
    assert (done.returncode, "held back" in done.stdout) == (0, True)
    [made] = requests(file)
    assert oombot("approve", str(made["id"]), "--yes", "-c", file).returncode == 0


def test_audit_finds_a_changed_line(tmp_path: Path, sleeper: int) -> None:
    """The trail of a run is whole; a line that is changed in the database is named."""
    file = written(tmp_path, ALONE)
    assert propose(file, sleeper, "--yes").returncode == 0
    assert oombot("audit", "verify", "-c", file).returncode == 0
    with sqlite3.connect(tmp_path / "store.sqlite") as database:
        database.execute("UPDATE audits SET actor = ? WHERE seq = 2", (BEN,))
    database.close()
    done = oombot("audit", "verify", "-c", file)
    assert (done.returncode, "first at line 2" in done.stdout) == (1, True), done.stdout


def test_audit_exports_lines(tmp_path: Path) -> None:
    """Every line is one JSON object, on standard output as in a new file; one that is there is kept."""
    file, out = written(tmp_path, ALONE), tmp_path / "trail.jsonl"
    oombot("freeze", "-c", file)
    said = oombot("audit", "export", "-c", file)
    [line] = [json.loads(text) for text in said.stdout.splitlines()]
    assert (line["event"], line["actor"]) == ("freeze", ADA)
    assert oombot("audit", "export", str(out), "-c", file).returncode == 0
    assert out.read_text() == said.stdout
    assert oombot("audit", "export", str(out), "-c", file).returncode == 1


@pytest.mark.parametrize("word", ["-c", "--config"])
def test_a_file_that_is_not_there(tmp_path: Path, word: str) -> None:
    """A configuration that can not be read is a mistake of the command."""
    assert oombot("whoami", word, str(tmp_path / "nowhere")).returncode == 2
