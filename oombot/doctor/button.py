"""Buttons, proved by a person who presses one."""

from collections.abc import Iterable

from oombot.doctor.gathered import Gathered
from oombot.doctor.shape import BotCheck, Line, ok, unknown, wrong

_WHY = "only a real press shows that Interactivity is on in the app: without it no approval arrives"


def _lines(gathered: Gathered) -> Iterable[Line]:
    slack = gathered.slack
    if slack is None or slack.auth is not None or slack.token_problems:
        return
    press, app = slack.press, f"/{slack.app_id}" if slack.app_id else ""
    if press is None:
        yield unknown("press", "buttons were not tried", _WHY, "oombot doctor --slack-test")
    elif press.after_s is not None:
        yield ok("press", f"a press of {press.pressed_by or 'somebody'} arrived after {press.after_s:.1f} s")
    elif press.fault is not None and press.fault.code == "shared":
        yield unknown("press", f"buttons were not tried: {press.fault.said}", _WHY, press.fault.fix)
    elif press.fault is not None:
        said = f"the test button could not be posted: {press.fault.said}"
        yield wrong(
            "press",
            said,
            _WHY,
            press.fault.fix or "mend what is said above, then: oombot doctor --slack-test",
        )
    else:
        yield wrong(
            "press",
            f"no press arrived within {press.waited_s:.0f} s",
            "nobody pressed, or Interactivity is off in the app: then no approval would arrive either",
            f"api.slack.com/apps{app} → Interactivity & Shortcuts → On; then again: oombot doctor --slack-test",
        )


CHECK = BotCheck(name="button", rank=58, lines=_lines)
