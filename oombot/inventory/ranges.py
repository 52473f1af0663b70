"""Host ranges: `web[01-40].prod` is forty names. Lists, steps, letters and zero padding; the product is bounded."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

LIMIT = 20_000  # names that one text may stand for

_NUMBERS = re.compile(r"(?P<first>[0-9]{1,9})(?:-(?P<last>[0-9]{1,9})(?:/(?P<step>[0-9]{1,9}))?)?")
_LETTERS = re.compile(r"(?P<first>[a-zA-Z])-(?P<last>[a-zA-Z])(?:/(?P<step>[0-9]{1,2}))?")


class RangeError(ValueError):
    """The range can not be read; the message says why."""


@dataclass(frozen=True, slots=True)
class _Span:
    """One item between the commas: its values by number, and how each is written."""

    numbers: range
    width: int  # zero padding; 0: none
    letters: bool = False

    def written(self) -> Iterator[str]:
        """Every value as text."""
        for number in self.numbers:
            yield chr(number) if self.letters else f"{number:0{self.width}d}"


def has_range(text: str) -> bool:
    """Whether the text holds a bracket, so that it must be read as a range."""
    return "[" in text or "]" in text


def count(text: str) -> int:
    """How many names the text stands for, without making them; RangeError where it is no range."""
    return prod(sum(len(span.numbers) for span in part) for part in _parts(text) if not isinstance(part, str))


def expand(text: str) -> tuple[str, ...]:
    """Every name that the text stands for, in order, each once; RangeError for a mistake or more than LIMIT."""
    parts = _parts(text)
    number = prod(sum(len(span.numbers) for span in part) for part in parts if not isinstance(part, str))
    if number > LIMIT:
        raise RangeError(f"{text[:80]} stands for {number} names, at most {LIMIT} are taken at once")
    choices = [
        [part] if isinstance(part, str) else [value for span in part for value in span.written()]
        for part in parts
    ]
    return tuple(dict.fromkeys("".join(chosen) for chosen in product(*choices)))


def split(text: str) -> list[str]:
    """The parts between commas, where a comma inside brackets does not part."""
    parts, depth, start = [], 0, 0
    for index, sign in enumerate(text):
        depth += (sign == "[") - (sign == "]")
        if sign == "," and depth <= 0:
            parts.append(text[start:index])
            start = index + 1
    return [part.strip() for part in [*parts, text[start:]]]


def _parts(text: str) -> list[str | list[_Span]]:
    """Literal texts and bracketed lists, in turn."""
    parts: list[str | list[_Span]] = []
    rest = text
    while rest:
        literal, bracket, rest = rest.partition("[")
        if "]" in literal:
            raise RangeError(f"{text[:80]} has a ] without a [")
        parts.append(literal)
        if bracket:
            inside, closed, rest = rest.partition("]")
            if not closed:
                raise RangeError(f"{text[:80]} has a [ without a ]")
            parts.append([_span(item.strip()) for item in inside.split(",")])
    return parts


def _span(item: str) -> _Span:
    match = _NUMBERS.fullmatch(item)
    letters = None if match else _LETTERS.fullmatch(item)
    found = match or letters
    if found is None:
        raise RangeError(f"[{item[:40]}] is no range: write [01-40], [1-3,7], [0-10/2] or [a-f]")
    first, last, step = found["first"], found["last"] or found["first"], int(found["step"] or 1)
    if step < 1:
        raise RangeError(f"[{item}] has a step of 0")
    padded = not letters and any(len(end) > 1 and end.startswith("0") for end in (first, last))
    if padded and len(first) != len(last):
        raise RangeError(f"[{item}] pads its ends with zeros to different widths: write both ends as long")
    low, high = (ord(first), ord(last)) if letters else (int(first), int(last))
    if low > high:
        raise RangeError(f"[{item}] runs backwards")
    return _Span(range(low, high + 1, step), len(first) if padded else 0, letters=bool(letters))
