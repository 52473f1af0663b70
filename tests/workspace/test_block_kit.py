"""Block Kit is refused wherever Slack refuses it."""

import copy
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot.workspace.block_kit import checked_blocks, checked_view
from oombot.workspace.errors import SlackError


def plain(words):
    return {"type": "plain_text", "text": words}


def mrkdwn(words):
    return {"type": "mrkdwn", "text": words, "verbatim": True}


def actions(*elements):
    return {"type": "actions", "elements": list(elements)}


def button(**more):
    return {"type": "button", "text": plain("Go"), **more}


def option(value="v", words="o"):
    return {"text": plain(words), "value": value}


def select(**more):
    return {"type": "static_select", "action_id": "s", **more}


def section(**more):
    return {"type": "section", **more}


CONFIRM = {"title": plain("t"), "text": mrkdwn("x"), "confirm": plain("y"), "deny": plain("n")}
CELL = {"type": "raw_text", "text": "x"}


def rich(*parts):
    return {"type": "rich_text", "elements": list(parts)}


def rich_section(*leaves):
    return {"type": "rich_text_section", "elements": list(leaves)}


WORDS = rich_section({"type": "text", "text": "x"})
GROUP = {"label": plain("l"), "options": [option()]}
GOOD = {
    "header": {"type": "header", "text": plain("h" * 150)},
    "section": section(text=mrkdwn("x" * 3000)),
    "fields": section(fields=[*[mrkdwn("x" * 2000)] * 6, *[mrkdwn("y")] * 4]),
    "accessory": section(text=mrkdwn("x"), accessory=button()),
    "buttons": actions(*(button(action_id=str(n)) for n in range(25))),
    "confirm": actions(button(style="danger", confirm=CONFIRM, accessibility_label="a" * 75, value="v" * 2000)),
    "url": actions(button(url="https://example.com")),
    "overflow": actions({"type": "overflow", "action_id": "o", "options": [option(str(n)) for n in range(5)]}),
    "select": actions(select(options=[option(str(n)) for n in range(100)], placeholder=plain("p" * 150))),
    "context": {"type": "context", "elements": [mrkdwn("x")] * 10},
    "divider": {"type": "divider"},
    "image": {"type": "image", "image_url": "https://example.com/x.png", "alt_text": "a"},
    "rich": rich(rich_section({"type": "text", "text": "x", "style": {"bold": True}})),
    "preformatted": rich({"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "dmesg"}]}),
    "list": rich({"type": "rich_text_list", "style": "bullet", "elements": [WORDS]}),
    "date": rich(rich_section({"type": "date", "timestamp": 1, "format": "{ago}"}, {"type": "user", "user_id": "U1"})),
    "table": {"type": "table", "rows": [[CELL] * 20] * 100, "column_settings": [None, {"align": "right"}]},
    "markdown": {"type": "markdown", "text": "x" * 12_000},
    "level": {"type": "header", "text": plain("h"), "level": 2},
}  # fmt: skip

BAD = {
    "unknown block": {"type": "marquee"},
    "no type": {"text": plain("x")},
    "not an object": "divider",
    "unknown key": {"type": "divider", "colour": "red"},
    "long header": {"type": "header", "text": plain("h" * 151)},
    "mrkdwn header": {"type": "header", "text": mrkdwn("h")},
    "empty text": section(text=mrkdwn("")),
    "long section": section(text=mrkdwn("x" * 3001)),
    "empty section": section(),
    "empty fields": section(fields=[]),
    "11 fields": section(fields=[mrkdwn("x")] * 11),
    "long field": section(fields=[mrkdwn("x" * 2001)]),
    "text as string": section(text="hello"),
    "emoji in mrkdwn": section(text={"type": "mrkdwn", "text": "x", "emoji": True}),
    "verbatim in plain": section(text={"type": "plain_text", "text": "x", "verbatim": True}),
    "html text": section(text={"type": "html", "text": "x"}),
    "input as accessory": section(text=mrkdwn("x"), accessory={"type": "plain_text_input"}),
    "no elements": actions(),
    "26 elements": actions(*(button(action_id=str(n)) for n in range(26))),
    "same action_id": actions(button(action_id="a"), button(action_id="a")),
    "two primaries": actions(button(style="primary", action_id="a"), button(style="primary", action_id="b")),
    "odd style": actions(button(style="success")),
    "long button": actions(button(text=plain("x" * 76))),
    "mrkdwn button": actions({"type": "button", "text": mrkdwn("x")}),
    "long value": actions(button(value="v" * 2001)),
    "number value": actions(button(value=1)),
    "long url": actions(button(url="https://" + "x" * 3000)),
    "long action_id": actions(button(action_id="a" * 256)),
    "long label": actions(button(accessibility_label="a" * 76)),
    "unknown element": actions({"type": "slider"}),
    "text in actions": actions(mrkdwn("x")),
    "confirm without deny": actions(button(confirm={"title": plain("t"), "text": plain("x"), "confirm": plain("y")})),
    "long confirm": actions(button(confirm={**CONFIRM, "title": plain("t" * 101)})),
    "long confirm text": actions(button(confirm={**CONFIRM, "text": mrkdwn("t" * 301)})),
    "long confirm button": actions(button(confirm={**CONFIRM, "confirm": plain("t" * 31)})),
    "six in overflow": actions({"type": "overflow", "options": [option(str(n)) for n in range(6)]}),
    "101 options": actions(select(options=[option(str(n)) for n in range(101)])),
    "options and groups": actions(select(options=[option()], option_groups=[GROUP])),
    "no options": actions(select()),
    "long option": actions(select(options=[option(words="o" * 76)])),
    "long option value": actions(select(options=[option("v" * 151)])),
    "long placeholder": actions(select(options=[option()], placeholder=plain("p" * 151))),
    "11 radios": actions({"type": "radio_buttons", "options": [option(str(n)) for n in range(11)]}),
    "11 in context": {"type": "context", "elements": [mrkdwn("x")] * 11},
    "button in context": {"type": "context", "elements": [button()]},
    "no alt text": {"type": "image", "image_url": "https://example.com/x.png"},
    "two image sources": {"type": "image", "image_url": "https://x", "slack_file": {"id": "F1"}, "alt_text": "a"},
    "data image": {"type": "image", "image_url": "data:image/png;base64,", "alt_text": "a"},
    "unknown file": {"type": "image", "slack_file": {"id": "F0NOTHERE"}, "alt_text": "a"},
    "empty rich text": rich(),
    "hollow rich text": rich(rich_section()),
    "empty rich leaf": rich(rich_section({"type": "text", "text": ""})),
    "unknown rich part": rich({"type": "rich_text_banner", "elements": []}),
    "unknown rich style": rich(rich_section({"type": "text", "text": "x", "style": {"blink": True}})),
    "user in preformatted": rich({"type": "rich_text_preformatted", "elements": [{"type": "user", "user_id": "U1"}]}),
    "101 rows": {"type": "table", "rows": [[CELL]] * 101},
    "21 cells": {"type": "table", "rows": [[CELL] * 21]},
    "mrkdwn cell": {"type": "table", "rows": [[mrkdwn("x")]]},
    "long markdown": {"type": "markdown", "text": "x" * 12_001},
    "alert": {"type": "alert", "text": plain("modals only")},
    "long block_id": {"type": "divider", "block_id": "b" * 256},
    "empty block_id": {"type": "divider", "block_id": ""},
    "word for a boolean": section(text=mrkdwn("x"), expand="yes"),
    "rows as a number": {"type": "table", "rows": 3},
    "time as a word": rich(rich_section({"type": "date", "timestamp": "now", "format": "{ago}"})),
    "negative time": rich(rich_section({"type": "date", "timestamp": -1, "format": "{ago}"})),
    "confirm as a string": actions(button(confirm="sure?")),
    "element as a string": actions("go"),
    "element without type": actions({"text": plain("x")}),
    "level 5": {"type": "header", "text": plain("h"), "level": 5},
}  # fmt: skip


@pytest.mark.parametrize("block", GOOD.values(), ids=GOOD)
def test_good_blocks_pass(block):
    """What Slack accepts is accepted and comes back unchanged but for the ids."""
    before = copy.deepcopy(block)
    (after,) = checked_blocks([block])
    assert before == block
    assert (
        before.items() >= {key: after[key] for key in before if key not in {"elements", "accessory"}}.items()
    )


@pytest.mark.parametrize("block", BAD.values(), ids=BAD)
def test_bad_blocks_are_refused(block):
    """Unknown types and keys, empty and over-long parts are refused with a reason."""
    with pytest.raises(SlackError) as refused:
        checked_blocks([block])
    assert refused.value.code == "invalid_blocks"
    assert all("[json-pointer:/blocks/0" in reason for reason in refused.value.messages)


@pytest.mark.parametrize(
    "blocks",
    [
        [{"type": "divider"}] * 51,
        [{"type": "divider", "block_id": "b"}] * 2,
        [GOOD["table"], GOOD["table"]],
        [{"type": "markdown", "text": "x" * 6001}] * 2,
        [{**rich(rich_section({"type": "text", "text": "x"})), "block_id": "b"}] * 2,
    ],
    ids=["51 blocks", "same block_id", "two tables", "markdown in total", "same rich block_id"],
)
def test_limits_of_the_whole_message(blocks):
    """Some limits hold over all blocks together."""
    with pytest.raises(SlackError, match="invalid_blocks"):
        checked_blocks(blocks)


def modal(**changes):
    return {"type": "modal", "title": plain("t"), "blocks": [{"type": "divider"}], **changes}


FIELD = {"type": "input", "label": plain("l"), "element": {"type": "plain_text_input", "action_id": "a"}}


def field(**element):
    return {**FIELD, "element": {**FIELD["element"], **element}}


@pytest.mark.parametrize(
    "view",
    [
        modal(),
        modal(blocks=[FIELD], submit=plain("ok")),
        modal(blocks=[{"type": "divider"}] * 100),
        modal(private_metadata="m" * 3000, callback_id="c" * 255, close=plain("no"), notify_on_close=True),
        modal(
            blocks=[field(type="number_input", is_decimal_allowed=False, min_value="1")], submit=plain("ok")
        ),
        modal(blocks=[{"type": "alert", "text": plain("x")}]),
    ],
)
def test_good_modals_pass(view):
    """What Slack accepts as a modal is accepted."""
    assert checked_view(view, kinds=("modal",))["title"]


@pytest.mark.parametrize(
    "view",
    [
        modal(title=plain("t" * 25)),
        modal(title=mrkdwn("t")),
        modal(submit=plain("t" * 25)),
        modal(private_metadata="m" * 3001),
        modal(callback_id="c" * 256),
        modal(blocks=[{"type": "divider"}] * 101),
        modal(blocks=[FIELD]),
        modal(blocks={}),
        modal(colour="red"),
        modal(blocks=[GOOD["table"]]),
        modal(blocks=[field(max_length=3001)], submit=plain("ok")),
        modal(blocks=[field(min_length=9, max_length=3)], submit=plain("ok")),
        modal(blocks=[field(type="number_input")], submit=plain("ok")),
        modal(blocks=[{**FIELD, "label": plain("l" * 2001)}], submit=plain("ok")),
        modal(blocks=[field(focus_on_load=True)] * 2, submit=plain("ok")),
        {"type": "home", "blocks": []},
        {"type": "modal", "blocks": []},
        "modal",
    ],
)
def test_bad_modals_are_refused(view):
    """What Slack refuses as a modal is refused as an invalid argument."""
    with pytest.raises(SlackError, match="invalid_arguments"):
        checked_view(view, kinds=("modal",))


def test_huge_view():
    """A view of more than 250 kB is too large."""
    fields = [mrkdwn("x" * 2000)] * 10
    with pytest.raises(SlackError, match="view_too_large"):
        checked_view(modal(blocks=[section(fields=fields)] * 20), kinds=("modal",))


KEYS = st.sampled_from(
    [
        "type",
        "text",
        "elements",
        "fields",
        "action_id",
        "block_id",
        "options",
        "rows",
        "style",
        "slack_file",
        "id",
        "x",
    ]
)
TYPES = st.sampled_from(
    [*GOOD, "plain_text", "mrkdwn", "button", "actions", "rich_text", "rich_text_section", "x" * 99]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TYPES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


def refusal(check, payload):
    """Return the code a payload is refused with, or nothing."""
    try:
        check(payload)
    except SlackError as refused:
        return refused.code
    return None


@given(JSON, st.sampled_from(list(GOOD)), KEYS)
def test_no_json_upsets_the_checker(junk, name, key):
    """Whatever comes in place of blocks or inside them is refused in Slack's words, or is fine."""
    for blocks in (junk, [junk], [{**GOOD[name], key: junk}]):
        assert refusal(checked_blocks, blocks) in {None, "invalid_blocks", "invalid_blocks_format"}


@given(JSON, KEYS)
def test_no_json_upsets_the_view_checker(junk, key):
    """The same holds for views."""
    for view in (junk, modal(blocks=junk), modal(**{key: junk})):
        assert refusal(partial(checked_view, kinds=("modal",)), view) in {None, "invalid_arguments"}
