"""A whole log at once."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from oombot.reading import explain

LOGS = Path(__file__).parent / "oom_report"
GROUP = (LOGS / "5.10-memcg-v2-oomgroup.log").read_bytes()


def test_hidden_kill():
    """journalctl's text hides a kill whose name can not be printed: it is counted, never made up."""
    explanation = explain((LOGS / "6.18-journalctl-short-iso.log").read_bytes())
    assert (len(explanation.kills), explanation.hidden_kills, explanation.hidden_lines) == (1, 1, 5)


def test_two_transports_at_once():
    """The same kills by two transports in one log are given once."""
    assert len(explain(GROUP + GROUP).kills) == 3


def test_empty():
    """Nothing in, nothing out."""
    assert explain(b"").kills == ()


@given(st.integers(0, len(GROUP)))
def test_cut_at_any_byte(end):
    """A log cut at any byte gives the kills whose lines are whole."""
    whole = explain(GROUP).kills
    cut = explain(GROUP[:end]).kills
    assert {kill.pid for kill in cut} <= {kill.pid for kill in whole}
    lines = GROUP[:end].split(b"\n")[:-1]
    there = [kill for kill in whole if any(f"process {kill.pid} ".encode() in line for line in lines)]
    for kill in there:
        assert kill.total_vm_kb in [one.total_vm_kb for one in cut if one.pid == kill.pid]
