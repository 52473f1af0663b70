"""Everything the workspace knows, without any network: directory, messages, handles, views and files."""

import secrets
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from oombot.workspace.errors import SlackError
from oombot.workspace.seed import APP_ID, BOT_ID, seeded_directory
from oombot.workspace.timeline import Timeline

TRIGGER_LIFE_S: Final = 3.0
RESPONSE_URL_LIFE_S: Final = 30 * 60.0
RESPONSE_URL_USES: Final = 5
_ALPHABET: Final = string.ascii_uppercase + string.digits


def random_id(prefix: str, length: int = 9) -> str:
    """Return an id such as Slack's, e.g. `V0A1B2C3D4`."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """The right to open one modal for one person, for three seconds."""

    user_id: str
    expires_at: float
    used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseUrl:
    """A short-lived handle that may post to the conversation an interaction came from."""

    channel_id: str
    user_id: str
    expires_at: float
    uses_left: int
    message_ts: str | None = None
    is_ephemeral: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """An uploaded file; private until it is shared into a channel."""

    id: str
    name: str
    length: int
    upload_key: str
    created: int
    title: str = ""
    content: bytes | None = None
    is_complete: bool = False
    channels: tuple[str, ...] = ()


class State:
    """The whole state of one workspace."""

    def __init__(self, clock: Callable[[], float], scopes: Iterable[str], bot_name: str = "oombot") -> None:
        """Seed the directory and make fresh tokens."""
        self.clock = clock
        self.base_url = ""
        self.directory = seeded_directory(bot_name)
        self.timeline = Timeline(clock, self.changed)
        self.scopes: set[str] = set(scopes)
        self.app_scopes: set[str] = {"connections:write"}
        self.socket_mode = True
        self.bot_token = f"xoxb-{secrets.token_hex(12)}"
        self.app_token = f"xapp-1-{APP_ID}-{secrets.token_hex(12)}"
        self.verification_token = secrets.token_hex(12)
        self.edit_window_s: float | None = None
        self.trigger_life_s = TRIGGER_LIFE_S
        self.response_url_uses = RESPONSE_URL_USES
        self.views: dict[str, list[dict[str, Any]]] = {}
        self.homes: dict[str, dict[str, Any]] = {}
        self.files: dict[str, StoredFile] = {}
        self.version = 0
        self._watchers: list[Callable[[], None]] = []
        self._triggers: dict[str, Trigger] = {}
        self._response_urls: dict[str, ResponseUrl] = {}
        self._tickets: set[str] = set()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` after every change."""
        self._watchers.append(watcher)

    def changed(self) -> None:
        """Tell the watchers that something changed."""
        self.version += 1
        for watcher in self._watchers:
            watcher()

    def new_ticket(self) -> str:
        """Return a ticket for one WebSocket connection."""
        ticket = secrets.token_urlsafe(18)
        self._tickets.add(ticket)
        return ticket

    def take_ticket(self, ticket: str) -> bool:
        """Tell whether a ticket is good, and make it worthless."""
        good = ticket in self._tickets
        self._tickets.discard(ticket)
        return good

    def new_trigger(self, user_id: str) -> str:
        """Return a fresh trigger id for this person."""
        trigger_id = f"{secrets.randbelow(10**12)}.{secrets.randbelow(10**12)}.{secrets.token_hex(16)}"
        self._triggers[trigger_id] = Trigger(user_id=user_id, expires_at=self.clock() + self.trigger_life_s)
        return trigger_id

    def exchange_trigger(self, trigger_id: str) -> str:
        """Use a trigger once and return whose it was; refuse as Slack does."""
        trigger = self._triggers.get(trigger_id)
        if trigger is None:
            raise SlackError("invalid_trigger_id")
        if trigger.used:
            raise SlackError("exchanged_trigger_id")
        if self.clock() > trigger.expires_at:
            raise SlackError("expired_trigger_id")
        self._triggers[trigger_id] = replace(trigger, used=True)
        return trigger.user_id

    def new_response_url(
        self,
        kind: str,
        channel_id: str,
        user_id: str,
        *,
        message_ts: str | None = None,
        is_ephemeral: bool = False,
    ) -> str:
        """Return a response_url bound to a conversation and, after a click, to the message clicked."""
        key = secrets.token_urlsafe(18)
        self._response_urls[key] = ResponseUrl(
            channel_id=channel_id,
            user_id=user_id,
            expires_at=self.clock() + RESPONSE_URL_LIFE_S,
            message_ts=message_ts,
            is_ephemeral=is_ephemeral,
            uses_left=self.response_url_uses,
        )
        return f"{self.base_url}/{kind}/{self.directory.team.id}/{key}"

    def use_response_url(self, key: str) -> ResponseUrl:
        """Count one use of a response_url; refuse a spent, old or unknown one."""
        found = self._response_urls.get(key)
        if found is None:
            raise SlackError("no_such_url", status=404)
        if found.uses_left < 1:
            raise SlackError("used_url", status=404)
        if self.clock() > found.expires_at:
            raise SlackError("expired_url", status=404)
        self._response_urls[key] = replace(found, uses_left=found.uses_left - 1)
        return found

    def spend_response_urls(self) -> None:
        """Leave no use in any response_url handed out so far."""
        self._response_urls = {key: replace(found, uses_left=0) for key, found in self._response_urls.items()}

    def bot_author(self) -> dict[str, Any]:
        """Return the fields that mark a message as the bot's."""
        bot, team = self.directory.bot, self.directory.team
        profile = {"id": BOT_ID, "app_id": APP_ID, "name": bot.name, "team_id": team.id, "deleted": False}
        return {"user": bot.id, "bot_id": BOT_ID, "app_id": APP_ID, "team": team.id, "bot_profile": profile}
