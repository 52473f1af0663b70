"""What somebody who means ill, or a bad moment, could make of an approval: each of these was tried."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from oombot.errors import RefusedError
from oombot.proposals import Freeze
from tests.engine.conftest import ADA, BEN, CLEO, Engine, build
from tests.engine.test_approvals import TWICE
from tests.fakes import Clock, FakeChat, FakeMachine


@pytest.fixture
def parts() -> dict[str, Any]:
    """The world outside of a bot, which outlives its restarts."""
    return {"machine": FakeMachine(), "chat": FakeChat(), "clock": Clock()}


async def _changed(engine: Engine) -> str:
    """A change that two people have approved, and which stands."""
    request = await engine.propose(ADA)
    await engine.remedies.approve(request.id, BEN)
    await engine.remedies.approve(request.id, CLEO)
    await engine.finish()
    assert await engine.state(request.id) == "verified"
    return str(request.id)


async def test_an_undo_is_not_undone_by_one_person(tmp_path: Path, parts: dict[str, Any]) -> None:
    """What needs two people is not made again by one who undoes its undo, without a look at the guard rails."""
    async with build(tmp_path, TWICE, **parts) as engine:
        undoing = await engine.remedies.undo(await _changed(engine), BEN)
        await engine.finish()
        assert (await engine.state(undoing.id), engine.machine.adj) == ("verified", 0)
        with pytest.raises(RefusedError, match="is an undo itself"):
            await engine.remedies.undo(undoing.id, BEN)
        await engine.finish()
        assert engine.machine.adj == 0


async def test_a_run_that_still_goes_on_is_waited_for(tmp_path: Path, parts: dict[str, Any]) -> None:
    """A helper that answers `running` has not come to an end: its record is asked, nothing is concluded meanwhile."""
    async with build(tmp_path, **parts) as engine:
        engine.machine.answer = {"status": "running", "steps": []}
        request = await engine.propose()
        await engine.remedies.approve(request.id, BEN)
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.writes) == ("verified", 1)


async def test_a_freeze_is_looked_at_in_the_transaction_that_begins_the_run(
    tmp_path: Path, parts: dict[str, Any]
) -> None:
    """A freeze that another process stores after the last look and before the run begins stops it."""
    async with build(tmp_path, **parts) as engine:
        begin = engine.store.begin_run

        async def late(*args: Any, **rest: Any) -> Any:
            freeze = Freeze(person=CLEO.user_id, reason="stop", at_s=engine.clock())
            async with engine.store._begin(write=True) as connection:
                row = {"person": freeze.person, "reason": freeze.reason, "at_s": freeze.at_s}
                await connection.execute(
                    text("INSERT INTO freezes (person, reason, at_s) VALUES (:person, :reason, :at_s)"), row
                )
            return await begin(*args, **rest)

        engine.store.begin_run = late  # type: ignore[method-assign]
        request = await engine.propose()
        await engine.remedies.approve(request.id, BEN)
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.writes) == ("failed", 0)
        assert "frozen" in json.dumps(engine.chat.message(f"plan:{request.id}").view)


async def test_an_undo_is_of_the_plan_that_was_approved(tmp_path: Path, parts: dict[str, Any]) -> None:
    """Whoever rewrites the way back in a stored change does not get it run by who presses Undo."""
    async with build(tmp_path, TWICE, **parts) as engine:
        request_id = await _changed(engine)
        async with engine.store._begin(write=True) as connection:
            await connection.execute(
                text('UPDATE requests SET plan = replace(plan, \'"--value", "0"\', \'"--value", "-999"\')')
            )
        with pytest.raises(RefusedError, match="not what its audit trail says"):
            await engine.remedies.undo(request_id, BEN)
        await engine.finish()
        assert engine.machine.adj == 500


async def test_a_new_plan_counts_the_approvals_that_it_needs(tmp_path: Path, parts: dict[str, Any]) -> None:
    """Where the host has changed so that the plan is red now, its card says how many must approve that."""
    settings = """
mode: apply
policy:
  rules:
    - {name: amber, tiers: [amber], approve: {users: [U0ADA0001, U0BEN0002, U0CLEO003]}}
    - {name: red, tiers: [red], approve: {users: [U0ADA0001, U0BEN0002, U0CLEO003]}, approvals: 2}
hosts: [{name: host42}]
"""
    async with build(tmp_path, settings, **parts) as engine:
        request = await engine.propose(ADA)
        assert (request.plan.risk, request.approvals) == ("amber", 1)
        engine.machine.adj = 900
        await engine.remedies.approve(request.id, BEN)
        await engine.finish()
        [again] = await engine.store.requests(("pending",))
        assert (again.plan.risk, again.approvals) == ("red", 2)


async def test_an_approval_does_not_come_back_with_the_clock(tmp_path: Path, parts: dict[str, Any]) -> None:
    """A bot that died before the run, and comes back on a machine whose clock was set back, does not run it."""
    async with build(tmp_path, **parts) as engine:
        request = await engine.propose()
        await engine.remedies.approve(request.id, BEN)
    parts["clock"].now -= 3600
    async with build(tmp_path, **parts) as engine:
        await engine.runs.recover()
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.writes) == ("expired", 0)


async def test_a_freeze_claims_no_more_than_it_stops(tmp_path: Path, parts: dict[str, Any]) -> None:
    """A plan that was begun, and a timer that is set on a host, are not stopped, and it is not said that they are."""
    async with build(tmp_path, **parts) as engine:
        await engine.remedies.freeze(BEN, "stop")
        await engine.send()
        told = json.dumps([post.view for post in engine.chat.posted])
        assert "Nothing is begun on any host" in told
        assert "timers that are set on hosts" in told
