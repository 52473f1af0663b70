"""What an approval sets going: check again, run once, read back, show the evidence; and how a crash is mended."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from oombot import helper_call, policy
from oombot.engine import plans, ran
from oombot.engine.context import Context
from oombot.engine.drafts import audit_line, decided_draft, outcome_draft, plan_draft
from oombot.engine.outbox import Outbox
from oombot.engine.people import People
from oombot.engine.readings import Readings
from oombot.errors import (
    CommandFailedError,
    DecisionError,
    HostError,
    NotApproverError,
    PlanStaleError,
    RefusedError,
)
from oombot.lifecycle import UNFINISHED
from oombot.model import Draft, HostSnapshot
from oombot.proposals import Person, Plan, Request

RUN_TIMEOUT_S = 120.0
RESULT_TIMEOUT_S = 20.0
ASK_FOR_S = 900.0
READ_BACK_TRIES = 4
RECORDS_KEPT_S = 29 * 86400.0  # the helper forgets them after 30 days
FAILURES = 5  # faults of oombot's own in one run, after which it is given up
BUTTONS_GONE_WITHIN_S = 3.0
SETTLE_S = 0.2
AGAIN_S = (1.0, 2.0, 5.0, 10.0, *[30.0] * 28)  # a quarter of an hour


class Runs:
    """Takes an approved request to its end. Every move is stored before the next thing happens."""

    def __init__(
        self,
        context: Context,
        readings: Readings,
        people: People,
        outbox: Outbox,
        *,
        again_s: Sequence[float] = AGAIN_S,
    ) -> None:
        """Take the shared parts; `again_s` are the waits between questions to a host that lost its link."""
        self._ctx, self._readings, self._people, self._outbox = context, readings, people, outbox
        self._again_s = tuple(again_s)
        self._locks: dict[str, asyncio.Lock] = {}
        self._active: set[str] = set()
        self._failures: Counter[str] = Counter()

    def start(self, request: Request) -> None:
        """Take an unfinished request to its end, on the side; one that is under way already is left alone."""
        if request.id not in self._active:
            self._active.add(request.id)
            self._ctx.spawn(self._guarded(request.id))

    async def recover(self) -> None:
        """After a restart, and now and then: take up what was approved, running or applied and has nobody to end it."""
        for request in await self._ctx.store.requests(UNFINISHED):
            self.start(request)

    async def _guarded(self, request_id: str) -> None:
        try:
            await self._to_the_end(request_id)
        finally:
            self._active.discard(request_id)

    async def _to_the_end(self, request_id: str) -> None:
        request = await self._ctx.store.request(request_id)
        if request is None or request.state not in UNFINISHED:
            return
        async with self._locks.setdefault(request.plan.host, asyncio.Lock()):
            try:
                if request.state == "approved":
                    await self._run(request)
                elif request.state == "running":
                    await self._reattach(request)
                else:
                    await self._verify(request, None)
            except Exception as error:
                self._ctx.log(request=request.id, host=request.plan.host).exception("run_failed")
                await self._fail(request, str(error) or type(error).__name__)

    async def _run(self, request: Request) -> None:
        if await self._late(request):
            return
        await self._outbox.settled(f"plan:{request.id}", within_s=BUTTONS_GONE_WITHIN_S)
        try:
            await self._still_allowed(request)
            before = await self._seen(request.plan, asked=True)
            fresh = await self._replan(request, before, request.id)
        except (HostError, DecisionError) as error:
            await self._move(request, "failed", note=f"not run: {error}")
            return
        if fresh.digest != request.plan.digest:
            await self._stale(request, before)
            return
        if await self._late(request):  # the reading may have taken its time
            return
        way = helper_call.way(self._ctx.settings, request.plan.host)
        evidence = {"before": fresh.before, "way": way}
        if not await self._move(request, "running", evidence=evidence):
            return
        running = replace(request, state="running", evidence=evidence)
        try:
            body = {
                "op": "run",
                "steps": plans.wire(request.plan.steps),
                "approver": request.approver or "unknown",
            }
            result = await self._ask_helper(request, body)
        except HostError as error:
            await self._lost(running, error)
            return
        await self._applied(running, result, before)

    async def _late(self, request: Request) -> bool:
        """Close a request whose approval is too old to be run by now."""
        if self._ctx.clock() - (request.decided_s or 0.0) <= self._ctx.settings.policy.run_within_s:
            return False
        await self._move(request, "expired", note="the approval was too old to run; nothing was run")
        return True

    async def _still_allowed(self, request: Request) -> None:
        """The policy counts as it is now, not as it was at the press: the bot may have been restarted since."""
        if self._ctx.settings.mode != "apply":
            raise RefusedError(f"oombot runs in {self._ctx.settings.mode} mode now.")
        approver = Person(user_id=request.approver or "", team_id=self._people.own_team)
        await self._people.check(approver)
        groups = await self._people.groups(approver)
        rules = self._ctx.settings.policy
        original = await self._ctx.store.request(request.undo_of) if request.undo_of else None
        if original is not None and plans.reverses(request.plan, original):
            ruling = policy.may_undo(rules, approver.user_id, groups)
        else:
            ruling = policy.may_decide(rules, request, approver.user_id, groups)
        if not ruling.allowed:
            raise NotApproverError(ruling.rule)

    async def _seen(self, plan: Plan, *, asked: bool = False) -> HostSnapshot:
        """A fresh reading of the plan's host, with the details that its remedy needs."""
        remediation = self._ctx.remediations[plan.remediation]
        return await self._readings.seen(
            plan.host, remediation, remediation.params(**plan.params), asked=asked
        )

    async def _replan(self, request: Request, snapshot: HostSnapshot, tag: str) -> Plan:
        """The same plan from a fresh reading, to compare digests."""
        plan = request.plan
        remediation = self._ctx.remediations[plan.remediation]
        if request.undo_of is not None:
            original = await self._ctx.store.request(request.undo_of)
            if original is None:
                raise PlanStaleError
            return plans.undo(remediation, original.plan, snapshot, self._ctx.settings.policy, tag=tag)
        params = remediation.params(**plan.params)
        return plans.make(
            remediation,
            params,
            snapshot,
            self._ctx.settings.policy,
            tag=tag,
            back_after_s=plan.back_after_s,
        )

    async def _stale(self, request: Request, snapshot: HostSnapshot) -> None:
        """The host changed since the plan was shown: show the new plan, which needs an approval of its own."""
        now, request_id = self._ctx.clock(), self._ctx.new_id()
        again = replace(
            request,
            id=request_id,
            state="pending",
            plan=await self._replan(request, snapshot, request_id),
            created_s=now,
            expires_s=now + self._ctx.settings.policy.approve_within_s,
            approver=None,
            decided_s=None,
            voters=(),
            evidence={},
        )
        note = "not run: the host has changed since. The new plan follows."
        stale = decided_draft(self._ctx, replace(request, state="stale"), note=note)
        replaced = await self._ctx.store.replace_stale(
            request.id,
            audit=audit_line(
                self._ctx,
                request,
                actor="oombot",
                event="stale",
                state_from="approved",
                state_to="stale",
                note=note,
            ),
            drafts=[stale],
            fresh=again,
            fresh_audit=audit_line(
                self._ctx, again, actor="oombot", event="replanned", state_from="", state_to="pending"
            ),
            fresh_drafts=[plan_draft(self._ctx, again, stale_of=request.id)],
        )
        if not replaced:
            await self._move(
                request, "failed", note="not run: the host has changed since, and so has the request"
            )
        self._ctx.wake.set()

    async def _ask_helper(
        self, request: Request, body: Mapping[str, Any], *, timeout_s: float = RUN_TIMEOUT_S
    ) -> Mapping[str, Any]:
        """Speak with the helper on the host: one JSON request, one JSON answer."""
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

    async def _lost(self, request: Request, error: HostError) -> None:
        """The link went in the middle: ask the host itself what became of the run."""
        self._ctx.log(request=request.id, host=request.plan.host).warning("run_link_lost", error=str(error))
        note = f"the link was lost ({error}); asking the host what became of the run"
        await self._ctx.store.put_messages([decided_draft(self._ctx, request, note=note)])
        self._ctx.wake.set()
        await asyncio.sleep(SETTLE_S)
        await self._reattach(request)

    async def _reattach(self, request: Request) -> None:
        """The run's own record on the host decides; it is never run again, and a silent host is asked for a while."""
        began = self._ctx.clock()
        for wait_s in (*self._again_s, None):
            try:
                result = await self._ask_helper(request, {"op": "result"}, timeout_s=RESULT_TIMEOUT_S)
            except HostError as error:
                problem = f"the host does not say whether it ran: {error}"
                if not error.temporary:
                    break
            else:
                if problem := self._unknown(request, result):
                    break
                if result.get("status") != "running":
                    await self._applied(request, result, None)
                    return
                problem = "the host says that it is still running"
            if wait_s is None or self._ctx.clock() - began > ASK_FOR_S:
                break
            await asyncio.sleep(wait_s)
        await self._finish(request, "unverified", {**request.evidence, "problems": [problem]})

    def _unknown(self, request: Request, result: Mapping[str, Any]) -> str:
        """Why this answer does not prove that nothing was run, although it knows of no run."""
        status, then = result.get("status"), request.evidence.get("way")
        now = helper_call.way(self._ctx.settings, request.plan.host)
        if status == "refused":
            said = str(result.get("error")).removesuffix("; nothing was run")  # now, that is
            return f"the host does not say whether it ran: {said}"
        none = status in ("absent", "cancelled")
        if none and self._ctx.clock() - (request.decided_s or 0.0) > RECORDS_KEPT_S:
            return "no record of it is found, but the host keeps none for so long"
        if none and then != now:
            return f"no record of it is found by the {now}, but it was sent by the {then or 'way of an older oombot'}"
        return ""

    async def _applied(
        self, request: Request, result: Mapping[str, Any], before: HostSnapshot | None
    ) -> None:
        evidence = {**request.evidence, "runs": ran.evidence(result), "at_s": self._ctx.clock()}
        status = result.get("status")
        if status == "done":
            if await self._move(request, "applied", evidence=evidence, quiet=True):
                await self._verify(replace(request, state="applied", evidence=evidence), before)
        elif status == "failed":
            await self._finish(request, "failed", {**evidence, "problems": [ran.failure(result)]})
        elif status in ("absent", "cancelled", "frozen", "refused"):
            said = str(result.get("error") or status)[:500]
            await self._finish(
                request, "failed", {**evidence, "problems": [f"nothing was run on the host: {said}"]}
            )
        else:
            await self._finish(
                request,
                "unverified",
                {**evidence, "problems": [f"the host's record of the run says: {str(status)[:100]}"]},
            )

    async def _verify(self, request: Request, before: HostSnapshot | None) -> None:
        plan = request.plan
        await asyncio.sleep(plan.settle_s)
        remediation = self._ctx.remediations[plan.remediation]
        try:
            after = await self._read_back(plan)
            problems = plans.problems_after(remediation, plan, before or after, after)
            reads = plans.state(remediation, plan, after)
        except (HostError, RefusedError) as error:
            note = f"could not read back: {error}"
            await self._finish(request, "unverified", {**request.evidence, "problems": [note]})
            return
        evidence = {**request.evidence, "after": reads, "problems": problems}
        await self._finish(request, "contradicted" if problems else "verified", evidence)

    async def _read_back(self, plan: Plan) -> HostSnapshot:
        """Read the host; one that is slow just now is asked again."""
        for wait_s in self._again_s[:READ_BACK_TRIES]:
            try:
                return await self._seen(plan)
            except HostError as error:
                if not error.temporary:
                    raise
                await asyncio.sleep(wait_s)
        return await self._seen(plan)

    async def _finish(self, request: Request, state: str, evidence: Mapping[str, Any]) -> None:
        evidence = {"at_s": self._ctx.clock(), **evidence}
        done = replace(request, state=state, evidence=evidence)
        ran_at_all = state in ("verified", "unverified", "contradicted")
        undo = ran_at_all and request.undo_of is None and any(step.undo for step in request.plan.steps)
        drafts = [outcome_draft(self._ctx, done, undo=undo), decided_draft(self._ctx, done)]
        if request.undo_of is not None and state == "verified":
            drafts += await self._undone(request.undo_of)
        await self._move(done, state, evidence=evidence, drafts=drafts, state_from=request.state)

    async def _undone(self, request_id: str) -> Sequence[Draft]:
        """The outcome of the undone change loses its button and says so."""
        original = await self._ctx.store.request(request_id)
        if original is None:
            return ()
        return (outcome_draft(self._ctx, original, undo=False, undone=True),)

    async def _fail(self, request: Request, note: str) -> None:
        """An error nobody expected here, such as a full disk: nothing is concluded from it about the host."""
        self._failures[request.id] += 1
        current = await self._ctx.store.request(request.id)
        if current is None or current.state not in UNFINISHED:
            return
        if current.state == "approved":
            await self._finish(current, "failed", {**current.evidence, "problems": [f"not run: {note}"]})
        elif self._failures[request.id] >= FAILURES:
            await self._finish(current, "unverified", {**current.evidence, "problems": [note]})
        # else `recover` takes it up again: what became of the run stands in the host's own record

    async def _move(
        self,
        request: Request,
        state: str,
        *,
        note: str = "",
        evidence: Mapping[str, Any] | None = None,
        drafts: Sequence[Draft] | None = None,
        state_from: str | None = None,
        quiet: bool = False,
    ) -> bool:
        moved_to = replace(request, state=state, evidence=dict(evidence or request.evidence))
        if drafts is None:
            drafts = [] if quiet else [decided_draft(self._ctx, moved_to, note=note)]
        audit = audit_line(
            self._ctx,
            request,
            actor="oombot",
            event=state,
            state_from=state_from or request.state,
            state_to=state,
            note=note,
            **dict(evidence or {}),
        )
        moved = await self._ctx.store.transition(
            request.id,
            audit=audit,
            evidence=dict(evidence) if evidence is not None else None,
            drafts=drafts,
        )
        self._ctx.wake.set()
        self._ctx.log(request=request.id, host=request.plan.host).info("request_moved", to=state, moved=moved)
        return moved
