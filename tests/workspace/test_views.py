"""Triggers, modals and home tabs."""

import pytest

from oombot.workspace import NotAllowedError, NotOnScreenError, seed


@pytest.fixture
def opened(api, trigger, kit):
    """Open a modal for Ada and return the view."""

    async def make(**changes):
        answer = await api("views.open", trigger_id=await trigger(), view={**kit.modal, **changes})
        assert answer.ok, answer
        return answer.view

    return make


async def test_trigger_once(api, trigger, kit):
    """A trigger opens one modal."""
    trigger_id = await trigger()
    assert (await api("views.open", trigger_id=trigger_id, view=kit.modal)).ok
    assert (await api("views.open", trigger_id=trigger_id, view=kit.modal)).error == "exchanged_trigger_id"


async def test_trigger_for_three_seconds(api, trigger, kit, clock):
    """A trigger is worthless after three seconds."""
    trigger_id = await trigger()
    clock.move(3.1)
    assert (await api("views.open", trigger_id=trigger_id, view=kit.modal)).error == "expired_trigger_id"


async def test_trigger_must_be_real(api, kit):
    """An invented trigger is invalid."""
    assert (await api("views.open", trigger_id="1.2.3", view=kit.modal)).error == "invalid_trigger_id"


async def test_invalid_view(ws, api, trigger):
    """An invalid view is refused with reasons and does not spend the trigger."""
    answer = await api("views.open", trigger_id=await trigger(), view={"type": "modal", "blocks": []})
    assert answer.error == "invalid_arguments"
    assert answer.response_metadata["messages"]
    assert ws.view(seed.ADA) is None


async def test_opened_view(ws, opened):
    """An open modal has an id, a hash, itself as root, and is on the screen."""
    view = await opened(private_metadata="m")
    assert ws.view(seed.ADA) == view
    assert (view["root_view_id"], view["previous_view_id"], view["private_metadata"]) == (
        view["id"],
        None,
        "m",
    )


async def test_stack_of_three(ws, api, trigger, opened, kit):
    """Two more views can be pushed, no third."""
    root = await opened()
    for _ in range(2):
        pushed = (await api("views.push", trigger_id=await trigger(), view=kit.modal)).view
    assert pushed["root_view_id"] == root["id"]
    assert (await api("views.push", trigger_id=await trigger(), view=kit.modal)).error == "push_limit_reached"


async def test_push_needs_an_open_modal(api, trigger, kit):
    """Nothing can be pushed on an empty stack."""
    assert (await api("views.push", trigger_id=await trigger(), view=kit.modal)).error == "not_found"


async def test_update_by_hash(ws, api, opened, kit):
    """An update with an old hash is a conflict; with the current one it replaces the view."""
    view = await opened()
    changed = {**kit.modal, "title": kit.plain("New")}
    first = await api("views.update", view_id=view["id"], hash=view["hash"], view=changed)
    assert first.view["hash"] != view["hash"]
    stale = await api("views.update", view_id=view["id"], hash=view["hash"], view=kit.modal)
    assert stale.error == "hash_conflict"
    assert ws.view(seed.ADA)["title"]["text"] == "New"


async def test_update_by_external_id(ws, api, opened, trigger, kit):
    """A view is also found by its external_id, which must be unique."""
    await opened(external_id="e1")
    changed = {**kit.modal, "external_id": "e1", "title": kit.plain("New")}
    assert (await api("views.update", external_id="e1", view=changed)).ok
    twice = await api("views.push", trigger_id=await trigger(), view={**kit.modal, "external_id": "e1"})
    assert twice.error == "duplicate_external_id"


async def test_update_of_a_closed_view(ws, api, opened, kit):
    """A view the person closed cannot be updated."""
    view = await opened()
    await ws.close_view(seed.ADA)
    assert (await api("views.update", view_id=view["id"], view=kit.modal)).error == "not_found"


async def test_submission(ws, app, opened):
    """A submission carries the view with what was typed; a bare ack closes the modal."""
    await opened(private_metadata="m", callback_id="cb")
    assert await ws.submit(seed.ADA, {"why": "because"}) == {}
    envelope = app.envelopes[-1]
    payload = envelope["payload"]
    assert envelope["accepts_response_payload"]
    assert (payload["type"], payload["user"]["id"]) == ("view_submission", seed.ADA)
    assert (payload["view"]["private_metadata"], payload["view"]["callback_id"]) == ("m", "cb")
    assert payload["view"]["hash"]
    assert payload["view"]["state"]["values"] == {
        "why": {"words": {"type": "plain_text_input", "value": "because"}}
    }
    assert payload["trigger_id"]
    assert ws.view(seed.ADA) is None


async def test_values_by_action(ws, app, opened):
    """Values may name the action too."""
    await opened()
    await ws.submit(seed.ADA, {"why": {"words": "because"}})
    assert app.envelopes[-1]["payload"]["view"]["state"]["values"]["why"]["words"]["value"] == "because"


@pytest.mark.parametrize(("words", "complaint"), [("", "required"), ("x" * 41, "no more than 40")])
async def test_screen_checks_first(ws, app, opened, words, complaint):
    """Slack's own screen refuses empty required fields and over-long text before the app hears of it."""
    await opened()
    before = len(app.envelopes)
    assert complaint in (await ws.submit(seed.ADA, {"why": words}))["why"]
    assert len(app.envelopes) == before


@pytest.mark.parametrize(
    ("typed", "fine"), [("5", True), ("x", False), ("0", False), ("99", False), ("1.5", False)]
)
async def test_number_input(ws, opened, kit, typed, fine):
    """A number must be one, and within its bounds."""
    element = {
        "type": "number_input",
        "is_decimal_allowed": False,
        "min_value": "1",
        "max_value": "9",
        "action_id": "n",
    }
    await opened(blocks=[{"type": "input", "block_id": "n", "label": kit.plain("n"), "element": element}])
    assert fine == (await ws.submit(seed.ADA, {"n": typed}) == {})


async def test_errors_keep_it_open(ws, app, opened):
    """response_action errors are shown under their fields."""
    await opened()
    app.answer = lambda _envelope: {"response_action": "errors", "errors": {"why": "not good enough"}}
    assert await ws.submit(seed.ADA, {"why": "x"}) == {"why": "not good enough"}
    assert ws.view(seed.ADA) is not None


async def test_errors_must_name_fields(ws, app, opened):
    """Errors for a block that is no input are a failure."""
    await opened()
    app.answer = lambda _envelope: {"response_action": "errors", "errors": {"nowhere": "x"}}
    assert "trouble" in (await ws.submit(seed.ADA, {"why": "x"}))[""]


async def test_silence_keeps_it_open(ws, app, opened):
    """A submission without ack keeps the modal open and says there was trouble."""
    await opened()
    app.answer = lambda _envelope: None
    assert "trouble" in (await ws.submit(seed.ADA, {"why": "x"}))[""]
    assert ws.view(seed.ADA) is not None


@pytest.mark.parametrize(("action", "depth"), [("update", 1), ("push", 2)])
async def test_response_action_shows_a_view(ws, app, opened, kit, action, depth):  # noqa: PLR0917 (fixtures)
    """response_action update replaces the view, push adds one."""
    view = await opened()
    new = {**kit.modal, "title": kit.plain("New")}
    app.answer = lambda _envelope: {"response_action": action, "view": new}
    assert await ws.submit(seed.ADA, {"why": "x"}) == {}
    top = ws.view(seed.ADA)
    assert (top["title"]["text"], top["id"] == view["id"]) == ("New", depth == 1)


async def test_response_action_clear(ws, app, api, trigger, opened, kit):  # noqa: PLR0917 (fixtures)
    """response_action clear closes the whole stack, a bare ack only the top."""
    root = await opened()
    await api("views.push", trigger_id=await trigger(), view=kit.modal)
    await ws.submit(seed.ADA, {"why": "x"})
    assert ws.view(seed.ADA)["id"] == root["id"]
    await api("views.push", trigger_id=await trigger(), view=kit.modal)
    app.answer = lambda _envelope: {"response_action": "clear"}
    await ws.submit(seed.ADA, {"why": "x"})
    assert ws.view(seed.ADA) is None


async def test_invalid_response_view(ws, app, opened):
    """An invalid view in the ack is trouble."""
    await opened()
    app.answer = lambda _envelope: {"response_action": "update", "view": {"type": "modal"}}
    assert "trouble" in (await ws.submit(seed.ADA, {"why": "x"}))[""]


@pytest.mark.parametrize("wanted", [True, False])
async def test_view_closed_on_request(ws, app, opened, wanted):
    """The app hears of a closed modal only with notify_on_close."""
    await opened(notify_on_close=wanted)
    before = len(app.envelopes)
    await ws.close_view(seed.ADA)
    kinds = [(e["payload"]["type"], e["payload"]["is_cleared"]) for e in app.envelopes[before:]]
    assert kinds == ([("view_closed", False)] if wanted else [])


async def test_nothing_to_submit(ws, opened):
    """Without a modal, or for a field it does not have, nothing can be submitted."""
    with pytest.raises(NotOnScreenError):
        await ws.submit(seed.ADA, {})
    await opened()
    with pytest.raises(NotOnScreenError):
        await ws.submit(seed.ADA, {"nowhere": "x"})


async def test_modal_without_submit(ws, api, trigger, kit):
    """A modal that only informs has no submit button."""
    view = {"type": "modal", "title": kit.plain("t"), "blocks": [kit.section]}
    await api("views.open", trigger_id=await trigger(), view=view)
    with pytest.raises(NotAllowedError):
        await ws.submit(seed.ADA, {})


async def test_click_in_a_modal(ws, app, opened, kit):
    """A button in a modal sends block_actions with the view and no response_url."""
    view = await opened(blocks=[kit.actions])
    assert await ws.click_view(seed.ADA, "go")
    payload = app.envelopes[-1]["payload"]
    assert payload["container"] == {"type": "view", "view_id": view["id"]}
    assert "response_url" not in payload


async def test_home_tab(ws, app, api, kit, until):
    """A home tab is published per person; opening it is an event; its buttons work."""
    home = {"type": "home", "blocks": [kit.actions]}
    assert (await api("views.publish", user_id=seed.ADA, view=home)).ok
    assert ws.home(seed.BEN) is None
    await ws.open_home(seed.ADA)
    event = (await until(lambda: app.envelopes and app.envelopes[-1]))["payload"]["event"]
    assert (event["type"], event["tab"], event["view"]["id"]) == (
        "app_home_opened",
        "home",
        ws.home(seed.ADA)["id"],
    )
    assert await ws.click_view(seed.ADA, "go")


async def test_home_tab_by_hash(api, kit):
    """A stale hash is a conflict for home tabs too, and a modal is no home."""
    home = {"type": "home", "blocks": [kit.section]}
    first = (await api("views.publish", user_id=seed.ADA, view=home)).view
    await api("views.publish", user_id=seed.ADA, view=home, hash=first["hash"])
    assert (
        await api("views.publish", user_id=seed.ADA, view=home, hash=first["hash"])
    ).error == "hash_conflict"
    assert (await api("views.publish", user_id=seed.ADA, view=kit.modal)).error == "invalid_arguments"


PICKS = {
    "plain_text_input": ("words", {"value": "words"}),
    "email_text_input": ("a@b.example", {"value": "a@b.example"}),
    "datepicker": ("2026-11-23", {"selected_date": "2026-11-23"}),
    "users_select": (seed.BEN, {"selected_user": seed.BEN}),
    "multi_users_select": ([seed.BEN], {"selected_users": [seed.BEN]}),
}


@pytest.mark.parametrize("kind", PICKS)
async def test_inputs(ws, app, opened, kit, kind):
    """Each input puts its value where Slack puts it."""
    typed, held = PICKS[kind]
    element = {"type": kind, "action_id": "a"}
    await opened(blocks=[{"type": "input", "block_id": "b", "label": kit.plain("l"), "element": element}])
    assert await ws.submit(seed.ADA, {"b": typed}) == {}
    values = app.envelopes[-1]["payload"]["view"]["state"]["values"]
    assert values == {"b": {"a": {"type": kind, **held}}}


async def test_option_inputs(ws, app, opened, kit):
    """Untouched inputs submit what they started with; optional ones may stay empty; groups are searched too."""
    first, second = ({"text": kit.plain(v), "value": v} for v in "ab")
    elements = {
        "radio": {"type": "radio_buttons", "options": [first, second], "initial_option": second},
        "boxes": {"type": "checkboxes", "options": [first, second], "initial_options": [first]},
        "select": {"type": "static_select", "option_groups": [{"label": kit.plain("g"), "options": [first]}]},
        "date": {"type": "datepicker", "initial_date": "2026-11-23"},
        "none": {"type": "static_select", "options": [first]},
    }
    blocks = [
        {
            "type": "input",
            "block_id": name,
            "label": kit.plain(name),
            "optional": name == "none",
            "element": element,
        }
        for name, element in elements.items()
    ]
    await opened(blocks=[{**b, "element": {**b["element"], "action_id": "a"}} for b in blocks])
    assert await ws.submit(seed.ADA, {"select": "a"}) == {}
    values = {
        name: held["a"] for name, held in app.envelopes[-1]["payload"]["view"]["state"]["values"].items()
    }
    assert (values["radio"]["selected_option"], values["boxes"]["selected_options"]) == (second, [first])
    assert (values["select"]["selected_option"], values["none"]["selected_option"]) == (first, None)
    assert values["date"]["selected_date"] == "2026-11-23"


async def test_update_of_a_home_tab(ws, api, kit):
    """A home tab is updated like a modal."""
    home = {"type": "home", "blocks": [kit.section]}
    view = (await api("views.publish", user_id=seed.ADA, view=home)).view
    assert (await api("views.update", view_id=view["id"], view={**home, "callback_id": "c"})).ok
    assert ws.home(seed.ADA)["callback_id"] == "c"


async def test_unknown_response_action(ws, app, opened):
    """A response_action Slack does not know is trouble."""
    await opened()
    app.answer = lambda _envelope: {"response_action": "explode"}
    assert "trouble" in (await ws.submit(seed.ADA, {"why": "x"}))[""]


async def test_nothing_to_click(ws):
    """Without a modal and a home tab there is nothing to press."""
    with pytest.raises(NotOnScreenError):
        await ws.click_view(seed.ADA, "go")


async def test_a_click_brings_what_was_typed(ws, app, opened, kit):
    """A button in a modal sends the view with what stands in its inputs, and no response_url."""
    element = {"type": "plain_text_input", "action_id": "words", "initial_value": "old"}
    field = {"type": "input", "block_id": "why", "label": kit.plain("Why"), "element": element}
    view = await opened(private_metadata="m", blocks=[field, kit.actions])
    for typed, value in (({}, "old"), ({"why": "new"}, "new")):
        assert await ws.click_view(seed.ADA, "go", typed=typed)
        payload = app.envelopes[-1]["payload"]
        assert (payload["type"], payload["container"]) == (
            "block_actions",
            {"type": "view", "view_id": view["id"]},
        )
        assert payload["view"]["state"]["values"]["why"]["words"]["value"] == value
        assert payload["view"]["private_metadata"] == "m"
        assert "response_url" not in payload
    with pytest.raises(NotOnScreenError):
        await ws.click_view(seed.ADA, "go", typed={"elsewhere": "x"})
