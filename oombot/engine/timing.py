"""How long the watch waits for what, in one place; tests give other values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds, all of them."""

    # one run of the log command
    quiet: float = 15.0  # a report that goes no further is closed after this long
    dead_after: float = 60.0  # a link that is dead is found out by then: the SSH client's keepalive
    report: float = 30.0  # a report that began this long ago is over
    history_within: float = 1800.0  # the longest that reading what a log already holds may take
    save_every: float = 30.0  # positions that moved without a kill are stored together
    # between two runs: full jitter, base and cap
    again_first: float = 1.0
    again_last: float = 300.0
    healthy: float = 60.0  # a run that was live for so long begins the backoff anew
    polled_every: float = 30.0  # a host that holds no stream, and is read over and over, waits no longer
    # hosts that nobody hears
    unheard_after: float = 120.0  # shorter cuts are not told
    fold_every: float = 5.0  # hosts that fall silent or come back within are told together
    return_within: float = 60.0  # hosts of one outage that come back within are one edit
    # the kernel's counter
    count_every: float = 300.0
    count_first: float = 5.0  # after a log was caught up
    settle: float = 20.0  # what is counted and not yet shown may still be on its way
    blind_every: float = 30.0  # the counter of a host whose log can not be read
    blind_for: float = 600.0  # until it is looked whether the log can be read now
