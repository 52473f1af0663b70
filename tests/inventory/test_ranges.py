"""Ranges: what they stand for, how many that is, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot.inventory.ranges import LIMIT, RangeError, count, expand, split


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("web01", ["web01"]),
        ("web[1-3].prod", ["web1.prod", "web2.prod", "web3.prod"]),
        ("web[08-11]", ["web08", "web09", "web10", "web11"]),
        ("web[1-3,7]", ["web1", "web2", "web3", "web7"]),
        ("web[0-10/5]", ["web0", "web5", "web10"]),
        ("db-[a-c]", ["db-a", "db-b", "db-c"]),
        ("r[1-2]n[01-02]", ["r1n01", "r1n02", "r2n01", "r2n02"]),
        ("web[1,1,1-2]", ["web1", "web2"]),
        ("web[007]", ["web007"]),
    ],
)
def test_ranges_are_written_out(text, names):
    """A range stands for its names in order, padded as it is written, each once."""
    assert list(expand(text)) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web[01-40", "a [ without a ]"),
        ("web01]", "a ] without a ["),
        ("web[]", "is no range"),
        ("web[1-]", "is no range"),
        ("web[[1]]", "is no range"),
        ("web[-5]", "is no range"),
        ("web[9-1]", "runs backwards"),
        ("web[01-100]", "different widths"),
        ("web[1-3/0]", "step of 0"),
        ("web[٣-٥]", "is no range"),
        ("web[1-99999]", "stands for 99999 names, at most"),
        ("a[1-999]b[1-999]c[1-999]", "stands for 997002999 names, at most"),
        ("web[1-9999999999]", "is no range"),
    ],
)
def test_mistakes_are_named(text, said):
    """What is no range, or stands for too much, is refused with the reason, before any name is made."""
    with pytest.raises(RangeError) as caught:
        expand(text)
    assert said in str(caught.value)


@given(
    first=st.integers(0, 300),
    length=st.integers(0, 200),
    step=st.integers(1, 9),
    width=st.sampled_from([0, 4]),
)
def test_count_is_what_expand_makes(first, length, step, width):
    """The count is told without making the names, and is theirs."""
    text = f"n[{first:0{width}d}-{first + length:0{width}d}/{step}].x"
    names = expand(text)
    assert count(text) == len(names) == len(range(first, first + length + 1, step))
    assert [int(name[1:].removesuffix(".x")) for name in names] == [*range(first, first + length + 1, step)]
    assert all(not width or len(name) == width + 3 for name in names)


@given(st.text(alphabet="web0123456789[]-,/.*a é\x00", max_size=40))
def test_any_text_is_a_few_names_or_a_mistake(text):
    """Whatever is typed ends as at most LIMIT names without a bracket, or as a RangeError."""
    try:
        names = expand(text)
    except RangeError:
        return
    assert 1 <= len(names) <= LIMIT
    assert not any("[" in name or "]" in name for name in names)


def test_commas_inside_brackets_do_not_part():
    """Patterns are joined by commas; the commas of a range are its own."""
    assert split("web[1-3,7], group:db") == ["web[1-3,7]", "group:db"]
