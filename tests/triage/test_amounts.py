"""Sizes, ages and counts as people read them."""

import pytest

from oombot.triage import age, ordinal, size
from oombot.triage.amounts import plural, shorten


@pytest.mark.parametrize(
    ("kb", "text"),
    [
        (None, "?"),
        (0, "0"),
        (4, "4 KiB"),
        (1024, "1.0 MiB"),
        (19_500, "19 MiB"),
        (1_048_500, "1.0 GiB"),
        (2_000_000, "1.9 GiB"),
        (1024**3, "1.0 TiB"),
        (1024**4 * 5, "5120.0 TiB"),
    ],
)
def test_size(kb, text):
    """A size has the unit that keeps it short."""
    assert size(kb) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "?"),
        (-3, "0 s"),
        (40, "40 s"),
        (240, "4 min"),
        (7200, "2 h"),
        (3 * 86400, "3 days"),
        (float("nan"), "?"),
        (float("inf"), "?"),
    ],
)
def test_age(seconds, text):
    """An age has one unit; a clock that runs backwards gives none below zero."""
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd"), (113, "113th")],
)
def test_ordinal(number, text):
    """A count is written as English has it."""
    assert ordinal(number) == text


def test_plural():
    """One is singular, and a word in s takes es."""
    assert [plural(1, "kill"), plural(2, "kill"), plural(2, "process")] == [
        "1 kill",
        "2 kills",
        "2 processes",
    ]


def test_shorten_keeps_the_end():
    """Of a long path its end is kept, because that tells cgroups apart."""
    assert (shorten("/a/b", 10), shorten("/aaaaaaaaaa/bbb", 8)) == ("/a/b", "…aaa/bbb")
