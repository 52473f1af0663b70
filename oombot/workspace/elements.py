"""Block Kit's text objects and elements (buttons, selects, inputs) as tables of what Slack accepts."""

from typing import Any, Final

from oombot.workspace.shapes import (
    Check,
    Report,
    any_of,
    array,
    boolean,
    exactly_one,
    number,
    one_of,
    shape,
    string,
    tagged,
)

SELECT_KINDS: Final = ("users", "conversations", "channels")
PLAIN_INPUTS: Final = ("plain_text_input", "email_text_input", "url_text_input", "number_input")


def plain(high: int) -> Check:
    """Demand a plain_text object."""
    return tagged({"plain_text": shape({"text": string(1, high)}, {"emoji": boolean})})


def text(high: int) -> Check:
    """Demand a plain_text or mrkdwn object; `emoji` and `verbatim` belong to one kind each."""
    return tagged({
        "plain_text": shape({"text": string(1, high)}, {"emoji": boolean}),
        "mrkdwn": shape({"text": string(1, high)}, {"verbatim": boolean}),
    })  # fmt: skip


def _action_id(report: Report, value: Any, pointer: str) -> None:
    string(1, 255)(report, value, pointer)
    if not isinstance(value, str):
        return
    if value in report.action_ids:
        report.fault(pointer, f"`action_id`: `{value}` already exists for this `block_id`")
    report.action_ids.add(value)


def _one_focus(report: Report, value: Any, pointer: str) -> None:
    boolean(report, value, pointer)
    if value is True and report.count("focus_on_load") > 1:
        report.fault(pointer, "only one element may set focus_on_load")


def _web_url(report: Report, value: Any, pointer: str) -> None:
    string(1, 3000)(report, value, pointer)
    if isinstance(value, str) and not value.startswith(("https://", "http://")):
        report.fault(pointer, "must be a valid URL")


def _known_file(report: Report, value: Any, pointer: str) -> None:
    if "id" in value and value["id"] not in report.files:
        report.fault(pointer, "invalid slack file")


def _lengths_in_order(report: Report, value: Any, pointer: str) -> None:
    low, high = value.get("min_length", 0), value.get("max_length", 3000)
    if low > high:
        report.fault(pointer, "min_length must not exceed max_length")


CONFIRM: Final = shape(
    {"title": plain(100), "text": text(300), "confirm": plain(30), "deny": plain(30)},
    {"style": one_of("primary", "danger")},
    typed=False,
)
_OPTION: Final = shape(
    {"text": plain(75), "value": string(1, 150)},
    {"description": plain(75), "url": string(1, 3000)},
    typed=False,
)
_RICH_OPTION: Final = shape(
    {"text": text(75), "value": string(1, 150)}, {"description": text(75)}, typed=False
)
_GROUP: Final = shape({"label": plain(75), "options": array(_OPTION, 1, 100)}, typed=False)
SLACK_FILE: Final = shape(
    {}, {"id": string(1, 255), "url": string(1, 3000)}, exactly_one("id", "url"), _known_file, typed=False
)
IMAGE_SOURCE: Final[dict[str, Check]] = {"image_url": _web_url, "slack_file": SLACK_FILE}

_ACTION: Final[dict[str, Check]] = {"action_id": _action_id}
_CHOICE: Final[dict[str, Check]] = {**_ACTION, "confirm": CONFIRM, "focus_on_load": _one_focus}
_SELECT: Final[dict[str, Check]] = {**_CHOICE, "placeholder": plain(150)}
_MULTI: Final[dict[str, Check]] = {**_SELECT, "max_selected_items": number(1, 100)}
_INPUT: Final[dict[str, Check]] = {
    **_ACTION,
    "placeholder": plain(150),
    "focus_on_load": _one_focus,
    "dispatch_action_config": shape(
        {"trigger_actions_on": array(one_of("on_enter_pressed", "on_character_entered"), 1, 2)}, typed=False
    ),
}
_OPTIONS: Final[dict[str, Check]] = {
    "options": array(_OPTION, 1, 100),
    "option_groups": array(_GROUP, 1, 100),
}

IMAGE: Final = shape({"alt_text": string(1, 2000)}, IMAGE_SOURCE, exactly_one("image_url", "slack_file"))
BUTTON: Final = shape(
    {"text": plain(75)},
    {
        **_ACTION,
        "value": string(1, 2000),
        "url": string(1, 3000),
        "style": one_of("primary", "danger"),
        "confirm": CONFIRM,
        "accessibility_label": string(1, 75),
    },
)

INTERACTIVE: Final[dict[str, Check]] = {
    "button": BUTTON,
    "overflow": shape({"options": array(_OPTION, 1, 5)}, {**_ACTION, "confirm": CONFIRM}),
    "static_select": shape({}, {**_SELECT, **_OPTIONS, "initial_option": _OPTION}, exactly_one(*_OPTIONS)),
    "multi_static_select": shape(
        {}, {**_MULTI, **_OPTIONS, "initial_options": array(_OPTION, 1, 100)}, exactly_one(*_OPTIONS)
    ),
    "radio_buttons": shape(
        {"options": array(_RICH_OPTION, 1, 10)}, {**_CHOICE, "initial_option": _RICH_OPTION}
    ),
    "checkboxes": shape(
        {"options": array(_RICH_OPTION, 1, 10)}, {**_CHOICE, "initial_options": array(_RICH_OPTION, 1, 10)}
    ),
    "datepicker": shape({}, {**_SELECT, "initial_date": string(10, 10)}),
    "timepicker": shape({}, {**_SELECT, "initial_time": string(5, 5), "timezone": string(1, 255)}),
    "datetimepicker": shape({}, {**_CHOICE, "initial_date_time": number(0, 9_999_999_999)}),
    **{
        f"{kind}_select": shape({}, {**_SELECT, f"initial_{kind[:-1]}": string(1, 255)})
        for kind in SELECT_KINDS
    },
    **{
        f"multi_{kind}_select": shape({}, {**_MULTI, f"initial_{kind}": array(string(1, 255), 1, 100)})
        for kind in SELECT_KINDS
    },
}

_NUMERIC: Final = string(1, 30)
INPUTS: Final[dict[str, Check]] = {
    **{kind: check for kind, check in INTERACTIVE.items() if kind not in {"button", "overflow"}},
    "plain_text_input": shape(
        {},
        {
            **_INPUT,
            "initial_value": string(0, 3000),
            "multiline": boolean,
            "min_length": number(0, 3000),
            "max_length": number(1, 3000),
        },
        _lengths_in_order,
    ),
    "email_text_input": shape({}, {**_INPUT, "initial_value": string(0, 3000)}),
    "url_text_input": shape({}, {**_INPUT, "initial_value": string(0, 3000)}),
    "number_input": shape(
        {"is_decimal_allowed": boolean},
        {**_INPUT, "initial_value": _NUMERIC, "min_value": _NUMERIC, "max_value": _NUMERIC},
    ),
}
ACCESSORY: Final = tagged({**INTERACTIVE, "image": IMAGE})
CONTEXT_ELEMENT: Final = tagged({
    "image": IMAGE,
    "plain_text": shape({"text": string(1, 3000)}, {"emoji": boolean}),
    "mrkdwn": shape({"text": string(1, 3000)}, {"verbatim": boolean}),
})  # fmt: skip
SECTION_CONTENT: Final = any_of("text", "fields")
