"""The table of states."""

import pytest

from oombot.lifecycle import CHANGED, SAID, TRANSITIONS, UNFINISHED, may_move


def test_every_state_is_a_key_and_has_words() -> None:
    """No move leads to a state that the table does not know, or that nobody can say."""
    targets = {state for moves in TRANSITIONS.values() for state in moves}
    assert targets <= set(TRANSITIONS)
    assert set(SAID) == set(TRANSITIONS)


@pytest.mark.parametrize("state", [*CHANGED, "failed", "denied", "expired", "stale"])
def test_ends_are_final(state: str) -> None:
    """What has ended never moves again: an undo is a request of its own."""
    assert not TRANSITIONS[state]


def test_nothing_runs_without_approval() -> None:
    """The only way to running is through approved, and to approved through pending."""
    assert [state for state in TRANSITIONS if may_move(state, "running")] == ["approved"]
    assert [state for state in TRANSITIONS if may_move(state, "approved")] == ["pending"]


def test_unfinished_states_can_all_end() -> None:
    """A restarted bot can bring every unfinished state to an end."""
    assert all(TRANSITIONS[state] for state in UNFINISHED)
