"""What every Web API method is made of: its arguments, the token's rights, and the table entry that describes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from oombot.workspace.directory import Channel
from oombot.workspace.errors import SlackError
from oombot.workspace.message_content import parsed
from oombot.workspace.state import State

_FALSE: Final = {"", "0", "false", "False", "no"}


class Args:
    """The arguments of a call: strings from a form or values from JSON, read alike."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        """Keep the arguments as they came."""
        self.raw = raw

    def text(self, name: str, default: str = "") -> str:
        """Return an argument as text."""
        value = self.raw.get(name)
        return default if value is None else str(value)

    def required(self, name: str, error: str = "invalid_arguments") -> str:
        """Return an argument that must be given, or refuse."""
        if not (value := self.text(name)):
            raise SlackError(error, messages=[f"[ERROR] missing required field: {name}"])
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a yes-or-no argument."""
        value = self.raw.get(name)
        return default if value is None else value is True or str(value) not in (_FALSE | {"None"})

    def number(self, name: str, default: int, *, low: int, high: int) -> int:
        """Return a whole number within bounds, or refuse with `invalid_limit`-like words."""
        try:
            value = int(self.text(name) or default)
        except ValueError:
            raise SlackError(f"invalid_{name}") from None
        if not low <= value <= high:
            raise SlackError(f"invalid_{name}")
        return value

    def json(self, name: str, error: str = "invalid_arguments") -> Any:
        """Return an argument that is JSON, given as text or as a value."""
        return parsed(self.raw.get(name), error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a method, after its token was accepted."""

    state: State
    args: Args

    def need(self, scope: str) -> None:
        """Refuse with `missing_scope` unless the bot token carries this scope."""
        if scope not in self.state.scopes:
            raise SlackError("missing_scope", needed=scope, provided=",".join(sorted(self.state.scopes)))

    def channel(self, *, by_name: bool = False) -> Channel:
        """Return the channel as far as the bot sees it, by id; a private one without the bot does not exist."""
        directory = self.state.directory
        wanted = self.args.text("channel")
        found = directory.channel_named(wanted) if by_name else directory.channels.get(wanted)
        if found is None or (found.is_private and directory.bot.id not in found.members):
            raise SlackError("channel_not_found")
        return found

    def channel_to_write(self) -> Channel:
        """Return a channel the bot may post to, by id or name; a user id means the direct message with that user."""
        directory = self.state.directory
        wanted = self.args.text("channel")
        if wanted in directory.users:
            return self._direct_message(wanted)
        found = self.channel(by_name=True)
        if found.is_archived:
            raise SlackError("is_archived")
        if directory.bot.id not in found.members and "chat:write.public" not in self.state.scopes:
            raise SlackError("not_in_channel")
        return found

    def channel_to_read(self, kind: Literal["read", "history"]) -> Channel:
        """Return a channel if the token's scopes cover its kind, and for history if the bot is a member."""
        found = self.channel()
        family = "im" if found.is_im else "groups" if found.is_private else "channels"
        self.need(f"{family}:{kind}")
        if kind == "history" and self.state.directory.bot.id not in found.members:
            raise SlackError("not_in_channel")
        return found

    def _direct_message(self, user_id: str) -> Channel:
        user = self.state.directory.user(user_id)
        if user.deleted or user.is_bot:
            raise SlackError("channel_not_found")
        return self.state.directory.direct_message(user_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One entry of the method table."""

    run: Callable[[Call], dict[str, Any]]
    scope: str | None = None
    caller: Literal["bot", "app", "any"] = "bot"
    per_minute: int = 100
    is_post: bool = False
