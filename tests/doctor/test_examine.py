"""How checks are found and put in order, and what the whole comes to."""

from pathlib import Path

import pytest

from oombot import catalog
from oombot.doctor import counts, examine, verdict
from oombot.doctor.shape import ok, unknown, warning, wrong
from tests.doctor.given import a_host, gathered

TWO = "hosts: [{name: web01}, {name: web02}]\n"
OK, WARNING = ok("a", "fine"), warning("b", "hm", "why", "fix")
WRONG, UNKNOWN = wrong("c", "no", "why", "fix"), unknown("d", "?", "why", "fix")


def test_every_check_is_found_by_its_file() -> None:
    """A check is one file: its name is the file's, and no two have one rank."""
    checks = catalog.checks()
    files = {path.stem for path in (Path(__file__).parents[2] / "oombot" / "doctor").glob("*.py")}
    assert set(checks) == files - {"__init__", "shape", "gathered"}
    assert len({check.rank for check in checks.values()}) == len(checks)


def test_every_check_has_its_cases() -> None:
    """Each check is judged by name in the cases of this folder."""
    cases = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for name in catalog.checks():
        assert f'("{name}", ' in cases, name


def test_the_bot_comes_first_and_then_host_by_host() -> None:
    """Lines come by subject, then by host; each knows its check."""
    found = examine(gathered(TWO, hosts=(a_host("web02"), a_host("web01"))), catalog.checks())
    hosts = [line.host for line in found]
    assert hosts[0] is None
    assert list(dict.fromkeys(hosts)) == [None, "web02", "web01"]
    assert found[0].check == "config"


@pytest.mark.parametrize(
    ("lines", "worst"),
    [
        ([OK], "ok"),
        ([OK, UNKNOWN], "unknown"),
        ([OK, UNKNOWN, WARNING], "warning"),
        ([WRONG, UNKNOWN, WARNING, OK], "wrong"),
        ([], "ok"),
    ],
)
def test_the_worst_state_is_the_whole_one(lines, worst) -> None:
    """One wrong line makes the whole wrong."""
    assert verdict(lines) == worst
    assert sum(counts(lines).values()) == len(lines)
