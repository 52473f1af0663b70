"""The people and channels every workspace starts with; tests and the demo use these names."""

from typing import Final

from oombot.workspace.directory import Channel, Directory, Team, User, Usergroup

TEAM: Final = Team(id="T0ACME001", name="Acme", domain="acme")
FOREIGN_TEAM: Final = Team(id="T0OTHER01", name="Globex", domain="globex")
APP_ID: Final = "A0OOMBOT1"
BOT_ID: Final = "B0OOMBOT1"

ADA: Final = "U0ADA0001"
BEN: Final = "U0BEN0002"
CLEO: Final = "U0CLEO003"
BOT_USER: Final = "U0OOMBOT1"
OTHER_BOT: Final = "U0CIBOT01"
DEACTIVATED: Final = "U0GONE001"
GUEST: Final = "U0GUEST01"
STRANGER: Final = "U0STRANG1"
SLACKBOT: Final = "USLACKBOT"
PEOPLE: Final = (ADA, BEN, CLEO)

ONCALL_GROUP: Final = "S0ONCALL1"

ONCALL: Final = "C0ONCALL1"
GENERAL: Final = "C0GENERAL"
DB_ONCALL: Final = "C0DBONCAL"
ELSEWHERE: Final = "C0ELSEWHR"
PRIVATE: Final = "C0SECRET1"
OLD_ALERTS: Final = "C0OLDALRT"

DEFAULT_SCOPES: Final = (
    "app_mentions:read", "channels:history", "channels:read", "chat:write", "commands", "files:write",
    "groups:history", "groups:read", "usergroups:read", "users:read",
)  # fmt: skip


def seeded_directory(bot_name: str = "oombot") -> Directory:
    """Return a fresh directory: three people, the bot, and everybody an approver check must refuse."""
    bot = User(id=BOT_USER, name=bot_name, real_name=bot_name, team_id=TEAM.id, is_bot=True, bot_id=BOT_ID)
    return Directory(
        team=TEAM,
        bot=bot,
        users=(bot, *_people(), *_others()),
        channels=_channels(),
        groups=(Usergroup(id=ONCALL_GROUP, handle="oncall", name="On call", users=(ADA, BEN)),),
    )


def _people() -> tuple[User, ...]:
    return tuple(
        User(id=id_, name=name, real_name=real_name, team_id=TEAM.id, email=f"{name}@acme.example")
        for id_, name, real_name in (
            (ADA, "ada", "Ada Park"),
            (BEN, "ben", "Ben Ito"),
            (CLEO, "cleo", "Cleo Ruiz"),
        )
    )


def _others() -> tuple[User, ...]:
    team = TEAM.id
    return (
        User(
            id=SLACKBOT, name="slackbot", real_name="Slackbot", team_id=team
        ),  # Slack says is_bot: false here
        User(id=OTHER_BOT, name="ci-bot", real_name="CI bot", team_id=team, is_bot=True, bot_id="B0CIBOT01"),
        User(id=DEACTIVATED, name="gone", real_name="Gil Onward", team_id=team, deleted=True),
        User(id=GUEST, name="guest", real_name="Gus Guest", team_id=team, is_restricted=True),
        User(id=STRANGER, name="stan", real_name="Stan Globex", team_id=FOREIGN_TEAM.id, is_stranger=True),
    )


def _channels() -> tuple[Channel, ...]:
    people = frozenset(PEOPLE)
    outsiders = frozenset({GUEST, STRANGER})
    bots = frozenset({BOT_USER, OTHER_BOT})
    return (
        Channel(id=ONCALL, name="oncall", members=people | outsiders | bots, topic="What woke us up"),
        Channel(id=GENERAL, name="general", members=people | bots, topic="Everything else"),
        Channel(id=DB_ONCALL, name="db-oncall", members=people | {BOT_USER}, topic="Databases"),
        Channel(id=ELSEWHERE, name="elsewhere", members=people, topic="No bot in here"),
        Channel(id=PRIVATE, name="secret", members=people, is_private=True, topic="Private, no bot in here"),
        Channel(
            id=OLD_ALERTS, name="old-alerts", members=people | {BOT_USER}, is_archived=True, topic="Archived"
        ),
    )
