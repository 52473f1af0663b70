"""Plans: the digest binds what would run and nothing else; an undo is a plan of its own."""

from dataclasses import replace
from typing import Any

import pytest

from oombot.engine import plans
from oombot.errors import RefusedError
from oombot.model import HostSnapshot
from oombot.proposals import Plan
from oombot.remediations.oom_score_adj import REMEDIATION, Params
from oombot.rights import Policy
from tests.examples import a_process, a_snapshot

PARAMS = Params(pid=4242, start_ticks=42420, value=500)


def host(**process: Any) -> HostSnapshot:
    return a_snapshot(a_process(**process), a_process(7, "sshd"))


def make(snapshot: HostSnapshot, params: Params = PARAMS) -> Plan:
    return plans.make(REMEDIATION, params, snapshot, Policy(), tag="r1")


def test_digest_ignores_what_moves_by_itself() -> None:
    """Memory that grows between plan and run does not make the plan stale."""
    assert make(host()).digest == make(host(rss_anon_kb=999_999, oom_score=900)).digest


@pytest.mark.parametrize(
    "other",
    [
        make(host(oom_score_adj=100)),
        make(replace(host(), boot_id="c" * 32)),
        make(replace(host(), host="host43")),
        make(host(), replace(PARAMS, value=501)),
        make(host(start_ticks=5), replace(PARAMS, start_ticks=5)),
    ],
    ids=["value seen", "boot", "host", "value wanted", "process"],
)
def test_digest_binds(other: Plan) -> None:
    """Another host, boot, process, value or undo is another plan."""
    assert other.digest != make(host()).digest


def test_undo_puts_back_what_was_seen() -> None:
    """The undo of a change runs the undo commands in reverse and reads the value from before."""
    undo = plans.undo(REMEDIATION, make(host()), host(oom_score_adj=500), Policy(), tag="r1")
    assert [step.do.argv[-1] for step in undo.steps] == ["0"]
    assert (undo.before, undo.after) == ("oom_score_adj of pid 4242: 500", "oom_score_adj of pid 4242: 0")


def test_undo_of_a_gone_process_is_refused() -> None:
    """What has exited took its score with it."""
    with pytest.raises(RefusedError, match="not running"):
        plans.undo(REMEDIATION, make(host()), a_snapshot(a_process(7, "sshd")), Policy(), tag="r1")


def test_undo_of_what_is_back_already_is_refused() -> None:
    """Nothing is run to reach a value that is there."""
    with pytest.raises(RefusedError, match="Nothing to undo"):
        plans.undo(REMEDIATION, make(host()), host(oom_score_adj=0), Policy(), tag="r1")


def test_undo_says_when_somebody_else_changed_it() -> None:
    """A value that is neither ours nor the old one makes a fresh plan from there, with a warning."""
    undo = plans.undo(REMEDIATION, make(host()), host(oom_score_adj=77), Policy(), tag="r1")
    assert (undo.before, undo.after) == ("oom_score_adj of pid 4242: 77", "oom_score_adj of pid 4242: 0")
    assert "somebody has changed it" in undo.checks[-1].text
    assert undo.checks[-1].ok is None


def test_problems_after_a_good_run() -> None:
    """The wanted value read back is no problem; another one is, in words."""
    plan = make(host())
    assert plans.problems_after(REMEDIATION, plan, {}, host(oom_score_adj=500)) == []
    [problem] = plans.problems_after(REMEDIATION, plan, {}, host(oom_score_adj=3))
    assert "wanted oom_score_adj of pid 4242: 500, but the host reads oom_score_adj of pid 4242: 3" in problem


def test_plan_after_apply_is_empty() -> None:
    """Applying a plan leaves nothing to do."""
    with pytest.raises(RefusedError, match="Nothing to do"):
        make(host(oom_score_adj=500))
