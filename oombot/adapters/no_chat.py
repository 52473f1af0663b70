"""NoChat: the Chat where Slack is not there. It says nothing, and knows only whom the configuration names."""

from collections.abc import Collection

from oombot.errors import ChatError
from oombot.model import Json


class NoChat:
    """Refuses every call with a sentence; `known` are the user ids that Unix accounts are mapped to."""

    team_id = ""

    def __init__(self, known: Collection[str] = ()) -> None:
        """Take who is known without asking Slack."""
        self._known = frozenset(known)

    async def post(
        self, channel: str, view: Json, *, key: str, version: int, thread_ts: str | None
    ) -> tuple[str, str]:
        """Nothing can be posted: the message stays in the store until a bot sends it."""
        raise _refused()

    async def update(self, channel_id: str, ts: str, view: Json, *, key: str, version: int) -> None:
        """Nothing can be edited."""
        raise _refused()

    async def delete(self, channel_id: str, ts: str) -> None:
        """Nothing can be removed."""
        raise _refused()

    async def find(
        self, channel: str, key: str, *, since_s: float, thread_ts: str | None
    ) -> list[tuple[str, str]]:
        """Nothing can be looked for."""
        raise _refused()

    async def members(self, usergroup_id: str) -> frozenset[str]:
        """Who is in a user group only Slack knows: nobody is taken for a member."""
        raise _refused()

    async def is_person(self, user_id: str, team_id: str) -> bool:
        """Whom the configuration maps an account to; about everybody else nothing is known."""
        if team_id != self.team_id or user_id not in self._known:
            raise _refused()
        return True

    async def is_shared(self, channel_id: str) -> bool:
        """Nobody presses a button here."""
        raise _refused()

    async def upload(
        self, channel_id: str, thread_ts: str, *, filename: str, title: str, content: str
    ) -> None:
        """Nothing can be uploaded."""
        raise _refused()


def _refused() -> ChatError:
    return ChatError("Slack is not connected on the command line", code="offline")
