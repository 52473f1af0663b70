"""A remedy of three steps for tests: oom_score_adj, raised by way of 100 and 300."""

from typing import Any, cast

from oombot.model import Command
from oombot.proposals import Step
from oombot.remediations import oom_score_adj
from oombot.remediations.oom_score_adj import Params
from tests.engine.conftest import ADA, Engine

WAY = (0, 100, 300, 500)


class Stepwise(type(oom_score_adj.REMEDIATION)):  # type: ignore[misc]
    """The same value, in three writes; the second has no way back."""

    def plan(self, params: Params, seen: Any, tag: str) -> list[Step]:
        """One step for each part of the way."""
        return [_step(number) for number in range(1, len(WAY))]


def _step(number: int) -> Step:
    argv = ("set-adj", "--pid", "4242", "--start", "42420", "--was")
    old, new = str(WAY[number - 1]), str(WAY[number])
    return Step(
        why=f"from {old} to {new}",
        do=Command(argv=(*argv, old, "--value", new), sudo=True),
        undo=None if number == 2 else Command(argv=(*argv, new, "--value", old), sudo=True),
        by_hand=f"sudo choom -p 4242 -n {new}",
        undo_by_hand=f"sudo choom -p 4242 -n {old}",
    )


async def propose(engine: Engine) -> Any:
    """A pending request of three steps, asked for by Ada."""
    cast("dict[str, Any]", engine.context.remediations)["stepwise"] = Stepwise(name="stepwise")
    params = Params(pid=4242, start_ticks=42420, value=500)
    request = await engine.remedies.propose("host42", "stepwise", params, ADA, incident_id=None)
    await engine.send()
    return request
