"""`oombot pending|approve|deny|undo|history`: decisions for the day Slack is down, under the same policy."""

from collections.abc import Mapping
from pathlib import Path

from oombot.cli.drawing import plain
from oombot.cli.plans_drawn import as_data, draw_outcome, draw_plan, draw_requests
from oombot.cli.session import Session, acted, looked, print_data
from oombot.config import Settings
from oombot.engine import plans, ran
from oombot.errors import RefusedError
from oombot.lifecycle import CHANGED, SAID, TRANSITIONS, UNFINISHED
from oombot.proposals import Plan, Request

EVERY_STATE = tuple(TRANSITIONS)


def pending(*, config: Path, as_json: bool) -> int:
    """List what waits for a decision, and what is under way."""

    async def act(session: Session) -> int:
        now, store = session.bot.context.clock(), session.bot.context.store
        found = [r for r in await store.requests(("pending", *UNFINISHED)) if _lives(r, now)]
        if as_json:
            print_data([as_data(request) for request in found])
        elif found:
            draw_requests(session.console, found, people(session.settings), "Waiting or under way")
        else:
            session.say("Nothing waits for a decision.")
        return 0

    return looked(config, act)


def _lives(request: Request, now_s: float) -> bool:
    return request.state != "pending" or request.expires_s > now_s


def approve(request_id: str, *, config: Path, yes: bool) -> int:
    """Show the plan, ask, approve, and wait for the outcome."""

    async def act(session: Session) -> int:
        request, person = await session.request(request_id), session.person
        draw_plan(session.console, request.plan)
        if request.state == "pending" and not session.agreed(f"Run this on {request.plan.host}?", yes=yes):
            session.say("Nothing was decided.")
            return 1
        async with session.acting():
            approved = await session.bot.remedies.approve(request.id, person)
            return await outcome(session, approved)

    return acted(config, act)


def deny(request_id: str, reason: str, *, config: Path) -> int:
    """Close a request without running it."""

    async def act(session: Session) -> int:
        request, person = await session.request(request_id), session.person
        denied = await session.bot.remedies.deny(request.id, person, reason=reason)
        session.say(f"Denied: {denied.plan.title} on {denied.plan.host}. Nothing was run.")
        return 0

    return acted(config, act)


def undo(request_id: str, *, config: Path, yes: bool) -> int:
    """Show what would put it back, ask, and do it; where an approver has to agree first, say so."""

    async def act(session: Session) -> int:
        request, person = await session.request(request_id), session.person
        await session.leftovers()
        request = await session.request(request.id)
        if request.state not in CHANGED and ran.halfway(request) is None:
            raise RefusedError(f"There is nothing to undo: the request {SAID[request.state]}.")
        draw_plan(session.console, await _way_back(session, request))
        if not session.agreed(f"Run this on {request.plan.host}?", yes=yes):
            session.say("Nothing was undone.")
            return 1
        async with session.acting():
            return await outcome(session, await session.bot.remedies.undo(request.id, person))

    return acted(config, act)


async def _way_back(session: Session, request: Request) -> Plan:
    """The undo as it would be proposed now."""
    context = session.bot.context
    fix = context.remediations[request.plan.remediation]
    params = fix.params(**request.plan.params)
    snapshot = await session.bot.readings.seen(request.plan.host, fix, params, asked=True)
    rules, done = session.settings.policy, ran.halfway(request)
    return plans.undo(fix, request.plan, snapshot, rules, tag=context.new_id(), done=done)


def history(host: str, *, config: Path, as_json: bool, limit: int) -> int:
    """What was asked for on a host and what became of it, newest first."""

    async def act(session: Session) -> int:
        name = session.settings.host(host).name
        found = (await session.bot.context.store.requests(EVERY_STATE, name))[::-1][:limit]
        if as_json:
            print_data([as_data(request) for request in found])
        elif found:
            draw_requests(session.console, found, people(session.settings), plain(f"Changes of {name}"))
        else:
            session.say(f"Nothing was ever proposed for {name}.")
        return 0

    return looked(config, act)


async def outcome(session: Session, request: Request) -> int:
    """Wait for the end of what was approved and draw it; 0 only where it is verified."""
    if request.state == "pending":
        wanted = f" ({len(request.voters)} of {request.approvals} have approved it)" if request.voters else ""
        session.say(f"It waits for an approver{wanted}: oombot approve {request.id}")
        return 0
    done = await session.ended(request.id)
    draw_outcome(session.console, done)
    if done.state == "stale":
        for fresh in await session.bot.context.store.requests(("pending",), done.plan.host):
            session.say(f"The new plan waits: oombot approve {fresh.id}")
    elif (done.state in CHANGED or ran.halfway(done)) and done.undo_of is None:
        session.say(f"To put it back: oombot undo {done.id}")
    if done.state == "approved":
        session.say("The bot on this store did not take it up in time; it will not be run any more.")
    return 0 if done.state == "verified" else 1


def people(settings: Settings) -> Mapping[str, str]:
    """Accounts by the user id that they are mapped to."""
    return {user_id: account for account, user_id in settings.policy.accounts.items()}
