"""A change for a while only: the last step arms a timer on the host that puts everything back by itself.

The timer runs there, so that it ends even where the bot is dead by then. It is lost at a reboot, and so are the
changes that it may put back: what lasts for good is not taken.
"""

import json
import shlex
from collections.abc import Sequence
from typing import Final

from oombot.errors import RefusedError
from oombot.model import Command, HostSnapshot
from oombot.proposals import Check, Lasts, Plan, Step
from oombot.remediations.shape import Remediation

SHORTEST_S: Final = 300
LONGEST_S: Final = 7 * 86400
NOTICE_S: Final = 300.0  # people are told so long before it, or a tenth of the whole time, whatever is more
VERB: Final = "put-back"


def last_step(
    remediation: Remediation,
    steps: Sequence[Step],
    lasting: Lasts,
    snapshot: HostSnapshot,
    *,
    back_after_s: int,
    tag: str,
) -> Step:
    """The step that arms the timer; RefusedError where this change can not be for a while only."""
    why = _unfit(remediation, steps, lasting, snapshot, back_after_s)
    if why:
        raise RefusedError(f"Not for a while only: {why}. Nothing was proposed.")
    back = [step for step in reversed(steps) if step.undo is not None]
    undone = [{"do": list(step.undo.argv), "stdin": step.undo.stdin} for step in back if step.undo]
    unit, by_hand = timer_of(tag), " && ".join(step.undo_by_hand for step in back)
    return Step(
        why=f"so that the host puts it back by itself after {spoken(back_after_s)}, even when oombot does not run",
        do=Command(
            argv=(VERB, "--after", str(back_after_s), "--name", tag),
            stdin=json.dumps(undone, separators=(",", ":")),
            sudo=True,
        ),
        undo=Command(argv=("keep", "--name", tag), sudo=True),
        by_hand=f"sudo systemd-run --unit={unit} --slice=-.slice --on-active={back_after_s} "
        f"--timer-property=AccuracySec=1s sh -c {shlex.quote(by_hand.replace('$', '$$'))}",
        undo_by_hand=f"sudo systemctl stop {unit}.timer",
    )


def _unfit(
    remediation: Remediation, steps: Sequence[Step], lasting: Lasts, snapshot: HostSnapshot, back_after_s: int
) -> str:
    if not SHORTEST_S <= back_after_s <= LONGEST_S:
        return f"the time must be from {spoken(SHORTEST_S)} to {spoken(LONGEST_S)}"
    if not remediation.timed:
        return f"{remediation.label} leaves nothing behind that a timer could put back"
    if lasting == "good":
        return "this change outlives a reboot, the timer that would put it back does not"
    if any(step.undo is None for step in steps):
        return "it has a step that can not be put back"
    if not snapshot.has_systemd:
        return "the host has no systemd, whose timer would put it back"
    if not all(step.do.sudo for step in steps):
        return "arming the timer needs root on the host, and the login has no sudo"
    return ""


def check(back_after_s: int) -> Check:
    """The tick that says so on the card."""
    text = f"a timer of the host puts it back after {spoken(back_after_s)}, whether or not oombot runs then"
    return Check(ok=True, text=text)


def lasts(back_after_s: int, words: str) -> str:
    """How long the change lasts, in words."""
    return f"for {spoken(back_after_s)}, then the host puts it back; before that: {words}"


def timer_of(request_id: str) -> str:
    """The name of the timer on the host, without its ending."""
    return f"oombot-back-{request_id}"


def record_of(request_id: str) -> str:
    """The host's record of what the timer did."""
    return f"{request_id}-back"


def notice_at(plan: Plan, at_s: float) -> float | None:
    """When people are told that it will be put back; None where it stays. `at_s` is when the change was made."""
    if plan.back_after_s is None:
        return None
    return at_s + plan.back_after_s - max(NOTICE_S, plan.back_after_s / 10)


def spoken(seconds: float) -> str:
    """A span in the largest unit that says it exactly."""
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
