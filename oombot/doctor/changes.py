"""Each host: which changes are allowed there by mode, rights, the host's own policy, and its frozen file."""

from collections.abc import Iterable

from oombot.doctor.gathered import Gathered, HostFacts
from oombot.doctor.shape import HostCheck, Line, ok, unknown, warning, wrong
from oombot.facts.act_helper import ActHelper

_SHOWN = 4
_WHY = "an approved change would fail on this host"


def _lines(host: HostFacts, gathered: Gathered) -> Iterable[Line]:
    if host.fault is not None or host.answered_s is None:
        return
    settings = gathered.known
    applies = settings.mode == "apply"
    frozen = host.settings is not None and host.settings.frozen
    if frozen or (host.act is not None and host.act.status == "frozen"):
        yield warning(
            "frozen",
            "changes are frozen by its owner (/etc/oombot/frozen)",
            "every change is refused there, whoever approves it",
            "on the host, when that is over: sudo rm /etc/oombot/frozen",
        )
    if settings.helpers_of(host.name) == "installed":
        if settings.ssh.act is None and not settings.host(host.name).local:
            yield _unacting(host)
        else:
            yield from _installed(host, applies=applies)
    else:
        yield _sent(host, gathered, applies=applies)


def _unacting(host: HostFacts) -> Line:
    """The watching key opens the read helper only; mode apply refuses to start so."""
    said = (
        "no acting login is configured (ssh.act): nothing can be changed there, and mode apply will not start"
    )
    fix = f"ssh: {{act: {{user: oombot-act, keys: [KEY]}}}}, then: oombot sudoers {host.name}"
    return warning("rights", said, "the watching key of a host with installed helpers only reads", fix)


def _installed(host: HostFacts, *, applies: bool) -> Iterable[Line]:
    """What the act helper itself says, by the login that changes go through."""
    install, helper = f"oombot sudoers {host.name}", host.act
    if host.act_fault is not None:
        said = f"the acting login does not work: {host.act_fault.said}"
        yield (wrong if applies else warning)("rights", said, _WHY, host.act_fault.fix or install)
    elif helper is None:
        yield unknown("rights", "the acting login was not tried", _WHY, f"oombot doctor --host {host.name}")
    elif helper.operations is None:
        said = f"the act helper permits nothing: {helper.error or 'its host has no policy'}"
        why = "its host's owner has not said what may be changed there"
        yield (wrong if applies else warning)("rights", said, why, install)
    elif not helper.operations:
        yield ok("rights", "its host's policy permits no change at all")
    else:
        yield ok("rights", f"the acting login works; its host's policy permits {_permitted(helper)}")


def _permitted(helper: ActHelper) -> str:
    parts = [_some(helper.operations or ())]
    parts += [f"for units {_some(helper.units)}"] if helper.units else ["for no unit"]
    parts += [f"of {_some(helper.owners)}"] if helper.owners else []
    if helper.oom_score_adj is not None:
        parts.append(f"oom_score_adj {helper.oom_score_adj[0]} to {helper.oom_score_adj[1]}")
    if helper.changes_per_hour is not None:
        parts.append(f"{helper.changes_per_hour} an hour")
    return ", ".join(parts)


def _some(words: tuple[str, ...]) -> str:
    more = len(words) - _SHOWN
    return " ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


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
