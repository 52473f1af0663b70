"""Approvals, end to end on fakes: who may, once only, stale, lost, undone; and nothing is silent."""

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest

from oombot.errors import (
    AlreadyDecidedError,
    DecisionError,
    NotApproverError,
    PlanExpiredError,
    RefusedError,
)
from oombot.proposals import Person
from tests.engine.conftest import ADA, BEN, CLEO, SETTINGS, WANTED, Engine, build
from tests.fakes import Clock, FakeChat, FakeMachine

ACTING = f"{SETTINGS}\nssh: {{act: {{}}}}\n"


async def test_approved_runs_and_is_verified(engine: Engine) -> None:
    """A second person approves, the host is changed once, read back, and the evidence stands in the thread."""
    request = await engine.propose()
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert (await engine.state(request.id), engine.machine.adj, engine.machine.writes) == ("verified", 500, 1)
    outcome, plan = engine.chat.message(f"outcome:{request.id}"), engine.chat.message(f"plan:{request.id}")
    assert outcome.thread_ts == plan.ts
    assert "oom_score_adj of pid 4242: 500" in outcome.view["text"]


async def test_an_answer_of_a_hostile_host_is_bounded(engine: Engine) -> None:
    """Steps without end and of any type are an answer like another: told in a sentence, kept in a few words."""
    step = {"exit": 1, "argv": [7, {"x": "y" * 9000}], "stderr": ["z" * 9000]}
    engine.machine.answer = {"status": "failed", "steps": [step] * 3000}
    request = await engine.propose()
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert await engine.state(request.id) == "failed"
    stored = await engine.store.request(request.id)
    assert stored is not None
    assert stored.evidence["runs"][0]["argv"][0] == "7"
    assert len(str(stored.evidence["runs"])) < 500 * 1000
    assert len(str(stored.evidence["problems"])) < 1200


async def test_buttons_vanish_before_the_run(engine: Engine) -> None:
    """When the host is changed, the card in Slack has no buttons any more."""
    request = await engine.propose()
    seen: list[str] = []
    engine.machine.on_run = lambda: seen.append(str(engine.chat.message(f"plan:{request.id}").view["blocks"]))
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert len(seen) == 1
    assert "'approve'" not in seen[0]


async def test_own_request_needs_a_second_person(engine: Engine) -> None:
    """The requester may not approve their own request, and the refusal is in the audit trail."""
    request = await engine.propose(ADA)
    with pytest.raises(NotApproverError, match="second person"):
        await engine.remedies.approve(request.id, ADA)
    assert [line.event for line in await engine.store.audit(request.id)] == ["proposed", "refused"]
    assert await engine.state(request.id) == "pending"


async def test_no_approver_is_refused(engine: Engine) -> None:
    """Somebody in the channel but not in the policy changes nothing."""
    request = await engine.propose()
    with pytest.raises(NotApproverError, match="not among"):
        await engine.remedies.approve(request.id, CLEO)
    assert engine.machine.writes == 0


async def test_people_of_other_workspaces_are_refused(engine: Engine) -> None:
    """A user id that is an approver's, from another team, is nobody."""
    request = await engine.propose()
    with pytest.raises(NotApproverError, match="other workspaces"):
        await engine.remedies.approve(request.id, Person(user_id=BEN.user_id, team_id="T0FOREIGN"))


async def test_failed_directory_lookup_refuses(engine: Engine) -> None:
    """When Slack can not say who is who, the answer is no."""
    request = await engine.propose()
    engine.chat.directory_down = True
    with pytest.raises(NotApproverError, match="could not say"):
        await engine.remedies.approve(request.id, BEN)
    assert await engine.state(request.id) == "pending"


async def test_expired_is_not_run(engine: Engine) -> None:
    """After its time the request is closed, and the press is told that nothing was run."""
    request = await engine.propose()
    engine.clock.now = request.expires_s
    with pytest.raises(PlanExpiredError, match="nothing was run"):
        await engine.remedies.approve(request.id, BEN)
    assert (await engine.state(request.id), engine.machine.writes) == ("expired", 0)


async def test_expiry_counts_from_the_request(engine: Engine) -> None:
    """The clock of a plan starts when it is asked for, and the card loses its buttons when it is over."""
    request = await engine.propose()
    assert request.expires_s - request.created_s == 900
    engine.clock.now = request.expires_s + 1
    await engine.remedies.expire()
    await engine.send()
    assert "'approve'" not in str(engine.chat.message(f"plan:{request.id}").view["blocks"])


async def test_press_an_hour_later_runs_nothing(engine: Engine) -> None:
    """A press on a decided card is answered with what became of it."""
    request = await engine.propose()
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    engine.clock.now += 3600
    with pytest.raises(AlreadyDecidedError, match="already run and verified"):
        await engine.remedies.approve(request.id, BEN)
    assert engine.machine.writes == 1


async def test_denied_is_closed(engine: Engine) -> None:
    """A denial closes the card; a later approval is told so."""
    request = await engine.propose()
    await engine.remedies.deny(request.id, BEN)
    with pytest.raises(AlreadyDecidedError, match="denied"):
        await engine.remedies.approve(request.id, BEN)
    assert engine.machine.writes == 0


async def test_requester_may_withdraw_and_others_not(engine: Engine) -> None:
    """Who asked may take it back; who is neither that nor an approver may not."""
    request = await engine.propose(ADA)
    with pytest.raises(NotApproverError):
        await engine.remedies.deny(request.id, CLEO)
    mine = await engine.propose(CLEO)
    assert (await engine.remedies.deny(mine.id, CLEO)).state == "denied"


@pytest.mark.parametrize(
    ("change", "ends", "said"),
    [
        ({"boot_id": "c" * 32}, "stale", "host42"),
        ({"adj": 100}, "stale", "host42"),
        ({"start_ticks": 5}, "stale", "another process"),
        ({"down": True}, "failed", "can not be reached"),
    ],
    ids=["rebooted", "value changed", "pid reused", "gone"],
)
async def test_changed_host_is_not_touched(
    engine: Engine, change: dict[str, object], ends: str, said: str
) -> None:
    """Whatever changed between the plan and the run stops it: nothing is written, and the card says why."""
    request = await engine.propose()
    for name, value in change.items():
        setattr(engine.machine, name, value)
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert (await engine.state(request.id), engine.machine.writes) == (ends, 0)
    assert said in str(engine.chat.message(f"plan:{request.id}").view)


async def test_stale_shows_the_new_plan(engine: Engine) -> None:
    """When the plan differs now, the new one is posted and needs an approval of its own."""
    request = await engine.propose()
    engine.machine.adj = 100
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    [fresh] = await engine.store.requests(("pending",))
    assert fresh.plan.before == "oom_score_adj of pid 4242: 100"
    await engine.remedies.approve(fresh.id, BEN)
    await engine.finish()
    assert (await engine.state(fresh.id), engine.machine.adj) == ("verified", 500)


async def test_propose_mode_runs_nothing(tmp_path) -> None:
    """In propose mode an approval is refused, and the card shows the command to copy."""
    text = SETTINGS.replace("mode: apply", "mode: propose")
    async with build(tmp_path, text, machine=FakeMachine(), chat=FakeChat(), clock=Clock()) as engine:
        request = await engine.propose()
        with pytest.raises(RefusedError, match="apply mode"):
            await engine.remedies.approve(request.id, BEN)
        card = str(engine.chat.message(f"plan:{request.id}").view)
        assert "sudo choom -p 4242 -n 500" in card
        assert "'approve'" not in card


async def test_observe_mode_proposes_nothing(tmp_path) -> None:
    """In observe mode nobody can even ask."""
    text = SETTINGS.replace("mode: apply", "mode: observe")
    async with build(tmp_path, text, machine=FakeMachine(), chat=FakeChat(), clock=Clock()) as engine:
        with pytest.raises(RefusedError, match="observe"):
            await engine.propose()


async def test_failed_step_is_said_in_its_own_words(engine: Engine) -> None:
    """What the host answered stands on the outcome, and nothing claims to be changed."""
    engine.machine.fail = "set-adj: Permission denied"
    request = await engine.propose()
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert await engine.state(request.id) == "failed"
    assert "Permission denied" in str(engine.chat.message(f"outcome:{request.id}").view)


async def test_wrong_readback_is_contradicted(engine: Engine) -> None:
    """A run that succeeds while /proc says otherwise is not called verified."""
    engine.machine.ignore_writes = True
    request = await engine.propose()
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert await engine.state(request.id) == "contradicted"


async def test_lost_answer_is_found_on_the_host(engine: Engine) -> None:
    """When the link goes after the run, the host's own record decides: it ran once, and is verified."""
    engine.machine.lose_answer = True
    request = await engine.propose()
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert (await engine.state(request.id), engine.machine.writes) == ("verified", 1)


async def test_lost_request_is_not_repeated(engine: Engine) -> None:
    """When the link goes before the run, the host says that nothing ran; it is not tried again by itself."""
    engine.machine.lose_request = True
    request = await engine.propose()
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert (await engine.state(request.id), engine.machine.writes) == ("failed", 0)
    assert "nothing was run" in str(engine.chat.message(f"outcome:{request.id}").view)


async def changed(engine: Engine) -> str:
    """A verified change by Ada, approved by Ben."""
    request = await engine.propose(ADA)
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    return str(request.id)


async def test_undo_by_one_approver(engine: Engine) -> None:
    """While the change stands as it was made, one approver undoes it alone, and the button goes."""
    request_id = await changed(engine)
    assert "'undo'" in str(engine.chat.message(f"outcome:{request_id}").view)
    await engine.remedies.undo(request_id, ADA)
    await engine.finish()
    assert engine.machine.adj == 0
    assert "'undo'" not in str(engine.chat.message(f"outcome:{request_id}").view)


async def test_undo_twice_is_answered(engine: Engine) -> None:
    """A second press on Undo is told that it was done."""
    request_id = await changed(engine)
    await engine.remedies.undo(request_id, ADA)
    await engine.finish()
    with pytest.raises(AlreadyDecidedError, match="An undo of this"):
        await engine.remedies.undo(request_id, BEN)


async def test_undo_of_a_changed_value_needs_approval(engine: Engine) -> None:
    """When somebody else has changed the value since, the undo is a new plan for two people."""
    request_id = await changed(engine)
    engine.machine.adj = 77
    undoing = await engine.remedies.undo(request_id, ADA)
    await engine.finish()
    assert (undoing.state, engine.machine.adj) == ("pending", 77)
    await engine.remedies.approve(undoing.id, BEN)
    await engine.finish()
    assert engine.machine.adj == 0


async def test_undo_by_no_approver_waits(engine: Engine) -> None:
    """Who may not approve may ask for the undo; an approver decides."""
    request_id = await changed(engine)
    undoing = await engine.remedies.undo(request_id, CLEO)
    assert (undoing.state, engine.machine.adj) == ("pending", 500)


async def test_one_run_a_host(engine: Engine) -> None:
    """While a change runs on a host, another approval there is refused and can be pressed again."""
    first = await engine.propose(ADA)
    second = await engine.remedies.propose(
        "host42", "oom_score_adj", replace(WANTED, value=300), ADA, incident_id=None
    )
    await engine.remedies.approve(first.id, BEN)
    with pytest.raises(RefusedError, match="Another change"):
        await engine.remedies.approve(second.id, BEN)
    await engine.finish()
    assert await engine.state(second.id) == "pending"


async def test_undo_never_overwrites_somebody_elses_change(engine: Engine) -> None:
    """A value that changes between the press on Undo and its run stops it: the new plan needs two people."""
    request_id = await changed(engine)
    undoing = await engine.remedies.undo(request_id, ADA)
    engine.machine.adj = -200
    await engine.finish()
    assert (await engine.state(undoing.id), engine.machine.adj) == ("stale", -200)


async def test_undo_of_what_perhaps_never_ran_needs_two(engine: Engine) -> None:
    """A value that merely looks like ours, after a run nobody can prove, is not put back by one person."""
    engine.machine.lose_request = True
    request = await engine.propose()
    engine.machine.on_run = lambda: setattr(engine.machine, "down", True)
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert await engine.state(request.id) == "unverified"
    engine.machine.down, engine.machine.adj = False, 500  # somebody ran the shown command by hand
    undoing = await engine.remedies.undo(request.id, BEN)
    await engine.finish()
    assert (undoing.state, engine.machine.adj) == ("pending", 500)


async def test_undo_of_a_failed_run_is_refused(engine: Engine) -> None:
    """Where nothing was changed there is nothing to undo."""
    engine.machine.fail = "set-adj: is now 77, not 0"
    request = await engine.propose()
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    with pytest.raises(RefusedError, match="nothing to undo"):
        await engine.remedies.undo(request.id, BEN)


async def test_store_that_fails_in_a_run_concludes_nothing(engine: Engine) -> None:
    """A full disk right after the run: the request is taken up again, and the host's record decides."""
    request = await engine.propose()
    transition, failures = engine.store.transition, [OSError("disk full"), OSError("disk full")]

    async def failing(request_id: str, **rest: Any) -> Any:
        if rest["audit"].state_to in ("applied", "unverified") and failures:
            raise failures.pop()
        return await transition(request_id, **rest)

    engine.store.transition = failing  # type: ignore[method-assign]
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    for _ in range(3):
        await engine.runs.recover()
        await engine.finish()
    assert (await engine.state(request.id), engine.machine.writes) == ("verified", 1)


async def test_two_approvers_undo_once(engine: Engine) -> None:
    """Of two presses on Undo at once, one is taken and the other is told."""
    request_id = await changed(engine)
    results = await asyncio.gather(
        engine.remedies.undo(request_id, ADA), engine.remedies.undo(request_id, BEN), return_exceptions=True
    )
    await engine.finish()
    assert sum(isinstance(result, DecisionError) for result in results) == 1
    assert (engine.machine.adj, len(await engine.store.undo_requests(request_id))) == (0, 1)


async def test_expiry_during_the_lookup_is_too_late(engine: Engine) -> None:
    """A request that expires while Slack is asked about the approver is not run."""
    request = await engine.propose()

    def dawdle() -> None:
        engine.clock.now = request.expires_s + 1

    engine.chat.on_lookup = dawdle
    with pytest.raises(PlanExpiredError):
        await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert (await engine.state(request.id), engine.machine.writes) == ("expired", 0)


@pytest.mark.parametrize("answer", [{"status": "done", "steps": None}, {"status": ["x"]}, {"steps": 5}])
async def test_nonsense_of_the_helper_is_unverified_or_read_back(engine: Engine, answer: dict) -> None:
    """An answer that makes no sense ends in a state that says so, and the next change is not blocked."""
    engine.machine.answer = answer
    request = await engine.propose()
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert await engine.state(request.id) in ("verified", "unverified")
    assert await engine.store.busy("host42") is None


async def test_foreign_press_is_in_the_audit_trail(engine: Engine) -> None:
    """A refused press of a stranger leaves a line."""
    request = await engine.propose()
    with pytest.raises(NotApproverError):
        await engine.remedies.approve(request.id, Person(user_id="U0EVIL001", team_id="T0FOREIGN"))
    assert [line.actor for line in await engine.store.audit(request.id)][-1] == "U0EVIL001"


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS.replace("mode: apply", "mode: observe"),
        SETTINGS.replace("mode: apply", "mode: propose"),
        SETTINGS.replace("groups: [S0ONCALL1]", "users: [U0ADA0001, U0CLEO003]"),
    ],
    ids=["observe", "propose", "approver removed"],
)
async def test_restart_under_another_policy_runs_nothing(tmp_path, settings: str) -> None:
    """An approval of before the restart counts only if the configuration of now would still give it."""
    machine, chat, clock = FakeMachine(), FakeChat(), Clock()
    async with build(tmp_path, machine=machine, chat=chat, clock=clock) as engine:
        request = await engine.propose()
        await _bring_to(engine, request.id, "approved", ran=False)
    async with build(tmp_path, settings, machine=machine, chat=chat, clock=clock) as engine:
        await engine.runs.recover()
        await engine.finish()
        assert (await engine.state(request.id), machine.writes) == ("failed", 0)


@pytest.mark.parametrize(
    ("state", "ran", "ends", "writes"),
    [
        ("approved", False, "verified", 1),
        ("running", False, "failed", 0),
        ("running", True, "verified", 1),
        ("applied", True, "verified", 1),
    ],
)
async def test_restart_in_each_state(tmp_path, state: str, ran: bool, ends: str, writes: int) -> None:
    """A bot that died between approve and verify finds out what happened; a run is never repeated."""
    machine, chat, clock = FakeMachine(), FakeChat(), Clock()
    async with build(tmp_path, machine=machine, chat=chat, clock=clock) as engine:
        request = await engine.propose()
        await _bring_to(engine, request.id, state, ran=ran)
    async with build(tmp_path, machine=machine, chat=chat, clock=clock) as engine:
        await engine.runs.recover()
        await engine.finish()
        assert (await engine.state(request.id), machine.writes) == (ends, writes)
        assert engine.chat.message(f"outcome:{request.id}").edits == 0


@pytest.mark.parametrize(
    "settings",
    [
        f"{ACTING}helpers: installed\n",
        f"{SETTINGS}\nssh: {{act: {{user: somebody}}}}\n",
        ACTING.replace("name: host42", "name: host42, address: elsewhere"),
    ],
    ids=["helper", "login", "address"],
)
@pytest.mark.parametrize(("ran", "ends"), [(False, "unverified"), (True, "verified")])
async def test_restart_by_another_way_proves_no_absence(
    tmp_path, settings: str, ran: bool, ends: str
) -> None:
    """A record that is found counts; one that is not found where the run was not sent leaves it to a person."""
    assert settings != ACTING
    machine, chat, clock = FakeMachine(), FakeChat(), Clock()
    async with build(tmp_path, ACTING, machine=machine, chat=chat, clock=clock) as engine:
        request = await engine.propose()
        await _bring_to(engine, request.id, "running", ran=ran)
    async with build(tmp_path, settings, machine=machine, chat=chat, clock=clock) as engine:
        await engine.runs.recover()
        await engine.finish()
        assert (await engine.state(request.id), machine.writes) == (ends, int(ran))
        stored = await engine.store.request(request.id)
        assert stored is not None
        assert ran or "but it was sent by the sent helper as" in stored.evidence["problems"][0]


async def test_a_slow_reading_does_not_stretch_an_approval(tmp_path) -> None:
    """A host that takes its time to be read again is not changed by an approval that grew too old meanwhile."""
    clock = Clock()
    async with build(tmp_path, machine=FakeMachine(), chat=FakeChat(), clock=clock) as engine:
        request = await engine.propose()

        def slow() -> None:
            clock.now += 61

        engine.machine.on_read = slow
        await engine.remedies.approve(request.id, BEN)
        await engine.finish()
        assert (await engine.state(request.id), engine.machine.writes) == ("expired", 0)


async def test_a_record_that_would_be_gone_by_now_proves_nothing(tmp_path) -> None:
    """The helper keeps records for 30 days: after that, that it knows of no run does not mean that there was none."""
    machine, chat, clock = FakeMachine(), FakeChat(), Clock()
    async with build(tmp_path, machine=machine, chat=chat, clock=clock) as engine:
        request = await engine.propose()
        await _bring_to(engine, request.id, "running", ran=False)
    clock.now += 30 * 86400
    async with build(tmp_path, machine=machine, chat=chat, clock=clock) as engine:
        await engine.runs.recover()
        await engine.finish()
        assert await engine.state(request.id) == "unverified"


async def test_restart_long_after_approval_runs_nothing(tmp_path) -> None:
    """An approval that is older than run_within_s is not run by a bot that comes back late."""
    machine, chat, clock = FakeMachine(), FakeChat(), Clock()
    async with build(tmp_path, machine=machine, chat=chat, clock=clock) as engine:
        request = await engine.propose()
        await _bring_to(engine, request.id, "approved", ran=False)
    clock.now += 61
    async with build(tmp_path, machine=machine, chat=chat, clock=clock) as engine:
        await engine.runs.recover()
        await engine.finish()
        assert (await engine.state(request.id), machine.writes) == ("expired", 0)


async def test_restart_with_the_host_gone_is_unverified(tmp_path) -> None:
    """When the host can not say whether it ran, neither does the bot."""
    machine, chat, clock = FakeMachine(), FakeChat(), Clock()
    async with build(tmp_path, machine=machine, chat=chat, clock=clock) as engine:
        request = await engine.propose()
        await _bring_to(engine, request.id, "running", ran=True)
    machine.down = True
    async with build(tmp_path, machine=machine, chat=chat, clock=clock) as engine:
        await engine.runs.recover()
        await engine.finish()
        assert await engine.state(request.id) == "unverified"


async def _bring_to(engine: Engine, request_id: str, state: str, *, ran: bool) -> None:
    """Move the request by hand to where a crash left it."""
    from oombot import helper_call
    from oombot.engine import plans
    from oombot.engine.drafts import audit_line

    request = await engine.store.request(request_id)
    assert request is not None
    way = ["pending", "approved", "running", "applied"]
    for one, other in itertools.pairwise(way):
        if one == state:
            break
        audit = audit_line(
            engine.context, request, actor=BEN.user_id, event=other, state_from=one, state_to=other
        )
        if other == "approved":
            await engine.store.vote(
                request.id, BEN.user_id, needed=1, counted=audit, complete=audit, drafts=lambda _: []
            )
            continue
        way = {"way": helper_call.way(engine.context.settings, "host42")} if other == "running" else None
        await engine.store.transition(request.id, audit=audit, evidence=way)
    if ran:
        body = {"id": request.id, "op": "run", "steps": plans.wire(request.plan.steps)}
        await engine.machine.run("host42", helper_call.act("sent", "", body), timeout_s=1)
