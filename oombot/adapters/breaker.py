"""When a host that failed is tried again: the longer it fails the rarer, and rarest where it refused our login.

Pure: the clock and chance are given.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """The times of a Breaker.

    OpenSSH 9.8 and later lock an address out that fails to log in again and again, for every account behind it.
    """

    base_s: float = 1.0
    cap_s: float = 300.0
    healthy_s: float = 60.0  # a connection that lived so long has made good what failed before it
    refused_s: float = 60.0  # after a refused login
    quarantine_after: int = 3  # refused logins in a row
    quarantine_s: float = 1800.0
    insist_s: float = 10.0  # a person who waits may try a refused login again after this


class Breaker:
    """Counts what failed on one host and says how long to leave it alone."""

    def __init__(
        self, *, clock: Callable[[], float], chance: Callable[[], float], backoff: Backoff | None = None
    ) -> None:
        """Take a clock that never goes back, and chance: a number from 0 to 1 at each call."""
        self._clock, self._chance, self._times = clock, chance, backoff or Backoff()
        self._failures = 0
        self._refusals = 0
        self._until = 0.0
        self._tried = 0.0
        self._since: float | None = None

    @property
    def quarantined(self) -> bool:
        """Whether so many logins were refused that it is tried next to never."""
        return self._refusals >= self._times.quarantine_after

    def wait_s(self, *, asked: bool) -> float:
        """Seconds until the next try; a person who waits is only held back where sshd would lock us out."""
        if not asked:
            return max(0.0, self._until - self._clock())
        if not self._refusals:
            return 0.0
        return max(0.0, min(self._until, self._tried + self._times.insist_s) - self._clock())

    def failed(self) -> None:
        """No connection: full jitter, so that a thousand hosts behind one switch do not come back as one."""
        self._failures += 1
        self._wait(self._chance() * self._ceiling(self._failures - 1))

    def refused(self) -> None:
        """The login was refused."""
        self._refusals += 1
        times = self._times
        self._wait(times.quarantine_s if self.quarantined else times.refused_s)

    def distrusted(self) -> None:
        """The host key is not the one on file: only a person mends that."""
        self._wait(self._times.cap_s)

    def connected(self) -> None:
        """Logged in: the next try may come at once, but what failed is forgotten only after some time of health."""
        self._refusals, self._until, self._since = 0, 0.0, self._clock()

    def lost(self) -> None:
        """The connection broke by itself: one is replaced at once, those that break again and again are not."""
        lived_s = self._clock() - self._since if self._since is not None else 0.0
        self._since = None
        if lived_s >= self._times.healthy_s:
            self._failures = 0
            return
        self._failures += 1
        if self._failures > 1:
            self._wait(self._chance() * self._ceiling(self._failures - 2))

    def reset(self) -> None:
        """What was wrong was mended from outside: try at once."""
        self._failures, self._refusals, self._until = 0, 0, 0.0

    def _ceiling(self, doublings: int) -> float:
        return min(self._times.cap_s, self._times.base_s * 2.0 ** min(doublings, 30))

    def _wait(self, seconds: float) -> None:
        self._tried = self._clock()
        self._until = self._tried + seconds


class Bucket:
    """So many a second, with some at once after a quiet time."""

    def __init__(self, *, a_second: float, burst: int, clock: Callable[[], float]) -> None:
        """Start full."""
        self._gap_s = 1.0 / a_second
        self._burst_s = burst * self._gap_s
        self._clock = clock
        self._next = clock() - self._burst_s

    def delay_s(self) -> float:
        """Take one: the seconds to wait before using it."""
        now = self._clock()
        self._next = max(self._next, now - self._burst_s) + self._gap_s
        return max(0.0, self._next - now)
