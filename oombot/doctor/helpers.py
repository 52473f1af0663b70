"""Each host: what the sent form gives away, and whether installed helpers are there and of today."""

from collections.abc import Iterable

from oombot.doctor.gathered import Gathered, HostFacts
from oombot.doctor.shape import HostCheck, Line, ok, unknown, warning, wrong

_OLD = "an old helper lacks what newer oombots ask for, and what was mended since"


def _lines(host: HostFacts, gathered: Gathered) -> Iterable[Line]:
    if host.fault is not None or host.answered_s is None or gathered.known.host(host.name).local:
        return
    install = f"oombot sudoers {host.name}"
    if gathered.known.helpers_of(host.name) == "sent":
        yield _given_away(host, install)
        return
    for name, expected in sorted(gathered.expected_versions.items()):
        yield _version(host, name, expected, install)


def _given_away(host: HostFacts, install: str) -> Line:
    """What a stolen key could do where scripts are sent along: as far as sudo goes, no further."""
    settings, snapshot = host.settings, host.snapshot
    if settings is not None and settings.read_helper:
        why = "oombot sends scripts to a host that would answer without, and its keys open a shell there"
        return warning(
            "sent",
            "helpers are installed there, but not used",
            why,
            "helpers: installed, for this host or its group",
        )
    if (settings is not None and settings.uid == 0) or (snapshot is not None and snapshot.login_uid == 0):
        reach = "is root there"
    elif settings is not None and settings.any_root:
        reach = "is root there by sudo"
    elif snapshot is not None and snapshot.can_sudo:
        reach = "has a shell there and root for what sudo permits"
    else:
        reach = "has a shell there"
    if "is root" not in reach and settings is not None and {"systemd-journal", "adm"} & set(settings.groups):
        reach += ", and reads every log"
    said = f"helpers are sent along: whoever has the bot's key {reach}"
    return warning(
        "sent", said, "installed helpers answer a closed set of questions and give no shell", install
    )


def _version(host: HostFacts, name: str, expected: str, install: str) -> Line:
    found = (host.versions or {}).get(name)
    if found is None and name == "oombot-helper" and host.act is not None:
        found = host.act.version  # the watching account need not be able to read it
    if found is None and host.versions is None:
        return unknown(name, f"which {name} is installed is not known", _OLD, install)
    if found is None:
        why = "helpers: installed says that it is there; what goes through it fails"
        return wrong(name, f"{name} is not installed, or this account may not read it", why, install)
    if found != expected:
        return warning(
            name,
            f"{name} is not the one of this oombot (it is {found[:12]}, not {expected[:12]})",
            _OLD,
            install,
        )
    return ok(name, f"{name} is the one of this oombot ({found[:12]})")


CHECK = HostCheck(name="helpers", rank=140, lines=_lines)
