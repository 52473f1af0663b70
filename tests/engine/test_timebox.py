"""Changes for a while only: what arms the timer, who is refused, and what the digest binds."""

import json
from dataclasses import replace
from typing import Any

import pytest

from oombot.engine import plans, timebox
from oombot.errors import RefusedError
from oombot.model import HostSnapshot
from oombot.proposals import Plan
from oombot.remediations.oom_score_adj import REMEDIATION, Params
from oombot.rights import Policy
from tests.examples import a_process, a_snapshot

PARAMS = Params(pid=4242, start_ticks=42420, value=500)
TWO_HOURS = 7200


def host(adj: int = 0, **wanted: Any) -> HostSnapshot:
    return a_snapshot(a_process(oom_score_adj=adj), a_process(7, "sshd"), **({"has_systemd": True} | wanted))


def make(snapshot: HostSnapshot, after_s: int | None = TWO_HOURS, *, remediation: Any = REMEDIATION) -> Plan:
    return plans.make(remediation, PARAMS, snapshot, Policy(), tag="request1", back_after_s=after_s)


def test_last_step_holds_the_way_back() -> None:
    """The timer is armed after everything else, with exactly the undo commands of the plan."""
    plan = make(host())
    assert plan.steps[-1].do.argv == ("put-back", "--after", "7200", "--name", "request1")
    [back] = json.loads(plan.steps[-1].do.stdin)
    undo = plan.steps[0].undo
    assert undo is not None
    assert back == {"do": list(undo.argv), "stdin": ""}


def test_undo_calls_the_timer_off_first() -> None:
    """A person who undoes earlier stops the timer before anything is written."""
    undo = plans.undo(REMEDIATION, make(host()), host(500), Policy(), tag="request2")
    assert [step.do.argv[0] for step in undo.steps] == ["keep", "set-adj"]
    assert undo.back_after_s is None


def test_digest_binds_the_time() -> None:
    """Another time, or none, is another plan."""
    assert len({make(host(), after).digest for after in (None, 3600, 7200)}) == 3


def test_card_says_how_long() -> None:
    """What lasts until the process exits lasts two hours at most, and the card says so."""
    plan = make(host())
    assert plan.lasts.startswith("for 2 h, then the host puts it back")
    assert any("after 2 h, whether or not oombot runs" in check.text for check in plan.checks)


class ForGood:
    """A remedy whose change outlives a reboot."""

    def __getattr__(self, name: str) -> Any:
        return (lambda *_: ("good", "for good")) if name == "lasts" else getattr(REMEDIATION, name)


@pytest.mark.parametrize(
    ("snapshot", "after_s", "remediation", "why"),
    [
        (host(), 299, REMEDIATION, "from 5 min to 7 d"),
        (host(), 7 * 86400 + 1, REMEDIATION, "from 5 min to 7 d"),
        (host(has_systemd=False), TWO_HOURS, REMEDIATION, "has no systemd"),
        (host(login_uid=1000, can_sudo=False), TWO_HOURS, REMEDIATION, "needs root"),
        (host(), TWO_HOURS, ForGood(), "outlives a reboot"),
    ],
    ids=["too short", "too long", "no systemd", "no root", "for good"],
)
def test_refused_with_the_reason(snapshot: HostSnapshot, after_s: int, remediation: Any, why: str) -> None:
    """What no timer can put back is refused before anybody is asked."""
    with pytest.raises(RefusedError, match=why):
        make(snapshot, after_s, remediation=remediation)


def test_notice_is_some_time_before() -> None:
    """A tenth of the time before, and never less than five minutes."""
    plan = make(host())
    assert timebox.notice_at(plan, 1000.0) == 1000.0 + 7200 - 720
    assert timebox.notice_at(replace(plan, back_after_s=600), 1000.0) == 1000.0 + 600 - 300
    assert timebox.notice_at(replace(plan, back_after_s=None), 1000.0) is None
