"""When a failed host is tried again, with a clock and chance that the tests hold."""

import pytest

from oombot.adapters.breaker import Backoff, Breaker, Bucket


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """A clock at 1000 s."""
    return Clock()


def breaker(clock, chance=1.0, **times):
    """A breaker whose chance is always the same."""
    return Breaker(clock=clock, chance=lambda: chance, backoff=Backoff(**times))


def test_a_new_host_is_tried_at_once(clock):
    """Nothing has failed: nobody waits."""
    assert breaker(clock).wait_s(asked=False) == 0


def test_failures_back_off_by_doubling_up_to_the_cap(clock):
    """The ceiling doubles from one second to five minutes and stays there."""
    host, waits = breaker(clock), []
    for _ in range(12):
        host.failed()
        waits.append(host.wait_s(asked=False))
        clock.now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert host.wait_s(asked=False) == 0


def test_the_jitter_is_full(clock):
    """Chance spreads the wait over everything from nothing to the ceiling."""
    calm, eager = breaker(clock, 0.25), breaker(clock, 0.0)
    for _ in range(5):
        calm.failed()
        eager.failed()
    assert (calm.wait_s(asked=False), eager.wait_s(asked=False)) == (4, 0)


def test_who_waits_for_a_silent_host_is_not_held_back(clock):
    """A person's question tries an unreachable host now, however long it has been failing."""
    host = breaker(clock)
    for _ in range(9):
        host.failed()
    assert (host.wait_s(asked=True), host.wait_s(asked=False)) == (0, 256)


def test_a_refused_login_waits_a_minute_and_is_quarantined_at_the_third(clock):
    """sshd locks out who insists: 60 s, 60 s, then half an hour."""
    host, waits = breaker(clock), []
    for _ in range(4):
        host.refused()
        waits.append(host.wait_s(asked=False))
        clock.now += waits[-1]
    assert waits == [60, 60, 1800, 1800]
    assert host.quarantined


def test_even_a_person_does_not_repeat_a_refused_login_at_once(clock):
    """Ten seconds between two tries of a refused login, whoever asks."""
    host = breaker(clock)
    for _ in range(3):
        host.refused()
    assert host.wait_s(asked=True) == 10
    clock.now += 10
    assert (host.wait_s(asked=True), host.wait_s(asked=False)) == (0, 1790)


def test_a_login_ends_the_quarantine(clock):
    """Once a login succeeds the refused ones before it do not count any more."""
    host = breaker(clock)
    for _ in range(3):
        host.refused()
    host.connected()
    assert (host.quarantined, host.wait_s(asked=False)) == (False, 0)
    host.refused()
    assert host.wait_s(asked=False) == 60


def test_failures_are_forgotten_after_a_minute_of_health_only(clock):
    """A host that falls over right after each login is not tried faster for having been up."""
    host = breaker(clock)
    for _ in range(5):
        host.failed()
    host.connected()
    clock.now += 59
    host.lost()
    assert host.wait_s(asked=False) == 16
    clock.now += 16
    host.connected()
    clock.now += 60
    host.lost()
    assert host.wait_s(asked=False) == 0
    host.failed()
    assert host.wait_s(asked=False) == 1


def test_one_broken_connection_is_replaced_at_once(clock):
    """The first that breaks early costs no wait, the second in a row does."""
    host = breaker(clock)
    host.connected()
    host.lost()
    assert host.wait_s(asked=False) == 0
    host.connected()
    host.lost()
    assert host.wait_s(asked=False) == 1


def test_a_host_key_that_is_not_believed_waits_for_a_person(clock):
    """It is tried again at the slowest pace, at once when known_hosts was mended, and when a person asks."""
    host = breaker(clock)
    host.distrusted()
    assert (host.wait_s(asked=False), host.wait_s(asked=True)) == (300, 0)
    host.reset()
    assert host.wait_s(asked=False) == 0


def test_a_bucket_gives_a_burst_and_then_its_rate(clock):
    """Five at once, then one every tenth of a second; a quiet time fills it up again and no further."""
    bucket = Bucket(a_second=10, burst=5, clock=clock)
    assert [round(bucket.delay_s(), 3) for _ in range(8)] == [0, 0, 0, 0, 0, 0.1, 0.2, 0.3]
    clock.now += 3600
    assert [round(bucket.delay_s(), 3) for _ in range(6)] == [0, 0, 0, 0, 0, 0.1]
