"""`oombot explain`: what it prints, what it counts, and that a hostile log can not draw on the terminal."""

import json
from pathlib import Path

import pytest

from oombot.cli.explain import as_data, explain, verdict
from oombot.reading import explain as read

LOGS = Path(__file__).parents[1] / "oom_report"
KEYS = {
    "killer", "pid", "comm", "uid", "total_vm_kb", "anon_rss_kb", "file_rss_kb", "shmem_rss_kb", "pgtables_kb",
    "oom_score_adj", "scope", "constraint", "oom_memcg", "task_memcg", "invoker", "time",
}  # fmt: skip


def test_json(capsys):
    """Each kill has every key, null where the log does not say; the exit status is 0."""
    assert explain(str(LOGS / "4.15-memcg-v2.log"), as_json=True) == 0
    said = json.loads(capsys.readouterr().out)
    (kill,) = said["kills"]
    assert set(kill) >= KEYS
    assert (kill["killer"], kill["pid"], kill["scope"], kill["uid"], kill["time"]) == (
        "kernel", 131, "memcg", None, None,
    )  # fmt: skip
    assert (said["forms"], said["hidden_kills"]) == (["dmesg"], 0)


def test_time_is_utc(capsys):
    """A stamp with a zone becomes ISO 8601 in UTC."""
    explain(str(LOGS / "6.18-rsyslog-iso.log"), as_json=True)
    first, second = json.loads(capsys.readouterr().out)["kills"]
    assert first["time"] == "2026-11-23T01:43:08.657053+00:00"
    assert second["comm"] == "bé\ufffd\nnl"


def test_drawing(capsys):
    """The verdict, the table and the bars are drawn."""
    assert explain(str(LOGS / "6.1-tmpfs-culprit.log"), as_json=False) == 0
    said = capsys.readouterr().out
    assert "kills. Last: The kernel killed" in said
    assert "the host ran out of memory" in said
    assert "█" in said


def test_hidden_kill_is_said(capsys):
    """A kill that the log hides is said, with the command that shows it."""
    explain(str(LOGS / "6.18-journalctl-short-iso.log"), as_json=False)
    assert "journalctl -o json" in capsys.readouterr().out


def test_no_kill(tmp_path, capsys):
    """A log without a kill is explained too, with exit status 0."""
    log = tmp_path / "log"
    log.write_text("[    1.000000] hello\n")
    assert explain(str(log), as_json=False) == 0
    assert "This log shows no kill" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        b"6,1,2,-;Task in /a/b killed as a result of limit of /a",
        b"6,1,2,-;oom_reaper: reaped process 229 (main), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
        b"4,1,2,-;main invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
    ],
)
def test_a_report_without_its_kill_line_is_no_all_clear(line):
    """Where the log was filtered or cut, that nothing was killed is not claimed."""
    explanation = read(line + b"\n")
    assert (explanation.kills, as_data(explanation)["traces"]) == ((), 1)
    assert "ran, but this log does not name what it killed" in verdict(explanation)


def test_hostile_name(tmp_path, capsys):
    """Control characters and markup of a process name do not reach the terminal as such."""
    log = tmp_path / "log"
    log.write_bytes(
        b"Out of memory: Killed process 6 (\x1b[2J[red]\x07\xff) total-vm:9kB, anon-rss:8kB, file-rss:7kB, "
        b"shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n"
    )
    assert explain(str(log), as_json=False) == 0
    said = capsys.readouterr().out
    assert "\x1b[2J" not in said
    assert "\x07" not in said
    assert "[red]" in said


@pytest.mark.parametrize("name", ["missing", "", "\0"])
def test_unreadable_file(tmp_path, capsys, name):
    """A file that can not be read is one sentence and exit status 2."""
    assert explain(str(tmp_path / name) if name != "\0" else "a\0b", as_json=True) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("oombot: ")
    assert "can not be read" in said.err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("5.0-cpuset", "its cpuset ran out"),
        ("7.2-mempolicy-bind", "its NUMA policy ran out"),
        ("5.10-memcg-v2-oomgroup", "/system.slice/my-app.service reached its memory limit of 16 MiB"),
    ],
)
def test_verdict(name, words):
    """The sentence says what ran out."""
    assert words in verdict(read((LOGS / f"{name}.log").read_bytes()))


def test_unknown_is_said():
    """Where the log does not say what ran out, neither does the verdict."""
    line = b"Killed process 6 (x) total-vm:9kB, anon-rss:8kB, file-rss:7kB, shmem-rss:0kB"
    explanation = read(line)
    assert "does not say" in verdict(explanation)
    assert as_data(explanation)["kills"][0]["scope"] is None
