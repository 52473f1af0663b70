"""What a benchmark reports: values of one thing, their median and 95th percentile, and the aim they meet or miss."""

import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of a report. `met` is None where there is no aim; `note` says what else one must know."""

    what: str
    unit: str
    values: Sequence[float]
    aim: str = ""
    met: bool | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        """The value that 95 of 100 do not pass; of few values the largest."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)]


def missing(what: str, why: str) -> Figure:
    """A line for what could not be measured, and why."""
    return Figure(what=what, unit="", values=(), note=f"not measured: {why}")


def report(name: str, figures: Sequence[Figure]) -> str:
    """The figures as a table for people and for docs."""
    loads = " ".join(f"{load:.2f}" for load in os.getloadavg())
    rows = [
        f"## {name} (load average {loads})",
        "| what | n | median | p95 | aim | |",
        "|---|---|---|---|---|---|",
        *(_row(figure) for figure in figures),
        "",
    ]
    missed = [figure for figure in figures if figure.met is False]
    rows += [f"MISSED: {figure.what}: {figure.aim}. {figure.note}".rstrip() for figure in missed]
    return "\n".join(rows)


def _row(figure: Figure) -> str:
    verdict = {None: "", True: "met", False: "**missed**"}[figure.met]
    said = "; ".join(part for part in (verdict, figure.note) if part)
    if not figure.values:
        return f"| {figure.what} | 0 | | | {figure.aim} | {said} |"
    numbers = (
        f"{len(figure.values)} | {_shown(figure.median, figure.unit)} | {_shown(figure.p95, figure.unit)}"
    )
    return f"| {figure.what} | {numbers} | {figure.aim} | {said} |"


def _shown(value: float, unit: str) -> str:
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}".rstrip()
