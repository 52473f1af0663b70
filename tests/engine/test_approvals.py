"""Approvals besides the pinned list: two of them, leases, limits, freezes, a tampered store, a run halfway."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from oombot.adapters import trail
from oombot.errors import AlreadyDecidedError, NotApproverError, RefusedError
from oombot.proposals import Person
from tests.engine import stepwise
from tests.engine.conftest import ADA, BEN, CLEO, SETTINGS, WANTED, Engine, build
from tests.fakes import TEAM, Clock, FakeChat, FakeMachine

PEOPLE = "users: [U0ADA0001, U0BEN0002, U0CLEO003]"
ACCOUNTS = f"{{accounts: {{ben: U0BEN0002}}, approvers: {{{PEOPLE}}}"
TWICE = f"""
mode: apply
policy: {{rules: [{{name: two of us, approve: {{{PEOPLE}}}, approvals: 2}}]}}
hosts: [{{name: host42}}, {{name: host43}}]
"""
SOLO = """
mode: apply
policy: {rules: [{tiers: [amber], approve: {users: [U0ADA0001]}, self: true}]}
hosts: [{name: host42}]
"""


@pytest.fixture
def parts() -> dict[str, Any]:
    """The world outside of a bot, which outlives its restarts."""
    return {"machine": FakeMachine(), "chat": FakeChat(), "clock": Clock()}


async def test_two_approvals_are_two_people(tmp_path: Path, parts: dict[str, Any]) -> None:
    """The first approval keeps it pending, the same person's second is answered and counts nothing, another runs it."""
    async with build(tmp_path, TWICE, **parts) as engine:
        request = await engine.propose(ADA)
        assert request.approvals == 2
        counted = await engine.remedies.approve(request.id, BEN)
        assert (counted.state, counted.voters) == ("pending", (BEN.user_id,))
        with pytest.raises(AlreadyDecidedError, match="counts once; 2 people must"):
            await engine.remedies.approve(request.id, BEN)
        with pytest.raises(NotApproverError, match="wants a second person"):
            await engine.remedies.approve(request.id, ADA)
        await engine.finish()
        assert engine.machine.writes == 0
        await engine.remedies.approve(request.id, CLEO)
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.writes) == ("verified", 1)


async def test_a_first_vote_that_no_longer_counts_stops_the_run(
    tmp_path: Path, parts: dict[str, Any]
) -> None:
    """Of two voters one has lost the right by the time of the run: nothing is run."""
    async with build(tmp_path, TWICE, **parts) as engine:
        request = await engine.propose(ADA)
        await engine.remedies.approve(request.id, BEN)
        await engine.remedies.approve(request.id, CLEO)
    less = TWICE.replace("U0BEN0002", "U0DAN0004")
    async with build(tmp_path, less, **parts) as engine:
        await engine.runs.recover()
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.writes) == ("failed", 0)


async def test_a_lone_on_call_needs_two_taps(tmp_path: Path, parts: dict[str, Any]) -> None:
    """With the solo policy one person asks, approves and undoes an amber change; red stays refused."""
    async with build(tmp_path, SOLO, **parts) as engine:
        request = await engine.propose(ADA)
        await engine.remedies.approve(request.id, ADA)
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.adj) == ("verified", 500)
        undoing = await engine.remedies.undo(request.id, ADA)
        await engine.finish()
        assert (await engine.state(undoing.id), engine.machine.adj) == ("verified", 0)
    red = SOLO.replace("{rules:", "{red_on: [host42], rules:").replace("host42}]", "host42}, {name: host43}]")
    async with build(tmp_path, red, **parts) as engine:
        request = await engine.propose(ADA)
        with pytest.raises(
            NotApproverError, match=r"No rule of .* lets anybody approve oom_score_adj \(red\)"
        ):
            await engine.remedies.approve(request.id, ADA)


async def test_a_limit_refuses_by_name_and_tells_the_channel(tmp_path: Path, parts: dict[str, Any]) -> None:
    """What would cross a limit is not proposed; the person and the channel hear which. An undo is not held up."""
    settings = SETTINGS.replace("second_person", "limits: {max_changes_per_host_per_day: 1}, second_person")
    async with build(tmp_path, settings, **parts) as engine:
        first = await engine.propose()
        await engine.remedies.approve(first.id, BEN)
        await engine.finish()
        engine.machine.adj = 0
        with pytest.raises(RefusedError, match="max_changes_per_host_per_day is 1"):
            await engine.remedies.propose("host42", "oom_score_adj", WANTED, ADA, incident_id=None)
        await engine.send()
        told = [message for message in engine.chat.posted if message.key.startswith("limit:")]
        assert "max_changes_per_host_per_day" in json.dumps([message.view for message in told])
        engine.machine.adj = 500
        undoing = await engine.remedies.undo(first.id, BEN)
        await engine.finish()
        assert await engine.state(undoing.id) == "verified"


async def test_a_limit_counts_again_when_the_run_begins(tmp_path: Path, parts: dict[str, Any]) -> None:
    """Two plans made while both were within the limit: only one of them is run."""
    settings = SETTINGS.replace("second_person", "limits: {max_changes_per_host_per_day: 1}, second_person")
    async with build(tmp_path, settings, **parts) as engine:
        one, other = await engine.propose(), await engine.propose()
        for request in (one, other):
            await engine.remedies.approve(request.id, BEN)
            await engine.finish()
            engine.machine.adj = 0
        assert (await engine.state(one.id), await engine.state(other.id)) == ("verified", "failed")
        assert engine.machine.writes == 1
        assert "max_changes_per_host_per_day" in json.dumps(engine.chat.message(f"plan:{other.id}").view)


async def test_anybody_freezes_and_approvers_unfreeze(tmp_path: Path, parts: dict[str, Any]) -> None:
    """While changes are frozen an Approve is refused with who and why, and is held back; only an approver ends it."""
    async with build(tmp_path, **parts) as engine:
        request = await engine.propose()
        freeze = await engine.remedies.freeze(CLEO, "  a\nstorm ")
        assert (freeze.person, freeze.reason) == (CLEO.user_id, "a storm")
        with pytest.raises(AlreadyDecidedError, match=r"frozen already \(a storm\)") as again:
            await engine.remedies.freeze(BEN, "again")
        with pytest.raises(RefusedError, match=r"frozen \(a storm\). Nothing was run") as frozen:
            await engine.remedies.approve(request.id, BEN)
        assert again.value.who == frozen.value.who == CLEO.user_id
        with pytest.raises(NotApproverError, match="Only an approver may end a freeze"):
            await engine.remedies.unfreeze(CLEO)
        assert [held.id for held in await engine.remedies.unfreeze(BEN)] == [request.id]
        assert await engine.remedies.frozen() is None
        await engine.remedies.approve(request.id, BEN)
        await engine.finish()
        assert await engine.state(request.id) == "verified"
        told = json.dumps([message.view for message in engine.chat.posted])
        assert "a storm" in told
        assert "Held back meanwhile: 1. Nothing of that runs by itself" in told


async def test_nothing_is_approved_in_a_channel_shared_with_others(
    tmp_path: Path, parts: dict[str, Any]
) -> None:
    """In a channel of Slack Connect, and where Slack can not say, a press is refused, answered and written down."""
    async with build(tmp_path, **parts) as engine:
        request = await engine.propose()
        engine.chat.shared.add("Concall")
        with pytest.raises(NotApproverError, match="shared with another workspace"):
            await engine.remedies.approve(request.id, BEN)
        assert (await engine.store.audit(request.id))[-1].event == "refused"
        engine.chat.shared.clear()
        await engine.remedies.approve(request.id, BEN)
        await engine.finish()
        engine.chat.shared |= {message.channel_id for message in await engine.store.messages("outcome:")}
        with pytest.raises(NotApproverError, match="shared with another workspace"):
            await engine.remedies.undo(request.id, BEN)
        assert engine.machine.writes == 1


async def test_a_stranger_does_not_freeze(tmp_path: Path, parts: dict[str, Any]) -> None:
    """Freezing is for people of the workspace."""
    async with build(tmp_path, **parts) as engine:
        with pytest.raises(NotApproverError):
            await engine.remedies.freeze(Person(user_id="U0ADA0001", team_id="T0FOREIGN"), "x")
        assert await engine.remedies.frozen() is None


TAMPERED = {
    "plan": "UPDATE requests SET plan = replace(plan, '\"500\"', '\"900\"')",
    "requester": "UPDATE requests SET requester = 'U0CLEO003'",
    "approver": "UPDATE requests SET approver = 'U0ADA0001'",
    "expiry": "UPDATE requests SET expires_s = expires_s + 9000",
    "vote": "INSERT INTO votes (request_id, voter, at_s) SELECT id, 'U0CLEO003', 1.0 FROM requests",
    "other voter": "UPDATE votes SET voter = 'U0ADA0001'",
    "trail": "UPDATE audits SET actor = 'U0ADA0001' WHERE event = 'approved'",
    "no trail": "DELETE FROM audits",
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=list(TAMPERED))
async def test_a_tampered_row_is_not_run(tmp_path: Path, parts: dict[str, Any], change: str) -> None:
    """Whoever rewrites a stored request, its votes or its trail gets nothing run."""
    async with build(tmp_path, **parts) as engine:
        request = await engine.propose()
        await engine.remedies.approve(request.id, BEN)
    async with build(tmp_path, **parts) as engine:
        async with engine.store._begin(write=True) as connection:
            await connection.execute(text(change))
        await engine.runs.recover()
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.writes) == ("failed", 0)


async def test_a_run_that_failed_halfway_offers_an_undo_of_what_was_done(
    tmp_path: Path, parts: dict[str, Any]
) -> None:
    """One of three steps was done and the second changed nothing: both are said, and the undo is of the first alone."""
    async with build(tmp_path, **parts) as engine:
        request = await stepwise.propose(engine)
        engine.machine.works_for, engine.machine.fail = 1, "was another value"
        await engine.remedies.approve(request.id, BEN)
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.adj) == ("failed", 100)
        stored = await engine.store.request(request.id)
        assert stored is not None
        assert stored.evidence["problems"][1:] == [
            "done: step 1, from 0 to 100",
            "step 2, from 100 to 300, failed and changed nothing",
            "not run: step 3 of 3",
        ]
        assert '"undo"' in json.dumps(engine.chat.message(f"outcome:{request.id}").view)
        engine.machine.fail = ""
        undoing = await engine.remedies.undo(request.id, BEN)
        assert [step.do.argv[-3:] for step in undoing.plan.steps] == [("100", "--value", "0")]
        await engine.finish()
        assert (await engine.state(undoing.id), engine.machine.adj) == ("verified", 0)


async def test_a_run_that_failed_at_once_offers_no_undo(tmp_path: Path, parts: dict[str, Any]) -> None:
    """Where no step was done there is nothing to undo, and it says so."""
    async with build(tmp_path, **parts) as engine:
        request = await stepwise.propose(engine)
        engine.machine.fail = "no"
        await engine.remedies.approve(request.id, BEN)
        await engine.finish()
        assert '"undo"' not in json.dumps(engine.chat.message(f"outcome:{request.id}").view)
        with pytest.raises(RefusedError, match="nothing to undo"):
            await engine.remedies.undo(request.id, BEN)


async def test_a_run_of_another_living_bot_is_left_alone(tmp_path: Path, parts: dict[str, Any]) -> None:
    """Another bot on the same store leaves a run to its owner until the lease has run out, and then only reads back."""
    async with build(tmp_path, replica="one", **parts) as engine:
        request = await engine.propose()
        await _begun(engine, request.id)
    async with build(tmp_path, replica="two", **parts) as engine:
        await engine.runs.recover()
        await engine.finish()
        assert await engine.state(request.id) == "running"
        engine.clock.now += 200
        await engine.runs.recover()
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.writes) == ("failed", 0)


async def _begun(engine: Engine, request_id: str) -> None:
    """A run that was begun, whose bot then died before it sent anything."""

    async def die(request: Any) -> Any:
        await asyncio.Event().wait()

    engine.runs._asking.run = die  # type: ignore[method-assign]
    await engine.remedies.approve(request_id, BEN)
    while await engine.state(request_id) in ("pending", "approved"):
        await engine.send()


async def test_an_account_is_who_the_policy_says(tmp_path: Path, parts: dict[str, Any]) -> None:
    """A Unix account counts without Slack as who it is mapped to, so nobody is two people; another is refused."""
    settings = SETTINGS.replace("{approvers: {groups: [S0ONCALL1]}", ACCOUNTS)
    ben = Person(user_id="U0BEN0002", account="ben")
    async with build(tmp_path, settings, **parts) as engine:
        own = await engine.propose(BEN)
        with pytest.raises(NotApproverError, match="wants a second person"):
            await engine.remedies.approve(own.id, ben)
        request = await engine.propose(ADA)
        with pytest.raises(NotApproverError, match=r"is not U0CLEO003 in policy\.accounts"):
            await engine.remedies.approve(request.id, Person(user_id="U0CLEO003", account="ben"))
        await engine.remedies.approve(request.id, ben)
        await engine.finish()
        assert await engine.state(request.id) == "verified"


async def test_the_trail_names_everybody_and_holds(tmp_path: Path, parts: dict[str, Any]) -> None:
    """Person and bot, host, target, argv, exit, what was said, read-back and the place in Slack; the chain is whole."""
    async with build(tmp_path, replica="bot-1", **parts) as engine:
        request = await engine.propose()
        await engine.remedies.approve(request.id, BEN)
        await engine.finish()
        lines = {line.event: line for line in await engine.store.audit(request.id)}
        approved, ended = lines["approved"], lines["verified"]
        assert (approved.actor, approved.data["team"]) == (BEN.user_id, TEAM)
        assert approved.data["submitted_by"] == {"replica": "bot-1", "version": ""}
        assert approved.data["slack"] == {"channel": "Concall", "ts": "1.0"}
        assert lines["running"].data["argv"] == [list(step.do.argv) for step in request.plan.steps]
        assert ended.data["host"] == {"name": "host42", "boot_id": "b" * 32, "key_fp": None}
        assert ended.data["runs"][0]["exit_status"] == 0
        assert len(ended.data["runs"][0]["stdout_sha256"]) == 64
        assert ended.data["after"].endswith("500")
        assert await trail.verify(engine.store) == []
