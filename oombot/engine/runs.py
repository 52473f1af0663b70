"""What an approval sets going: check again, run once, read back, show the evidence; and how a crash is mended."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from oombot import policy
from oombot.engine import plans, ran
from oombot.engine.asking import AGAIN_S, Asking
from oombot.engine.context import Context
from oombot.engine.drafts import audit_line, decided_draft, outcome_draft, plan_draft
from oombot.engine.freezes import Freezes
from oombot.engine.outbox import Outbox
from oombot.engine.people import People
from oombot.engine.readings import Readings
from oombot.engine.rechecks import Rechecks
from oombot.errors import DecisionError, HostError, RefusedError
from oombot.lifecycle import CHANGED, UNFINISHED
from oombot.model import Draft, HostSnapshot
from oombot.proposals import Begun, Plan, Request

LEASE_S = 180.0  # longer than a run may take; after it another bot on the same store may look after it
READ_BACK_TRIES = 4
FAILURES = 5  # faults of oombot's own in one run, after which it is given up
BUTTONS_GONE_WITHIN_S = 3.0
SETTLE_S = 0.2


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
        self._ctx, self._outbox = context, outbox
        self._again_s = tuple(again_s)
        self.freezes = Freezes(context, people)
        self.rechecks = Rechecks(context, readings, people, self.freezes)
        self._asking = Asking(context, again_s)
        self._fences: dict[str, int] = {}
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
                elif not await self._owns(request):
                    self._ctx.log(request=request.id).info("run_of_another_bot")
                elif request.state == "running":
                    await self._reattach(request)
                else:
                    await self._verify(request)
            except Exception as error:
                self._ctx.log(request=request.id, host=request.plan.host).exception("run_failed")
                await self._fail(request, str(error) or type(error).__name__)

    async def _run(self, request: Request) -> None:
        if await self._late(request):
            return
        await self._outbox.settled(f"plan:{request.id}", within_s=BUTTONS_GONE_WITHIN_S)
        try:
            voters = await self.rechecks.as_written(request)
            before = await self.rechecks.seen(request.plan, asked=True)
        except (HostError, DecisionError) as error:
            await self._move(request, "failed", note=f"not run: {error}")
            return
        try:
            fresh = await self.rechecks.replan(request, before, request.id)
        except DecisionError as error:  # the target has vanished, or is as it was wanted already
            await self._move(request, "stale", note=f"not run: {error}")
            return
        if fresh.digest != request.plan.digest:
            await self._stale(request, before)
            return
        try:
            await self.rechecks.allowed(request, fresh, voters)
        except DecisionError as error:
            await self._move(request, "failed", note=f"not run: {error}")
            return
        if not await self._late(request):  # the reading may have taken its time
            await self._begin(request, fresh, before)

    async def _begin(self, request: Request, fresh: Plan, before: HostSnapshot) -> None:
        """Take the host's lease with the move to running, and only then send the plan."""
        remediation = self._ctx.remediations[request.plan.remediation]
        seen = plans.witness(remediation, request.plan, before)
        evidence = {"before": fresh.before, "way": self._asking.way(request), "witness": seen}
        running = replace(request, state="running", evidence=evidence)
        begun = await self._ctx.store.begin_run(
            request.id,
            audit=audit_line(
                self._ctx,
                request,
                actor="oombot",
                event="running",
                state_from="approved",
                state_to="running",
                argv=[list(step.do.argv) for step in request.plan.steps],
                **running.evidence,
            ),
            evidence=running.evidence,
            drafts=[decided_draft(self._ctx, running)],
            owner=self._ctx.replica,
            ttl_s=LEASE_S,
            limit=lambda ran_since: self.rechecks.limit(request, ran_since),
            ran_since_s=self._ctx.clock() - policy.DAY_S,
        )
        self._ctx.wake.set()
        if begun.lease is None:
            await self._held(request, begun)
            return
        self._fences[request.id] = begun.lease.fence
        try:
            result = await self._asking.run(running)
        except HostError as error:
            await self._lost(running, error)
            return
        if result.get("status") == "running":  # only who asked for it has gone: its own record says the end
            await self._reattach(running)
            return
        await self._applied(running, result)

    async def _held(self, request: Request, begun: Begun) -> None:
        """The host is another change's, or a limit is reached; where the request has moved on, that was answered."""
        if begun.busy is not None:
            other = f"another change is running on {request.plan.host} ({begun.busy.plan.title})"
            await self._move(request, "failed", note=f"not run: {other}")
        elif begun.frozen:
            await self._move(request, "failed", note=f"not run: {await self.freezes.held(request)}")
        elif begun.refused:
            await self._move(request, "failed", note=f"not run: {begun.refused}")

    async def _owns(self, request: Request) -> bool:
        """Whether this bot may end a run that was begun earlier: it is its own, or its owner is gone."""
        lease = await self._ctx.store.take_over(
            request.id,
            request.plan.host,
            owner=self._ctx.replica,
            now_s=self._ctx.clock(),
            ttl_s=LEASE_S,
        )
        if lease is not None:
            self._fences[request.id] = lease.fence
        return lease is not None

    async def _late(self, request: Request) -> bool:
        """Close a request whose approval is too old by now, or lies ahead of a clock that was set back."""
        age_s = self._ctx.clock() - (request.decided_s or 0.0)
        if abs(age_s) <= self._ctx.settings.policy.run_within_s:
            return False
        await self._move(request, "expired", note="the approval was too old to run; nothing was run")
        return True

    async def _stale(self, request: Request, snapshot: HostSnapshot) -> None:
        """The host changed since the plan was shown: show the new plan, which needs an approval of its own."""
        now, request_id = self._ctx.clock(), self._ctx.new_id()
        plan = await self.rechecks.replan(request, snapshot, request_id)
        again = replace(
            request,
            id=request_id,
            state="pending",
            plan=plan,
            approvals=policy.approvals(self._ctx.settings, policy.case(self._ctx.settings, plan)),
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

    async def _lost(self, request: Request, error: HostError) -> None:
        """The link went in the middle: ask the host itself what became of the run."""
        self._ctx.log(request=request.id, host=request.plan.host).warning("run_link_lost", error=str(error))
        note = f"the link was lost ({error}); asking the host what became of the run"
        await self._ctx.store.put_messages([decided_draft(self._ctx, request, note=note)])
        self._ctx.wake.set()
        await asyncio.sleep(SETTLE_S)
        await self._reattach(request)

    async def _reattach(self, request: Request) -> None:
        """The run's own record on the host decides; it is never run again."""
        result, problem = await self._asking.result(request)
        if result is None:
            await self._finish(request, "unverified", {**request.evidence, "problems": [problem]})
        else:
            await self._applied(request, result)

    async def _applied(self, request: Request, result: Mapping[str, Any]) -> None:
        evidence = {**request.evidence, "runs": ran.evidence(result), "at_s": self._ctx.clock()}
        status = result.get("status")
        if status == "done":
            if await self._move(request, "applied", evidence=evidence, quiet=True):
                await self._verify(replace(request, state="applied", evidence=evidence))
        elif status == "failed":
            left = ran.stopped(replace(request, evidence=evidence))
            await self._finish(request, "failed", {**evidence, "problems": [ran.failure(result), *left]})
        elif status in ("absent", "cancelled", "frozen", "refused"):
            said = str(result.get("error") or status)[:500]
            await self._finish(
                request, "failed", {**evidence, "problems": [f"nothing was run on the host: {said}"]}
            )
        else:
            await self._finish(
                request,
                "unverified",
                {
                    **evidence,
                    "problems": [
                        f"the host's record of the run says: {str(status)[:100]}",
                        *ran.stopped(replace(request, evidence=evidence)),
                    ],
                },
            )

    async def _verify(self, request: Request) -> None:
        plan = request.plan
        await asyncio.sleep(plan.settle_s)
        remediation = self._ctx.remediations[plan.remediation]
        try:
            after = await self._read_back(plan)
            problems = plans.problems_after(remediation, plan, request.evidence.get("witness") or {}, after)
            reads = plans.state(remediation, plan, after)
            exhibits = plans.exhibits(remediation, plan, after)
        except (HostError, RefusedError) as error:
            note = f"could not read back: {error}"
            await self._finish(request, "unverified", {**request.evidence, "problems": [note]})
            return
        evidence = {**request.evidence, "after": reads, "problems": problems, "exhibits": exhibits}
        await self._finish(request, "contradicted" if problems else "verified", evidence)

    async def _read_back(self, plan: Plan) -> HostSnapshot:
        """Read the host; one that is slow just now is asked again."""
        for wait_s in self._again_s[:READ_BACK_TRIES]:
            try:
                return await self.rechecks.seen(plan)
            except HostError as error:
                if not error.temporary:
                    raise
                await asyncio.sleep(wait_s)
        return await self.rechecks.seen(plan)

    async def _finish(self, request: Request, state: str, evidence: Mapping[str, Any]) -> None:
        evidence = {"at_s": self._ctx.clock(), **evidence}
        done = replace(request, state=state, evidence=evidence)
        made = request.plan.steps if state in CHANGED else request.plan.steps[: ran.halfway(done) or 0]
        undo = request.undo_of is None and any(step.undo for step in made)
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
            fence=self._fences.get(request.id),
        )
        self._ctx.wake.set()
        self._ctx.log(request=request.id, host=request.plan.host).info("request_moved", to=state, moved=moved)
        return moved
