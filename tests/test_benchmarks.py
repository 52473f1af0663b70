"""The reports of the benchmarks; what they measure is measured by `make bench`."""

import importlib

import pytest

from benchmarks.__main__ import ALL
from benchmarks.figures import Figure, missing, report


@pytest.mark.parametrize(("count", "worst"), [(1, 1.0), (20, 19.0), (30, 29.0), (100, 95.0)])
def test_p95_is_a_value_that_was_measured(count: int, worst: float) -> None:
    """Ninety-five of a hundred values do not pass the p95; of a single one it is that one."""
    assert Figure(what="x", unit="ms", values=[float(number + 1) for number in range(count)]).p95 == worst


def test_a_missed_aim_is_said_with_its_reason() -> None:
    """What misses its aim stands once more under the table, with why."""
    slow = Figure(what="warm", unit="s", values=[3.0], aim="under 2 s", met=False, note="the disk was full")
    said = report("reading", [slow, Figure(what="cold", unit="s", values=[1.0], aim="under 2 s", met=True)])
    assert "MISSED: warm: under 2 s. the disk was full" in said
    assert said.count("MISSED") == 1


def test_a_missing_peer_is_said() -> None:
    """A tool that is not installed has a line that says so, and misses nothing."""
    said = report("reading", [missing("pdsh", "not installed (apt-get install pdsh)")])
    assert "| pdsh | 0 | | |  | not measured: not installed (apt-get install pdsh) |" in said
    assert "MISSED" not in said


@pytest.mark.parametrize("name", ALL)
def test_each_benchmark_has_a_name_and_runs(name: str) -> None:
    """Every benchmark of the list can be imported, says what it measures and can be run."""
    module = importlib.import_module(f"benchmarks.{name}")
    assert module.NAME
    assert callable(module.run)
