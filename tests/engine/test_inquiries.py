"""Freeze, pending, can, history, whoami: each answered to the asker alone, from the store and the policy."""

import pytest

from oombot.engine.inquiries import STATES
from oombot.lifecycle import TRANSITIONS
from oombot.proposals import Person
from tests.engine.conftest import ADA, BEN, CLEO, Engine
from tests.engine.test_desk import Person1, stored_kill


async def said(engine: Engine, text: str, person: Person = ADA) -> str:
    """What the person is told."""
    someone = Person1(person=person)
    await engine.desk.command(someone.visit, text)
    assert len(someone.said) == 1
    return someone.last


async def test_freeze_holds_approvals_back(engine: Engine) -> None:
    """After `/oom freeze` an approval runs nothing, and `/oom pending` says why; `/oom unfreeze` ends it."""
    request = await engine.propose(ADA)
    assert "Frozen" in await said(engine, "freeze disk migration", CLEO)
    await engine.send()
    assert "By: <@U0CLEO003>" in str(engine.chat.posted[-1].view)
    ben = Person1(person=BEN)
    await engine.desk.press(ben.visit, "approve", request.id)
    await engine.finish()
    assert "frozen" in ben.last
    assert engine.machine.writes == 0
    assert "disk migration" in await said(engine, "pending")
    assert "Only an approver" in await said(engine, "unfreeze", CLEO)
    assert request.plan.title in await said(engine, "unfreeze", BEN)
    await engine.desk.press(ben.visit, "approve", request.id)
    await engine.finish()
    assert engine.machine.writes == 1


async def test_pending_lists_what_waits(engine: Engine) -> None:
    """`/oom pending` names each open request with its host, tier and who asked."""
    assert "none" in await said(engine, "pending")
    request = await engine.propose(ADA)
    told = await said(engine, "pending", BEN)
    assert f"host42: {request.plan.title} (amber): waits for an approval" in told
    assert "<@U0ADA0001>" in told


async def test_history_is_in_the_order_of_time(engine: Engine) -> None:
    """`/oom history HOST` tells kills and changes together, oldest first, and of this host only."""
    await stored_kill(engine)
    request = await engine.propose(ADA)
    told = await said(engine, "history host42")
    assert told.index("was killed") < told.index(request.plan.title)
    assert "none" in await said(engine, "history host43")
    assert "/oom history HOST" in await said(engine, "history")


@pytest.mark.parametrize(
    ("who", "line", "expected"),
    [
        (
            ADA,
            "can oom_score_adj host42",
            ["amber, approve: yes", "red, approve your own: no", "policy.approvers"],
        ),
        (CLEO, "can oom_score_adj host42", ["amber, ask: yes", "red, approve: no"]),
        (CLEO, "can <@U0BEN0002|ben> oom_score_adj host42", ["<@U0BEN0002>", "red, approve: yes"]),
        (CLEO, "can U0BEN0002 oom_score_adj host42", ["<@U0BEN0002>", "red, approve: yes"]),
        (CLEO, "can @ben oom_score_adj host42", ["did not say who that is"]),
        (CLEO, "can rm_rf host42", ["Which action on which host?", "oom_score_adj"]),
        (CLEO, "can oom_score_adj host99", ["host99"]),
        (CLEO, "can <@U0EVE0009> oom_score_adj host42", ["full members"]),
    ],
)
async def test_can(engine: Engine, who: Person, line: str, expected: list[str]) -> None:
    """`/oom can` says for each tier what a person may do, and which rule says so."""
    told = await said(engine, line, who)
    for words in expected:
        assert words in told


def test_every_state_has_words() -> None:
    """Each state of a request is told in words of its own."""
    assert set(STATES) == set(TRANSITIONS)


async def test_can_fails_closed(engine: Engine) -> None:
    """Where Slack can not say who is in a group, the answer is no."""
    engine.chat.directory_down = True
    assert "Slack could not say" in await said(engine, "can oom_score_adj host42")


async def test_whoami(engine: Engine) -> None:
    """`/oom whoami` names the person as oombot knows them, and whether they may approve, by which rule."""
    told = await said(engine, "whoami", BEN)
    assert "yes, by policy.approvers" in told
    assert "policy.approvers, policy.approvers" not in told
    assert "Approver: no" in await said(engine, "whoami", CLEO)


@pytest.mark.parametrize(
    "line", ["freeze x", "unfreeze", "pending", "can oom_score_adj host42", "history host42", "whoami"]
)
async def test_strangers_are_told_no(engine: Engine, line: str) -> None:
    """Somebody of another workspace learns nothing and freezes nothing."""
    assert "full members" in await said(engine, line, Person(user_id="U0ADA0001", team_id="T0FOREIGN"))
    assert await engine.remedies.frozen() is None


async def test_help_names_every_command(engine: Engine) -> None:
    """`/oom help` lists them all."""
    told = await said(engine, "help")
    for command in (*engine.desk.inquiries.commands, "fix"):
        assert f"/oom {command}" in told
