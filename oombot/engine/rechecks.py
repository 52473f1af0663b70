"""What is asked again immediately before the first change: nothing that was true at the press is taken for true."""

from collections.abc import Sequence

from oombot import policy, trail
from oombot.engine import plans, ran
from oombot.engine.context import Context
from oombot.engine.freezes import Freezes
from oombot.engine.people import People
from oombot.engine.readings import Readings
from oombot.errors import NotApproverError, PlanStaleError, RefusedError
from oombot.model import HostSnapshot
from oombot.proposals import Person, Plan, Request, TrailLine

VOTES = ("voted", "approved")
FIRST = ("proposed", "replanned")


class Rechecks:
    """The policy, the freeze, the stored row and the host, as they are now."""

    def __init__(self, context: Context, readings: Readings, people: People, freezes: Freezes) -> None:
        """Take the shared parts."""
        self._ctx, self._readings, self._people, self._freezes = context, readings, people, freezes

    async def seen(self, plan: Plan, *, asked: bool = False) -> HostSnapshot:
        """A fresh reading of the plan's host, with the details that its remedy needs."""
        remediation = self._ctx.remediations[plan.remediation]
        return await self._readings.seen(
            plan.host, remediation, remediation.params(**plan.params), asked=asked
        )

    async def replan(self, request: Request, snapshot: HostSnapshot, tag: str) -> Plan:
        """The same plan from a fresh reading, to compare digests."""
        plan, settings = request.plan, self._ctx.settings
        remediation = self._ctx.remediations[plan.remediation]
        if request.undo_of is not None:
            original = await self._ctx.store.request(request.undo_of)
            if original is None:
                raise PlanStaleError
            done = ran.halfway(original)
            fresh = plans.undo(remediation, original.plan, snapshot, settings.policy, tag=tag, done=done)
        else:
            fresh = plans.make(
                remediation,
                remediation.params(**plan.params),
                snapshot,
                settings.policy,
                tag=tag,
                back_after_s=plan.back_after_s,
            )
        return policy.graded(settings, fresh)

    async def as_written(self, request: Request) -> Sequence[Person]:
        """Who asked and who approved, by the audit trail; RefusedError where the stored row says something else."""
        lines = await self._ctx.store.trail(request_id=request.id)
        problem = tampered(request, lines)
        if problem:
            raise RefusedError(f"the stored request is not what its audit trail says: {problem}")
        original = await self._ctx.store.request(request.undo_of) if request.undo_of else None
        if original is not None:
            await self.check_plan(original)
        return [self._person(line) for line in lines if line.audit.event in VOTES]

    async def check_plan(self, request: Request) -> None:
        """RefusedError where the stored plan is not the one that was asked for: its way back is not believed either."""
        problem = rewritten(request, await self._ctx.store.trail(request_id=request.id))
        if problem:
            raise RefusedError(
                f"The stored change is not what its audit trail says: {problem}. Nothing was run."
            )

    async def allowed(self, request: Request, fresh: Plan, voters: Sequence[Person]) -> None:
        """The mode, the freeze and the rules count as they are now, for who asked and for each who approved."""
        if self._ctx.settings.mode != "apply":
            raise RefusedError(f"oombot runs in {self._ctx.settings.mode} mode now.")
        of = policy.case(self._ctx.settings, fresh)
        original = await self._ctx.store.request(request.undo_of) if request.undo_of else None
        back = original is not None and plans.reverses(fresh, original)
        for voter in voters:
            await self._people.check(voter)
            if back:
                ruling = await self._people.may_undo(of, voter)
            else:
                ruling = await self._people.may_approve(of, voter, requester=request.requester)
            if not ruling.allowed:
                raise NotApproverError(
                    f"an approval does not count any more: {ruling.rule}", who=voter.user_id
                )
        needed = 1 if back else policy.approvals(self._ctx.settings, of)
        if len(voters) < needed:
            raise NotApproverError(f"it needs {needed} approvals by now, and has {len(voters)}")
        asked = await self._people.may_ask(of, self._asker(request))
        if not asked.allowed:
            raise NotApproverError(f"who asked for it may not any more: {asked.rule}", who=request.requester)
        await self._freezes.check(request, "oombot")

    def limit(self, request: Request, ran_since: Sequence[tuple[float, Request]]) -> str:
        """The limit that this run would cross; an undo is never held up."""
        if request.undo_of is not None:
            return ""
        return policy.exceeded(self._ctx.settings.policy.limits, request.plan, ran_since, self._ctx.clock())

    def _asker(self, request: Request) -> Person:
        return Person(user_id=request.requester, team_id=self._people.own_team)

    def _person(self, line: TrailLine) -> Person:
        """Who pressed: checked to be of our own workspace then, or known by their account."""
        account = str(line.audit.data.get("account") or "")
        return Person(user_id=line.audit.actor, team_id=self._people.own_team, account=account)


def rewritten(request: Request, lines: Sequence[TrailLine]) -> str:
    """What of a stored request's plan, or of who asked for it, differs from what its audit trail says."""
    broken = next((line.seq for line in lines if not trail.whole(line)), None)
    if broken is not None:
        return f"line {broken} of the trail was changed"
    first = next((line.audit for line in lines if line.audit.event in FIRST), None)
    if first is None:
        return "no line says who asked for it"
    if not request.plan.digest == plans.digest(request.plan) == first.data.get("digest"):
        return "the plan is another one"
    if request.requester != first.data.get("requester", first.actor):
        return "somebody else asked for it"
    asked = (
        ("undo_of", request.undo_of),
        ("expires_s", request.expires_s),
        ("tier", request.plan.risk),
    )
    changed = (key for key, is_now in asked if first.data.get(key, is_now) != is_now)
    return next((f"its {key} is another one" for key in changed), "")


def tampered(request: Request, lines: Sequence[TrailLine]) -> str:
    """What of a stored request differs from what its audit trail says; "" where all of it stands there."""
    problem = rewritten(request, lines)
    if problem:
        return problem
    voted = [line.audit for line in lines if line.audit.event in VOTES]
    if not voted or tuple(line.actor for line in voted) != request.voters:
        return "other people have approved it"
    if (request.approver, request.decided_s) != (voted[-1].actor, voted[-1].at_s):
        return "its approval is another one"
    return ""
