"""Strict validation of blocks and views: unknown types and keys, every documented limit, unique ids."""

import copy
import json
from collections.abc import Collection
from typing import Any, Final

from oombot.workspace.elements import (
    ACCESSORY,
    CONTEXT_ELEMENT,
    IMAGE_SOURCE,
    INPUTS,
    INTERACTIVE,
    SECTION_CONTENT,
    plain,
    text,
)
from oombot.workspace.errors import SlackError
from oombot.workspace.rich_text import RICH_TEXT
from oombot.workspace.shapes import (
    Check,
    Report,
    array,
    boolean,
    exactly_one,
    number,
    one_of,
    shape,
    string,
    tagged,
)
from oombot.workspace.state import random_id

MAX_BLOCKS: Final = {"message": 50, "modal": 100, "home": 100}
MESSAGE_TEXT_MAX: Final = (
    13_200  # not documented, but measured by others: slackapi/bolt-js issues 2509 and 2867
)
VIEW_MAX_BYTES: Final = 250_000
MARKDOWN_MAX: Final = 12_000


def _block_id(report: Report, value: Any, pointer: str) -> None:
    string(1, 255)(report, value, pointer)
    if not isinstance(value, str):
        return
    if value in report.block_ids:
        report.fault(pointer, f"`block_id` already exists: {value}")
    report.block_ids.add(value)


def _one_primary(report: Report, value: Any, pointer: str) -> None:
    if sum(element.get("style") == "primary" for element in value["elements"]) > 1:
        report.fault(f"{pointer}/elements", "only one primary button per set of actions")


def _markdown_total(report: Report, value: Any, pointer: str) -> None:
    if report.count("markdown", len(value["text"])) > MARKDOWN_MAX:
        report.fault(pointer, f"markdown blocks must be less than {MARKDOWN_MAX + 1} characters in total")


def _one_table(report: Report, _value: Any, pointer: str) -> None:
    if report.count("table") > 1:
        report.fault(pointer, "only_one_table_allowed")


def _nullable(check: Check) -> Check:
    def checked(report: Report, value: Any, pointer: str) -> None:
        if value is not None:
            check(report, value, pointer)

    return checked


_ID: Final[dict[str, Check]] = {"block_id": _block_id}
_CELL: Final = tagged({
    "raw_text": shape({"text": string(1, 3000)}),
    "raw_number": shape({"value": number(-1e300, 1e300)}, {"text": string(1, 255)}),
    "rich_text": RICH_TEXT,
})  # fmt: skip
_COLUMN: Final = shape({}, {"align": one_of("left", "center", "right"), "is_wrapped": boolean}, typed=False)

_SHARED: Final[dict[str, Check]] = {
    "header": shape({"text": plain(150)}, {**_ID, "level": one_of(1, 2, 3, 4)}),
    "section": shape(
        {},
        {
            **_ID,
            "text": text(3000),
            "fields": array(text(2000), 1, 10),
            "accessory": ACCESSORY,
            "expand": boolean,
        },
        SECTION_CONTENT,
    ),
    "actions": shape({"elements": array(tagged(INTERACTIVE), 1, 25)}, _ID, _one_primary),
    "context": shape({"elements": array(CONTEXT_ELEMENT, 1, 10)}, _ID),
    "divider": shape({}, _ID),
    "rich_text": RICH_TEXT,
    "image": shape(
        {"alt_text": string(1, 2000)},
        {**_ID, **IMAGE_SOURCE, "title": plain(2000)},
        exactly_one("image_url", "slack_file"),
    ),
    "input": shape(
        {"label": plain(2000), "element": tagged(INPUTS)},
        {**_ID, "hint": plain(2000), "optional": boolean, "dispatch_action": boolean},
    ),
    "video": shape(
        {
            "alt_text": string(1, 2000),
            "title": plain(199),
            "thumbnail_url": string(),
            "video_url": string(),
        },
        {**_ID, "description": plain(200), "title_url": string(), "author_name": string(1, 49)},
    ),
}
_MESSAGE_ONLY: Final[dict[str, Check]] = {
    "markdown": shape({"text": string(1, MARKDOWN_MAX)}, _ID, _markdown_total),
    "table": shape(
        {"rows": array(array(_CELL, 1, 20), 1, 100)},
        {**_ID, "column_settings": array(_nullable(_COLUMN), 0, 20)},
        _one_table,
    ),
}
_MODAL_ONLY: Final[dict[str, Check]] = {
    "alert": shape(
        {"text": text(200)}, {**_ID, "level": one_of("default", "info", "warning", "error", "success")}
    ),
}
_BLOCKS: Final = {"message": _SHARED | _MESSAGE_ONLY, "modal": _SHARED | _MODAL_ONLY, "home": _SHARED}
_VIEW: Final[dict[str, Check]] = {
    "callback_id": string(0, 255),
    "external_id": string(0, 255),
    "private_metadata": string(0, 3000),
    "blocks": lambda _report, _value, _pointer: None,  # checked on their own
}
_VIEWS: Final = {
    "modal": shape(
        {"title": plain(24), "blocks": _VIEW["blocks"]},
        {
            **_VIEW,
            "submit": plain(24),
            "close": plain(24),
            "clear_on_close": boolean,
            "notify_on_close": boolean,
        },
    ),
    "home": shape({"blocks": _VIEW["blocks"]}, _VIEW),
}


def _check_blocks(report: Report, blocks: list[Any], pointer: str) -> None:
    if len(blocks) > MAX_BLOCKS[report.surface]:
        report.fault(pointer, f"no more than {MAX_BLOCKS[report.surface]} items allowed")
        return
    check = tagged(_BLOCKS[report.surface])
    for position, block in enumerate(blocks):
        report.action_ids = set()
        check(report, block, f"{pointer}/{position}")
        if isinstance(block, dict) and block.get("type") == "rich_text" and "block_id" in block:
            _block_id(report, block["block_id"], f"{pointer}/{position}/block_id")


def checked_blocks(
    blocks: Any, *, files: Collection[str] = (), pointer: str = "/blocks"
) -> list[dict[str, Any]]:
    """Return a message's blocks with every missing id filled in, or refuse them as chat.postMessage does."""
    if not isinstance(blocks, list):
        raise SlackError("invalid_blocks_format")
    report = Report("message", files)
    _check_blocks(report, blocks, pointer)
    if report.errors:
        raise SlackError("invalid_blocks", messages=report.errors)
    if _text_length(blocks) > MESSAGE_TEXT_MAX:
        raise SlackError("msg_blocks_too_long")
    return with_ids(blocks)


def _text_length(value: Any) -> int:
    """Return how much text a message's blocks hold in all."""
    if isinstance(value, dict):
        own = len(value["text"]) if isinstance(value.get("text"), str) else 0
        return own + sum(_text_length(part) for part in value.values())
    return sum(_text_length(part) for part in value) if isinstance(value, list) else 0


def checked_view(view: Any, *, kinds: Collection[str], files: Collection[str] = ()) -> dict[str, Any]:
    """Return a modal or home view with ids filled in, or refuse it as views.open does."""
    if not isinstance(view, dict) or view.get("type") not in kinds:
        raise SlackError("invalid_arguments", messages=["[ERROR] unsupported type [json-pointer:/view/type]"])
    if len(json.dumps(view).encode()) > VIEW_MAX_BYTES:
        raise SlackError("view_too_large")
    report = Report(view["type"], files)
    _VIEWS[view["type"]](report, view, "/view")
    blocks = view.get("blocks")
    if isinstance(blocks, list):
        _check_blocks(report, blocks, "/view/blocks")
        if view["type"] == "modal" and "submit" not in view and any(_is_input(block) for block in blocks):
            report.fault("/view", "missing required field: submit")
    else:
        report.fault("/view/blocks", "must be an array")
    if report.errors:
        raise SlackError("invalid_arguments", messages=report.errors)
    return {**view, "blocks": with_ids(view["blocks"])}


def _is_input(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "input"


def interactive_elements(block: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the elements of a block that a person can use."""
    found = [*block.get("elements", []), block.get("accessory"), block.get("element")]
    return [
        e for e in found if isinstance(e, dict) and (e.get("type") in INTERACTIVE or e.get("type") in INPUTS)
    ]


def with_ids(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a copy in which every block has a block_id and every element an action_id, as Slack adds them."""
    filled = copy.deepcopy(blocks)
    for block in filled:
        block.setdefault("block_id", random_id("", 5))
        for element in interactive_elements(block):
            element.setdefault("action_id", random_id("", 5))
    return filled
