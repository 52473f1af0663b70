"""Propose, decide, apply, verify, undo: once for all remediations, each move first in the store, then in Slack."""

from dataclasses import replace
from typing import Any

from oombot import policy
from oombot.engine import plans
from oombot.engine.context import Context
from oombot.engine.drafts import audit_line, decided_draft, plan_draft
from oombot.engine.people import People
from oombot.engine.readings import Readings
from oombot.engine.runs import Runs
from oombot.errors import (
    AlreadyDecidedError,
    DecisionError,
    NotApproverError,
    PlanExpiredError,
    RefusedError,
)
from oombot.lifecycle import CHANGED, SAID, UNDOING
from oombot.proposals import Audit, Person, Plan, Request


class Remedies:
    """What people may do with a fix; what happens on the host is in runs.py."""

    def __init__(self, context: Context, readings: Readings, people: People, runs: Runs) -> None:
        """Take the shared parts."""
        self._ctx, self._readings, self._people, self._runs = context, readings, people, runs

    async def propose(
        self,
        host: str,
        remediation: str,
        params: Any,
        person: Person,
        *,
        incident_id: str | None,
        back_after_s: int | None = None,
    ) -> Request:
        """Plan a fix on a fresh reading and post it for approval; RefusedError when it can not work.

        With `back_after_s` the host puts it back by itself so many seconds after the run.
        """
        settings = self._ctx.settings
        if settings.mode == "observe":
            raise RefusedError("oombot runs in observe mode: it proposes nothing. (mode: propose or apply)")
        await self._people.check(person)
        request_id, fix = self._ctx.new_id(), self._ctx.remediations[remediation]
        snapshot = await self._readings.seen(host, fix, params, asked=True)
        plan = plans.make(fix, params, snapshot, settings.policy, tag=request_id, back_after_s=back_after_s)
        return await self._post(request_id, plan, person, incident_id=incident_id, undo_of=None)

    async def approve(self, request_id: str, person: Person) -> Request:
        """Record the one approval that counts and start the run; every refusal is a DecisionError."""
        request = await self._open(request_id, person)
        if self._ctx.settings.mode != "apply":
            await self._refused(request, person, "mode is not apply")
            raise RefusedError(
                "oombot does not run in apply mode: nothing was run. Run the shown command by hand."
            )
        ruling = policy.may_decide(
            self._ctx.settings.policy, request, person.user_id, await self._people.groups(person)
        )
        if not ruling.allowed:
            await self._refused(request, person, ruling.rule)
            raise NotApproverError(f"{ruling.rule} Nothing was run.")
        await self._not_busy(request)
        return await self._take(request, person)

    async def deny(self, request_id: str, person: Person) -> Request:
        """Close a pending request without running it; the requester may withdraw their own."""
        request = await self._open(request_id, person)
        groups = await self._people.groups(person)
        if person.user_id != request.requester and not policy.is_approver(
            self._ctx.settings.policy, person.user_id, groups
        ):
            await self._refused(request, person, "may not deny")
            raise NotApproverError(
                "Only an approver or the person who asked may close this. Nothing was changed."
            )
        denied = replace(request, state="denied", approver=person.user_id, decided_s=self._ctx.clock())
        moved = await self._ctx.store.transition(
            request.id,
            audit=self._audit(request, person.user_id, "denied"),
            approver=person.user_id,
            drafts=[decided_draft(self._ctx, denied)],
        )
        if not moved:
            raise await self._already(request.id)
        self._ctx.wake.set()
        return denied

    async def undo(self, request_id: str, person: Person) -> Request:
        """Put back what was changed: at once by one approver while it still stands, else as a new plan to approve."""
        request = await self._ctx.store.request(request_id)
        if request is None:
            raise RefusedError("oombot knows no such change. Nothing was run.")
        await self._checked(request, person)
        settings = self._ctx.settings
        if settings.mode == "observe":
            raise RefusedError("oombot runs in observe mode: it proposes nothing, not even an undo.")
        if request.state not in CHANGED:
            raise RefusedError(f"There is nothing to undo: the request {SAID[request.state]}.")
        await self._not_busy(request)
        if any(earlier.state in UNDOING for earlier in await self._ctx.store.undo_requests(request.id)):
            raise await self._undone(request.id)  # asked again in the transaction that adds the undo
        remediation = self._ctx.remediations[request.plan.remediation]
        request_id, params = self._ctx.new_id(), remediation.params(**request.plan.params)
        snapshot = await self._readings.seen(request.plan.host, remediation, params, asked=True)
        plan = plans.undo(remediation, request.plan, snapshot, settings.policy, tag=request_id)
        alone = policy.may_undo(settings.policy, person.user_id, await self._people.groups(person))
        undoing = await self._post(
            request_id, plan, person, incident_id=request.incident_id, undo_of=request.id
        )
        if alone.allowed and plans.reverses(plan, request) and settings.mode == "apply":
            return await self._take(undoing, person)
        return undoing

    async def expire(self) -> None:
        """Close every pending request whose time is over; the clock that counts is the request's."""
        for request in await self._ctx.store.requests(("pending",)):
            if request.expires_s <= self._ctx.clock():
                await self._expire(request)

    async def _take(self, request: Request, person: Person) -> Request:
        """One conditional UPDATE decides who approved; the loser is told, and it runs once."""
        approved = replace(request, state="approved", approver=person.user_id, decided_s=self._ctx.clock())
        moved = await self._ctx.store.transition(
            request.id,
            audit=self._audit(request, person.user_id, "approved"),
            approver=person.user_id,
            drafts=[decided_draft(self._ctx, approved)],
            not_after_s=self._ctx.clock(),
        )
        if not moved:
            raise await self._too_late(request)
        self._ctx.wake.set()
        self._runs.start(approved)
        return approved

    async def _post(
        self, request_id: str, plan: Plan, person: Person, *, incident_id: str | None, undo_of: str | None
    ) -> Request:
        settings, now = self._ctx.settings, self._ctx.clock()
        request = Request(
            id=request_id,
            state="pending",
            plan=plan,
            requester=person.user_id,
            created_s=now,
            expires_s=now + settings.policy.approve_within_s,
            incident_id=incident_id,
            undo_of=undo_of,
            channel=settings.channel(plan.host),
        )
        added = await self._ctx.store.add_request(
            request,
            audit_line(
                self._ctx, request, actor=person.user_id, event="proposed", state_from="", state_to="pending"
            ),
            [plan_draft(self._ctx, request)],
        )
        if not added:
            raise await self._undone(undo_of)
        self._ctx.wake.set()
        return request

    async def _open(self, request_id: str, person: Person) -> Request:
        request = await self._ctx.store.request(request_id)
        if request is None:
            raise RefusedError("oombot knows no such request. Nothing was run.")
        await self._checked(request, person)
        if request.state != "pending":
            raise await self._already(request_id)
        if request.expires_s <= self._ctx.clock():
            await self._expire(request)
            raise PlanExpiredError
        return request

    async def _checked(self, request: Request, person: Person) -> None:
        """Whoever is no full member of the workspace is refused, and the press is in the audit trail."""
        try:
            await self._people.check(person)
        except NotApproverError as error:
            await self._refused(request, person, str(error))
            raise

    async def _not_busy(self, request: Request) -> None:
        other = await self._ctx.store.busy(request.plan.host)
        if other is not None:
            raise RefusedError(
                f"Another change is running on {request.plan.host} ({other.plan.title}). Nothing was run; try again."
            )

    async def _too_late(self, request: Request) -> DecisionError:
        """Why an approval moved nothing: it expired meanwhile, or somebody was faster."""
        now = await self._ctx.store.request(request.id)
        if now is not None and now.state == "pending":
            await self._expire(now)
            return PlanExpiredError()
        return await self._already(request.id)

    async def _undone(self, request_id: str | None) -> AlreadyDecidedError:
        for earlier in await self._ctx.store.undo_requests(request_id or ""):
            if earlier.state in UNDOING:
                return AlreadyDecidedError(
                    f"An undo of this {SAID[earlier.state]}. Your press changed nothing."
                )
        return AlreadyDecidedError()

    async def _already(self, request_id: str) -> AlreadyDecidedError:
        request = await self._ctx.store.request(request_id)
        if request is None:
            return AlreadyDecidedError()
        who = f" by <@{request.approver}>" if request.approver else ""
        return AlreadyDecidedError(f"This request {SAID[request.state]}{who}; your press changed nothing.")

    async def _refused(self, request: Request, person: Person, why: str) -> None:
        state = request.state
        audit = audit_line(
            self._ctx,
            request,
            actor=person.user_id,
            event="refused",
            state_from=state,
            state_to=state,
            why=why,
        )
        await self._ctx.store.add_audit(audit)

    async def _expire(self, request: Request) -> None:
        expired = replace(request, state="expired")
        await self._ctx.store.transition(
            request.id,
            audit=self._audit(request, "oombot", "expired"),
            drafts=[decided_draft(self._ctx, expired)],
        )
        self._ctx.wake.set()

    def _audit(self, request: Request, actor: str, state_to: str) -> Audit:
        return audit_line(
            self._ctx, request, actor=actor, event=state_to, state_from="pending", state_to=state_to
        )
