"""Speaking with the act helper on a host: it is sent a plan once, and asked afterwards what came of it."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from oombot import helper_call
from oombot.engine import plans
from oombot.engine.context import Context
from oombot.errors import CommandFailedError, HostError
from oombot.proposals import Request

RUN_TIMEOUT_S = 120.0
RESULT_TIMEOUT_S = 20.0
ASK_FOR_S = 900.0
RECORDS_KEPT_S = 29 * 86400.0  # the helper forgets them after 30 days
AGAIN_S = (1.0, 2.0, 5.0, 10.0, *[30.0] * 28)  # a quarter of an hour


class Asking:
    """One JSON request, one JSON answer; no run is ever sent twice."""

    def __init__(self, context: Context, again_s: Sequence[float]) -> None:
        """Take the context, and the waits between questions to a host that lost its link."""
        self._ctx, self._again_s = context, tuple(again_s)

    def way(self, request: Request) -> str:
        """The way by which the helper of the request's host is reached now."""
        return helper_call.way(self._ctx.settings, request.plan.host)

    async def run(self, request: Request) -> Mapping[str, Any]:
        """Send the plan; HostError when the answer did not come, and then nothing is known."""
        steps, approver = plans.wire(request.plan.steps), request.approver or "unknown"
        return await self._ask(
            request, {"op": "run", "steps": steps, "approver": approver}, timeout_s=RUN_TIMEOUT_S
        )

    async def result(self, request: Request) -> tuple[Mapping[str, Any] | None, str]:
        """What the host's own record says, or None and why it is not known; a silent host is asked for a while."""
        began, problem = self._ctx.clock(), ""
        for wait_s in (*self._again_s, None):
            try:
                result = await self._ask(request, {"op": "result"}, timeout_s=RESULT_TIMEOUT_S)
            except HostError as error:
                problem = f"the host does not say whether it ran: {error}"
                if not error.temporary:
                    break
            else:
                if problem := self._unknown(request, result):
                    break
                if result.get("status") != "running":
                    return result, ""
                problem = "the host says that it is still running"
            if wait_s is None or self._ctx.clock() - began > ASK_FOR_S:
                break
            await asyncio.sleep(wait_s)
        return None, problem

    async def _ask(self, request: Request, body: Mapping[str, Any], *, timeout_s: float) -> Mapping[str, Any]:
        sudo = any(step.do.sudo for step in request.plan.steps)
        helpers = self._ctx.settings.helpers_of(request.plan.host)
        command = helper_call.act(helpers, self._ctx.helper_source, {"id": request.id, **body}, sudo=sudo)
        result = await self._ctx.hosts.run(
            request.plan.host, command, timeout_s=timeout_s, asked=body.get("op") == "run"
        )
        try:
            answer = json.loads(result.stdout)
        except ValueError:
            said = result.stderr.decode(errors="replace").strip()[:300]
            raise CommandFailedError(
                f"The helper on {request.plan.host} gave no answer (exit {result.exit_status}: {said or 'no output'})."
            ) from None
        return answer if isinstance(answer, dict) else {"status": "unreadable"}

    def _unknown(self, request: Request, result: Mapping[str, Any]) -> str:
        """Why this answer does not prove that nothing was run, although it knows of no run."""
        status, then, now = result.get("status"), request.evidence.get("way"), self.way(request)
        if (
            status == "refused" and "ended_s" not in result
        ):  # else it is what the host wrote down about a timer
            said = str(result.get("error")).removesuffix("; nothing was run")  # now, that is
            return f"the host does not say whether it ran: {said}"
        none = status in ("absent", "cancelled")
        if none and self._ctx.clock() - (request.decided_s or 0.0) > RECORDS_KEPT_S:
            return "no record of it is found, but the host keeps none for so long"
        if none and then != now:
            return f"no record of it is found by the {now}, but it was sent by the {then or 'way of an older oombot'}"
        return ""
