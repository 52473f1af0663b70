"""What an installed act helper says about itself, and rubbish in its place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot.facts.act_helper import ActHelper, parse

POLICY = {
    "operations": ["set-adj"],
    "units": ["*.service"],
    "owners": ["www-data"],
    "oom_score_adj": [-500, 1000],
    "changes_per_hour": 20,
}


def test_a_whole_answer() -> None:
    """Status, version and the host's policy are read."""
    raw = json.dumps({"status": "ready", "version": "a" * 64, "policy": POLICY}).encode()
    assert parse(raw) == ActHelper(
        status="ready",
        version="a" * 64,
        operations=("set-adj",),
        units=("*.service",),
        owners=("www-data",),
        oom_score_adj=(-500, 1000),
        changes_per_hour=20,
    )


def test_no_policy_is_not_an_empty_one() -> None:
    """A host without a policy that is believed is told apart from one whose policy permits nothing."""
    nothing = parse(json.dumps({"status": "ready", "policy": POLICY | {"operations": []}}).encode())
    none = parse(b'{"status": "refused", "error": "this host has no policy"}')
    assert nothing is not None
    assert none is not None
    assert (nothing.operations, none.operations, none.error) == ((), None, "this host has no policy")


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"Welcome!", b'{"status": "done"}', b"[" * 9999, b'{"status": 1}', b'{"status": []}']
)
def test_rubbish_is_no_answer(raw) -> None:
    """Anything else is None."""
    assert parse(raw) is None


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_policy_makes_it_raise(policy) -> None:
    """Whatever stands in the place of a policy, parsing gives an answer."""
    assert parse(json.dumps({"status": "ready", "policy": policy}).encode()) is not None
