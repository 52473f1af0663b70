"""Propose, decide, apply, verify, undo: once for all remediations, each move first in the store, then in Slack."""

from dataclasses import replace
from typing import Any

from oombot import policy
from oombot.engine import plans, ran
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
from oombot.model import Draft, Json
from oombot.proposals import Audit, Freeze, Person, Plan, Request


class Remedies:
    """What people may do with a fix; what happens on the host is in runs.py."""

    def __init__(self, context: Context, readings: Readings, people: People, runs: Runs) -> None:
        """Take the shared parts."""
        self._ctx, self._readings, self._people, self._runs = context, readings, people, runs
        self._freezes = runs.freezes

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
        plan = policy.graded(settings, plan)
        ruling = await self._people.may_ask(policy.case(settings, plan), person)
        if not ruling.allowed:
            raise NotApproverError(f"{ruling.rule} Nothing was proposed.")
        await self._within_limits(plan)
        return await self._post(request_id, plan, person, incident_id=incident_id, undo_of=None)

    async def approve(self, request_id: str, person: Person) -> Request:
        """Count the approval of one person; the last one needed starts the run. Every refusal is a DecisionError.

        What is returned is still pending where one more person must approve.
        """
        request = await self._open(request_id, person)
        settings = self._ctx.settings
        if settings.mode != "apply":
            await self._refused(request, person, "mode is not apply")
            raise RefusedError(
                "oombot does not run in apply mode: nothing was run. Run the shown command by hand."
            )
        await self._freezes.check(request, person.user_id)
        of = policy.case(settings, request.plan)
        ruling = await self._people.may_approve(of, person, requester=request.requester)
        if not ruling.allowed:
            await self._refused(request, person, ruling.rule, policy_rule=ruling.name)
            raise NotApproverError(f"{ruling.rule} Nothing was run.")
        await self._not_busy(request)
        needed = max(request.approvals, policy.approvals(settings, of))
        return await self._vote(request, person, needed=needed, rule=ruling.name)

    async def deny(self, request_id: str, person: Person, *, reason: str = "") -> Request:
        """Close a pending request without running it; the requester may withdraw their own."""
        request = await self._open(request_id, person)
        if person.user_id != request.requester and not await self._people.is_approver(person):
            await self._refused(request, person, "may not deny")
            raise NotApproverError(
                "Only an approver or the person who asked may close this. Nothing was changed."
            )
        said = " ".join(reason.split())[:200]
        denied = replace(request, state="denied", approver=person.user_id, decided_s=self._ctx.clock())
        moved = await self._ctx.store.transition(
            request.id,
            audit=self._audit(request, person, "denied", why=said, slack=await self._place(request)),
            approver=person.user_id,
            drafts=[decided_draft(self._ctx, denied, note=said)],
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
        await self._checked(request, person, card="outcome")
        settings = self._ctx.settings
        if settings.mode == "observe":
            raise RefusedError("oombot runs in observe mode: it proposes nothing, not even an undo.")
        half = ran.halfway(request)
        if request.state not in CHANGED and half is None:
            raise RefusedError(f"There is nothing to undo: the request {SAID[request.state]}.")
        if request.undo_of is not None:  # what would follow is a change, and one person alone may not make it
            raise RefusedError("This is an undo itself. Nothing was run.", fix="ask for the change again")
        await self._runs.rechecks.check_plan(request)
        await self._not_busy(request)
        if any(earlier.state in UNDOING for earlier in await self._ctx.store.undo_requests(request.id)):
            raise await self._undone(request.id)  # asked again in the transaction that adds the undo
        remediation = self._ctx.remediations[request.plan.remediation]
        request_id, params = self._ctx.new_id(), remediation.params(**request.plan.params)
        snapshot = await self._readings.seen(request.plan.host, remediation, params, asked=True)
        plan = plans.undo(remediation, request.plan, snapshot, settings.policy, tag=request_id, done=half)
        plan = policy.graded(settings, plan)
        alone = await self._people.may_undo(policy.case(settings, plan), person)
        undoing = await self._post(
            request_id, plan, person, incident_id=request.incident_id, undo_of=request.id
        )
        if alone.allowed and plans.reverses(plan, request) and settings.mode == "apply":
            await self._freezes.check(undoing, person.user_id)
            return await self._vote(undoing, person, needed=1, rule=alone.name)
        return undoing

    async def freeze(self, person: Person, reason: str) -> Freeze:
        """Stop every change on every host; whoever may use oombot may do this."""
        return await self._freezes.freeze(person, reason)

    async def unfreeze(self, person: Person) -> list[Request]:
        """Let changes go on; only an approver may. Returns what was held back."""
        return await self._freezes.unfreeze(person)

    async def frozen(self) -> Freeze | None:
        """Who froze all changes, when and why; None where they are not frozen."""
        return await self._freezes.now()

    async def held_back(self) -> list[Request]:
        """What the present freeze has held back so far."""
        return await self._freezes.held_back()

    async def expire(self) -> None:
        """Close every pending request whose time is over; the clock that counts is the request's."""
        for request in await self._ctx.store.requests(("pending",)):
            if request.expires_s <= self._ctx.clock():
                await self._expire(request)

    async def _vote(self, request: Request, person: Person, *, needed: int, rule: str) -> Request:
        """One transaction decides whose approval counts and which is the last; the loser is told, and it runs once."""
        place = await self._place(request)
        vote = await self._ctx.store.vote(
            request.id,
            person.user_id,
            needed=needed,
            counted=self._audit(request, person, "voted", "pending", policy_rule=rule, slack=place),
            complete=self._audit(request, person, "approved", policy_rule=rule, slack=place),
            drafts=self._voted,
        )
        if vote.outcome == "again":
            raise AlreadyDecidedError(
                f"You have approved this already, and it counts once; {needed} people must. Your press changed nothing."
            )
        if vote.outcome == "late" or vote.request is None:
            raise await self._too_late(request)
        self._ctx.wake.set()
        if vote.outcome == "complete":
            self._runs.start(vote.request)
        return vote.request

    def _voted(self, request: Request) -> list[Draft]:
        if request.state == "pending":
            return [plan_draft(self._ctx, request)]
        return [decided_draft(self._ctx, request)]

    async def _place(self, request: Request) -> Json:
        """Where in Slack the card stands that was pressed."""
        message = await self._ctx.store.message(f"plan:{request.id}")
        return {
            "channel": (message and message.channel_id) or request.channel,
            "ts": message.ts if message else None,
        }

    async def _within_limits(self, plan: Plan) -> None:
        """RefusedError where one more change would cross a limit; the host's channel is told, once an hour."""
        settings, now = self._ctx.settings, self._ctx.clock()
        if settings.mode != "apply":
            return
        crossed = policy.exceeded(
            settings.policy.limits, plan, await self._ctx.store.ran(now - policy.DAY_S), now
        )
        if not crossed:
            return
        said = f"No change is proposed for {plan.host}: {crossed}."
        view, channel = self._ctx.views.notice(said), settings.channel(plan.host)
        key = f"limit:{plan.host}:{int(now // policy.HOUR_S)}"
        await self._ctx.store.put_messages([Draft(key=key, channel=channel, view=view)])
        self._ctx.wake.set()
        raise RefusedError(f"{said} Look at what keeps going wrong there.")

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
            approvals=policy.approvals(settings, policy.case(settings, plan)),
        )
        added = await self._ctx.store.add_request(
            request,
            audit_line(
                self._ctx,
                request,
                actor=person.user_id,
                event="proposed",
                state_from="",
                state_to="pending",
                person=person,
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

    async def _checked(self, request: Request, person: Person, *, card: str = "plan") -> None:
        """Whoever is no full member of the workspace is refused, and the press is in the audit trail.

        So is a press on a card that stands in a channel which is shared with another workspace.
        """
        message = await self._ctx.store.message(f"{card}:{request.id}")
        try:
            await self._people.check(person)
            await self._people.check_channel(person, (message and message.channel_id) or "")
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
        said = f"This request {SAID[request.state]}; your press changed nothing."
        return AlreadyDecidedError(said, who=request.approver or "")

    async def _refused(self, request: Request, person: Person, why: str, **data: Any) -> None:
        audit = self._audit(
            request, person, "refused", request.state, why=why, slack=await self._place(request), **data
        )
        await self._ctx.store.add_audit(audit)

    async def _expire(self, request: Request) -> None:
        expired = replace(request, state="expired")
        await self._ctx.store.transition(
            request.id,
            audit=self._audit(request, None, "expired"),
            drafts=[decided_draft(self._ctx, expired)],
        )
        self._ctx.wake.set()

    def _audit(
        self, request: Request, person: Person | None, event: str, state_to: str = "", **data: Any
    ) -> Audit:
        """A line about a pending request, or one that stays as it is."""
        return audit_line(
            self._ctx,
            request,
            actor=person.user_id if person else "oombot",
            event=event,
            state_from=state_to or "pending",
            state_to=state_to or event,
            person=person,
            **data,
        )
