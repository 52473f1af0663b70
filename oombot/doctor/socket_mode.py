"""Socket Mode: a connection is really opened, and it tells how many others there are."""

from collections.abc import Iterable

from oombot.doctor.gathered import Fault, Gathered
from oombot.doctor.shape import BotCheck, Line, ok, unknown, warning, wrong

_WHY = "commands and presses of buttons come through Socket Mode: without it oombot is deaf"


def _lines(gathered: Gathered) -> Iterable[Line]:
    slack = gathered.slack
    if slack is None or slack.socket is None:
        return
    app = f"api.slack.com/apps/{slack.app_id}" if slack.app_id else "api.slack.com/apps"
    fault = slack.socket.fault
    if fault is not None:
        yield _fault(fault, app)
        return
    if slack.socket.connections is None:
        yield ok(
            "connection",
            "Slack gives the app token an address to connect to; the running oombot was left alone",
        )
        return
    others = slack.socket.connections - 1
    if others < 1:
        yield ok("connection", "a connection was opened; no other one of this app is there")
    else:
        yield _elsewhere() if others == 1 else _shared(others)


def _fault(fault: Fault, app: str) -> Line:
    if fault.code == "missing_scope":
        return wrong(
            "app_token",
            "the app token lacks the scope connections:write",
            _WHY,
            f"{app} → Basic Information → App-Level Tokens: make one with connections:write, put it in SLACK_APP_TOKEN",
        )
    if fault.code == "link_disabled":
        return wrong(
            "connection",
            "Socket Mode is switched off in the app",
            _WHY,
            f"{app} → Socket Mode → Enable Socket Mode",
        )
    if fault.code in {
        "invalid_auth",
        "not_authed",
        "not_allowed_token_type",
        "account_inactive",
        "token_revoked",
    }:
        return wrong(
            "app_token",
            f"Slack refused the app token: {fault.code}",
            _WHY,
            f"{app} → Basic Information → App-Level Tokens: put that xapp- token into SLACK_APP_TOKEN",
        )
    if fault.code == "too_many_websockets":
        return wrong("connection", fault.said, _WHY, "end the other oombots that use this app token")
    if fault.code:
        return wrong(
            "connection",
            f"Socket Mode could not be opened: {fault.said}",
            _WHY,
            fault.fix or f"{app} → Socket Mode",
        )
    fix = fault.fix or "let this machine reach slack.com:443, WebSockets included (a proxy may block them)"
    return wrong("connection", f"no connection to Socket Mode came up: {fault.said}", _WHY, fix)


def _elsewhere() -> Line:
    return unknown(
        "connection",
        "a connection was opened; another one of this app is open, and not by an oombot on this store",
        "it is your oombot if that runs on another machine; else Slack gives it half of all presses",
        "look for a second oombot with this SLACK_APP_TOKEN: each bot needs an app of its own",
    )


def _shared(others: int) -> Line:
    return warning(
        "connection",
        f"{others} other connections of this app are open",
        "Slack gives each command and press to any one of them: those that the wrong bot gets are lost",
        "end the others, or give each bot an app of its own (oombot slack manifest)",
    )


CHECK = BotCheck(name="socket_mode", rank=56, lines=_lines)
