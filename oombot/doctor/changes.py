"""Each host: which changes are allowed there by mode, rights, the host's own policy, and its frozen file."""

from collections.abc import Iterable

from oombot.doctor.gathered import Gathered, HostFacts
from oombot.doctor.shape import HostCheck, Line, ok, unknown, warning, wrong

_WHY = "an approved change would fail on this host"


def _lines(host: HostFacts, gathered: Gathered) -> Iterable[Line]:
    if host.fault is not None or host.answered_s is None:
        return
    settings = gathered.known
    applies = settings.mode == "apply"
    if host.settings is not None and host.settings.frozen:
        yield warning(
            "frozen",
            "changes are frozen by its owner (/etc/oombot/frozen)",
            "every change is refused there, whoever approves it",
            "on the host, when that is over: sudo rm /etc/oombot/frozen",
        )
    if settings.helpers_of(host.name) == "installed":
        yield from _installed(host, applies=applies)
    else:
        yield _sent(host, gathered, applies=applies)


def _installed(host: HostFacts, *, applies: bool) -> Iterable[Line]:
    install = f"oombot sudoers {host.name}"
    if host.settings is not None and host.settings.policy is False:
        said = "no host policy (/etc/oombot/policy.json)"
        why = "the act helper permits nothing that its host's policy does not name"
        yield (
            warning("host_policy", said, why, install)
            if applies
            else ok("host_policy", f"{said}: no change passes")
        )
    if host.act_fault is not None:
        said = f"the acting login does not work: {host.act_fault.said}"
        yield (wrong if applies else warning)("rights", said, _WHY, host.act_fault.fix or install)
    elif host.act_tried:
        yield ok("rights", "the acting login reaches the act helper, which the host's policy bounds")
    else:
        yield unknown("rights", "the acting login was not tried", _WHY, f"oombot doctor --host {host.name}")


def _sent(host: HostFacts, gathered: Gathered, *, applies: bool) -> Line:
    settings, snapshot = gathered.known, host.snapshot
    become = settings.host(host.name).become == "sudo"
    install = f"oombot sudoers {host.name}"
    if snapshot is None:
        return unknown(
            "rights", "whether a change could run is not known: the host could not be read", _WHY, install
        )
    root = snapshot.login_uid == 0
    if not root and (not become or snapshot.can_sudo is False):
        said = "this account can change nothing (no sudo without a password)"
        if applies:
            return wrong("rights", said, _WHY, install)
        return ok("rights", f"{said}; mode {settings.mode} runs nothing")
    if not snapshot.has_python:
        said = "no python3 there, which the sent helper needs"
        return (
            wrong("rights", said, _WHY, "on the host: install python3 (3.9 or newer)")
            if applies
            else ok("rights", said)
        )
    if not root and snapshot.can_sudo is None:
        return unknown(
            "rights",
            "whether sudo may be used without a password is not known",
            _WHY,
            "on the host: sudo -n -l",
        )
    how = "logs in as root" if root else "by sudo, without a password"
    only = "" if applies else f", though mode {settings.mode} runs nothing"
    return ok("rights", f"approved changes can run ({how}{only})")


CHECK = HostCheck(name="changes", rank=130, lines=_lines)
