"""What a person chose or typed, as Slack puts it into `actions` and `state.values`."""

from typing import Any, Final

from oombot.workspace.elements import PLAIN_INPUTS
from oombot.workspace.errors import NotAllowedError

REQUIRED: Final = "Please complete this required field."
_SCALARS: Final = {
    "datepicker": "selected_date", "timepicker": "selected_time", "datetimepicker": "selected_date_time",
    "users_select": "selected_user", "conversations_select": "selected_conversation",
    "channels_select": "selected_channel",
    "multi_users_select": "selected_users", "multi_conversations_select": "selected_conversations",
    "multi_channels_select": "selected_channels",
}  # fmt: skip
_ONE_OPTION: Final = {"static_select", "radio_buttons", "overflow"}
_MANY_OPTIONS: Final = {"checkboxes", "multi_static_select"}
_NOTHING: Final[tuple[Any, ...]] = (None, "", [])


def chosen(element: dict[str, Any], value: Any) -> dict[str, Any]:
    """Return an element's part of an action or of `state.values` for what the person did."""
    kind = element["type"]
    if kind == "button":
        return {"value": element["value"]} if "value" in element else {}
    if kind in _ONE_OPTION:
        return {"selected_option": None if value in _NOTHING else _option(element, value)}
    if kind in _MANY_OPTIONS:
        return {"selected_options": [_option(element, one) for one in value or []]}
    if kind in _SCALARS:
        return {_SCALARS[kind]: value or None}
    return {"value": None if value in _NOTHING else str(value)}


def initial(element: dict[str, Any]) -> Any:
    """Return what an element holds before the person touches it."""
    kind = element["type"]
    if kind in _ONE_OPTION:
        return element.get("initial_option", {}).get("value")
    if kind in _MANY_OPTIONS:
        return [option["value"] for option in element.get("initial_options", [])]
    if kind in PLAIN_INPUTS:
        return element.get("initial_value")
    return next((value for key, value in element.items() if key.startswith("initial_")), None)


def complaint(block: dict[str, Any], value: Any) -> str | None:
    """Return the words Slack's own screen shows under a field that cannot be submitted so."""
    element = block["element"]
    if value in _NOTHING:
        return None if block.get("optional") else REQUIRED
    if element["type"] == "plain_text_input":
        return _length_complaint(element, str(value))
    if element["type"] == "number_input":
        return _number_complaint(element, str(value))
    return None


def _length_complaint(element: dict[str, Any], value: str) -> str | None:
    if len(value) < element.get("min_length", 0):
        return f"Please enter at least {element['min_length']} characters."
    high = element.get("max_length", 3000)
    return f"Please enter no more than {high} characters." if len(value) > high else None


def _number_complaint(element: dict[str, Any], value: str) -> str | None:
    try:
        number = float(value) if element["is_decimal_allowed"] else int(value)
    except ValueError:
        return "Please enter a number."
    if "min_value" in element and number < float(element["min_value"]):
        return f"Please enter a number of at least {element['min_value']}."
    if "max_value" in element and number > float(element["max_value"]):
        return f"Please enter a number of at most {element['max_value']}."
    return None


def _option(element: dict[str, Any], value: Any) -> dict[str, Any]:
    groups = [group["options"] for group in element.get("option_groups", [])]
    for option in sum(groups, element.get("options", [])):
        if option["value"] == value:
            return dict(option)
    raise NotAllowedError(f"{element['action_id']} offers no option {value!r}")
