"""From parameters and a fresh reading to an immutable plan, and from a plan to its undo. Nothing is run here."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from oombot.engine import ran, timebox
from oombot.errors import RefusedError
from oombot.model import Command, HostSnapshot, Json
from oombot.proposals import Check, Plan, Request, Step
from oombot.remediations.shape import Remediation, Target
from oombot.rights import Policy

REPLAYED = " (replayed: a recording, no real host)"


def make(
    remediation: Remediation,
    params: Any,
    snapshot: HostSnapshot,
    policy: Policy,
    *,
    tag: str,
    back_after_s: int | None = None,
) -> Plan:
    """Inspect, check, plan; RefusedError when a guard rail says no or there is nothing to do.

    `snapshot` holds the details that `remediation.look` asks for; `tag` is the request's id. With `back_after_s`
    the host puts everything back by itself so many seconds after the run.
    """
    seen = remediation.inspect(params, snapshot)
    checks = tuple(remediation.preflight(params, seen, policy))
    refuse(checks)
    risk, risk_why = remediation.risk(params, seen)
    if risk == "black":
        raise RefusedError(f"Refused for everybody, nothing was proposed: {risk_why}.")
    steps = tuple(remediation.plan(params, seen, tag))
    before = remediation.state(params, seen)
    if not steps:
        raise RefusedError(f"Nothing to do: {before} already.")
    lasting, lasts = remediation.lasts(params, seen)
    if back_after_s is not None:
        steps += (
            timebox.last_step(remediation, steps, lasting, snapshot, back_after_s=back_after_s, tag=tag),
        )
        checks, lasts = (*checks, timebox.check(back_after_s)), timebox.lasts(back_after_s, lasts)
    return _digested(
        Plan(
            host=snapshot.host,
            boot_id=snapshot.boot_id,
            remediation=remediation.name,
            params=asdict(params),
            title=remediation.title(params, seen),
            target=remediation.target(params, seen) + (REPLAYED if snapshot.replayed else ""),
            steps=steps,
            checks=checks,
            effect=tuple(remediation.effect(params, seen)),
            before=before,
            after=remediation.wanted(params, seen),
            lasts=lasts,
            risk=risk,
            mitigation=remediation.mitigation,
            digest="",
            lasting=lasting,
            risk_why=risk_why,
            unit=remediation.unit(params, seen),
            back_after_s=back_after_s,
            evidence=tuple(remediation.evidence(params, seen)),
            settle_s=remediation.settle_s,
        )
    )


def unfit(remediation: Remediation, snapshot: HostSnapshot, target: Target, policy: Policy) -> str:
    """Why a remedy can not work on this host, as a sentence; "" where it may."""
    if snapshot.replayed and not remediation.replayable:
        return "the host is replayed from a recording, which can show oom_score_adj only"
    return remediation.unfit(snapshot, target, policy)


def undo(
    remediation: Remediation,
    plan: Plan,
    snapshot: HostSnapshot,
    policy: Policy,
    *,
    tag: str,
    done: int | None = None,
) -> Plan:
    """The plan that puts back what `plan` changed; RefusedError when its target is gone or it can not be undone.

    `done`: the run stopped in the middle, after so many of its steps; exactly those are undone.

    While the change still stands, these are the undo commands that were approved with it, in reverse. When
    somebody else has changed the value since, it is a fresh plan from there to the old value.
    """
    made = plan.steps[:done]
    undone = [step for step in reversed(made) if step.undo is not None]
    if not undone:
        raise RefusedError("This change can not be undone: it left nothing behind that could be put back.")
    params = remediation.params(**plan.params)
    seen = remediation.inspect(params, snapshot)
    now = remediation.state(params, seen)
    if now == plan.before and done is None:
        raise RefusedError(f"Nothing to undo: {now} already.")
    title = f"Undo: {plan.title}"
    changed = f"somebody has changed it since oombot wrote {plan.after}; now: {now}"
    since = changed if now != plan.after else remediation.moved(plan, seen)
    if since and done is None:
        back = remediation.back(plan)
        if back is None:
            raise RefusedError(f"{since[0].upper()}{since[1:]}. It is not undone by itself.")
        fresh = make(remediation, back, snapshot, policy, tag=tag)
        note = Check(ok=None, text=since)
        return replace(fresh, title=title, checks=(*fresh.checks, note))
    stands = f"it still reads what was written ({plan.after})"
    if done is not None:
        stands = f"undoes the {len(undone)} of {len(plan.steps)} steps that were done; it reads {now}"
    checks = (
        Check(ok=True, text=stands),
        *(Check(ok=None, text=f"is not undone: {step.why}") for step in made if step.undo is None),
        *remediation.undoable(plan, seen),
    )
    refuse(checks)
    return _digested(
        replace(
            plan,
            title=title,
            boot_id=snapshot.boot_id,
            steps=tuple(_reversed(step) for step in undone),
            checks=checks,
            effect=(f"Puts back {plan.before}",),
            before=now,
            after=plan.before,
            risk="red" if plan.risk == "red" else "amber",
            risk_why=f"it puts back what a {plan.risk} change did",
            evidence=tuple(remediation.evidence(params, seen)),
            back_after_s=None,
        )
    )


def reverses(undoing: Plan, original: Request) -> bool:
    """Whether an undo only takes back what oombot itself is known to have written, and which still stands.

    That is what one approver may do alone; whether the value merely looks like ours is not enough.
    """
    if undoing.params != original.plan.params:
        return False
    if ran.halfway(original) is not None:
        return True
    return ran.done(original) == len(original.plan.steps) and undoing.before == original.plan.after


def state(remediation: Remediation, plan: Plan, snapshot: HostSnapshot) -> str:
    """The present value of what the plan changes; RefusedError when the target is gone."""
    params = remediation.params(**plan.params)
    return remediation.state(params, remediation.inspect(params, snapshot))


def exhibits(remediation: Remediation, plan: Plan, snapshot: HostSnapshot) -> list[Json]:
    """What the host itself shows now, as evidence beside what the plan showed."""
    params = remediation.params(**plan.params)
    return [asdict(one) for one in remediation.evidence(params, remediation.inspect(params, snapshot))]


def witness(remediation: Remediation, plan: Plan, snapshot: HostSnapshot) -> Json:
    """What the proof must know of the time before the run."""
    params = remediation.params(**plan.params)
    return remediation.witness(params, remediation.inspect(params, snapshot))


def problems_after(remediation: Remediation, plan: Plan, before: Json, after: HostSnapshot) -> list[str]:
    """What is wrong after a run, given its `witness`: the read-back differs, or the remediation's verify objects."""
    params = remediation.params(**plan.params)
    seen_after = remediation.inspect(params, after)
    found = []
    reads = remediation.state(params, seen_after)
    if reads != plan.after:
        found.append(f"wanted {plan.after}, but the host reads {reads}")
    found += remediation.verify(params, before, seen_after)
    return found + remediation.disproved(plan, seen_after)


def refuse(checks: Iterable[Check]) -> None:
    """Raise RefusedError with every cross among the checks."""
    crosses = [check.text for check in checks if check.ok is False]
    if crosses:
        raise RefusedError(
            "Refused, nothing was proposed. This guard rail does not hold: " + "; ".join(crosses)
        )


def wire(steps: Iterable[Step]) -> list[Json]:
    """The steps as the host helper takes them."""
    return [{"do": list(step.do.argv), "stdin": step.do.stdin} for step in steps]


def _reversed(step: Step) -> Step:
    assert step.undo is not None
    return Step(
        why=f"undo: {step.why}",
        do=step.undo,
        undo=step.do,
        by_hand=step.undo_by_hand,
        undo_by_hand=step.by_hand,
    )


def _digested(plan: Plan) -> Plan:
    return replace(plan, digest=digest(plan))


def digest(plan: Plan) -> str:
    """Bind the approval to what would run: not to words, nor to counters that change by themselves."""
    bound = {
        "host": plan.host,
        "boot_id": plan.boot_id,
        "remediation": plan.remediation,
        "params": plan.params,
        "before": plan.before,
        "back_after_s": plan.back_after_s,
        "steps": [[_command(step.do), _command(step.undo)] for step in plan.steps],
    }
    text = json.dumps(bound, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _command(command: Command | None) -> Json | None:
    return (
        None
        if command is None
        else {"argv": list(command.argv), "stdin": command.stdin, "sudo": command.sudo}
    )
