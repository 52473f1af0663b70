"""Who is asking: looked up in Slack at the moment it matters, and refused when Slack can not say."""

from oombot.engine.context import Context
from oombot.errors import ChatError, NotApproverError
from oombot.proposals import Person


class People:
    """Answers from Slack about people; no answer is a no."""

    def __init__(self, context: Context) -> None:
        """Take the context."""
        self._ctx = context

    @property
    def own_team(self) -> str:
        """Our own workspace's id: who approved was checked to be of it at the press."""
        return self._ctx.chat.team_id

    async def check(self, person: Person) -> None:
        """Refuse bots, guests, deactivated users and other workspaces' people."""
        try:
            known = await self._ctx.chat.is_person(person.user_id, person.team_id)
        except ChatError as error:
            raise NotApproverError(
                f"Slack could not say who you are ({error}), so nothing was done. Try again in a minute."
            ) from error
        if not known:
            raise NotApproverError(
                "Only full members of this workspace may do this (no guests, bots or people of other workspaces)."
            )

    async def groups(self, person: Person) -> frozenset[str]:
        """The policy's user groups that the person is in right now; NotApproverError when Slack can not say."""
        policy = self._ctx.settings.policy
        if person.user_id in policy.approvers.users:
            return frozenset()  # named: no group is needed, so no look-up can fail
        found = set()
        for group in policy.approvers.groups:
            try:
                members = await self._ctx.chat.members(group)
            except ChatError as error:
                raise NotApproverError(
                    f"Slack could not say who is in <!subteam^{group}> ({error}), so nothing was done.",
                    fix="the app needs the scope usergroups:read",
                ) from error
            if person.user_id in members:
                found.add(group)
        return frozenset(found)
