"""Hostile words against every verb of the act helper: refused before anything runs, and nothing is left behind.

The helper is asked as the bot asks it, on a tree of files with programs that only note that they were called.
A verb's good line stands in GOOD, and each of its values is replaced by what an attacker would put there.
"""

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oombot import catalog
from oombot.data import oombot_helper
from oombot.data.oombot_helper import Place
from oombot.data.oombot_records import prepare
from oombot.data.oombot_site import RefusedError, Site
from oombot.data.oombot_verbs import VERBS
from oombot.errors import ConfigError
from tests.systemd import Systemd

SHA, RUN = "0" * 64, "a" * 32
SWAP = "--path /oombot-request-1.swap"
GOOD = {
    "set-adj": "--pid 4242 --start 42420 --was 0 --value 500",
    "write-adjust": "--unit api.service --was ABSENT --had 0 --value 500 --tag request-1",
    "remove-adjust": "--unit api.service --was 500",
    "set-memory": f"--unit api.service --lasting boot --max 536870912 --max-was infinity --files {SHA}",
    "restart-unit": f"--unit api.service --was {RUN} --active failed",
    "drop-caches": "--level 1",
    "reclaim": "--unit api.service --mib 64",
    "make-swap": f"{SWAP} --mib 64 --leave 512",
    "swap-on": SWAP,
    "swap-off": SWAP,
    "remove-swap": f"{SWAP} --bytes 67108864",
    "add-fstab": SWAP,
    "remove-fstab": SWAP,
    "set-swappiness": "--was 60 --value 10",
    "keep-swappiness": "--value 10 --tag request-1",
    "drop-swappiness": "--value 10 --tag request-1",
}
# verbs whose lines stand on standard input, attacked where they are tested
BY_INPUT = {"restore-memory", "put-back", "keep"}
PROGRAMS = "systemctl systemd-run sync mkswap swapon swapoff chattr findmnt sysctl df stat choom ionice sh"
NUMBERS = ("--mib", "--bytes", "--leave", "--value", "--was", "--had", "--pid", "--start", "--level")
SPECIAL = " '\"`$();|&<>*?[]{}!\n\r\t\0\x1b%,^…／"
CASES = [
    pytest.param(verb, at, id=f"{verb} {GOOD[verb].split()[at]}")
    for verb in sorted(set(GOOD) & set(VERBS))
    for at in range(0, len(GOOD[verb].split()), 2)
]
WORDS = [
    "",
    " ",
    "-",
    "--",
    "-H",
    "-Hattacker",
    "--root=/tmp",
    "--host=attacker",
    "-.slice.d/../x",
    "a b.service",
    "a'b.service",
    'a"b.service',
    "../../etc/passwd",
    "../x.service",
    "/../x.service",
    "a/../b.service",
    "/etc/systemd/system/api.service",
    "api.service\n",
    "api.service\nssh.service",
    "api.service ssh.service",
    "api*.service",
    "api?.service",
    "[a]pi.service",
    "$(reboot).service",
    "`reboot`.service",
    "${PATH}.service",
    "api.service;reboot",
    "api.service\0",
    "x" * 300 + ".service",
    "getty@.service",
    "/swap\n/etc/fstab",
    "/tmp/../oombot-x.swap",
    "/oombot-x.swap none swap sw 0 0",
    "oombot-x.swap",
]
SIZES = [
    "",
    "-0x1",
    "+64",
    "6 4",
    "64M",
    "0x40",
    "1e3",
    "64.0",
    "9" * 25,
    "-" + "9" * 25,
    "٦٤",
    "６４",
    "64\n",
    "NaN",
]
MIB_SIZES = ["0", "-1", "-64", "00064", "9999999", "4194305000"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A helper whose programs only note that they were called."""
    folder = tmp_path_factory.mktemp("host")
    for name in ("root/etc", "root/proc/sys/vm", "root/sys/fs/cgroup", "bin"):
        (folder / name).mkdir(parents=True)
    for name in PROGRAMS.split():
        (folder / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@" >>"{folder}/called"\n')
        (folder / "bin" / name).chmod(0o755)
    site = Site(root=str(folder / "root"), programs=str(folder / "bin"))
    names = ("state", "frozen", "policy.json", "journal")
    return Place(*(str(folder / name) for name in names), inside=True, site=site)


def refused(place: Place, argv: list[str], stdin: str = "") -> None:
    """Ask for one step behind a good one: nothing of the plan may be run, nothing may be left of it."""
    steps = [{"do": ["drop-caches", "--level", "1"], "stdin": ""}, {"do": argv, "stdin": stdin}]
    with pytest.raises(RefusedError):
        oombot_helper.run(place, "request-1", steps)
    folder = Path(place.state).parent
    assert {path.name for path in folder.iterdir()} == {"root", "bin"}  # no record, and no program was called
    assert [path for path in (folder / "root").rglob("*") if path.is_file()] == []


def attacked(verb: str, at: int, value: str) -> list[str]:
    """The verb's good line with another value at this option."""
    words = GOOD[verb].split()
    return [verb, *words[: at + 1], value, *words[at + 2 :]]


def test_every_verb_has_a_good_line() -> None:
    """A verb that is not attacked here is a hole; its good line must be one that it takes."""
    assert set(VERBS) <= set(GOOD) | BY_INPUT
    for verb in set(GOOD) & set(VERBS):
        assert VERBS[verb].words(GOOD[verb].split(), "")


@pytest.mark.parametrize(("verb", "at"), CASES)
def test_hostile_words_are_refused(place: Place, verb: str, at: int) -> None:
    """What could be an option, a path, a pattern, or meant for a shell is no value of any option."""
    option = GOOD[verb].split()[at]
    may = re.compile(r"-|0|") if option == "--was" else re.compile(r"(?!)")
    for value in WORDS:
        tag = option == "--tag" and re.fullmatch(r"[A-Za-z0-9_-]+", value)
        if not tag and not (value == "-" and may.fullmatch(value)):
            refused(place, attacked(verb, at, value))
    if option in NUMBERS:
        for value in SIZES:
            refused(place, attacked(verb, at, value))
    for value in MIB_SIZES if option == "--mib" else ():
        refused(place, attacked(verb, at, value))


@pytest.mark.parametrize(("verb", "at"), CASES)
@settings(max_examples=25)
@given(around=st.tuples(st.text(max_size=8), st.text(max_size=8)), special=st.sampled_from(SPECIAL))
def test_special_characters_are_refused(
    place: Place, verb: str, at: int, around: tuple[str, str], special: str
) -> None:
    """Wherever it stands and whatever is around it, such a character is in no value."""
    refused(place, attacked(verb, at, special.join(around)))
    good = GOOD[verb].split()[at + 1]
    refused(place, attacked(verb, at, f"{good}{special}"))
    refused(place, attacked(verb, at, f"{special}{good}"))


@pytest.mark.parametrize("verb", sorted(set(GOOD) & set(VERBS)))
@settings(max_examples=25)
@given(data=st.data())
def test_other_lines_are_refused(place: Place, verb: str, data: st.DataObject) -> None:
    """A word too many or too few, the same option twice, another order, or input where none is taken."""
    words = GOOD[verb].split()
    spare = data.draw(st.sampled_from(["x", "--", "-H", "--force", *words]))
    at = data.draw(st.integers(0, len(words)))
    refused(place, [verb, *words[:at], spare, *words[at:]])
    refused(place, [verb, *words[: data.draw(st.sampled_from(range(1, len(words), 2)))]])
    if len(words) > 2:
        refused(place, [verb, *words[2:], *words[:2]])
    refused(place, [verb, *words], stdin=data.draw(st.text(min_size=1, max_size=20)))


@given(
    verb=st.text(max_size=20)
    | st.sampled_from(["sh", "-c", "systemctl", "/bin/sh", "set-adj ", "../set-adj"])
)
def test_other_verbs_are_refused(place: Place, verb: str) -> None:
    """Only what stands in the table is a verb."""
    if verb not in VERBS:
        refused(place, [verb, "--unit", "api.service"])


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5
    )
)
def test_other_shapes_are_refused(place: Place, do: Any) -> None:
    """A step is a list of words and nothing else."""
    with pytest.raises(RefusedError):
        oombot_helper.run(place, "request-1", [{"do": do, "stdin": ""}])


# ---------------------------------------------------------------------- well-formed, and still not what it seems


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Systemd, Place]:
    """A machine with a service, and its helper."""
    made = Systemd(tmp_path)
    made.unit("api.service", state="failed", pids=())
    names = ("state", "frozen", "policy.json", "journal")
    return made, Place(*(str(tmp_path / name) for name in names), inside=True, site=made.site)


def stood(root: Path) -> dict[str, tuple[str, int, bytes]]:
    """Every file, folder and link of a tree."""
    return {
        str(path): (
            str(path.readlink()) if path.is_symlink() else "",
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
        )
        for path in sorted(root.rglob("*"))
    }


def left_alone(machine: Systemd, place: Place, argv: list[str]) -> None:
    """Run one step that must come to nothing: it only looked."""
    before = stood(machine.root)
    prepare(place.state)
    with contextlib.suppress(RefusedError):
        said = oombot_helper.run(place, "request-1", [{"do": argv, "stdin": ""}])
        assert said["status"] == "failed", said
    assert stood(machine.root) == before
    assert {call[1] for call in machine.calls()} <= {"show", "cat", "is-active", "--version"}


OF_UNITS = [verb for verb in sorted(set(GOOD) & set(VERBS)) if GOOD[verb].startswith("--unit")]
OF_PATHS = [verb for verb in sorted(set(GOOD) & set(VERBS)) if GOOD[verb].startswith("--path")]


@pytest.mark.parametrize("unit", ["none.service", "alias.service", "a\\x2fb.service", "masked.service"])
@pytest.mark.parametrize("verb", OF_UNITS)
def test_no_verb_touches_another_unit(machine: tuple[Systemd, Place], verb: str, unit: str) -> None:
    """A unit that is not there, is masked or goes by another name is left alone, and so is everything else."""
    made, place = machine
    made.unit("other.service", alias="alias.service")
    made.file("/etc/systemd/system/masked.service", "")
    (made.root / "etc/systemd/system/masked.service").unlink()
    (made.root / "etc/systemd/system/masked.service").symlink_to("/dev/null")
    made.unit("masked.service", state="inactive", pids=())
    left_alone(made, place, attacked(verb, 0, unit))


@pytest.mark.parametrize("verb", OF_PATHS)
def test_no_verb_follows_a_link_of_a_folder(machine: tuple[Systemd, Place], verb: str) -> None:
    """A path through a symbolic link leads nowhere, whatever it points to."""
    made, place = machine
    (made.root / "srv/elsewhere").mkdir(parents=True)
    (made.root / "srv/elsewhere/oombot-request-1.swap").write_bytes(b"not ours")
    (made.root / "srv/linked").symlink_to("elsewhere")
    left_alone(made, place, attacked(verb, 0, "/srv/linked/oombot-request-1.swap"))


@pytest.mark.parametrize("verb", OF_PATHS)
def test_no_verb_follows_a_link_of_a_file(machine: tuple[Systemd, Place], verb: str) -> None:
    """A file that is a symbolic link is none of ours."""
    made, place = machine
    (made.root / "etc/shadow").write_bytes(b"secret")
    (made.root / "oombot-request-1.swap").symlink_to("etc/shadow")
    if verb != "add-fstab":  # it writes a line about a path, and opens nothing there
        left_alone(made, place, [verb, *GOOD[verb].split()])
    assert (made.root / "etc/shadow").read_bytes() == b"secret"


# ---------------------------------------------------------------------- the forms that people fill in


@pytest.mark.parametrize("name", sorted(catalog.remediations()))
@given(
    hostile=st.sampled_from(
        [word for word in WORDS if word.strip() not in ("", "-", "--", "-H", "-Hattacker")]
    )
    | st.builds("{}{}{}".format, st.text(max_size=5), st.sampled_from(" '$*\n;"), st.text(max_size=5)).filter(
        str.strip
    )
)
def test_no_form_takes_hostile_words(name: str, hostile: str) -> None:
    """With such words in every field the form names what is wrong; it neither takes them nor breaks."""
    fields = (
        "process unit when way mib level value adj setting path folder size lasting high max swap_max restart"
    )
    with pytest.raises(ConfigError):
        catalog.remediations()[name].parse(dict.fromkeys(fields.split(), hostile))


def test_a_refusal_quotes_no_more_than_it_must(place: Place) -> None:
    """What an attacker sent does not come back in full."""
    with pytest.raises(RefusedError) as caught:
        oombot_helper.plan_of(place.site, [{"do": ["x" * 5000]}], None)
    assert len(str(caught.value)) < 200
