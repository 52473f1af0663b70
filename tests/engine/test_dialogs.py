"""The dialog of the remedies: menu, form, submission; whatever comes back from Slack chooses nothing by itself."""

import json
from typing import Any

import pytest

from oombot.engine.dialogs import State
from oombot.model import Json
from oombot.remediations.shape import Target
from tests.engine.conftest import ADA, Engine
from tests.engine.test_desk import Person1, stored_kill
from tests.fakes import TEAM

HOST42 = State(host="host42", channel="C0ONCALL1", remedy="oom_score_adj")
VALUES = {"process": "4242:42420", "value": "500"}


class Told:
    """What the person is told in a channel."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Json]] = []

    async def say_in(self, channel_id: str, view: Json) -> None:
        self.said.append((channel_id, view))


async def opened(engine: Engine, words: str) -> Person1:
    """Somebody who has typed `/oom fix …`."""
    ada = Person1()
    await engine.desk.command(ada.visit, f"fix {words}")
    ada.private = ada.modals[-1].get("private_metadata", "")
    return ada


async def press(engine: Engine, person: Person1, action_id: str, value: str = "x") -> Json:
    """Press in the open dialog; what it shows then."""
    await engine.desk.press(person.visit, action_id, value)
    person.private = person.modals[-1].get("private_metadata", "")
    return person.modals[-1]


async def submit(engine: Engine, private: str, values: Json) -> tuple[Json, Told]:
    """Submit a form and let the work end."""
    told = Told()
    errors = await engine.desk.submit(ADA, private, values, told.say_in)
    await engine.finish()
    return errors, told


async def test_fix_opens_the_menu(engine: Engine) -> None:
    """`/oom fix host42` opens a loading dialog at once, then the menu of every remedy."""
    ada = await opened(engine, "host42")
    assert [modal.get("callback_id") for modal in ada.modals] == [None, "fix_menu"]
    assert ada.modals[-1]["title"]["text"] == "Fix host42"
    for remedy in engine.context.remediations.values():
        assert remedy.label in str(ada.modals[-1])


async def test_menu_form_and_back(engine: Engine) -> None:
    """A choice leads to the remedy's form, Back to the menu, without another reading of the host."""
    ada = await opened(engine, "host42")
    form = await press(engine, ada, "fix:oom_score_adj")
    assert form["callback_id"] == "fix"
    assert "4242:42420" in str(form)
    assert (await press(engine, ada, "fix_back"))["callback_id"] == "fix_menu"
    assert engine.machine.readings == 1


async def test_a_pid_is_the_target(engine: Engine) -> None:
    """`/oom fix host42 4242` is about that process: it is chosen in the form."""
    ada = await opened(engine, "host42 4242")
    assert "java (pid 4242)" in str(ada.modals[-1])
    form = await press(engine, ada, "fix:oom_score_adj")
    [select] = [block["element"] for block in form["blocks"] if block.get("block_id") == "process"]
    assert select["initial_option"]["value"] == "4242:42420"


async def test_a_unit_that_a_reading_does_not_list(engine: Engine) -> None:
    """A unit's full name is taken although no reading lists slices: the closer look finds it, or not."""
    ada = await opened(engine, "host42 batch.slice")
    assert json.loads(ada.private)["target"] == {"pid": None, "start_ticks": None, "unit": "batch.slice"}


async def test_a_word_that_means_nothing(engine: Engine) -> None:
    """A word that names nothing is told in the dialog."""
    ada = await opened(engine, "host42 apache")
    assert "No process or unit on host42 matches" in str(ada.modals[-1])


async def test_a_host_that_is_down(engine: Engine) -> None:
    """A host that can not be read is told in the dialog."""
    engine.machine.down = True
    ada = await opened(engine, "host42")
    assert "can not be reached" in str(ada.modals[-1])


async def test_a_word_of_several_meanings(engine: Engine) -> None:
    """A word that several processes have is asked back, and the answer leads to the menu for that one."""
    ada = Person1(private=HOST42.packed)
    engine.machine.twins = True
    await engine.desk.command(ada.visit, "fix host42 java")
    assert ada.modals[-1]["callback_id"] == "fix_targets"
    ada.private = ada.modals[-1]["private_metadata"]
    menu = await press(engine, ada, "fix_target:1", "4242:42420")
    assert json.loads(menu["private_metadata"])["target"]["pid"] == 4242


@pytest.mark.parametrize("value", ["4242:1", "1:2:3", "-H x", "../x.service", "<!channel>", ""])
async def test_a_target_that_is_not_there(engine: Engine, value: str) -> None:
    """A hostile or outdated choice of a target is refused, in words."""
    ada = await opened(engine, "host42")
    assert "not there any more" in str(await press(engine, ada, "fix_target:1", value))


async def test_more_fixes_knows_the_unit_of_the_kill(engine: Engine) -> None:
    """ "More fixes…" under a card is about the unit that was hit, and the plan goes into that thread."""
    incident = await stored_kill(engine, task_memcg="/system.slice/payments.service")
    ada = Person1()
    await engine.desk.press(ada.visit, "more_fixes", incident.id)
    state = json.loads(ada.modals[-1]["private_metadata"])
    assert (state["incident"], state["target"]["unit"]) == (incident.id, "payments.service")


async def test_form_proposes(engine: Engine) -> None:
    """A filled form becomes a pending plan; the asker alone is told."""
    errors, told = await submit(engine, HOST42.packed, VALUES)
    assert errors == {}
    [(channel, view)] = told.said
    assert (channel, "Proposed" in str(view)) == ("C0ONCALL1", True)
    assert len(await engine.store.requests(("pending",))) == 1


async def test_wrong_fields_are_named(engine: Engine) -> None:
    """What is wrong with a field stands at it, and nothing is proposed."""
    errors, told = await submit(engine, HOST42.packed, {"process": "x", "value": "5"})
    assert set(errors) == {"process"}
    assert told.said == []
    assert await engine.store.requests(("pending",)) == []


async def test_a_guard_rail_is_named(engine: Engine) -> None:
    """A guard rail that refuses after the form is answered to the person."""
    _, told = await submit(engine, HOST42.packed, {"process": "4242:42420", "value": "-1000"})
    assert "adj_minus_1000" in str(told.said)
    assert await engine.store.requests(("pending",)) == []


async def test_for_a_while_only(engine: Engine) -> None:
    """A time chosen in the form makes the host put it back by itself; a time that is not offered is refused."""
    errors, _ = await submit(engine, HOST42.packed, VALUES | {"for_how_long": "7200"})
    assert errors == {}
    [request] = await engine.store.requests(("pending",))
    assert request.plan.back_after_s == 7200
    for wrong in ("1", "-5", "x", "7200; reboot"):
        errors, _ = await submit(engine, HOST42.packed, VALUES | {"for_how_long": wrong})
        assert set(errors) == {"for_how_long"}


async def test_other_fields_choose_nothing(engine: Engine) -> None:
    """Fields that the form does not have are not looked at."""
    extra = {"host": "host43", "remedy": "drop_caches", "incident": "x"}
    await submit(engine, HOST42.packed, VALUES | extra)
    [request] = await engine.store.requests(("pending",))
    assert (request.plan.host, request.plan.remediation) == ("host42", "oom_score_adj")


HOSTILE: dict[str, Any] = {
    "no JSON": "host42||C0ONCALL1",
    "nothing": "",
    "a list": "[]",
    "another type": json.dumps({"host": ["host42"], "remedy": "oom_score_adj"}),
    "no such host": State(host="host99", remedy="oom_score_adj").packed,
    "no such remedy": State(host="host42", remedy="../shape").packed,
    "no remedy": State(host="host42").packed,
    "no such kill": State(host="host42", remedy="oom_score_adj", incident="x").packed,
    "an option as unit": State(host="host42", remedy="oom_score_adj", target=Target(unit="-H x")).packed,
}


@pytest.mark.parametrize("private", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_state_changes_nothing(engine: Engine, private: str) -> None:
    """A form whose hidden state is not ours is refused in words, whether submitted or pressed."""
    errors, told = await submit(engine, private, VALUES)
    assert len(errors) == 1
    assert told.said == []
    assert await engine.store.requests(("pending",)) == []
    ada = Person1(private=private)
    await engine.desk.press(ada.visit, "fix:../shape", "x")
    assert ada.modals[-1].get("callback_id") is None


async def test_a_kill_of_another_host(engine: Engine) -> None:
    """A form can not put its plan into the thread of another host's kill."""
    incident = await stored_kill(engine)
    state = State(host="host43", remedy="oom_score_adj", incident=incident.id)
    errors, _ = await submit(engine, state.packed, VALUES)
    assert "no such kill" in str(errors)


async def test_strangers_see_no_processes(engine: Engine) -> None:
    """Somebody of another workspace who presses in a dialog is told no, and shown nothing of the host."""
    eve = Person1(private=HOST42.packed)
    eve.person = type(ADA)(user_id="U0ADA0001", team_id=f"{TEAM}X")
    await engine.desk.press(eve.visit, "fix:oom_score_adj", "x")
    assert "full members" in str(eve.modals[-1])
    assert "4242" not in str(eve.modals)
