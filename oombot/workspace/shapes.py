"""A tiny schema language: checks are functions, shapes are tables, and every fault is reported as Slack words it."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

Check = Callable[["Report", Any, str], None]


class Report:
    """Collects what is wrong with a payload while its checks run."""

    def __init__(self, surface: str, files: Collection[str] = ()) -> None:
        """Start empty for a `message`, `modal` or `home`; `files` are the ids images may refer to."""
        self.surface = surface
        self.files = files
        self.errors: list[str] = []
        self.block_ids: set[str] = set()
        self.action_ids: set[str] = set()
        self.counts: dict[str, int] = {}

    def fault(self, pointer: str, message: str) -> None:
        """Add one fault."""
        self.errors.append(f"[ERROR] {message} [json-pointer:{pointer or '/'}]")

    def count(self, what: str, amount: int = 1) -> int:
        """Add to a running total over the whole payload and return it."""
        self.counts[what] = self.counts.get(what, 0) + amount
        return self.counts[what]


def string(low: int = 1, high: int = 3000) -> Check:
    """Demand a string of low..high characters."""

    def check(report: Report, value: Any, pointer: str) -> None:
        if not isinstance(value, str):
            report.fault(pointer, "must be a string")
        elif len(value) < low:
            report.fault(pointer, f"must be more than {low - 1} characters")
        elif len(value) > high:
            report.fault(pointer, f"must be less than {high + 1} characters")

    return check


def boolean(report: Report, value: Any, pointer: str) -> None:
    """Demand true or false."""
    if not isinstance(value, bool):
        report.fault(pointer, "must be a boolean")


def number(low: float, high: float) -> Check:
    """Demand a number between two bounds."""

    def check(report: Report, value: Any, pointer: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            report.fault(pointer, "must be a number")
        elif not low <= value <= high:
            report.fault(pointer, f"must be between {low:g} and {high:g}")

    return check


def one_of(*allowed: Any) -> Check:
    """Demand one of a few values."""

    def check(report: Report, value: Any, pointer: str) -> None:
        if value not in allowed:
            report.fault(pointer, "must be a valid enum value")

    return check


def array(item: Check, low: int, high: int) -> Check:
    """Demand a list of low..high items that each pass a check."""

    def check(report: Report, value: Any, pointer: str) -> None:
        if not isinstance(value, list):
            report.fault(pointer, "must be an array")
            return
        if len(value) < low:
            report.fault(pointer, f"no fewer than {low} items required")
        if len(value) > high:
            report.fault(pointer, f"no more than {high} items allowed")
            return
        for position, one in enumerate(value):
            item(report, one, f"{pointer}/{position}")

    return check


def shape(
    required: Mapping[str, Check],
    optional: Mapping[str, Check] | None = None,
    *rules: Check,
    typed: bool = True,
) -> Check:
    """Demand an object with these keys and no others; when they are right, apply the rules that span keys."""
    known: Final = {**required, **(optional or {})}

    def check(report: Report, value: Any, pointer: str) -> None:
        if not isinstance(value, dict):
            report.fault(pointer, "must provide an object")
            return
        before = len(report.errors)
        for key in required:
            if key not in value:
                report.fault(pointer, f"missing required field: {key}")
        for key, inner in value.items():
            if key in known:
                known[key](report, inner, f"{pointer}/{key}")
            elif not (typed and key == "type"):
                report.fault(pointer, f"invalid additional property: {key}")
        if len(report.errors) == before:
            for rule in rules:
                rule(report, value, pointer)

    return check


def tagged(shapes: Mapping[str, Check]) -> Check:
    """Demand an object whose `type` names one of the shapes, and check it as that shape."""

    def check(report: Report, value: Any, pointer: str) -> None:
        if not isinstance(value, dict):
            report.fault(pointer, "must provide an object")
        elif "type" not in value:
            report.fault(pointer, "missing required field: type")
        elif not isinstance(value["type"], str) or value["type"] not in shapes:
            report.fault(f"{pointer}/type", f"unsupported type: {value['type']}")
        else:
            shapes[value["type"]](report, value, pointer)

    return check


def exactly_one(*keys: str) -> Check:
    """Demand exactly one of some keys."""

    def check(report: Report, value: Any, pointer: str) -> None:
        if sum(key in value for key in keys) != 1:
            report.fault(pointer, f"must define exactly one of {', '.join(keys)}")

    return check


def any_of(*keys: str) -> Check:
    """Demand at least one of some keys, with something in it."""

    def check(report: Report, value: Any, pointer: str) -> None:
        if not any(value.get(key) for key in keys):
            report.fault(pointer, f"must define one of {', '.join(keys)}")

    return check
