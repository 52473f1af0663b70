"""Token buckets: per method and minute, and one message per second and channel with a small burst."""

import math
from collections.abc import Callable

from oombot.workspace.errors import RateLimitedError


class Bucket:
    """Holds up to `capacity` permits and gains `per_second`."""

    def __init__(self, capacity: float, per_second: float, now: float) -> None:
        """Start full."""
        self._capacity = capacity
        self._per_second = per_second
        self._left = capacity
        self._at = now

    def take(self, now: float) -> None:
        """Use one permit, or refuse and say when the next one comes."""
        gained = max(0.0, now - self._at) * self._per_second
        self._left = min(self._capacity, self._left + gained)
        self._at = now
        if self._left < 1:
            raise RateLimitedError(max(1, math.ceil((1 - self._left) / self._per_second)))
        self._left -= 1


class RateLimits:
    """All buckets of a workspace; blocking one method leaves the others alone."""

    def __init__(self, clock: Callable[[], float], post_burst: int) -> None:
        """Allow `post_burst` messages at once per channel, then one a second."""
        self._clock = clock
        self._post_burst = post_burst
        self._buckets: dict[str, Bucket] = {}

    def call(self, method: str, per_minute: int) -> None:
        """Count one call of a method."""
        self._bucket(method, per_minute, per_minute / 60).take(self._clock())

    def post(self, channel_id: str) -> None:
        """Count one message to a channel."""
        self._bucket(f"post {channel_id}", self._post_burst, 1).take(self._clock())

    def _bucket(self, name: str, capacity: float, per_second: float) -> Bucket:
        return self._buckets.setdefault(name, Bucket(capacity, per_second, self._clock()))
