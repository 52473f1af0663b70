"""`oombot doctor` as people and programs meet it: its data, its drawing at any width, and a real sshd."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from oombot.cli.doctor import as_data, draw
from oombot.doctor import Line
from oombot.doctor.shape import ok, warning, wrong
from oombot.workspace import Workspace
from tests.doctor.given import changed

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "doctor.schema.json").read_text())
HOSTILE = "web\x1b[2J\u202e<!channel>[bold]\nx\x07"
INTERRUPTIBLE = (  # a test run in the background inherits that SIGINT is ignored
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from oombot.__main__ import main; main()"
)
WIDTHS = (40, 60, 80, 160)


def doctor(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `oombot doctor` with an empty home and no tokens."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLACK_", "OOMBOT_"))}
    return subprocess.run(
        [sys.executable, "-m", "oombot", "doctor", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env={**kept, "HOME": str(folder), "COLUMNS": "80", **environment},
    )


def config(folder: Path, text: str) -> str:
    path = folder / "oombot.yaml"
    path.write_text(f"store: {folder / 'store.sqlite'}\n{text}")
    return str(path)


def drawn(lines: list[Line], width: int = 80, *, everything: bool = False) -> str:
    """What stands on a terminal of this width."""
    console = Console(file=StringIO(), width=width, highlight=False)
    draw(lines, console, everything=everything)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def on(host: str | None, line: Line, check: str = "reach") -> Line:
    return changed(line, host=host, check=check)


def test_json_of_the_bots_own_machine(tmp_path):
    """Without tokens the data is whole, follows the schema, and the exit is 1: Slack is wrong."""
    done = doctor("--json", "-c", config(tmp_path, "hosts: [{name: here, local: true}]\n"), folder=tmp_path)
    said = json.loads(done.stdout)
    jsonschema.validate(said, SCHEMA)
    assert (done.returncode, said["state"], done.stderr) == (1, "wrong", "")
    found = {(line["host"], line["check"], line["item"]): line["state"] for line in said["lines"]}
    assert found[None, "slack", "tokens"] == "wrong"
    assert found["here", "reach", "reach"] in {"ok", "warning"}
    assert not (tmp_path / "store.sqlite").exists()


def test_a_broken_configuration(tmp_path):
    """Every mistake is a line as file:line, also as data, and the exit is 1."""
    path = config(tmp_path, "mode: x\nhosts: []\n")
    done = doctor("--json", "-c", path, folder=tmp_path)
    said = json.loads(done.stdout)
    jsonschema.validate(said, SCHEMA)
    assert done.returncode == 1
    assert any("oombot.yaml:2: mode:" in line["what"] for line in said["lines"])
    assert {line["check"] for line in said["lines"]} == {"config"}


def test_tokens_are_never_told(tmp_path):
    """Tokens that were swapped are told by their kinds; neither stands in what is printed."""
    tokens = {"SLACK_BOT_TOKEN": "xapp-1-secret", "SLACK_APP_TOKEN": "xoxb-1-secret"}
    path = config(tmp_path, "hosts: [{name: here, local: true}]\n")
    done = doctor("-c", path, folder=tmp_path, **tokens)
    assert "an app-level token" in " ".join(done.stdout.split())
    assert "secret" not in done.stdout + done.stderr
    assert done.returncode == 1


def test_an_unknown_host_is_refused(tmp_path):
    """A pattern that means no host is a sentence and exit 2, and nobody is asked."""
    path = config(tmp_path, "hosts: [{name: here, local: true}]\n")
    done = doctor("--host", "web*", "-c", path, folder=tmp_path)
    assert (done.returncode, "web*" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_a_key_that_is_not_there_is_a_line(tmp_path):
    """Where no host can be opened, the reason and every host still have their lines."""
    text = "ssh: {keys: [nowhere]}\nhosts: [{name: web01}]\n"
    said = json.loads(doctor("--json", "-c", config(tmp_path, text), folder=tmp_path).stdout)
    found = {(line["host"], line["item"]): line for line in said["lines"]}
    assert found[None, "key"]["state"] == "wrong"
    assert found["web01", "reach"]["state"] in {"wrong", "unknown"}


def test_a_real_host(tmp_path, sshd):
    """A host behind a real sshd is told: the way, the key, the account, its kernel and its clock."""
    text = (
        f"ssh: {{known_hosts: {sshd.known_hosts}, keys: [{sshd.key_file}], user: {sshd.user}}}\n"
        "read_timeout_s: 60\nhosts:\n"
        f"  - {{name: web01, address: 127.0.0.1, port: {sshd.port}}}\n"
        "  - {name: web02, address: 127.0.0.1, port: 9}\n"
    )
    done = doctor("--json", "--host", "web*", "-c", config(tmp_path, text), folder=tmp_path)
    said = json.loads(done.stdout)
    jsonschema.validate(said, SCHEMA)
    states = {line["item"]: line["state"] for line in said["lines"] if line["host"] == "web01"}
    assert (states["key"], states["clock"], states["kernel"]) == ("ok", "ok", "ok")
    assert {"account", "source", "swap", "overcommit", "panic_on_oom", "cgroup", "sent", "rights"} <= set(
        states
    )
    others = {line["item"]: line["state"] for line in said["lines"] if line["host"] == "web02"}
    assert others == {"reach": "wrong"}


async def test_the_button_goes_away_on_ctrl_c(tmp_path):
    """Ctrl-C while the press is waited for takes the message out of the channel again."""
    async with Workspace() as ws:
        path = config(tmp_path, f"slack: {{api_url: '{ws.api_url}'}}\nhosts: [{{name: here, local: true}}]\n")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", INTERRUPTIBLE, "doctor", "-c", path, "--slack-test", "--wait", "300"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "SLACK_BOT_TOKEN": ws.bot_token, "SLACK_APP_TOKEN": ws.app_token},
        )
        try:
            async with asyncio.timeout(120):
                while not ws.messages("oncall"):  # noqa: ASYNC110 (a process is waited for)
                    await asyncio.sleep(0.1)
                process.send_signal(signal.SIGINT)
                assert await process.wait() == 130
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert ws.messages("oncall") == []


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_terminal(width):
    """At any width every line fits, none ends in blanks, and every word of every sentence is there."""
    line = wrong(
        "x", "the host said something rather long about itself", "it matters to somebody", "do this now"
    )
    said = drawn([on(None, ok("y", "well"), "store"), on("web01", line)], width)
    assert max(len(row) for row in said.splitlines()) <= width
    assert all(row == row.rstrip() for row in said.splitlines())
    for word in f"{line.what} {line.why} {line.fix}".split():
        assert word in said


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_strings_draw_nothing(width):
    """What a host says moves no cursor, is no markup, and begins no line of its own."""
    line = wrong("x", HOSTILE, HOSTILE, HOSTILE)
    said = drawn([on(HOSTILE, line)], width)
    assert not {"\x1b", "\x07", "\u202e"} & set(said)
    assert "[bold]" in said
    data = as_data([on(HOSTILE, line)], now_s=0.0)
    jsonschema.validate(data, SCHEMA)
    assert "\x1b" not in data["lines"][0]["what"]


def test_many_hosts_are_folded():
    """With many hosts what they share stands once with their names, and what is ok is only counted."""
    lines = [
        on(f"web{n:02}", wrong("reach", f"web{n:02} can not be reached", "why", "fix")) for n in range(20)
    ]
    lines += [on(f"db{n:02}", ok("reach", "fine")) for n in range(30)]
    said = drawn(lines)
    assert said.count("can not be reached") == 1
    assert "web00, web01, web02, web03 and 16 more" in said
    assert "30 of 50 hosts" in said
    assert "20 wrong, 30 ok (50 hosts)" in said
    assert drawn(lines, everything=True).count("can not be reached") == 20


def test_states_are_words_and_not_only_colours():
    """Each state is a word, so that nothing depends on colour."""
    lines = [ok("a", "one"), warning("b", "two", "why", "fix"), wrong("c", "three", "why", "fix")]
    said = drawn([on(None, line, "store") for line in lines])
    for word in (" ok ", " warning ", " wrong "):
        assert word in said


def test_the_docs_name_every_check():
    """Each check has its row in docs/doctor.md."""
    from oombot import catalog

    text = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
    for name in catalog.checks():
        assert f"| `{name}` |" in text, name
