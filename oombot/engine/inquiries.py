"""Questions about changes, and the brake: freeze, pending, can, history, whoami; told to the asker alone."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from oombot import policy
from oombot.engine.context import Context
from oombot.engine.freezes import GOES_ON, NOTHING_RUNS
from oombot.engine.people import People
from oombot.engine.remedies import Remedies
from oombot.engine.visits import Visit
from oombot.errors import NotApproverError, RefusedError
from oombot.model import Json
from oombot.policy import Case, Ruling
from oombot.proposals import Person, Request
from oombot.views import Event, Fact

OPEN: Final = ("pending", "approved", "running", "applied")
SHOWN: Final = 20
STATES: Final[Mapping[str, str]] = {
    "pending": "waits for an approval",
    "approved": "is approved",
    "running": "is running",
    "applied": "is being read back",
    "verified": "done and verified",
    "unverified": "unverified: what came of it is not known",
    "contradicted": "run, but the host showed something else",
    "failed": "failed",
    "denied": "denied, nothing was run",
    "expired": "expired, nothing was run",
    "stale": "stale, nothing was run",
}
_MENTION = re.compile(r"<@(?P<id>[UW][A-Z0-9]{2,20})(?:\|[^>]*)?>|(?P<bare>[UW][A-Z0-9]{7,20})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiries:
    """Answers about what is asked for, what was done, and who may do what."""

    context: Context
    remedies: Remedies
    people: People

    @property
    def commands(self) -> Mapping[str, Callable[[Visit, Sequence[str]], Awaitable[Json]]]:
        """Each command by its first word."""
        return {
            "freeze": self._freeze,
            "unfreeze": self._unfreeze,
            "pending": self._pending,
            "can": self._can,
            "history": self._history,
            "whoami": self._whoami,
        }

    async def answer(self, visit: Visit, words: Sequence[str]) -> None:
        """Do what the first word says, and tell the person."""
        await self.people.check(visit.person)
        await visit.say(await self.commands[words[0]](visit, words[1:]), False)

    async def _freeze(self, visit: Visit, words: Sequence[str]) -> Json:
        await self.remedies.freeze(visit.person, " ".join(words))
        return self.context.views.notice(
            f"Frozen: nothing is begun on any host from now on, whatever was approved. Reading goes on. {GOES_ON}",
            fix="/oom unfreeze (approvers only)",
        )

    async def _unfreeze(self, visit: Visit, _words: Sequence[str]) -> Json:
        held = await self.remedies.unfreeze(visit.person)
        titles = [Fact(name=request.plan.host, value=request.plan.title) for request in held[:SHOWN]]
        note = f"Held back meanwhile: {len(held)}. {NOTHING_RUNS}" if held else ""
        return self.context.views.facts("Changes are not frozen any more", titles, note=note)

    async def _pending(self, _visit: Visit, _words: Sequence[str]) -> Json:
        requests = await self.context.store.requests(OPEN)
        freeze = await self.remedies.frozen()
        note = "" if freeze is None else f"Changes are frozen{f': {freeze.reason}' if freeze.reason else ''}."
        events = [_asked(request) for request in sorted(requests, key=lambda one: one.created_s)]
        return self.context.views.events(
            "Waiting or running", events[:SHOWN], more=max(0, len(events) - SHOWN), note=note
        )

    async def _history(self, _visit: Visit, words: Sequence[str]) -> Json:
        if len(words) != 1:
            raise RefusedError("Which host? Nothing was asked.", fix="/oom history HOST")
        host = self.context.settings.host(words[0]).name
        kills = await self.context.store.incidents(host, limit=SHOWN)
        changes = await self.context.store.history(host, limit=SHOWN)
        events = [
            Event(
                at_s=one.seen_s if one.kill.time_s is None else one.kill.time_s,
                sign=":skull:",
                text=f"{one.kill.comm} (pid {one.kill.pid}) was killed",
            )
            for one in kills
        ] + [_asked(request) for request in changes]
        latest = sorted(events, key=lambda event: event.at_s)[-SHOWN:]
        return self.context.views.events(f"{host}: the last kills and changes", latest, more=0, note="")

    async def _whoami(self, visit: Visit, _words: Sequence[str]) -> Json:
        person = visit.person
        rules = self.context.settings.policy.all_rules
        groups = await self.people.groups(person, [rule.approve for rule in rules])
        approver = policy.is_approver(self.context.settings.policy, person.user_id, groups)
        allowing = [rule for rule in rules if not rule.deny and rule.approve.name(person.user_id, groups)]
        naming = dict.fromkeys(rule.name for rule in allowing)
        facts = [
            Fact(name="You are", value=person.user_id),
            Fact(
                name="Groups of the policy",
                value=", ".join(sorted(groups)) or "none that had to be looked up",
            ),
            Fact(name="Approver", value=f"yes, by {', '.join(naming)}" if approver else "no"),
        ]
        note = "What you may do on one host says /oom can ACTION HOST"
        return self.context.views.facts("Who you are to oombot", facts, note=note)

    async def _can(self, visit: Visit, words: Sequence[str]) -> Json:
        person, rest = _person(visit.person, words)
        if len(rest) != 2 or rest[0] not in self.context.remediations:
            names = ", ".join(self.context.remediations)
            raise RefusedError(
                f"Which action on which host? Actions: {names}.", fix="/oom can [@user] ACTION HOST"
            )
        await self.people.check(person)
        action, host = rest[0], self.context.settings.host(rest[1]).name
        facts = [Fact(name="Who", value=person.user_id)]
        for tier in ("amber", "red"):
            facts += await self._rights(Case(host=host, action=action, tier=tier), person)
        return self.context.views.facts(
            f"{action} on {host}", facts, note="The tier stands on each plan. Freeze and limits come on top."
        )

    async def _rights(self, of: Case, person: Person) -> list[Fact]:
        """What the rules say of one tier: asking, approving another's plan, approving one's own."""
        asked = [
            ("ask", self.people.may_ask(of, person)),
            ("approve", self.people.may_approve(of, person, requester="")),
            ("approve your own", self.people.may_approve(of, person, requester=person.user_id)),
        ]
        return [Fact(name=f"{of.tier}, {what}", value=await _said(ruling)) for what, ruling in asked]


async def _said(asking: Awaitable[Ruling]) -> str:
    try:
        ruling = await asking
    except NotApproverError as error:  # Slack can not say who is in a group: that is a no
        return f"no. {error}"
    return f"{'yes' if ruling.allowed else 'no'}. {ruling.rule}"


def _person(asker: Person, words: Sequence[str]) -> tuple[Person, Sequence[str]]:
    """Whom the question is about, and the words that are left."""
    if len(words) < 3:
        return asker, words
    found = _MENTION.fullmatch(words[0])
    if found is None:
        raise RefusedError(
            "Slack did not say who that is.", fix="give the member ID (profile, More, Copy member ID)"
        )
    return Person(user_id=found["id"] or found["bare"], team_id=asker.team_id), words[1:]


def _asked(request: Request) -> Event:
    plan = request.plan
    votes = f", {len(request.voters)} of {request.approvals} approvals" if request.approvals > 1 else ""
    text = f"{plan.host}: {plan.title} ({plan.risk}): {STATES.get(request.state, request.state)}{votes}"
    sign = ":hourglass_flowing_sand:" if request.state in OPEN else ":wrench:"
    at_s = request.created_s if request.decided_s is None else request.decided_s
    expires_s = request.expires_s if request.state == "pending" else None
    return Event(at_s=at_s, sign=sign, text=text, who=request.requester, expires_s=expires_s)
