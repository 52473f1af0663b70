"""What leaves the views Slack takes; what would not leave is refused with every reason."""

import dataclasses

import pytest

from oombot.errors import ViewError
from oombot.views import Views, problems_of
from oombot.views.contexts import Empty, Notice

SECTION = {"type": "section", "text": {"type": "mrkdwn", "verbatim": True, "text": "x"}}


def message(*blocks, text="x"):
    return {"text": text, "blocks": list(blocks)}


def button(**fields):
    text = {"type": "plain_text", "emoji": False, "text": "Go"}
    return {"type": "button", "action_id": "go", "value": "1", "text": text} | fields


def actions(*elements):
    return {"type": "actions", "elements": list(elements)}


def modal(**fields):
    title = {"type": "plain_text", "text": "T"}
    return {"type": "modal", "title": title, "blocks": [SECTION]} | fields


@pytest.mark.parametrize(
    "view", [message(SECTION), message({"type": "divider"}), message(actions(button())), modal()]
)
def test_good(view):
    """A good message or modal has no problems."""
    assert problems_of(view) == []


@pytest.mark.parametrize(
    ("view", "problem"),
    [
        ({"text": "x"}, "there are no blocks"),
        (message(), "0 blocks, 1..50 allowed"),
        (message(*[{"type": "divider"}] * 51), "51 blocks, 1..50 allowed"),
        (message(SECTION, text=""), "no fallback text"),
        (message(SECTION, text="x" * 3901), "fallback text of 3901 characters"),
        (message({"type": "carousels"}), "unknown block type 'carousels'"),
        (message(SECTION | {"unheard": 1}), "slack_sdk reads it differently"),
        (message({"type": "section"}), "text or fields attribute must be specified"),
        (message({"type": "section", "text": {"type": "mrkdwn", "text": "x"}}), "mrkdwn without verbatim"),
        (
            message(
                {"type": "context", "elements": [{"type": "mrkdwn", "verbatim": True, "text": "x" * 3001}]}
            ),
            "a text of 3001 characters",
        ),
        (
            message({"type": "context", "elements": [{"type": "plain_text", "text": ""}]}),
            "a text of 0 characters",
        ),
        (
            message({"type": "header", "text": {"type": "mrkdwn", "verbatim": True, "text": "x"}}),
            "header must be plain_text",
        ),
        (
            message({"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}),
            "header longer than 150",
        ),
        (message(actions(button(value="x" * 2001))), "button value of a wrong length"),
        (message(actions()), "actions with 0 elements"),
        (message({"type": "context"}), "context"),
        (message(actions(button(), button(value="2"))), "action_id 'go' stands twice"),
        (message(SECTION | {"block_id": "a"}, SECTION | {"block_id": "a"}), "block_id 'a' stands twice"),
        (modal(title={"type": "plain_text", "text": "x" * 25}), "title must have 1..24 characters"),
        (modal(submit={"type": "plain_text", "text": ""}), "submit must have 1..24 characters"),
        (modal(private_metadata="x" * 3001), "private_metadata is too long"),
    ],
)
def test_bad(view, problem):
    """Each thing that Slack would refuse is named."""
    assert problem in "; ".join(problems_of(view))


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ missing }}", "UndefinedError: 'missing' is undefined"),
        ("not json", "JSONDecodeError"),
        ('{"text": "x", "blocks": []}', "0 blocks"),
        ("{{ 'a\\0b'|exact }}", "invisible character U+0000"),
        ("{{ 'x'|safe }}", "No filter named 'safe'"),
        ("{{ 'x'|tojson }}", "No filter named 'tojson'"),
        ("{{ ['<']|join(',') }}", "No filter named 'join'"),
    ],
)
def test_a_view_is_whole_or_an_error(template, problem):
    """Whatever goes wrong in a template is a ViewError that names it, never half a view."""
    with pytest.raises(ViewError) as caught:
        Views({"broken.json.j2": template}).render("broken", Empty())
    assert caught.value.template == "broken"
    assert problem in str(caught.value)


def test_a_template_that_is_missing():
    """A template that is not there is a ViewError too."""
    with pytest.raises(ViewError, match="TemplateNotFound"):
        Views({}).render("nowhere", Notice(sentence="x", fix="", who=""))


def test_contexts_are_frozen():
    """What a template is given can not be changed."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Notice(sentence="x", fix="", who="").sentence = "y"
