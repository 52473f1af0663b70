"""The notice before the host puts something back, and what is told afterwards."""

from dataclasses import replace
from typing import Any

import pytest

from oombot.engine.timekeeper import Timekeeper
from tests.engine.conftest import ADA, BEN, WANTED, Engine
from tests.fakes import FakeMachine

AFTER_S = 7200


class Timed(FakeMachine):
    """A host with systemd, whose helper takes a timer for a step that changes nothing now."""

    def snapshot(self) -> Any:
        """What a reading shows."""
        return replace(super().snapshot(), has_systemd=True)

    def _execute(self, body: Any) -> Any:
        now = [step for step in body["steps"] if step["do"][0] == "set-adj"]
        said = super()._execute({**body, "steps": now})
        done = [{"argv": step["do"], "exit": 0, "stdout": "", "stderr": ""} for step in body["steps"]]
        return {**said, "steps": done}


async def made(engine: Engine) -> str:
    """A change for two hours that was approved and run."""
    machine = Timed()
    for part in (engine.remedies, engine.runs.rechecks):
        part._readings = machine
    object.__setattr__(engine.context, "hosts", machine)
    engine.machine = machine
    request = await engine.remedies.propose(
        "host42", "oom_score_adj", WANTED, ADA, incident_id=None, back_after_s=AFTER_S
    )
    await engine.remedies.approve(request.id, BEN)
    await engine.finish()
    assert await engine.state(request.id) == "verified"
    return str(request.id)


def keeper(engine: Engine) -> Timekeeper:
    """A keeper that knows nothing but the store and the host, as after a restart."""
    return Timekeeper(engine.context, engine.machine)  # type: ignore[arg-type]


async def said(engine: Engine, kind: str, request_id: str) -> str:
    """The message of this kind about a request; "" where there is none."""
    await keeper(engine).look()
    message = await engine.store.message(f"{kind}:{request_id}")
    return "" if message is None else str(message.view)


async def test_people_are_told_before(engine: Engine) -> None:
    """A tenth of the time before, once, and not earlier."""
    request_id = await made(engine)
    engine.clock.now += AFTER_S - 800
    assert await said(engine, "back-soon", request_id) == ""
    engine.clock.now += 200
    assert "puts this back by itself" in await said(engine, "back-soon", request_id)
    assert await said(engine, "back", request_id) == ""


async def test_what_came_of_it_is_told(engine: Engine) -> None:
    """The host's record and the value that it reads decide what is said; it stands in the trail as well."""
    request_id = await made(engine)
    engine.clock.now += AFTER_S + 60
    engine.machine.runs[f"{request_id}-back"] = {"status": "done", "steps": []}
    engine.machine.adj = 0
    assert "has put this back" in await said(engine, "back", request_id)
    assert "put_back" in [line.event for line in await engine.store.audit(request_id)]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (
            {"status": "frozen", "error": "changes on this host are frozen", "ended_s": 1.0},
            "were frozen then",
        ),
        ({"status": "refused", "error": "api.service: it has changed", "ended_s": 1.0}, "it has changed"),
        ({"status": "done", "steps": []}, "another value stands there"),
        ({"status": "absent"}, "has no record of the way back"),
    ],
)
async def test_what_went_wrong_is_told(engine: Engine, record: Any, why: str) -> None:
    """A way back that was not run, or did not reach the old value, is never called put back."""
    request_id = await made(engine)
    engine.clock.now += AFTER_S + 700
    engine.machine.runs[f"{request_id}-back"] = record
    text = await said(engine, "back", request_id)
    assert why in text
    assert "has put this back" not in text


async def test_a_silent_host_is_asked_again(engine: Engine) -> None:
    """Nothing is told while the host can not be asked, and the truth when it can."""
    request_id = await made(engine)
    engine.clock.now += AFTER_S + 60
    engine.machine.runs[f"{request_id}-back"] = {"status": "done", "steps": []}
    engine.machine.adj, engine.machine.down = 0, True
    assert await said(engine, "back", request_id) == ""
    engine.machine.down = False
    assert "has put this back" in await said(engine, "back", request_id)
