"""Every command that oombot has for hosts, in both forms: scripts sent along, or a request to an installed helper.

Sent: constant scripts on standard input, and the act helper's source with one JSON request in its last line. Python
compiles all of its standard input before it runs any, and the call stands last: a request that arrives cut runs
nothing. Installed: one JSON document on standard input of a program that takes no arguments, and that the key's
forced command names; the answers are those of the sent form.
"""

import json
from dataclasses import asdict
from typing import Final

from pydantic import TypeAdapter, ValidationError

from oombot import facts
from oombot.config import Helpers, Settings
from oombot.details import Details, Look
from oombot.detectors.shape import Detector
from oombot.facts import counter
from oombot.facts import settings as host_settings
from oombot.model import Command, Json

READ_HELPER: Final = "/usr/local/libexec/oombot-read"
ACT_HELPER: Final = "/usr/local/libexec/oombot-helper"

_DETAILS: Final = TypeAdapter(Details)

# one line for each helper that is installed: its name and the sha256 of its source
VERSION_SH: Final = rf"""main() {{
for file in {READ_HELPER} {ACT_HELPER}; do
  if [ -r "$file" ]; then sha256sum <"$file" | {{ read -r sum _; echo "${{file##*/}} $sum"; }}; fi
done
}}
main "$@" </dev/null
"""


def read(helpers: Helpers, since_s: int) -> Command:
    """Ask for the whole host, with its kernel log since `since_s`; `facts.parse` reads the answer."""
    if helpers == "installed":
        return _ask({"op": "read", "since_s": since_s})
    return facts.read(since_s)


def follow(helpers: Helpers, detector: Detector, cursor: str | None) -> Command:
    """Follow the kernel log after `cursor`; the detector's reader reads the answer."""
    command = detector.follow(cursor)
    if helpers == "installed":
        return _ask({"op": "follow", "detector": detector.name, "words": command.argv[3:]})
    return command


def count(helpers: Helpers) -> Command:
    """Ask for boot, uptime and the kernel's count of kills only; `facts.counter.parse` reads the answer."""
    return _ask({"op": "count"}) if helpers == "installed" else _script(counter.SCRIPT)


def settings(helpers: Helpers) -> Command:
    """Ask for what doctor wants to know of kernel and host; `facts.settings` reads the answer."""
    return _ask({"op": "settings"}) if helpers == "installed" else _script(host_settings.SCRIPT)


def look(helpers: Helpers, source: str, wanted: Look) -> Command:
    """Ask for what a remedy must know besides a reading; `looked` reads the answer. `source` is for the sent form."""
    question = asdict(wanted)
    if helpers == "installed":
        return _ask({"op": "look", "look": question})
    stdin = f"SOURCE = {source!r}\nexec(SOURCE)\nraise SystemExit(look_main({json.dumps(question)!r}))\n"
    return Command(argv=("python3", "-I", "-"), stdin=stdin)


def looked(raw: bytes) -> Details | None:
    """The answer to a look; None where it is none, or was cut."""
    try:
        return _DETAILS.validate_json(raw)
    except ValidationError:
        return None


def version(helpers: Helpers) -> Command:
    """Ask which helpers are installed; `versions` reads the answer."""
    return _ask({"op": "version"}) if helpers == "installed" else _script(VERSION_SH)


def versions(raw: bytes) -> dict[str, str]:
    """The installed helpers by name, with the sha256 of their source."""
    rows = [line.split() for line in raw.decode("ascii", "replace").splitlines()]
    return {row[0]: row[1] for row in rows if len(row) == 2 and len(row[1]) == 64}


def act(helpers: Helpers, source: str, request: Json, *, sudo: bool = True) -> Command:
    """Ask the act helper: `{"op": "run", "id": …, "steps": [{"do": [argv…], "stdin": ""}], "approver": …}`,
    `{"op": "result", "id": …}` or `{"op": "about"}`.

    `source` is the helper's own, for the sent form: it is told its own text, which a transient unit runs again.
    """
    text = json.dumps(request)
    if helpers == "installed":
        return Command(argv=(ACT_HELPER,), stdin=text, sudo=True, forced=True)
    stdin = f"SOURCE = {source!r}\nexec(SOURCE)\nraise SystemExit(main({text!r}))\n"
    return Command(argv=("python3", "-I", "-"), stdin=stdin, sudo=sudo)


def way(settings: Settings, host: str) -> str:
    """How changes reach this host: records of a run are looked for where it was sent, or their absence says nothing."""
    found = settings.host(host)
    login = settings.ssh.act.user if settings.ssh.act else settings.user(found.name) or "usual login"
    where = "this machine" if found.local else found.address or found.name
    port = f" port {found.port}" if found.port else ""
    jump = f" through {settings.jump(found.name)}" if settings.jump(found.name) else ""
    root = "" if found.become == "sudo" else " without sudo"  # root's records are not the account's
    return f"{settings.helpers_of(host)} helper as {login}{root} on {where}{port}{jump}"


def _ask(request: Json) -> Command:
    return Command(argv=(READ_HELPER,), stdin=json.dumps(request), forced=True)


def _script(script: str) -> Command:
    return Command(argv=("sh", "-s"), stdin=script)
