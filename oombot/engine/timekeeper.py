"""What the bot does about a change that the host puts back by itself: tell people before, and what came of it.

All that it knows is in the store and on the host: a bot that was restarted, or died, goes on where it was.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from oombot.engine import plans, ran, timebox
from oombot.engine.asking import Asking
from oombot.engine.context import Context
from oombot.engine.drafts import audit_line, outcome_draft, thread_of
from oombot.engine.readings import Readings
from oombot.errors import HostError, RefusedError
from oombot.lifecycle import CHANGED
from oombot.model import Draft
from oombot.proposals import Request

REMEMBERED_S: Final = timebox.LONGEST_S + 2 * 86400.0
GRACE_S: Final = 600.0  # the host's clock is its own, and another plan may be in the way
SILENT_S: Final = 86400.0  # after so long the host is not asked any more


class Timekeeper:
    """Looks after every change that was made for a while only."""

    def __init__(self, context: Context, readings: Readings) -> None:
        """Take the shared parts."""
        self._ctx, self._readings = context, readings
        self._asking = Asking(context, ())

    async def look(self) -> None:
        """Tell what is due to be told by now."""
        now = self._ctx.clock()
        for _, request in await self._ctx.store.ran(now - REMEMBERED_S):
            made_s = request.evidence.get("at_s")
            if _armed(request) and isinstance(made_s, int | float):
                await self._one(request, float(made_s), now)

    async def _one(self, request: Request, made_s: float, now: float) -> None:
        notice_s, back_s = timebox.notice_at(request.plan, made_s), made_s + (request.plan.back_after_s or 0)
        if notice_s is None or now < notice_s or await self._ctx.store.message(_key("back", request)):
            return
        undos = await self._ctx.store.undo_requests(request.id)
        if any(undo.state == "verified" for undo in undos):
            return
        if now >= back_s:
            await self._after(request, back_s, now)
        elif await self._ctx.store.message(_key("back-soon", request)) is None:
            minutes = max(1, round((back_s - now) / 60))
            await self._tell(
                _key("back-soon", request),
                request,
                f"In about {minutes} min {request.plan.host} puts this back by itself: {request.plan.title} "
                f"({request.plan.after} → {request.plan.before}). Undo does it now; to keep it longer, ask anew.",
            )

    async def _after(self, request: Request, back_s: float, now: float) -> None:
        """Ask the host's own record; where it has none yet, wait a little, and then say so."""
        asked = replace(request, id=timebox.record_of(request.id))
        result, problem = await self._asking.result(asked)
        if result is None:
            if now < back_s + SILENT_S:
                return
            result = {"status": "unknown", "error": problem}
        status = str(result.get("status"))
        if status in ("absent", "running") and now < back_s + GRACE_S:
            return
        reads = await self._reads(request)
        back = status == "done" and reads == request.plan.before
        audit = audit_line(
            self._ctx,
            request,
            actor="oombot",
            event="put_back",
            state_from=request.state,
            state_to=request.state,
            status=status,
            runs=ran.evidence(result),
            reads=reads,
        )
        await self._ctx.store.add_audit(audit)
        if reads == request.plan.before:
            gone = outcome_draft(self._ctx, request, undo=False, undone=True)
            await self._ctx.store.put_messages([gone])
        await self._tell(_key("back", request), request, _said(request, result, reads, back=back))

    async def _reads(self, request: Request) -> str:
        """What stands there now; "" where that can not be told."""
        plan = request.plan
        fix = self._ctx.remediations[plan.remediation]
        try:
            snapshot = await self._readings.seen(plan.host, fix, fix.params(**plan.params))
            return plans.state(fix, plan, snapshot)
        except (HostError, RefusedError):
            return ""

    async def _tell(self, key: str, request: Request, text: str) -> None:
        view, thread = self._ctx.views.notice(text), thread_of(request) or f"plan:{request.id}"
        draft = Draft(key=key, channel=request.channel, view=view, thread_key=thread)
        await self._ctx.store.put_messages([draft])
        self._ctx.wake.set()


def _armed(request: Request) -> bool:
    """Whether a timer of the host was set for it."""
    whole = request.state in CHANGED and ran.done(request) == len(request.plan.steps)
    return whole and request.plan.back_after_s is not None and request.undo_of is None


def _key(kind: str, request: Request) -> str:
    return f"{kind}:{request.id}"


def _said(request: Request, result: Mapping[str, Any], reads: str, *, back: bool) -> str:
    """What came of it, in sentences; what is not known is said as not known."""
    plan, status = request.plan, str(result.get("status"))
    now = f"It reads {reads} now." if reads else "What stands there now could not be read."
    if back:
        return f"{plan.host} has put this back: {plan.title}. {now}"
    why = {
        "done": "it ran the way back, but another value stands there",
        "failed": f"the way back failed ({ran.failure(result)})",
        "absent": "it has no record of the way back; a reboot loses its timer, and what was changed as well",
        "cancelled": "its timer was called off",
        "frozen": "changes on the host were frozen then",
    }.get(status, str(result.get("error") or f"its record says {status}"))[:400]
    return f"{plan.host} was to put this back: {plan.title}. Not certain to be put back: {why}. {now}"
