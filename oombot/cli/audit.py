"""`oombot audit verify|export`: whether the trail is whole, and the trail itself as JSON lines."""

import os
import sys
from pathlib import Path

from oombot.adapters import trail
from oombot.cli.session import Session, looked, print_data
from oombot.errors import RefusedError


def verified(*, config: Path, kept: str, as_json: bool) -> int:
    """Check the chain from its first line on; 1 names the first place where it does not hold."""

    async def act(session: Session) -> int:
        store = session.bot.context.store
        faults, head = await trail.verify(store, kept=kept), await store.trail_head()
        count, newest = head or (0, "")
        if as_json:
            found = [{"line": fault.seq, "what": fault.what} for fault in faults]
            print_data({"ok": not faults, "lines": count, "newest": newest, "faults": found})
        elif faults:
            session.say(f"The trail is broken, first at line {faults[0].seq}: {faults[0].what}")
            for fault in faults[1:20]:
                session.say(f"  line {fault.seq}: {fault.what}")
            if len(faults) > 20:
                session.say(f"  and {len(faults) - 20} more")
        else:
            session.say(f"The trail is whole: {count} lines, the newest {newest or 'none'}")
            session.say(
                "Keep that hash elsewhere: --kept HASH tells later whether the whole trail was made anew."
            )
        return 1 if faults else 0

    return looked(config, act)


def exported(*, config: Path, file: Path | None) -> int:
    """Write every line, oldest first; a file that is there is not overwritten."""

    async def act(session: Session) -> int:
        lines = trail.export(session.bot.context.store)
        if file is None:
            async for line in lines:
                sys.stdout.write(f"{line}\n")
            return 0
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise RefusedError(f"{file} can not be made: {error.strerror}. Nothing was written.") from error
        count = 0
        with os.fdopen(handle, "w", encoding="ascii") as out:
            async for line in lines:
                out.write(f"{line}\n")
                count += 1
        session.say(f"{count} lines written to {file}")
        return 0

    return looked(config, act)
