"""The messages of a request and its audit lines: one place, so that every part says the same thing."""

from typing import Any

from oombot import policy
from oombot.engine.context import Context
from oombot.errors import RefusedError, ViewError
from oombot.lifecycle import may_move
from oombot.model import Draft, Json
from oombot.proposals import Audit, Person, Request


def incident_key(incident_id: str) -> str:
    """The message key of a kill's card."""
    return f"incident:{incident_id}"


def thread_of(request: Request) -> str | None:
    """The thread that a plan card lives in: its incident's, else none."""
    return None if request.incident_id is None else incident_key(request.incident_id)


def plan_draft(context: Context, request: Request, *, stale_of: str | None = None) -> Draft:
    """The plan card of a pending request, with its buttons; RefusedError where Slack can not show it whole."""
    try:
        view = context.views.plan(
            request,
            mode=context.settings.mode,
            approvers=policy.approver_ids(
                context.settings, policy.case(context.settings, request.plan), requester=request.requester
            ),
            now_s=context.clock(),
            stale_of=stale_of,
        )
    except ViewError as error:
        raise RefusedError(
            f"This plan can not be shown whole in Slack ({'; '.join(error.problems)[:300]}), and nobody approves "
            "what can not be seen. Nothing was proposed.",
            fix="ask for less at once",
        ) from error
    return Draft(key=f"plan:{request.id}", channel=request.channel, view=view, thread_key=thread_of(request))


def decided_draft(context: Context, request: Request, *, note: str = "") -> Draft:
    """The plan card without buttons, saying where the request is now."""
    view = context.views.decided(request, note=note, now_s=context.clock())
    return Draft(key=f"plan:{request.id}", channel=request.channel, view=view, thread_key=thread_of(request))


def outcome_draft(context: Context, request: Request, *, undo: bool, undone: bool = False) -> Draft:
    """The evidence of a run, in the thread, with or without an Undo button."""
    view = context.views.outcome(request, undo=undo, undone=undone, now_s=context.clock())
    thread = thread_of(request) or f"plan:{request.id}"
    return Draft(key=f"outcome:{request.id}", channel=request.channel, view=view, thread_key=thread)


def audit_line(
    context: Context,
    request: Request,
    *,
    actor: str,
    event: str,
    state_from: str,
    state_to: str,
    person: Person | None = None,
    **data: Any,
) -> Audit:
    """One line of the audit trail, bound to the plan by its digest; a move that lifecycle.py lacks is a bug.

    It names the person as well as the bot that wrote it down, and the host as it was when the plan was made.
    """
    if state_from not in ("", state_to) and not may_move(state_from, state_to):
        raise ValueError(f"no request moves from {state_from} to {state_to}")
    known = {
        "digest": request.plan.digest,
        "host": {"name": request.plan.host, "boot_id": request.plan.boot_id, "key_fp": request.plan.key_fp},
        "target": request.plan.target,
        "submitted_by": submitted_by(context),
    }
    if not state_from:
        known |= asked(request)
    if person is not None:
        known |= {"team": person.team_id, "account": person.account}
    return Audit(
        at_s=context.clock(),
        request_id=request.id,
        actor=actor,
        event=event,
        state_from=state_from,
        state_to=state_to,
        data={**known, **data},
    )


def submitted_by(context: Context) -> Json:
    """The bot that writes a line: people act through it."""
    return {"replica": context.replica, "version": context.version}


def asked(request: Request) -> Json:
    """What the first line of a request's trail holds it to: it is compared before a run."""
    return {
        "requester": request.requester,
        "undo_of": request.undo_of,
        "tier": request.plan.risk,
        "approvals": request.approvals,
        "expires_s": request.expires_s,
    }
