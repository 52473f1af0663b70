"""kill -9 of the bot at each stage: no kill lost, no card doubled, no change run twice or unrecorded."""

import asyncio
from pathlib import Path

import pytest

from oombot.pit import Pit
from tests.e2e.conftest import ADA, BEN, Bot, until
from tests.forms import fill_in, offered

pytestmark = pytest.mark.kill

TO_THE_CARD = [
    "record_kills:before",
    "record_kills:after",
    "message_posting:before",
    "message_posting:after",
    "post:before",
    "post:after",
    "message_sent:before",
    "message_sent:after",
    "update:before",
    "update:after",
]
TO_THE_PROOF = [
    "vote:before",
    "vote:after",
    "begin_run:before",
    "begin_run:after",
    "run=set-adj:before",
    "run=set-adj:after",
    "transition='applied':before",
    "transition='applied':after",
    "transition='verified':before",
    "transition='verified':after",
]


@pytest.mark.parametrize("place", TO_THE_CARD)
async def test_between_kill_and_card(bot: Bot, small_cgroup: Pit, place: str) -> None:
    """Wherever the bot dies between the kernel's kill and the card, the restarted bot shows exactly one card."""
    await bot.start()  # first contact: older kills of this machine are history
    await bot.stop()
    await bot.start(dies_at=place)
    pid = await small_cgroup.run_out_of_memory()
    await bot.died()
    await bot.start()
    await until(lambda: bot.cards(pid))
    await asyncio.sleep(2.5)  # time for a double, if there were one
    assert len(bot.cards(pid)) == 1


@pytest.mark.parametrize("place", TO_THE_PROOF)
async def test_between_approve_and_proof(bot: Bot, small_cgroup: Pit, place: str) -> None:
    """Wherever the bot dies between the approval and the proof, the change is made at most once and recorded."""
    target = small_cgroup.neighbour_pid
    await bot.start(dies_at=place)
    await _propose(bot, target, 321)
    plan = await until(lambda: _plan(bot))
    await bot.workspace.click(BEN, "oncall", plan["ts"], "approve")
    await bot.died()
    await bot.start()
    if place == "vote:before":
        assert _adj(target) == 0  # the press was never recorded: nothing ran, and it can be pressed again
        await bot.workspace.click(BEN, "oncall", plan["ts"], "approve")
    [outcome] = await until(bot.outcomes)
    if "✅ verified" in outcome["text"]:
        assert _adj(target) == 321
    else:
        assert "nothing was run on the host" in str(outcome)
        assert _adj(target) == 0


async def _propose(bot: Bot, pid: int, value: int) -> None:
    def values(form: dict) -> dict:
        return {"process": offered(form, "process")[0], "value": str(value)}

    assert await fill_in(bot.workspace, ADA, f"/oom fix testbox {pid}", "oom_score_adj", values) == {}


def _plan(bot: Bot) -> dict | None:
    plans = [m for m in bot.workspace.messages("oncall") if "Approval needed" in m["text"]]
    return plans[-1] if plans else None


def _adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
