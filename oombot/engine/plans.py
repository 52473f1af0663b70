"""From parameters and a fresh reading to an immutable plan, and from a plan to its undo. Nothing is run here."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any, Literal

from oombot.config import Policy
from oombot.errors import RefusedError
from oombot.model import Check, Command, HostSnapshot, Json, Plan, Request, Step
from oombot.remediations.shape import Remediation

REPLAYED = " (replayed: a recording, no real host)"


def make(remediation: Remediation, params: Any, snapshot: HostSnapshot, policy: Policy) -> Plan:
    """Inspect, check, plan; RefusedError when a guard rail says no or there is nothing to do."""
    seen = remediation.inspect(params, snapshot)
    checks = tuple(remediation.preflight(params, seen, policy))
    refuse(checks)
    steps = tuple(remediation.plan(params, seen))
    before = remediation.state(params, seen)
    if not steps:
        raise RefusedError(f"Nothing to do: {before} already.")
    risk: Literal["amber", "red"] = "red" if remediation.risk(params, seen) == "red" else "amber"
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
            after=remediation.wanted(params),
            lasts=remediation.lasts,
            risk=risk,
            mitigation=remediation.mitigation,
            digest="",
        )
    )


def undo(remediation: Remediation, plan: Plan, snapshot: HostSnapshot, policy: Policy) -> Plan:
    """The plan that puts back what `plan` changed; RefusedError when its target is gone or it can not be undone.

    While the change still stands, these are the undo commands that were approved with it, in reverse. When
    somebody else has changed the value since, it is a fresh plan from there to the old value.
    """
    params = remediation.params(**plan.params)
    seen = remediation.inspect(params, snapshot)
    now = remediation.state(params, seen)
    if now == plan.before:
        raise RefusedError(f"Nothing to undo: {now} already.")
    if any(step.undo is None for step in plan.steps):
        raise RefusedError("A step of this change can not be undone.")
    title = f"Undo: {plan.title}"
    if now != plan.after:
        fresh = make(remediation, remediation.back(plan), snapshot, policy)
        note = Check(ok=None, text=f"somebody has changed it since oombot wrote {plan.after}; now: {now}")
        return replace(fresh, title=title, checks=(*fresh.checks, note))
    return _digested(
        replace(
            plan,
            title=title,
            boot_id=snapshot.boot_id,
            steps=tuple(_reversed(step) for step in reversed(plan.steps)),
            checks=(Check(ok=True, text=f"it still reads what was written ({plan.after})"),),
            effect=(f"Puts back {plan.before}",),
            before=now,
            after=plan.before,
            risk="red",
        )
    )


def reverses(undoing: Plan, original: Request) -> bool:
    """Whether an undo only takes back what oombot itself is known to have written, and which still stands.

    That is what one approver may do alone; whether the value merely looks like ours is not enough.
    """
    runs = original.evidence.get("runs") or ()
    made = len(runs) == len(original.plan.steps) and all(run.get("exit_status") == 0 for run in runs)
    return made and undoing.params == original.plan.params and undoing.before == original.plan.after


def state(remediation: Remediation, plan: Plan, snapshot: HostSnapshot) -> str:
    """The present value of what the plan changes; RefusedError when the target is gone."""
    params = remediation.params(**plan.params)
    return remediation.state(params, remediation.inspect(params, snapshot))


def problems_after(
    remediation: Remediation, plan: Plan, before: HostSnapshot, after: HostSnapshot
) -> list[str]:
    """What is wrong after a run: the read-back differs, or the remediation's own verify objects."""
    params = remediation.params(**plan.params)
    seen_after = remediation.inspect(params, after)
    found = []
    reads = remediation.state(params, seen_after)
    if reads != plan.after:
        found.append(f"wanted {plan.after}, but the host reads {reads}")
    return found + remediation.verify(params, remediation.inspect(params, before), seen_after)


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
    """Bind the approval to what would run: not to words, nor to counters that change by themselves."""
    bound = {
        "host": plan.host,
        "boot_id": plan.boot_id,
        "remediation": plan.remediation,
        "params": plan.params,
        "before": plan.before,
        "steps": [[_command(step.do), _command(step.undo)] for step in plan.steps],
    }
    text = json.dumps(bound, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return replace(plan, digest=hashlib.sha256(text.encode()).hexdigest())


def _command(command: Command | None) -> Json | None:
    return (
        None
        if command is None
        else {"argv": list(command.argv), "stdin": command.stdin, "sudo": command.sudo}
    )
