"""The command line as a process: what it prints, how it fails, and that it changes nothing when it fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import asyncssh
import pytest


def oombot(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `oombot` with an empty home."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLACK_", "OOMBOT_"))}
    return subprocess.run(
        [sys.executable, "-m", "oombot", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
        env={**kept, "HOME": str(folder), "COLUMNS": "160", **environment},
    )


def config(folder: Path, text: str) -> str:
    path = folder / "oombot.yaml"
    path.write_text(text)
    return str(path)


LOCAL = "hosts: [{name: testbox, local: true}]\nstore: store.sqlite\n"


def test_help_names_every_command(tmp_path: Path) -> None:
    """`oombot --help` lists the commands."""
    said = oombot("--help", folder=tmp_path).stdout
    for command in ("run", "demo", "ask", "explain", "check", "doctor", "hosts", "slack", "version"):
        assert command in said


def test_check_of_a_good_file(tmp_path: Path) -> None:
    """A good configuration is said to be ok."""
    done = oombot("check", "-c", config(tmp_path, LOCAL), folder=tmp_path)
    assert (done.returncode, "ok: mode propose, 1 host(s)" in done.stdout) == (0, True)


def test_check_names_every_mistake(tmp_path: Path) -> None:
    """Each mistake of a bad configuration is a line with file and line, and the exit is 2."""
    done = oombot("check", "-c", config(tmp_path, "mode: x\nhosts: []\nfoo: 1\n"), folder=tmp_path)
    assert done.returncode == 2
    assert "oombot.yaml:1: mode:" in done.stderr
    assert "oombot.yaml:3: foo: unknown key" in done.stderr


def test_check_names_jump_hosts_in_a_circle(tmp_path: Path) -> None:
    """A file that the bot would not start with is not called ok."""
    text = "hosts: [{name: a, jump: b}, {name: b, jump: a}, {name: c, jump: 'x,y'}]\n"
    done = oombot("check", "-c", config(tmp_path, text), folder=tmp_path)
    assert (done.returncode, "host a: its jump hosts come back to itself" in done.stderr) == (2, True)
    assert "ok" not in done.stdout
    assert "host c" not in done.stderr


def test_missing_file_is_a_sentence(tmp_path: Path) -> None:
    """A configuration that is not there is told, without a traceback."""
    done = oombot("check", "-c", "nowhere.yaml", folder=tmp_path)
    assert (done.returncode, "OOMBOT_CONFIG" in done.stderr, "Traceback" in done.stderr) == (2, True, False)
    assert "Errno" not in done.stderr


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ({}, "SLACK_BOT_TOKEN is not set"),
        ({"SLACK_BOT_TOKEN": "xapp-1", "SLACK_APP_TOKEN": "xoxb-1"}, "must begin with xoxb-"),
        ({"SLACK_BOT_TOKEN_FILE": "/nowhere", "SLACK_APP_TOKEN": "xapp-1"}, "can not be read"),
    ],
)
def test_run_without_good_tokens(tmp_path: Path, tokens: dict[str, str], said: str) -> None:
    """`oombot run` names the missing or swapped token and leaves no store behind."""
    done = oombot("run", "-c", config(tmp_path, LOCAL), folder=tmp_path, **tokens)
    assert (done.returncode, said in done.stderr) == (2, True)
    assert not (tmp_path / "store.sqlite").exists()


def test_ask_of_this_machine_as_data(tmp_path: Path) -> None:
    """`oombot ask --json` gives the diagnosis of the machine it runs on."""
    done = oombot("ask", "testbox", "--json", "-c", config(tmp_path, LOCAL), folder=tmp_path)
    data = json.loads(done.stdout)
    assert data["host"] == "testbox"
    assert data["answer"] in {"oom", "not_oom", "unknown"}
    assert data["memory"]["total_kb"] > 0
    assert data["scores"]


def test_ask_of_a_pid(tmp_path: Path) -> None:
    """A pid is answered with its score, adj and memory."""
    pid = str(os.getpid())
    done = oombot("ask", "testbox", pid, "--json", "-c", config(tmp_path, LOCAL), folder=tmp_path)
    facts = dict(json.loads(done.stdout)["target"]["facts"])
    assert facts["oom_score_adj"] == Path("/proc/self/oom_score_adj").read_text().strip()


def test_ask_of_an_unknown_host(tmp_path: Path) -> None:
    """A mistyped host is guessed, not picked."""
    done = oombot("ask", "testbx", "-c", config(tmp_path, LOCAL), folder=tmp_path)
    assert (done.returncode, "Did you mean testbox?" in done.stderr) == (2, True)


def test_ask_of_an_unreachable_host(tmp_path: Path) -> None:
    """A host that refuses the connection is told so, with a fix, and the answer is unknown."""
    text = (
        "ssh: {known_hosts: none}\nhosts: [{name: gone, address: 127.0.0.1, port: 1}]\nstore: store.sqlite\n"
    )
    done = oombot("ask", "gone", "-c", config(tmp_path, text), folder=tmp_path)
    assert done.returncode == 1
    assert "unknown" in done.stdout
    assert "Largest processes" not in done.stdout  # nothing was read, so no empty table claims none
    assert "fix:" in done.stderr


@pytest.mark.parametrize(("option", "prints"), [("--apply", ""), ("--remove", " --remove --print")])
def test_what_could_not_be_done_is_to_be_done_by_hand(tmp_path: Path, option: str, prints: str) -> None:
    """Where the administrator's ssh fails, the fix names the script of what was wanted, never of the opposite."""
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(tmp_path / "key")
    text = "ssh: {user: oombot-watch, keys: [key]}\nhosts: [{name: gone, address: 127.0.0.1, port: 1}]\n"
    words = ("sudoers", "gone", option, "--as", "root", "--ssh", "ssh -F none -o BatchMode=yes")
    done = oombot(*words, "-c", config(tmp_path, text), folder=tmp_path)
    assert (done.returncode, f"what `oombot sudoers gone{prints}` prints" in done.stderr) == (2, True)


def test_manifest_is_complete(tmp_path: Path) -> None:
    """The manifest has Socket Mode, interactivity, the command, and a reason with each scope."""
    import yaml

    said = oombot("slack", "manifest", folder=tmp_path).stdout
    manifest = yaml.safe_load(said)
    assert manifest["settings"]["socket_mode_enabled"] is True
    assert manifest["settings"]["interactivity"]["is_enabled"] is True
    assert manifest["features"]["slash_commands"][0]["command"] == "/oom"
    scopes = manifest["oauth_config"]["scopes"]["bot"]
    assert all(f"- {scope} #" in said for scope in scopes)


def test_version(tmp_path: Path) -> None:
    """The version is that of the package."""
    from oombot import __version__

    assert oombot("version", folder=tmp_path).stdout.strip() == f"oombot {__version__}"
