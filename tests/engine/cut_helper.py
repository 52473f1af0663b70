"""The real act helper in a process of its own, on a machine of files; it may be cut short. See cutting.py.

Run as `python3 -m tests.engine.cut_helper BASE TROUBLE AFTER` with the request on standard input: once `AFTER` steps
are done, the trouble comes. What was really done is written to BASE/acts, one line for each step.
"""

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

from oombot.data.oombot_helper import Place, answer
from oombot.data.oombot_site import Site
from oombot.data.oombot_verbs import VERBS


def place(base: Path) -> Place:
    """The helper's place on the machine below `base`."""
    programs = f"{base / 'machine' / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
    nowhere = str(base / "nowhere")
    return Place(
        state=str(base / "records"),
        frozen=nowhere,
        policy=nowhere,
        journal=nowhere,
        systemd=nowhere,
        site=Site(root=str(base / "machine" / "root"), programs=programs),
    )


def troubled(name: str, base: Path, trouble: str, after: int) -> Any:
    """The verb as it is, until the trouble comes."""
    verb = VERBS[name]

    def act(policy: Any, site: Site, **arguments: Any) -> Any:
        acts = base / "acts"
        done = acts.read_text().splitlines() if acts.exists() else []
        if trouble == "dies" and len(done) >= after:
            os._exit(9)
        if trouble == "disk full" and len(done) >= after:
            raise OSError(errno.ENOSPC, "No space left on device")
        result = verb.act(policy, site, **arguments)
        acts.write_text("".join(f"{line}\n" for line in [*done, json.dumps([name, arguments])]))
        if trouble == "dies late" and len(done) >= after:
            os._exit(9)  # it is done, and the record does not say so yet
        return result

    return verb._replace(act=act)


def main() -> None:
    """Answer the request on standard input."""
    base, trouble, after = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    VERBS.update({name: troubled(name, base, trouble, after) for name in VERBS})
    sys.stdout.write(json.dumps(answer(sys.stdin.read(), place(base))))


if __name__ == "__main__":
    main()
