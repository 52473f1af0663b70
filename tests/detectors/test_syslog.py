"""The detector of syslog files: places in files, rotation, truncation, half lines, stamps without a year."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oombot.detectors.syslog import DETECTOR
from oombot.model import Entry, Gap, Live
from tests.detectors.conftest import read

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC).timestamp()
HEADER = f"@@boot - 100 {NOW:.0f} +0100".encode()
LINE = "Nov 23 01:43:08 vm kernel: [ 2431.979445] "


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A host's /var/log, of which only messages is there."""
    path = tmp_path / "var/log/messages"
    path.parent.mkdir(parents=True)
    return path


def follow(run, log: Path, cursor: str | None = None) -> list[object]:
    command = DETECTOR.follow(cursor)
    _, lines = run(command, str(log.parents[2]))
    return read(DETECTOR.reader(cursor), lines)


def texts(items: list[object]) -> list[str]:
    return [item.text for item in items if isinstance(item, Entry)]


def last_cursor(items: list[object]) -> str:
    return [item.cursor for item in items if isinstance(item, Entry)][-1]


def test_first_contact_and_resume(run, log):
    """The whole file comes first; from the cursor on comes only what is new, and a half line waits."""
    log.write_text(f"{LINE}a\nNov 23 01:43:09 vm app: no\n{LINE}b\n")
    items = follow(run, log)
    assert texts(items) == ["a", "b"]
    assert isinstance(items[-1], Live)
    with log.open("a") as file:
        file.write(f"{LINE}c\n{LINE}half")
    again = follow(run, log, last_cursor(items))
    assert texts(again) == ["c"]
    assert not any(isinstance(item, Gap) for item in again)
    with log.open("a") as file:
        file.write(" whole\n")
    assert texts(follow(run, log, last_cursor(again))) == ["half whole"]


def test_rotation(run, log):
    """The rest of the rotated file comes first, then the new one."""
    log.write_text(f"{LINE}a\n")
    cursor = last_cursor(follow(run, log))
    with log.open("a") as file:
        file.write(f"{LINE}b\n")
    log.rename(log.with_name("messages.1"))
    log.write_text(f"{LINE}c\n")
    items = follow(run, log, cursor)
    assert texts(items) == ["b", "c"]
    assert not any(isinstance(item, Gap) for item in items)


def test_lost_file_and_truncation(run, log):
    """A replaced file whose rest is gone is a gap; so is a file that has become shorter."""
    log.write_text(f"{LINE}a long line\n")
    cursor = last_cursor(follow(run, log))
    path, inode, offset = cursor.split(":")
    log.write_text(f"{LINE}b\n")
    items = follow(run, log, cursor)
    assert isinstance(items[0], Gap)
    assert "truncated" in items[0].reason
    assert texts(items) == ["b"]
    gone = follow(run, log, f"{path}:1{inode}:{offset}")
    assert isinstance(gone[0], Gap)
    assert texts(gone) == ["b"]


def test_copy_and_truncation(run, log):
    """A file that was copied and truncated is read to its end in the copy, also when the new one is longer already."""
    log.write_text(f"{LINE}a\n")
    cursor = last_cursor(follow(run, log))
    with log.open("a") as file:
        file.write(f"{LINE}b\n")
    log.with_name("messages.1").write_bytes(log.read_bytes())
    log.write_text(f"{LINE}c, with more than was there\n{LINE}d\n{LINE}e\n")
    items = follow(run, log, cursor)
    assert texts(items) == ["b", "c, with more than was there", "d", "e"]
    assert not any(isinstance(item, Gap) for item in items)
    assert texts(follow(run, log, last_cursor(items))) == []


def test_same_inode_is_another_file(run, log):
    """A file that was replaced under the same inode by a longer one is known by its first line: that is a gap."""
    log.write_text(f"{LINE}a\n")
    cursor = last_cursor(follow(run, log))
    log.write_text(f"{LINE}other\n{LINE}b\n")
    items = follow(run, log, cursor)
    assert isinstance(items[0], Gap)
    assert texts(items) == ["other", "b"]


def test_cursor_of_an_older_oombot(run, log):
    """A cursor without the first line's sum goes on where it was."""
    log.write_text(f"{LINE}a\n{LINE}b\n")
    whole = last_cursor(follow(run, log))
    path, which, _ = whole.split(":")
    old = f"{path}:{which.split('.')[0]}:{len(LINE) + 2}"
    assert texts(follow(run, log, old)) == ["b"]


def test_live_rotation(shell, log):
    """A file that is rotated while it is followed is read to its end, then the new one."""
    log.write_text(f"{LINE}a\n")
    command = DETECTOR.follow(None)
    process = subprocess.Popen(
        [*shell, *command.argv[1:], str(log.parents[2])], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(command.stdin.encode())
        process.stdin.close()
        reader, items = DETECTOR.reader(None), []
        while not any(isinstance(item, Live) for item in items):
            items += reader.feed(process.stdout.readline().rstrip(b"\n"))
        with log.open("a") as file:
            file.write(f"{LINE}b\n")
        log.rename(log.with_name("messages.1"))
        log.write_text(f"{LINE}c\n")
        while len(texts(items)) < 3:
            items += reader.feed(process.stdout.readline().rstrip(b"\n"))
        assert texts(items) == ["a", "b", "c"]
        _, which, offset = last_cursor(items).split(":")
        assert (which.split(".")[0], offset) == (str(log.stat().st_ino), str(log.stat().st_size))
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def test_no_file(run, tmp_path):
    """Where there is no file the script says so and ends with 3."""
    status, lines = run(DETECTOR.follow(None), str(tmp_path))
    assert status == 3
    assert any(isinstance(item, Gap) for item in read(DETECTOR.reader(None), lines))


def test_excerpt_and_times():
    """An excerpt has no places; a stamp without a year is read in the host's zone, and only if that is known."""
    lines = [
        LINE.encode() + b"a",
        b"2026-11-23T01:43:08+00:00 vm kernel: b",
        b"Nov 23 01:43:08 vm su: c",
        b"@@files",
        b"",
    ]
    old, iso = read(DETECTOR.reader(None), [HEADER, *lines])
    assert old.time_s == datetime(2026, 11, 23, 0, 43, 8, tzinfo=UTC).timestamp()
    assert iso.time_s == datetime(2026, 11, 23, 1, 43, 8, tzinfo=UTC).timestamp()
    assert (old.cursor, old.kernel, old.approximate, old.mono_s) == (None, None, False, 2431.979445)
    unknown, _ = read(DETECTOR.reader(None), [HEADER.rpartition(b" ")[0], *lines])
    assert unknown.time_s is None


def test_log_text_is_no_mark():
    """Behind the prefix nothing is a mark, and a place of another file is not believed."""
    lines = [HEADER, b"@@files", b"@@from /etc/passwd 1 2", b"|" + LINE.encode() + b"@@live", b"|@@live"]
    items = read(DETECTOR.reader(None), lines)
    assert [(item.text, item.cursor) for item in items] == [("@@live", None)]


def test_command():
    """A cursor of another form, or of another file, reaches no shell."""
    assert DETECTOR.follow("/var/log/messages:12.9:34").argv[3:] == ("/var/log/messages", "12.9", "34")
    assert DETECTOR.follow("/var/log/messages:12:34").argv[3:] == (
        "/var/log/messages",
        "12",
        "34",
    )  # of oombot 0.1
    for bad in (None, "", "/etc/passwd:1:2", "/var/log/messages:1:x", "/var/log/messages:1:2\n"):
        assert DETECTOR.follow(bad).argv[3:] == ("", "", "")


def test_greeting_before_the_header():
    """What a login shell prints before the script does not make the file an excerpt, in which nothing is found."""
    place = b"@@from /var/log/kern.log 12.9 0"
    lines = [b"Welcome to web1!", HEADER, b"@@files", place, b"|" + LINE.encode() + b"a", b"@@live"]
    entry, live = read(DETECTOR.reader(None), lines)
    assert (entry.text, live) == ("a", Live())
