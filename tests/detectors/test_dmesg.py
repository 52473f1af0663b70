"""dmesg's detector: the same ring is shown again and again, and each line is given once."""

from oombot.detectors.dmesg import DETECTOR
from oombot.model import Entry, Gap, Live
from tests.detectors.conftest import read

BOOT = "84631588-8d8e-4e1f-9bfd-c816cfa999c8"
HEADER = f"@@boot {BOOT} 1000 5000".encode()


def line(at: int, *, pri: int = 6) -> bytes:
    return f"|<{pri}>[{at:5d}.000000] message {at}".encode()


def texts(items: list[object]) -> list[str]:
    return [item.text for item in items if isinstance(item, Entry)]


def test_polls():
    """A line of an earlier look is not given again."""
    items = read(
        DETECTOR.reader(None),
        [HEADER, b"@@poll", line(1), line(2), b"@@live", b"@@poll", line(1), line(2), line(3)],
    )
    assert texts(items) == ["message 1", "message 2", "message 3"]
    assert isinstance(items[2], Live)
    assert (items[0].time_s, items[0].approximate, items[0].cursor) == (4001.0, True, f"{BOOT}:1.000000")


def test_equal_lines_without_a_stamp():
    """Where the kernel prints no stamps a line may come twice, and is given twice."""
    items = read(DETECTOR.reader(None), [HEADER, b"@@poll", b"|a", b"|a", b"@@poll", b"|a", b"|a", b"|a"])
    assert texts(items) == ["a", "a", "a"]


def test_overwritten_ring():
    """When the oldest line of a look is new, everything between was overwritten."""
    items = read(DETECTOR.reader(None), [HEADER, b"@@poll", line(1), b"@@poll", line(8)])
    assert [type(item) for item in items] == [Entry, Gap, Entry]


def test_resume_and_new_boot():
    """A cursor skips what is older in the same boot; another boot is a gap."""
    assert texts(read(DETECTOR.reader(f"{BOOT}:2.000000"), [HEADER, b"@@poll", line(1), line(2)])) == [
        "message 2"
    ]
    items = read(DETECTOR.reader(f"{'0' * 8}{BOOT[8:]}:2.000000"), [HEADER, b"@@poll", line(1)])
    assert isinstance(items[0], Gap)
    assert texts(items) == ["message 1"]


def test_log_text_is_no_mark():
    """Behind the prefix nothing is a mark, and in an excerpt nothing is one either."""
    items = read(DETECTOR.reader(None), [HEADER, b"@@poll", b"|@@live", b"|@@problem x"])
    assert texts(items) == ["@@live", "@@problem x"]
    excerpt = read(DETECTOR.reader(None), [HEADER, b"[    1.000000] a", b"@@poll", b"@@live"])
    assert not any(isinstance(item, Live) for item in excerpt)


def test_excerpt():
    """An excerpt is dmesg's text as it is; other facilities are passed over."""
    items = read(
        DETECTOR.reader(None), [HEADER, b"[    1.500000] a", b"               b", b"<14>[    2.000000] c"]
    )
    assert [(item.text, item.mono_s) for item in items] == [("a", 1.5), ("b", 1.5)]


def test_script(run, tmp_path):
    """The script shows the ring, says that it has caught up, and looks again."""
    program = tmp_path / "dmesg"
    program.write_text("#!/bin/sh\necho '<3>[    1.000000] a |b'\n")
    program.chmod(0o755)
    _, lines = run(DETECTOR.follow(None), env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, until=(b"@@poll", 2))
    assert lines.count(b"@@poll") == 2
    items = read(DETECTOR.reader(None), lines)
    assert [type(item) for item in items] == [Entry, Live]
    assert items[0].text == "a |b"


def test_no_permission(run, tmp_path):
    """Where dmesg is forbidden the script says so and ends with 3."""
    program = tmp_path / "dmesg"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    status, lines = run(DETECTOR.follow(None), env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert status == 3
    (gap,) = read(DETECTOR.reader(None), lines)
    assert "shows nothing to this account" in gap.reason


def test_greeting_before_the_header():
    """What a login shell prints before the script does not make the polls an excerpt, in which nothing is found."""
    lines = [b"Welcome to web1!", b"", HEADER, b"@@poll", line(1), b"@@live", b"@@poll", line(1), line(2)]
    items = read(DETECTOR.reader(None), lines)
    assert texts(items) == ["Welcome to web1!", "", "message 1", "message 2"]
    assert Live() in items
