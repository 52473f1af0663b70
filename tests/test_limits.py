"""The arithmetic of memory limits: sizes as people write them, the floor, what to raise to, what drop-ins hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot import limits
from oombot.data.oombot_dropins import holds_only

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("size", "said"),
    [(None, "no limit"), (204 << 10, "204 KiB"), (413 * MIB, "413 MiB"), (64 * GIB, "64.0 GiB")],
)
def test_what_was_measured_is_never_rounded_to_nothing(size: int | None, said: str) -> None:
    """A small unit holds so many KiB, and not 0 MiB."""
    assert limits.short_about(size) == said


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 512 * MIB),
        (" 512 mib ", 512 * MIB),
        ("2G", 2 * GIB),
        ("1.5g", 1536 * MIB),
        ("0", 0),
        ("536870912", 512 * MIB),
        ("1048576K", GIB),
        ("1T", 1024 * GIB),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size: int) -> None:
    """Suffixes are powers of 1024, in either case, with or without iB."""
    assert limits.parsed(text) == str(size)


@pytest.mark.parametrize("text", ["infinity", "Infinity", "max"])
def test_no_limit_has_names(text: str) -> None:
    """Infinity, or the kernel's max, takes a limit away."""
    assert limits.parsed(text) == "infinity"


@pytest.mark.parametrize(
    "text",
    [
        "-1",
        "-512M",
        "1000000",
        "0.3M",
        "2P",
        "99999999T",
        "50%",
        "512M; reboot",
        "$(id)",
        "1e9",
        "٥M",
        "",
        "M",
    ],
)
def test_junk_is_no_size(text: str) -> None:
    """Negative, huge, relative, broken to parts of a MiB or not a number at all: none of it is taken."""
    assert limits.parsed(text) is None


@given(st.text())
def test_whatever_is_written_is_a_whole_number_of_mib_or_nothing(text: str) -> None:
    """What comes out of a form is decimal bytes that the kernel shows as they are, or infinity."""
    found = limits.parsed(text)
    assert found in (None, "infinity") or int(found) % MIB == 0


@given(st.integers(min_value=1, max_value=limits.HIGHEST // MIB))
def test_a_size_that_is_shown_can_be_written(mib: int) -> None:
    """`short` is exact: what it shows is read back as the same limit."""
    assert limits.parsed(limits.short(mib * MIB)) == str(mib * MIB)


@given(st.integers(min_value=0, max_value=1 << 50))
def test_floor_is_a_quarter_above(working_b: int) -> None:
    """The floor is the smallest whole number that is no less than 1.25 times the use."""
    assert limits.floor_b(working_b) * 4 >= working_b * 5 > (limits.floor_b(working_b) - 1) * 4


def test_raise_follows_the_peak() -> None:
    """Peak and a quarter, rounded up, with the arithmetic in words."""
    advice = limits.raised(500 * MIB, 500 * MIB, room_b=GIB)
    assert advice is not None
    assert (advice.value_b, advice.why) == (
        640 * MIB,
        "observed peak 500 MiB + 25 %, rounded up = 640M",
    )


def test_no_raise_without_room() -> None:
    """A raise that the host's memory has no room for is not offered: it would move the kill to the host."""
    assert limits.raised(500 * MIB, 500 * MIB, room_b=100 * MIB) is None


@given(st.integers(1, 1 << 44), st.integers(0, 1 << 44), st.integers(0, 1 << 44))
def test_a_cap_on_offer_is_above_the_floor_and_leaves_the_reserve(
    total: int, others: int, working: int
) -> None:
    """What is offered can be set, and with it and all others the host keeps its reserve."""
    advice = limits.capped(total, others, working)
    assert advice is None or (
        advice.value_b >= limits.floor_b(working) and advice.value_b + others <= total * (1 - limits.RESERVE)
    )


def test_limits_below_limits_are_counted_once() -> None:
    """A service in a limited slice can not use more than the slice: only the slice counts."""
    found = {"/a.slice": 10, "/a.slice/b.service": 7, "/c.service": 5, "/d.service": None, "/": 99}
    assert limits.sum_of_limits(found) == 15


PLAIN = [
    "[Service]\nMemoryMax=512M\n",
    '# This is a drop-in, created via "systemctl set-property"\n# Do not edit.\n[Service]\nMemoryMax=536870912\n',
    "[Slice]\nMemoryMax=infinity",
    "; a remark\n\n[Service]\n  MemoryMax = 50%\n",
    "",
]
NOT_PLAIN = [
    "[Service]\nMemoryMax=512M\nExecStart=/bin/sh\n",
    "[Unit]\nMemoryMax=512M\n",
    "[Service]\nMemoryHigh=512M\n",
    "[Service]\nMemoryMax=$(reboot)\n",
    "[Service]\n# remark \\\nExecStart=x\n",
    "[Service]\nMemoryMax=512M\0\n",
    "[Service]\nMemoryMax=512M\r\nExecStart=x\n",
    "[Service]\x0bExecStart=/bin/sh\n",
    "[Service]\u2028ExecStart=/bin/sh\n",
    "x" * 5000,
    "#" * 5000,
]


@pytest.mark.parametrize("text", [*PLAIN, *NOT_PLAIN])
def test_a_drop_in_with_one_limit_is_told_from_any_other(text: str) -> None:
    """Comments, a section and the one key: nothing else may be put back by the host's helper."""
    assert limits.is_plain(text, "MemoryMax") is (text in PLAIN)


@given(
    st.lists(
        st.sampled_from(
            [
                "[Service]",
                "MemoryMax=",
                "512M",
                "\n",
                "#",
                ";",
                "\\",
                "=",
                " ",
                "\t",
                "ExecStart=x",
                "\r",
                "%",
                "é",
            ]
        )
    ).map("".join)
)
def test_bot_and_host_agree_on_what_can_be_put_back(text: str) -> None:
    """A plan is never made whose undo the host's helper would refuse."""
    assert limits.is_plain(text, "MemoryMax") is holds_only(text, "MemoryMax")


@pytest.mark.parametrize(
    ("text", "value"),
    [("512M", 512 * MIB), ("536870912", 512 * MIB), ("1.5G", 1536 * MIB), ("infinity", None), ("", None)],
)
def test_values_of_files_are_read_as_systemd_does(text: str, value: int | None) -> None:
    """A size in a file is compared in bytes."""
    assert limits.as_bytes(text) == value


def test_a_share_has_no_size_by_itself() -> None:
    """Percent of RAM are not guessed at."""
    with pytest.raises(ValueError, match="50% is no size"):
        limits.as_bytes("50%")
