"""How the bot speaks with the host helper: its source is sent along, with one JSON request in the last line.

Python compiles all of its standard input before it runs any, and the call stands last: a request that arrives cut
runs nothing.
"""

import json

from oombot.model import Command, Json


def helper_command(source: str, request: Json, *, sudo: bool = True) -> Command:
    """Ask the helper: `{"op": "run", "id": …, "steps": [{"do": [argv…], "stdin": ""}]}` or `{"op": "result", …}`."""
    text = json.dumps(request)
    stdin = f"{source}\nraise SystemExit(main({text!r}))\n"
    return Command(argv=("python3", "-I", "-"), stdin=stdin, sudo=sudo)
