"""Whatever breaks, and after whatever step: the outcome is one of five, no half-change is unsaid, no run is repeated.

The whole matrix with OOMBOT_FULL=1; else a sample, whose seed stands in the name of each case and is taken from
OOMBOT_SEED where that is given.
"""

import asyncio
import itertools
import os
import random
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import pytest

from oombot import catalog
from oombot.remediations import memory_max, oom_score_adj, oom_score_adjust_unit, restart_service, swappiness
from tests.engine.conftest import ADA, BEN, Engine, build
from tests.engine.cutting import PID, UNIT, CutHost
from tests.fakes import Clock, FakeChat

OUTCOMES = {"verified", "unverified", "contradicted", "failed", "stale"}
MIB = 1 << 20
PARAMS: dict[str, Any] = {
    "oom_score_adj": oom_score_adj.Params(value=500, pid=PID, start_ticks=1000 + PID),
    "oom_score_adjust_unit": oom_score_adjust_unit.Params(unit=UNIT, value=300),
    "memory_max": memory_max.Params(unit=UNIT, memory_max=str(512 * MIB), lasting="boot"),
    "swappiness": swappiness.Params(value=10, boot="keep"),
    "restart_service": restart_service.Params(unit=UNIT),
}
IN_A_RUN = ("link cut", "bot killed", "dies", "dies late", "disk full")
BEFORE = ("rebooted", "unit vanished", "pid reused")
STEPS = 3  # no plan here has more
MATRIX = [
    *itertools.product(PARAMS, IN_A_RUN, range(STEPS)),
    *itertools.product(PARAMS, BEFORE, (0,)),
]
SEED = int(os.environ.get("OOMBOT_SEED") or time.time() // 86400)  # another sample each day
CASES = MATRIX if os.environ.get("OOMBOT_FULL") else sorted(random.Random(SEED).sample(MATRIX, 12))
SETTINGS = """
mode: apply
policy: {approvers: {groups: [S0ONCALL1]}}
hosts: [{name: host42}]
"""


def name(case: tuple[str, str, int]) -> str:
    """The case, with the seed that chose it."""
    return f"{case[0]}-{case[1]}-{case[2]}-seed{SEED}".replace(" ", "_")


def at_once(engine: Engine, remedy: str) -> None:
    """No test waits for a real service to settle."""
    known = catalog.remediations()[remedy]
    quick = type("Quick", (type(known),), {"settle_s": 0.0})
    told = {"settle_s": 0.0} if "settle_s" in {field.name for field in fields(cast("Any", known))} else {}
    cast("dict[str, Any]", engine.context.remediations)[remedy] = quick(**told)


@pytest.mark.parametrize("case", [pytest.param(case, id=name(case)) for case in CASES])
async def test_whatever_breaks(tmp_path: Path, case: tuple[str, str, int]) -> None:
    """One trouble at one step of one remedy: what is said is what happened, and it happened once."""
    remedy, trouble, after = case
    (tmp_path / "bot").mkdir()
    host: Any = CutHost(tmp_path, trouble, after, state="failed" if remedy == "restart_service" else "active")
    parts: Any = {"machine": host, "chat": FakeChat(), "clock": Clock()}
    async with build(tmp_path / "bot", SETTINGS, **parts) as engine:
        at_once(engine, remedy)
        request = await engine.remedies.propose("host42", remedy, PARAMS[remedy], ADA, incident_id=None)
        host.approved = True
        await engine.remedies.approve(request.id, BEN)
        if trouble == "bot killed":
            await asyncio.wait_for(host.down.wait(), 60)
        else:
            await engine.finish()
    async with build(tmp_path / "bot", SETTINGS, **parts) as engine:
        at_once(engine, remedy)
        await engine.runs.recover()
        await engine.finish()
        await _holds(engine, host, request.id)


@pytest.mark.parametrize("trouble", ["link cut", "bot killed"])
async def test_a_kill_by_the_new_limit_is_not_hidden(tmp_path: Path, trouble: str) -> None:
    """Where nobody saw the run, the count of kills from before it, out of the store, disproves a limit that killed."""
    (tmp_path / "bot").mkdir()
    host: Any = CutHost(tmp_path, trouble, 0)
    host.events[f"/sys/fs/cgroup/system.slice/{UNIT}/memory.events"] = "oom 1\noom_kill 1\n"
    parts: Any = {"machine": host, "chat": FakeChat(), "clock": Clock()}
    async with build(tmp_path / "bot", SETTINGS, **parts) as engine:
        at_once(engine, "memory_max")
        request = await engine.remedies.propose(
            "host42", "memory_max", PARAMS["memory_max"], ADA, incident_id=None
        )
        await engine.remedies.approve(request.id, BEN)
        if trouble == "bot killed":
            await asyncio.wait_for(host.down.wait(), 60)
        else:
            await engine.finish()
    async with build(tmp_path / "bot", SETTINGS, **parts) as engine:
        at_once(engine, "memory_max")
        await engine.runs.recover()
        await engine.finish()
        done = await engine.store.request(request.id)
    assert done is not None
    assert done.state == "contradicted"
    assert "the kernel has killed in api.service since" in done.evidence["problems"][0]


async def _holds(engine: Engine, host: Any, request_id: str) -> None:
    """What must be true at the end of every case."""
    request = await engine.store.request(request_id)
    assert request is not None
    done, steps = len(host.acts), len(request.plan.steps)
    assert request.state in OUTCOMES
    assert host.sent <= 1
    assert len(set(host.acts)) == done <= steps
    said = " | ".join(request.evidence.get("problems", ()))
    if request.state == "stale":
        assert (done, host.sent) == (0, 0)
    if request.state == "verified":
        assert done == steps
    if 0 < done < steps:
        assert request.state in ("failed", "unverified")
        assert "done: step 1" in said or "step 1" in said
    if done and request.state == "failed":
        assert "nothing was run" not in said
    if host.trouble in ("rebooted", "unit vanished") and request.plan.remediation != "swappiness":
        assert request.state == "stale"
    assert await engine.store.lease("host42") is None
