"""Who is asking: looked up in Slack at the moment it matters, and refused when Slack can not say."""

from collections.abc import Iterable

from oombot import policy
from oombot.engine.context import Context
from oombot.errors import ChatError, NotApproverError
from oombot.policy import Case, Ruling
from oombot.proposals import Person
from oombot.rights import Approvers


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
        """Refuse bots, guests, deactivated users and other workspaces' people.

        Who comes by a Unix account is who `policy.accounts` says: Slack is not asked, it may be down.
        """
        if person.account:
            self._check_account(person)
            return
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

    def _check_account(self, person: Person) -> None:
        if self._ctx.settings.policy.accounts.get(person.account) != person.user_id:
            raise NotApproverError(
                f"The account {person.account} is not {person.user_id} in policy.accounts, so nothing was done."
            )

    async def check_channel(self, person: Person, channel_id: str) -> None:
        """Refuse a press in a channel that is shared with another workspace, or of which Slack can not say it."""
        if person.account or not channel_id:
            return
        try:
            shared = await self._ctx.chat.is_shared(channel_id)
        except ChatError as error:
            raise NotApproverError(
                f"Slack could not say whether this channel is shared with others ({error}), so nothing was done.",
                fix="the app needs the scopes channels:read and groups:read",
            ) from error
        if shared:
            raise NotApproverError(
                "This channel is shared with another workspace: nothing is approved from here.",
                fix="move oombot to a channel of your own (slack.channel, or the group's)",
            )

    async def groups(self, person: Person, named: Iterable[Approvers]) -> frozenset[str]:
        """Of the groups that are `named`, those the person is in right now; NotApproverError when Slack can not say.

        Where the person is named too no group is needed, so no look-up can fail. Nothing is cached.
        """
        asked = dict.fromkeys(
            group for people in named if person.user_id not in people.users for group in people.groups
        )
        found = set()
        for group in asked:
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

    async def is_approver(self, person: Person) -> bool:
        """Whether the person may approve anything at all."""
        rules = self._ctx.settings.policy
        return policy.is_approver(rules, person.user_id, await self.groups(person, [rules.people]))

    async def may_ask(self, of: Case, person: Person) -> Ruling:
        """Whether the rules let the person ask for this."""
        named = [rule.ask for rule in policy.matching(self._ctx.settings, of)]
        groups = await self.groups(person, named)
        return policy.may_ask(self._ctx.settings, of, person.user_id, groups)

    async def may_approve(self, of: Case, person: Person, *, requester: str) -> Ruling:
        """Whether the rules let the person approve what `requester` asked for."""
        groups = await self.groups(person, self._approving(of))
        return policy.may_approve(self._ctx.settings, of, person.user_id, groups, requester=requester)

    async def may_undo(self, of: Case, person: Person) -> Ruling:
        """Whether the rules let the person alone take back what still stands."""
        groups = await self.groups(person, self._approving(of))
        return policy.may_undo(self._ctx.settings, of, person.user_id, groups)

    def _approving(self, of: Case) -> list[Approvers]:
        return [rule.approve for rule in policy.matching(self._ctx.settings, of)]
