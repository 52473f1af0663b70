"""`oombot`, made to kill itself with SIGKILL at one named place: dying_bot.py PLACE run -c CONFIG.

PLACE is METHOD[=VALUE]:before or :after, where VALUE is looked for in the call's arguments.
"""

import functools
import os
import signal
import sys
from typing import Any

from oombot.adapters.local import LocalHosts
from oombot.adapters.slack import SlackChat
from oombot.adapters.sql import SqlStore
from oombot.cli import main

OWNERS = {
    "record_kills": SqlStore,
    "message_posting": SqlStore,
    "message_sent": SqlStore,
    "transition": SqlStore,
    "vote": SqlStore,
    "begin_run": SqlStore,
    "post": SlackChat,
    "update": SlackChat,
    "run": LocalHosts,
}


def arm(place: str) -> None:
    """Wrap the method so that the process dies there."""
    name, moment = place.rsplit(":", 1)
    method, _, value = name.partition("=")
    owner = OWNERS[method]
    original = getattr(owner, method)

    @functools.wraps(original)
    async def dying(*args: Any, **kwargs: Any) -> Any:
        wanted = value in f"{args[1:]}{kwargs}"
        if wanted and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await original(*args, **kwargs)
        if wanted and moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, method, dying)


if __name__ == "__main__":
    arm(sys.argv.pop(1))
    main()
