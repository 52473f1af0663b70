"""This machine's clock against Slack's and the hosts': approvals run out by it, and kills are dated by hosts'."""

from collections.abc import Iterable
from statistics import median

from oombot.doctor.gathered import Gathered
from oombot.doctor.shape import BotCheck, Line, ok, unknown, warning

APART_S = 5.0
_WHY = "an approval runs out by this clock, and the age of a kill is told by it"
_FIX = "timedatectl set-ntp true   (then: timedatectl timesync-status)"


def _lines(gathered: Gathered) -> Iterable[Line]:
    slack = gathered.slack
    if slack is not None and slack.ahead_s is not None:
        yield _against("slack", "Slack's", slack.ahead_s, slack.uncertain_s)
    settings = gathered.known
    remote = [host for host in gathered.hosts if not settings.host(host.name).local]
    hosts = [-host.ahead_s for host in remote if host.ahead_s is not None]
    if len(hosts) > 1:
        yield _against("hosts", f"the middle one of {len(hosts)} hosts'", median(hosts), 1.0)
    if not hosts and (slack is None or slack.ahead_s is None):
        yield unknown(
            "compared", "this machine's clock was compared with no other", _WHY, "timedatectl status"
        )


def _against(item: str, whose: str, ahead_s: float, uncertain_s: float) -> Line:
    said = f"this machine's clock is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} {whose}"
    if abs(ahead_s) > APART_S + uncertain_s:
        return warning(item, said, _WHY, _FIX)
    return ok(item, f"this machine's clock agrees with {whose} within {abs(ahead_s) + uncertain_s:.1f} s")


CHECK = BotCheck(name="clock", rank=40, lines=_lines)
