"""The approval model, pinned: one test for each line of its list, in its order and under its name."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oombot import config
from oombot.engine.desk import Visit
from oombot.errors import (
    AlreadyDecidedError,
    ConfigError,
    NotApproverError,
    OombotError,
    PlanExpiredError,
)
from oombot.proposals import Person
from tests.engine import stepwise
from tests.engine.conftest import ADA, BEN, CLEO, SETTINGS, Engine, build, engine
from tests.fakes import Clock, FakeChat, FakeMachine

__all__ = ["engine"]  # the fixture


async def pressed(engine: Engine, person: Person, request_id: str) -> list[Any]:
    """What the person is told when they press Approve."""
    said: list[Any] = []

    async def say(view: Any, replace_it: bool) -> None:
        said.append(view)

    modal: Any = None
    visit = Visit(person=person, channel_id="Concall", say=say, modal=modal)
    await engine.desk.press(visit, "approve", request_id)
    return said


async def test_two_approvers_click_in_the_same_millisecond_one_run(engine: Engine) -> None:
    """Two approvers click in the same millisecond → one run, and the other is told."""
    request = await engine.propose(CLEO)
    answers = await asyncio.gather(
        engine.remedies.approve(request.id, ADA),
        engine.remedies.approve(request.id, BEN),
        return_exceptions=True,
    )
    await engine.finish()
    assert [isinstance(answer, AlreadyDecidedError) for answer in answers].count(True) == 1
    assert (await engine.state(request.id), engine.machine.writes) == ("verified", 1)


async def test_requester_approves_own_red_action_refused_answered(tmp_path: Path) -> None:
    """Requester approves own red action → refused, answered, written down; also where they may approve amber alone."""
    settings = SETTINGS.replace("second_person: always", "second_person: red, red_on: [host42]")
    async with build(tmp_path, settings, machine=FakeMachine(), chat=FakeChat(), clock=Clock()) as engine:
        request = await engine.propose(ADA)
        assert request.plan.risk == "red"
        [said] = await pressed(engine, ADA, request.id)
        assert "wants a second person" in json.dumps(said)
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.writes) == ("pending", 0)
        last = (await engine.store.audit(request.id))[-1]
        assert (last.event, last.actor) == ("refused", ADA.user_id)
        assert last.data["policy_rule"] == "policy.approvers"


async def test_click_after_restart_resolved_from_store(tmp_path: Path) -> None:
    """Click after restart → resolved from store, by a bot that has never seen the request."""
    parts: Any = {"machine": FakeMachine(), "chat": FakeChat(), "clock": Clock()}
    async with build(tmp_path, **parts) as engine:
        request = await engine.propose()
    async with build(tmp_path, **parts) as engine:
        await engine.remedies.approve(request.id, BEN)
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.writes) == ("verified", 1)


async def test_click_on_expired_says_expired_nothing_was_run(engine: Engine) -> None:
    """Click on expired → "expired, nothing was run"."""
    request = await engine.propose()
    engine.clock.now += 900
    with pytest.raises(PlanExpiredError, match="expired; nothing was run"):
        await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert (await engine.state(request.id), engine.machine.writes) == ("expired", 0)


async def test_same_click_replayed_1_h_later_no_run(engine: Engine) -> None:
    """Same click replayed 1 h later → no run, and an answer that says what became of it."""
    request = await engine.propose()
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    engine.clock.now += 3600
    with pytest.raises(AlreadyDecidedError, match="already run and verified"):
        await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert engine.machine.writes == 1


async def test_user_in_the_channel_but_not_in_policy_refused(engine: Engine) -> None:
    """User in the channel but not in policy → refused: membership grants nothing."""
    request = await engine.propose()
    [said] = await pressed(engine, CLEO, request.id)
    assert "not among policy.approvers" in json.dumps(said)
    await engine.finish()
    assert (await engine.state(request.id), engine.machine.writes) == ("pending", 0)


async def test_slack_connect_user_refused(engine: Engine) -> None:
    """Slack Connect user → refused, even with the user id of an approver."""
    request = await engine.propose()
    with pytest.raises(NotApproverError, match="people of other workspaces"):
        await engine.remedies.approve(request.id, Person(user_id=BEN.user_id, team_id="T0FOREIGN"))
    await engine.finish()
    assert (await engine.state(request.id), engine.machine.writes) == ("pending", 0)


@pytest.mark.parametrize(
    "change", [{"boot_id": "c" * 32}, {"boot_id": "c" * 32, "adj": 500}], ids=["same", "other value"]
)
async def test_host_rebooted_between_approve_and_run_stale(engine: Engine, change: dict[str, Any]) -> None:
    """Host rebooted between approve and run → stale, whatever it reads by now."""
    request = await engine.propose()
    engine.machine.on_read = lambda: engine.machine.__dict__.update(change)
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert (await engine.state(request.id), engine.machine.writes) == ("stale", 0)


async def test_pid_reused_stale(engine: Engine) -> None:
    """Pid reused → stale: the process that was meant is gone, and no new plan is made for another one."""
    request = await engine.propose()
    engine.machine.on_read = lambda: engine.machine.__dict__.update(start_ticks=777)
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert (await engine.state(request.id), engine.machine.writes) == ("stale", 0)
    assert await engine.store.requests(("pending",)) == []


async def test_config_reload_removes_the_approver_between_vote_and_run_not_run(tmp_path: Path) -> None:
    """Config reload removes the approver between vote and run → not run, and the card names who it was."""
    parts: Any = {"machine": FakeMachine(), "chat": FakeChat(), "clock": Clock()}
    async with build(tmp_path, **parts) as engine:
        request = await engine.propose()
        await engine.remedies.approve(request.id, BEN)
    without = SETTINGS.replace("groups: [S0ONCALL1]", "users: [U0ADA0001, U0CLEO003]")
    async with build(tmp_path, without, **parts) as engine:
        await engine.runs.recover()
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.writes) == ("failed", 0)
        assert "U0BEN0002" in json.dumps(engine.chat.message(f"plan:{request.id}").view)


@pytest.mark.parametrize("by", ["person", "flag"])
async def test_freeze_between_approve_and_run_not_run(tmp_path: Path, by: str) -> None:
    """Freeze between approve and run → not run; it is listed as held back, and does not run after the freeze."""
    flags: list[str] = []
    parts: Any = {"machine": FakeMachine(), "chat": FakeChat(), "clock": Clock()}
    parts["flag"] = lambda: flags[-1] if flags else ""
    async with build(tmp_path, **parts) as engine:
        request = await engine.propose()
        await engine.remedies.approve(request.id, BEN)
    async with build(tmp_path, **parts) as engine:
        if by == "flag":
            engine.machine.on_read = lambda: flags.append("/var/lib/oombot/frozen")
        else:
            await engine.remedies.freeze(CLEO, "a storm")
        await engine.runs.recover()
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.writes) == ("failed", 0)
        assert [held.id for held in await engine.remedies.held_back()] == [request.id]
        flags.clear()
        if by == "person":
            assert [held.id for held in await engine.remedies.unfreeze(BEN)] == [request.id]
        await engine.runs.recover()
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.writes) == ("failed", 0)


async def test_ssh_drop_after_step_2_of_3_unverified_and_undo(engine: Engine) -> None:
    """SSH drop after step 2 of 3 → unverified + undo; what was done is named, and never run again."""
    request = await stepwise.propose(engine)
    engine.machine.works_for, engine.machine.die = 2, True
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert (await engine.state(request.id), engine.machine.writes) == ("unverified", 2)
    outcome = json.dumps(engine.chat.message(f"outcome:{request.id}").view)
    assert "step 2, from 100 to 300" in outcome
    assert '"undo"' in outcome
    engine.machine.die = False
    undoing = await engine.remedies.undo(request.id, BEN)
    assert [step.do.argv[-1] for step in undoing.plan.steps] == ["0"]
    assert "is not undone: from 100 to 300" in [check.text for check in undoing.plan.checks]
    await engine.finish()
    assert await engine.state(undoing.id) == "verified"


async def test_store_down_not_run(engine: Engine) -> None:
    """Store down → not run, and whoever pressed is told."""
    request = await engine.propose()
    await engine.store._engine.dispose()
    engine.store._closed = True
    with pytest.raises(OombotError, match="nothing was read or written"):
        await engine.remedies.approve(request.id, BEN)
    assert engine.machine.writes == 0


async def test_process_named_channel_inert(engine: Engine) -> None:
    """Process named `<!channel>` → inert: no message of the whole way holds a mention of it."""
    before = engine.machine.snapshot

    def hostile() -> Any:
        snapshot = before()
        processes = tuple(replace(process, comm="<!channel>") for process in snapshot.processes)
        return replace(snapshot, processes=processes)

    engine.machine.snapshot = hostile  # type: ignore[method-assign]
    request = await engine.propose()
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert await engine.state(request.id) == "verified"
    everything = json.dumps([message.view for message in engine.chat.posted])
    assert "channel" in everything
    assert "<!channel>" not in everything


@pytest.mark.parametrize(
    ("users", "passes"), [(("ADA",), False), (("ADA", "BEN"), False), (("ADA", "BEN", "CLEO"), True)]
)
def test_policy_with_n_of_all_eligible_approvers_check_fails(users: tuple[str, ...], passes: bool) -> None:
    """Policy with N ≥ eligible approvers → `check` fails at the rule's line; with one more it passes."""
    named = ", ".join(f"U0{user}0001" for user in users)
    rules = f"  rules:\n    - approvals: 2\n      approve: {{users: [{named}]}}\n"
    text = f"mode: apply\npolicy:\n{rules}hosts: [{{name: a}}]\n"
    if passes:
        assert config.load(text, filename="oombot.yaml").mode == "apply"
        return
    with pytest.raises(ConfigError) as caught:
        config.load(text, filename="oombot.yaml")
    [problem] = caught.value.problems
    assert problem.startswith("oombot.yaml:4: ")
    assert "can never pass: 2 must approve" in problem
