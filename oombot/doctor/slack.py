"""Slack's tokens: there, of the right kind, and whose they are."""

from collections.abc import Iterable

from oombot.doctor.gathered import Gathered
from oombot.doctor.shape import BotCheck, Line, ok, wrong

_WHY = "without Slack nobody is told of a kill, and nobody can approve anything"
_TOKENS = (
    "set SLACK_BOT_TOKEN and SLACK_APP_TOKEN, or SLACK_BOT_TOKEN_FILE and SLACK_APP_TOKEN_FILE; "
    "`oombot slack manifest` says where they come from"
)


def _lines(gathered: Gathered) -> Iterable[Line]:
    slack = gathered.slack
    if slack is None:
        return
    for problem in slack.token_problems:
        yield wrong("tokens", problem, _WHY, _TOKENS)
    if slack.auth is not None:
        yield wrong(
            "auth", slack.auth.said, _WHY, slack.auth.fix or "oombot doctor, once Slack answers again"
        )
    elif slack.team_id:
        yield ok("auth", f"bot @{slack.bot_name} in {slack.team} ({slack.team_id})")


CHECK = BotCheck(name="slack", rank=50, lines=_lines)
