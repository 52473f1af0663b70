"""Each host: its clock against this machine's, by which its kills are dated."""

from collections.abc import Iterable

from oombot.doctor.clock import APART_S
from oombot.doctor.gathered import Gathered, HostFacts
from oombot.doctor.shape import HostCheck, Line, ok, unknown, warning

_WHY = "its kills carry its own time: on a card they stand too early or too late"


def _lines(host: HostFacts, gathered: Gathered) -> Iterable[Line]:
    if host.fault is not None or host.answered_s is None or gathered.known.host(host.name).local:
        return
    if host.ahead_s is None:
        yield unknown("clock", "its clock was not read", _WHY, f"ssh {host.name} date")
        return
    within = abs(host.ahead_s) + host.uncertain_s
    if abs(host.ahead_s) <= APART_S + host.uncertain_s:
        yield ok("clock", f"its clock agrees with this machine's within {within:.0f} s")
        return
    way = "ahead of" if host.ahead_s > 0 else "behind"
    said = f"its clock is {abs(host.ahead_s):.0f} s {way} this machine's"
    yield warning("clock", said, _WHY, "on the host: sudo timedatectl set-ntp true")


CHECK = HostCheck(name="host_clock", rank=160, lines=_lines)
