"""The steps of a plan as a card shows them: every command to the letter, many of one kind folded together."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from oombot.proposals import Step
from oombot.views.escaping import EXACT_MAX

FEW: Final = 5  # steps that are shown one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A caption, and the texts below it, each a box of its own."""

    label: str
    texts: tuple[str, ...] = ()


def shown(steps: Sequence[Step], *, briefly: bool = False) -> tuple[tuple[Part, ...], ...]:
    """The blocks of a card; `briefly` leaves out how it is done by hand and undone."""
    count, blocks = len(steps), []
    if count <= FEW:
        return tuple(
            _one(f"Step {at} of {count}: " * (count > 1), step, briefly) for at, step in _number(steps)
        )
    for _, group in groupby(_number(steps), key=lambda pair: (pair[1].do.argv[:1], pair[1].do.stdin != "")):
        members = list(group)
        numbers = (
            f"Step {members[0][0]}" if len(members) == 1 else f"Steps {members[0][0]} to {members[-1][0]}"
        )
        several = [step for _, step in members]
        if several[0].do.stdin:
            blocks += [_one(f"Step {at} of {count}: ", step, briefly) for at, step in members]
        else:
            blocks += _folded(f"{numbers} of {count}: ", several, briefly)
    return tuple(blocks)


def undo_preview(steps: Iterable[Step]) -> tuple[str, ...]:
    """The commands of the way back, in their order, as boxes."""
    return _boxes(shlex.join(step.undo.argv) for step in reversed(tuple(steps)) if step.undo is not None)


def _number(steps: Sequence[Step]) -> list[tuple[int, Step]]:
    return list(enumerate(steps, 1))


def _one(prefix: str, step: Step, briefly: bool) -> tuple[Part, ...]:
    parts = [Part(label=prefix + step.why, texts=(shlex.join(step.do.argv),))]
    if step.do.stdin:
        parts.append(Part(label="with this on its standard input", texts=_cut(step.do.stdin)))
    if briefly:
        return tuple(parts)
    if step.by_hand:
        parts.append(Part(label="By hand", texts=(step.by_hand,)))
    if step.undo is None:
        return (*parts, Part(label="Cannot be undone"))
    parts.append(Part(label="Undo would run", texts=(shlex.join(step.undo.argv),)))
    if step.undo.stdin:
        parts.append(Part(label="with this on its standard input", texts=_cut(step.undo.stdin)))
    return tuple(parts)


def _folded(prefix: str, steps: Sequence[Step], briefly: bool) -> list[tuple[Part, ...]]:
    """One block a box: a hundred commands stay whole, in few boxes."""
    reasons = list(dict.fromkeys(step.why for step in steps))
    more = f" (and {len(reasons) - 1} alike)" if len(reasons) > 1 else ""
    labelled = [(f"{prefix}{reasons[0]}{more}", [shlex.join(step.do.argv) for step in steps])]
    if not briefly:
        labelled += [
            ("By hand", [step.by_hand for step in steps if step.by_hand]),
            ("Undo would run", [shlex.join(step.undo.argv) for step in steps if step.undo is not None]),
        ]
    blocks: list[tuple[Part, ...]] = [
        (Part(label=label if number == 0 else f"{label}, continued", texts=(box,)),)
        for label, lines in labelled
        for number, box in enumerate(_boxes(lines))
    ]
    lost = sum(step.undo is None for step in steps)
    if lost and not briefly:
        blocks.append((Part(label=f"{lost} of these steps cannot be undone"),))
    return blocks


def _boxes(lines: Iterable[str]) -> tuple[str, ...]:
    """Lines joined as far as one box holds them; a line is never cut."""
    boxes: list[str] = []
    for line in lines:
        if boxes and len(boxes[-1]) + 1 + len(line) <= EXACT_MAX:
            boxes[-1] += f"\n{line}"
        else:
            boxes.append(line)
    return tuple(boxes)


def _cut(text: str) -> tuple[str, ...]:
    """A long input in parts that join to it, none of which begins or ends in white space."""
    parts = []
    while len(text) > EXACT_MAX:
        at = EXACT_MAX
        while at > 1 and (text[at - 1].isspace() or text[at].isspace()):
            at -= 1
        parts.append(text[:at])
        text = text[at:]
    return (*parts, text)
