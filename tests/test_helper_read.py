"""The read helper as it is installed: a closed set of questions, answered like the scripts that are sent."""

import hashlib
import os
import re
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from oombot import catalog, facts, helper_call, installation
from oombot.facts import counter, settings

SINCE = 1_700_000_000
CURSORS = {
    "journald": (None, "s=0123456789abcdef;i=1f;b=00;m=00;t=00;x=00@4800"),
    "kmsg": (None, "11111111-2222-3333-4444-555555555555:7"),
    "dmesg": (None, "11111111-2222-3333-4444-555555555555:7.5"),
    "syslog": (None, "/var/log/messages:12:34"),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The installed file."""
    path = tmp_path_factory.mktemp("libexec") / "oombot-read"
    path.write_text(installation.read_program())
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def helper():
    """The program as a module."""
    module = types.ModuleType("oombot_read")
    exec(installation.read_program(), module.__dict__)
    return module


def ask(program, text, *arguments):
    """Run the program once, as the forced command does."""
    return subprocess.run(
        [sys.executable, "-I", program, *arguments],
        input=text if isinstance(text, bytes) else text.encode(),
        capture_output=True,
        check=False,
        timeout=120,
        env={"SSH_ORIGINAL_COMMAND": "cat /etc/shadow", "PATH": "/nowhere", "LC_ALL": "de_DE.UTF-8"},
    )


def test_a_reading_parses_like_the_sent_one(program):
    """The whole host comes out of the installed helper as out of the script, the log cut down to reports."""
    said = ask(program, helper_call.read("installed", SINCE).stdin)
    assert said.returncode == 0
    found = facts.parse(said.stdout, host="here", taken_s=time.time())
    sent = helper_call.read("sent", SINCE)
    raw = subprocess.run(sent.argv, input=sent.stdin.encode(), capture_output=True, check=True).stdout
    whole = facts.parse(raw, host="here", taken_s=time.time())
    assert found.problems == whole.problems
    assert (found.boot_id, found.kernel, found.page_kb) == (whole.boot_id, whole.kernel, whole.page_kb)
    assert found.kernel_log.source == whole.kernel_log.source
    assert {row.pid for row in found.processes} >= {1, os.getpid()}
    assert found.memory_kb["MemTotal"] == whole.memory_kb["MemTotal"]


def test_the_small_questions_are_answered(program):
    """Count, settings and version answer what their parsers read."""
    assert counter.parse(ask(program, helper_call.count("installed").stdin).stdout) is not None
    assert settings.parse(ask(program, helper_call.settings("installed").stdin).stdout) is not None
    assert helper_call.versions(ask(program, helper_call.version("installed").stdin).stdout) == {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("oombot-read", "oombot-helper")
        if (path := Path("/usr/local/libexec") / name).exists()
    }


@pytest.mark.parametrize("detector", catalog.detectors().values(), ids=lambda one: one.name)
def test_the_words_of_every_detector_pass(helper, detector):
    """What a detector hands to its script has the form that the helper checks, and it is the same script."""
    for cursor in CURSORS[detector.name]:
        asked = helper.asked(helper_call.follow("installed", detector, cursor).stdin)
        command = detector.follow(cursor)
        assert (asked.script, tuple(asked.words)) == (command.stdin, command.argv[3:])
        assert all(re.fullmatch(form, word) for form, word in zip(detector.words, asked.words, strict=True))


REFUSED = (
    "",
    "{",
    "[]",
    "7",
    '"read"',
    "{}",
    '{"op": "sh"}',
    '{"op": ["read"]}',
    '{"op": "read"}',
    '{"op": "read", "since_s": "7"}',
    '{"op": "read", "since_s": true}',
    '{"op": "read", "since_s": -1}',
    '{"op": "read", "since_s": 7, "script": "id"}',
    '{"op": "count", "words": ["x"]}',
    '{"op": "follow"}',
    '{"op": "follow", "detector": "../x", "words": []}',
    '{"op": "follow", "detector": "kmsg", "words": ["x"]}',
    '{"op": "follow", "detector": "kmsg", "words": [], "more": 1}',
    '{"op": "follow", "detector": "journald", "words": ["--file=/etc/shadow", "0"]}',
    '{"op": "follow", "detector": "journald", "words": ["", "-30d\\n"]}',
    '{"op": "follow", "detector": "journald", "words": ["", "$(id)"]}',
    '{"op": "follow", "detector": "journald", "words": ["", ["0"]]}',
    '{"op": "follow", "detector": "journald", "words": ["a;id", "0"]}',
    '{"op": "follow", "detector": "syslog", "words": ["/etc/shadow", "1", "0"]}',
    '{"op": "follow", "detector": "syslog", "words": ["/var/log/../../etc/shadow", "1", "0"]}',
    '{"op": "follow", "detector": "syslog", "words": ["", "", "", "/root"]}',
    '{"op": "count"}' + " " * 5000,
    "[" * 4000,
    b"\xff\xfe{}",
)


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_what_is_not_of_the_closed_set_is_refused(program, text):
    """Nothing is read, nothing is printed, and one sentence says so."""
    said = ask(program, text)
    assert said.returncode == 64
    assert said.stdout == b""
    assert said.stderr.startswith(b"oombot-read")
    assert said.stderr.count(b"\n") == 1


def test_arguments_are_refused(program):
    """The program takes none, whatever they say."""
    for argument in ("read", "--help", "-c id"):
        assert ask(program, '{"op": "count"}', argument).stdout == b""


def test_a_follower_ends_with_who_listens(tmp_path):
    """A quiet log would never tell that the link is gone: the helper sees it, and ends its script too."""
    program, main = tmp_path / "oombot-read", '\n\nif __name__ == "__main__":'
    quiet = 'FOLLOWED["kmsg"] = ("echo @@boot $$; exec sleep 600\\n", ())'
    program.write_text(installation.read_program().replace(main, f"\n\n{quiet}{main}"))
    reading, writing = os.pipe()
    request = helper_call.follow("installed", catalog.detectors()["kmsg"], None).stdin
    with subprocess.Popen([sys.executable, "-I", program], stdin=subprocess.PIPE, stdout=writing) as process:
        os.close(writing)
        process.stdin.write(request.encode())
        process.stdin.close()
        with os.fdopen(reading) as output:
            mark, child = output.readline().split()
            assert mark == "@@boot"
            assert _lives(child)
        process.wait(timeout=120)
    deadline = time.monotonic() + 60
    while _lives(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(child)


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_both_programs_are_whole():
    """Each is one file of the standard library that begins in isolated mode and defines every name once."""
    import ast
    from collections import Counter

    for text in (installation.read_program(), installation.act_program()):
        assert text.startswith("#!/usr/bin/python3 -I\n")
        tree = ast.parse(text)
        names = Counter(
            node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ast.unparse(node.target)
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AnnAssign)
        ) + Counter(ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign))
        assert [name for name, count in names.items() if count > 1] == []
        used = {
            (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert {name.split(".")[0] for name in used} <= set(sys.stdlib_module_names)


def test_versions_are_those_of_the_programs():
    """What doctor compares with is the sum of exactly what would be installed."""
    assert installation.expected_versions() == {
        "oombot-read": hashlib.sha256(installation.read_program().encode()).hexdigest(),
        "oombot-helper": hashlib.sha256(installation.act_program().encode()).hexdigest(),
    }
