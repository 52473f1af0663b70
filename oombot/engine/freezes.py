"""Freezing: nothing is changed on any host, whatever was approved, until an approver says so. Reading goes on."""

from collections.abc import Sequence

from oombot.engine.context import Context
from oombot.engine.drafts import audit_line, submitted_by
from oombot.engine.people import People
from oombot.errors import AlreadyDecidedError, NotApproverError, RefusedError
from oombot.model import Draft
from oombot.proposals import Audit, Freeze, Person, Request
from oombot.views import Fact

GOES_ON = "What runs already goes on, and so do timers that are set on hosts to put a change back."
NOTHING_RUNS = (
    "Nothing of that runs by itself: what still waits needs an approval again, the rest a new plan."
)


class Freezes:
    """Who froze what, and what was held back by it."""

    def __init__(self, context: Context, people: People) -> None:
        """Take the shared parts."""
        self._ctx, self._people = context, people

    async def now(self) -> Freeze | None:
        """What freezes all changes right now: the file on the bot's own machine, else what a person said."""
        flag = self._ctx.flag()
        if flag:
            return Freeze(person="", reason=f"the file {flag} is there", at_s=self._ctx.clock(), flag=flag)
        return await self._ctx.store.frozen()

    async def freeze(self, person: Person, reason: str) -> Freeze:
        """Stop every change; whoever may use oombot may do this."""
        await self._people.check(person)
        said = " ".join(reason.split())[:200]
        freeze = Freeze(person=person.user_id, reason=said, at_s=self._ctx.clock())
        if not await self._ctx.store.freeze(freeze, self._audit(person, "freeze", reason=said)):
            standing = await self._ctx.store.frozen()
            raise AlreadyDecidedError(
                f"Changes are frozen already{_why(standing) if standing else ''}. Your command changed nothing.",
                who=standing.person if standing else "",
            )
        await self._tell(
            "Changes are frozen",
            [Fact(name="By", value=freeze.person), *([Fact(name="Why", value=said)] if said else [])],
            note=f"Nothing is begun on any host until /oom unfreeze. {GOES_ON}",
        )
        return freeze

    async def unfreeze(self, person: Person) -> list[Request]:
        """Let changes go on; only an approver may. Returns what was held back, of which nothing runs by itself."""
        await self._people.check(person)
        if not await self._people.is_approver(person):
            await self._ctx.store.add_audit(self._audit(person, "refused", why="may not unfreeze"))
            raise NotApproverError("Only an approver may end a freeze. Changes stay frozen.")
        flag = self._ctx.flag()
        if flag:
            raise RefusedError(f"The file {flag} freezes all changes, and stays.", fix=f"rm {flag}")
        standing = await self._ctx.store.frozen()
        if standing is None or not await self._ctx.store.unfreeze(self._audit(person, "unfreeze")):
            raise AlreadyDecidedError("Changes are not frozen. Your command changed nothing.")
        held = await self._ctx.store.held_back(standing.at_s)
        count = f"Held back meanwhile: {len(held)}. {NOTHING_RUNS}" if held else ""
        await self._tell(
            "Changes are not frozen any more", [Fact(name="By", value=person.user_id)], note=count
        )
        return held

    async def held_back(self) -> list[Request]:
        """What the present freeze has held back so far."""
        standing = await self.now()
        return [] if standing is None else await self._ctx.store.held_back(self._since(standing))

    async def held(self, request: Request) -> str:
        """What to say of a request that a freeze stopped as it was about to begin; it is in its audit trail."""
        try:
            await self.check(request, "oombot")
        except RefusedError as error:
            return str(error)
        return "changes were frozen just then"

    async def check(self, request: Request, actor: str) -> None:
        """RefusedError while changes are frozen; that this one was held back is in its audit trail."""
        freeze = await self.now()
        if freeze is None:
            return
        state = request.state
        held = audit_line(
            self._ctx,
            request,
            actor=actor,
            event="held_back",
            state_from=state,
            state_to=state,
            why=f"frozen by {freeze.person or 'a file'}{_why(freeze)}",
        )
        await self._ctx.store.add_audit(held)
        said = f"Changes are frozen{_why(freeze)}. Nothing was run."
        raise RefusedError(said, fix="/oom unfreeze", who=freeze.person)

    @staticmethod
    def _since(freeze: Freeze) -> float:
        return 0.0 if freeze.flag else freeze.at_s

    async def _tell(self, title: str, facts: Sequence[Fact], *, note: str) -> None:
        draft = Draft(
            key=f"freeze:{self._ctx.new_id()}",
            channel=self._ctx.settings.slack.channel.lstrip("#"),
            view=self._ctx.views.facts(title, facts, note=note),
        )
        await self._ctx.store.put_messages([draft])
        self._ctx.wake.set()

    def _audit(self, person: Person, event: str, **data: str) -> Audit:
        who = {"team": person.team_id, "account": person.account, "submitted_by": submitted_by(self._ctx)}
        return Audit(
            at_s=self._ctx.clock(),
            request_id="freeze",
            actor=person.user_id,
            event=event,
            state_from="",
            state_to="",
            data={**who, **data},
        )


def _why(freeze: Freeze) -> str:
    return f" ({freeze.reason})" if freeze.reason else ""
