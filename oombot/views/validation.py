"""Would Slack take it? Shapes by slack_sdk's models, limits by our own count; every problem is named."""

from collections.abc import Iterator, Mapping
from typing import Any

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

_MAX_BLOCKS = {"message": 50, "modal": 100}
_MAX_TEXT = 3000
_MAX_FALLBACK = 3900  # chat.update fails above 4000
_MAX_METADATA = 3000
# of all texts of a message, each with its wrapping: Slack says 12,000 "with a buffer for containers" and refuses
# about 13,200 of plain text, less of rich text (slackapi/bolt-js issues 2509 and 2867)
_MAX_WHOLE, _WRAPPING = 12_000, 20
_LENGTHS = {"header": 150, "button": 75, "value": 2000, "title": 24}
_PLAIN_IN = {"header", "button"}


def problems_of(view: Mapping[str, Any]) -> list[str]:
    """List everything about a message or modal that Slack would refuse; empty when it is good."""
    surface = "modal" if view.get("type") == "modal" else "message"
    blocks = view.get("blocks")
    if not isinstance(blocks, list):
        return ["there are no blocks"]
    problems = list(_frame_problems(view, surface))
    if not 1 <= len(blocks) <= _MAX_BLOCKS[surface]:
        problems.append(f"{len(blocks)} blocks, 1..{_MAX_BLOCKS[surface]} allowed")
    for number, block in enumerate(blocks):
        problems += [f"block {number}: {problem}" for problem in _block_problems(block)]
    problems += _repeated(blocks)
    if surface == "message" and (whole := _whole(blocks)) > _MAX_WHOLE:
        problems.append(f"{whole} characters in all, at most {_MAX_WHOLE}")
    return problems


def _frame_problems(view: Mapping[str, Any], surface: str) -> Iterator[str]:
    """Check what stands round the blocks."""
    if surface == "message":
        text = view.get("text") or ""
        if not text:
            yield "no fallback text"
        if len(text) > _MAX_FALLBACK:
            yield f"fallback text of {len(text)} characters, at most {_MAX_FALLBACK}"
        return
    for name in ("title", "submit", "close"):
        if name in view and not 1 <= len(view[name]["text"]) <= _LENGTHS["title"]:
            yield f"{name} must have 1..{_LENGTHS['title']} characters"
    if len(view.get("private_metadata", "")) > _MAX_METADATA:
        yield "private_metadata is too long"


def _block_problems(block: Any) -> Iterator[str]:
    """Check that slack_sdk understands the block fully, and the lengths it does not check."""
    try:
        parsed = Block.parse(block)
        if parsed is None:
            yield f"unknown block type {block.get('type')!r}"
        elif parsed.to_dict() != block:
            yield f"slack_sdk reads it differently: {parsed.to_dict()}"
    except (SlackObjectFormationError, TypeError, AttributeError) as error:
        yield str(error)
    for thing in _walk(block):
        yield from _thing_problems(thing)


def _thing_problems(thing: Mapping[str, Any]) -> Iterator[str]:
    """Check one object inside a block: texts, buttons, options."""
    kind, text = thing.get("type"), thing.get("text")
    if kind in ("mrkdwn", "plain_text") and not 1 <= len(str(text or "")) <= _MAX_TEXT:
        yield f"a text of {len(str(text or ''))} characters, 1..{_MAX_TEXT} allowed"
    if kind == "mrkdwn" and thing.get("verbatim") is not True:
        yield "mrkdwn without verbatim"
    if kind in _PLAIN_IN and isinstance(text, dict):
        if text.get("type") != "plain_text":
            yield f"{kind} must be plain_text"
        if len(text.get("text", "")) > _LENGTHS[str(kind)]:
            yield f"{kind} longer than {_LENGTHS[str(kind)]}"
    if kind == "button" and len(thing.get("value", "-")) not in range(1, _LENGTHS["value"] + 1):
        yield "button value of a wrong length"
    if kind in ("context", "actions") and not 1 <= len(thing.get("elements", ())) <= 10:
        yield f"{kind} with {len(thing.get('elements', ()))} elements"


def _whole(blocks: list[Any]) -> int:
    """Count all text that a message shows."""
    texts = (thing["text"] for thing in _walk(blocks) if isinstance(thing.get("text"), str))
    return sum(len(text) + _WRAPPING for text in texts)


def _repeated(blocks: list[Any]) -> list[str]:
    """Name block ids and action ids that stand twice."""
    found: list[tuple[str, str]] = []
    for thing in _walk(blocks):
        found += [(name, str(thing[name])) for name in ("block_id", "action_id") if name in thing]
    return [
        f"{name} {value!r} stands twice"
        for name, value in sorted(set(found))
        if found.count((name, value)) > 1
    ]


def _walk(value: Any) -> Iterator[Mapping[str, Any]]:
    """Visit every object inside a value, itself included."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _walk(part)
