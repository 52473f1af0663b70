"""`oombot can|whoami|freeze|unfreeze`: who may what under the policy, and the switch that stops every change."""

from pathlib import Path
from typing import Any

from rich.table import Table

from oombot import policy
from oombot.cli.drawing import cell
from oombot.cli.persons import acting_person, own_account
from oombot.cli.session import Session, acted, looked, print_data
from oombot.engine.freezes import GOES_ON
from oombot.errors import ConfigError, NotApproverError
from oombot.policy import Case, Ruling
from oombot.proposals import Person
from oombot.rights import TIERS


def can(action: str, host: str, who: str, *, config: Path, as_json: bool) -> int:
    """Say, for each tier, whether somebody may ask for and approve a remedy on a host; 0 where they may approve one."""

    async def act(session: Session) -> int:
        if action not in session.bot.context.remediations:
            known = ", ".join(session.bot.context.remediations)
            raise ConfigError([f"{action} is no remedy; those are {known}"])
        person, name = _person(session, who), session.settings.host(host).name
        rows = [await _row(session, Case(host=name, action=action, tier=tier), person) for tier in TIERS]
        if as_json:
            print_data({"action": action, "host": name, "user": person.user_id, "tiers": rows})
        else:
            _draw(session, rows, f"{person.name or person.user_id}: {action} on {name}")
        return 0 if any(row["approve"] for row in rows) else 1

    return looked(config, act)


async def _row(session: Session, of: Case, person: Person) -> dict[str, Any]:
    people = session.bot.desk.people
    ask = await _ruling(people.may_ask(of, person))
    alone = await _ruling(people.may_approve(of, person, requester=person.user_id))
    other = await _ruling(people.may_approve(of, person, requester=""))
    return {
        "tier": of.tier,
        "ask": ask.allowed,
        "approve": other.allowed,
        "own": alone.allowed,
        "approvals": policy.approvals(session.settings, of),
        "why": ask.rule if not ask.allowed else other.rule if not other.allowed else alone.rule,
        "approvers": list(policy.approver_ids(session.settings, of)),
    }


async def _ruling(asked: Any) -> Ruling:
    """The ruling, or that only Slack could give it: then it is no."""
    try:
        ruling: Ruling = await asked
    except NotApproverError as error:
        return Ruling(allowed=False, rule=str(error))
    return ruling


def _person(session: Session, who: str) -> Person:
    """Who is asked about: an account of the configuration, a Slack user id, or the one who types."""
    if not who:
        return session.person
    accounts = session.settings.policy.accounts
    if who in accounts:
        return Person(user_id=accounts[who], name=who, account=who)
    if not who.startswith(("U", "W")):
        raise ConfigError([f"--as {who}: neither an account of policy.accounts nor a Slack user id"])
    return Person(user_id=who)


def _draw(session: Session, rows: list[dict[str, Any]], title: str) -> None:
    table = Table("tier", "ask", "approve", "approve their own", "approvals", "why", "approvers", title=title)
    for row in rows:
        words = ["yes" if row[key] else "no" for key in ("ask", "approve", "own")]
        rest = (row["approvals"], row["why"], ", ".join(row["approvers"]) or "nobody")
        table.add_row(*(cell(part) for part in (row["tier"], *words, *rest)))
    session.console.print(table)


def whoami(*, config: Path, as_json: bool) -> int:
    """Say which account acts, and who the configuration says that is; 1 where it is nobody."""

    async def act(session: Session) -> int:
        account = own_account(session.settings)
        user_id = session.settings.policy.accounts.get(account)
        approver: bool | None = None
        if user_id is not None:
            ruling = await _approver(session)
            approver = ruling
        if as_json:
            print_data(
                {"account": account, "user": user_id, "approver": approver, "mode": session.settings.mode}
            )
            return 0 if user_id else 1
        acting_person(session.settings)  # nobody: refused, with what to write where
        may = {
            True: "an approver",
            False: "no approver",
            None: "an approver only if Slack says so, which is not asked",
        }
        session.say(f"{account} is {user_id}: {may[approver]}; mode {session.settings.mode}")
        return 0

    return looked(config, act)


async def _approver(session: Session) -> bool | None:
    """Whether the person may approve anything; None where only Slack could say."""
    try:
        return await session.bot.desk.people.is_approver(session.person)
    except NotApproverError:
        return None


def freeze(reason: str, *, config: Path) -> int:
    """Stop every change on every host."""

    async def act(session: Session) -> int:
        await session.bot.remedies.freeze(session.person, reason)
        session.say("Changes are frozen: nothing is begun on any host until: oombot unfreeze")
        session.say(GOES_ON)
        return 0

    return acted(config, act)


def unfreeze(*, config: Path) -> int:
    """Let changes go on; what was held back needs an approval of its own again."""

    async def act(session: Session) -> int:
        held = await session.bot.remedies.unfreeze(session.person)
        session.say("Changes are not frozen any more.")
        for request in held:
            session.say(
                f"held back: {request.plan.title} on {request.plan.host} ({request.id}, {request.state})"
            )
        return 0

    return acted(config, act)
