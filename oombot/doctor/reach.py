"""Each host: can it be reached, is its key the known one, does it take our account?"""

from collections.abc import Iterable

from oombot.doctor.gathered import Gathered, HostFacts, HostFault
from oombot.doctor.shape import HostCheck, Line, ok, unknown, warning, wrong

SLOW_S = 3.0
_ITEMS = {"unreachable": "reach", "timeout": "reach", "key": "key", "login": "account", "failed": "reach"}
_WHY = {
    "reach": "an OOM kill there goes unseen as long as nobody hears the host",
    "key": "nothing is sent to a host that can not prove who it is; its kills go unseen",
    "account": "oombot may not log in, so kills there go unseen",
}


def _lines(host: HostFacts, gathered: Gathered) -> Iterable[Line]:
    if host.fault is not None:
        yield _fault(host.name, host.fault)
        return
    if host.answered_s is None:
        yield unknown("reach", "was not asked", _WHY["reach"], f"oombot doctor --host {host.name}")
        return
    local = gathered.known.host(host.name).local
    yield _reached(host.name, host.answered_s, local=local)
    if not local:
        yield ok("key", "its host key is the one in known_hosts")
    if host.settings is not None:
        yield _account(host, local=local)


def _fault(name: str, fault: HostFault) -> Line:
    item = _ITEMS[fault.kind]
    through = f" (through the jump host {fault.jump})" if fault.jump else ""
    return wrong(item, fault.said + through, _WHY[item], fault.fix or f"oombot hosts test {name}")


def _reached(name: str, answered_s: float, *, local: bool) -> Line:
    how = "read here" if local else "login and reading"
    said = f"{how} in {answered_s * 1000:.0f} ms"
    if answered_s > SLOW_S:
        why = "an answer to /oom takes as long; login scripts, name look-ups or a lack of memory slow it"
        return warning(
            "reach", said, why, f"oombot hosts test {name}; give the account /bin/sh and an empty home"
        )
    return ok("reach", said)


def _account(host: HostFacts, *, local: bool) -> Line:
    settings = host.settings
    assert settings is not None
    who = settings.user or "an account without a name"
    groups = ", ".join(group for group in settings.groups if group != settings.user) or "no further groups"
    if settings.uid == 0 and local:
        return ok("account", "read by the account of doctor itself, which is root")
    if settings.uid == 0:
        why = "whoever has the bot's key can do anything there"
        return warning("account", f"the login is root ({who})", why, f"oombot sudoers {host.name}")
    if settings.uid is None:
        return unknown(
            "account", "as whom oombot logs in is not known", "the host did not say", "id, on the host"
        )
    how = "read" if local else "logs in"
    return ok("account", f"{how} as {who} (uid {settings.uid}; {groups})")


CHECK = HostCheck(name="reach", rank=100, lines=_lines)
