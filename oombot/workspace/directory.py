"""People, channels and user groups of the workspace: frozen values and one place that holds them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from oombot.workspace.errors import SlackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """A Slack workspace."""

    id: str
    name: str
    domain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One entry of the directory."""

    id: str
    name: str
    real_name: str
    team_id: str
    email: str = ""
    tz: str = "Etc/UTC"
    is_bot: bool = False
    bot_id: str | None = None
    deleted: bool = False
    is_restricted: bool = False
    is_stranger: bool = False

    def as_json(self, *, with_email: bool = False) -> dict[str, Any]:
        """Return the user object as `users.info` answers it."""
        profile = {"real_name": self.real_name, "display_name": self.name, "team": self.team_id}
        if self.bot_id:
            profile["bot_id"] = self.bot_id
        if with_email and self.email:
            profile["email"] = self.email
        shown = {"id": self.id, "team_id": self.team_id, "name": self.name, "deleted": self.deleted}
        if not self.deleted:
            shown |= {"real_name": self.real_name, "tz": self.tz, "tz_label": self.tz, "tz_offset": 0}
            shown |= {"is_restricted": self.is_restricted, "is_ultra_restricted": False, "is_admin": False}
        if self.is_stranger:
            shown["is_stranger"] = True
        return {**shown, "profile": profile, "is_bot": self.is_bot, "is_app_user": False, "updated": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A conversation: public, private, archived, or a direct message."""

    id: str
    name: str = ""
    members: frozenset[str] = frozenset()
    is_private: bool = False
    is_archived: bool = False
    is_im: bool = False
    topic: str = ""

    def as_json(self, bot_user_id: str) -> dict[str, Any]:
        """Return the conversation object as the bot sees it."""
        member = bot_user_id in self.members
        shared = {"id": self.id, "is_archived": self.is_archived, "is_im": self.is_im, "is_mpim": False}
        if self.is_im:
            other = next((user for user in sorted(self.members) if user != bot_user_id), bot_user_id)
            return {**shared, "user": other, "is_channel": False, "is_group": False, "is_private": True}
        kind = {"is_channel": not self.is_private, "is_group": self.is_private, "is_private": self.is_private}
        people = {"is_member": member, "num_members": len(self.members), "name": self.name}
        topic = {"value": self.topic, "creator": "", "last_set": 0}
        return {**shared, **kind, **people, "topic": topic, "purpose": topic, "name_normalized": self.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usergroup:
    """A user group, mentioned as `<!subteam^ID>`."""

    id: str
    handle: str
    name: str
    users: tuple[str, ...] = ()
    is_active: bool = True

    def as_json(self, team_id: str, *, with_users: bool) -> dict[str, Any]:
        """Return the group as `usergroups.list` answers it."""
        shown = {"id": self.id, "team_id": team_id, "is_usergroup": True, "name": self.name}
        shown |= {
            "handle": self.handle,
            "date_delete": 0 if self.is_active else 1,
            "user_count": len(self.users),
        }
        return shown | ({"users": list(self.users)} if with_users else {})


class Directory:
    """Who and what exists; every change replaces a frozen value."""

    def __init__(
        self,
        *,
        team: Team,
        bot: User,
        users: Iterable[User],
        channels: Iterable[Channel],
        groups: Iterable[Usergroup],
    ) -> None:
        """Take the seed."""
        self.team = team
        self.bot = bot
        self.users = {user.id: user for user in users}
        self.channels = {channel.id: channel for channel in channels}
        self.groups = {group.id: group for group in groups}

    def user(self, user_id: str) -> User:
        """Return a user, or refuse with `user_not_found`."""
        try:
            return self.users[user_id]
        except KeyError:
            raise SlackError("user_not_found") from None

    def put_user(self, user: User) -> None:
        """Add or replace a user."""
        self.users[user.id] = user

    def put_channel(self, channel: Channel) -> None:
        """Add or replace a channel."""
        self.channels[channel.id] = channel

    def put_group(self, group: Usergroup) -> None:
        """Add or replace a user group."""
        self.groups[group.id] = group

    def join(self, channel_id: str, user_id: str) -> None:
        """Make a user a member of a channel."""
        channel = self.channels[channel_id]
        self.put_channel(replace(channel, members=channel.members | {user_id}))

    def leave(self, channel_id: str, user_id: str) -> None:
        """Take a user out of a channel."""
        channel = self.channels[channel_id]
        self.put_channel(replace(channel, members=channel.members - {user_id}))

    def channel_named(self, name: str) -> Channel | None:
        """Return the channel with this id or name (a leading # is fine), or nothing."""
        plain = name.removeprefix("#")
        found = (channel for channel in self.channels.values() if plain in {channel.id, channel.name})
        return next(found, None) if plain else None

    def direct_message(self, user_id: str) -> Channel:
        """Return the bot's direct message with a user, opening it when there is none."""
        self.user(user_id)
        opened = Channel(
            id="D" + user_id[1:], is_im=True, is_private=True, members=frozenset({user_id, self.bot.id})
        )
        return self.channels.setdefault(opened.id, opened)

    def sees(self, user_id: str, channel: Channel) -> bool:
        """Tell whether a person may read a channel: members always, full members every public one."""
        user = self.users[user_id]
        outsider = user.is_restricted or user.is_stranger
        return user_id in channel.members or (not channel.is_private and not outsider)
