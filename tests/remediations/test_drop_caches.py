"""What drop_caches says beyond its cases: its form, its proof, and that it is never offered by itself."""

from typing import Any

import pytest

from oombot.engine import plans
from oombot.errors import ConfigError, RefusedError
from oombot.remediations.drop_caches import REMEDIATION, Params
from oombot.remediations.shape import Target
from oombot.rights import Policy
from tests.examples import a_kill, a_snapshot
from tests.patients import a_cgroup, a_kernel, a_unit, looked_at

ON = Policy(drop_caches=True)


def dropping(level: int, **counts: int | None) -> Any:
    """A host that counts its drops."""
    counted = {"drops_of_pagecache": 2, "drops_of_slab": 0} | counts
    return looked_at(a_snapshot(has_systemd=True), kernel=a_kernel(**counted))


@pytest.mark.parametrize(("level", "pages", "slabs"), [(1, 3, 0), (2, 2, 1), (3, 3, 1)])
def test_the_kernel_counts(level: int, pages: int, slabs: int) -> None:
    """The proof of a drop is the kernel's own count; one that did not move contradicts."""
    before = dropping(level)
    plan = plans.make(REMEDIATION, Params(level=level), before, ON, tag="r1")
    after = dropping(level, drops_of_pagecache=pages, drops_of_slab=slabs)
    assert plans.problems_after(REMEDIATION, plan, plans.witness(REMEDIATION, plan, before), after) == []
    assert plans.problems_after(REMEDIATION, plan, {}, before)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_drop_that_is_not_counted_is_not_verified(level: int) -> None:
    """A kernel without the count shows nothing of a drop: that is not known, rather than proved."""
    uncounted: dict[str, None] = {"drops_of_pagecache": None, "drops_of_slab": None}
    seen = dropping(level, **uncounted)
    plan = plans.make(REMEDIATION, Params(level=level), seen, ON, tag="r1")
    with pytest.raises(RefusedError, match="does not count"):
        plans.problems_after(REMEDIATION, plan, {}, seen)


@pytest.mark.parametrize("now_mib", [100, 130, None])
def test_a_reclaim_that_does_not_show_is_not_verified(now_mib: int | None) -> None:
    """A unit that uses as much as before, or nobody knows how much, proves nothing."""
    before, after = (
        looked_at(
            a_snapshot(has_systemd=True),
            kernel=a_kernel(),
            unit=a_unit(),
            cgroup=a_cgroup(current_b=None if mib is None else mib << 20, inactive_file_b=40 << 20),
        )
        for mib in (100, now_mib)
    )
    plan = plans.make(REMEDIATION, Params(unit="web.service", mib=30), before, Policy(), tag="r1")
    with pytest.raises(RefusedError, match="uses no less than before"):
        plans.problems_after(REMEDIATION, plan, plans.witness(REMEDIATION, plan, before), after)


def test_somebody_else_dropped_them() -> None:
    """Caches that were dropped since the plan was made are another plan."""
    first, later = (
        plans.make(REMEDIATION, Params(level=1), dropping(1, drops_of_pagecache=count), ON, tag="r1")
        for count in (2, 3)
    )
    assert first.digest != later.digest


def test_reclaim_is_no_change_that_stays() -> None:
    """Nothing is set, so the cache may be what it likes afterwards; there is nothing to undo."""
    seen = [
        looked_at(
            a_snapshot(has_systemd=True),
            kernel=a_kernel(),
            unit=a_unit(),
            cgroup=a_cgroup(current_b=(mib + 60) << 20, inactive_file_b=mib << 20),
        )
        for mib in (40, 5)
    ]
    plan = plans.make(REMEDIATION, Params(unit="web.service", mib=30), seen[0], Policy(), tag="r1")
    assert plans.problems_after(REMEDIATION, plan, plans.witness(REMEDIATION, plan, seen[0]), seen[1]) == []
    assert plan.mitigation
    assert plan.evidence[0].label == "free -h"
    assert plan.evidence[0].text == seen[0].details.kernel.free_shown  # type: ignore[union-attr]
    with pytest.raises(RefusedError, match="can not be undone"):
        plans.undo(REMEDIATION, plan, seen[1], Policy(), tag="r2")


def test_it_is_never_offered_after_a_kill() -> None:
    """At a kill there was no cache left to drop."""
    assert REMEDIATION.suggest(a_kill(), a_snapshot(has_systemd=True)) is None


def test_unfit() -> None:
    """Where dropping is off only units are left, and a host without systemd has none."""
    host, bare = a_snapshot(has_systemd=True), a_snapshot()
    assert REMEDIATION.unfit(host, Target(unit="api.service"), Policy()) == ""
    assert "not to one process" in REMEDIATION.unfit(host, Target(pid=7), Policy())
    assert "switched off here (policy.drop_caches)" in REMEDIATION.unfit(bare, Target(), Policy())
    assert REMEDIATION.unfit(bare, Target(), ON) == ""


def test_the_form_offers_what_is_switched_on() -> None:
    """The whole host is no choice unless the policy allows it."""
    asked = Target(unit="api.service")
    off = REMEDIATION.fields(a_snapshot(), asked, Policy())
    on = REMEDIATION.fields(a_snapshot(), asked, ON)
    assert [option.value for option in off[0].options] == ["reclaim"]
    assert [option.value for option in on[0].options] == ["reclaim", "drop-1", "drop-2", "drop-3"]
    assert off[1].initial == "api.service"


@pytest.mark.parametrize(
    ("values", "params"),
    [
        ({"way": "drop-3"}, Params(level=3)),
        ({"way": "drop-1", "unit": "api.service", "mib": "5"}, Params(level=1)),
        ({"way": "reclaim", "unit": " api.service ", "mib": "64"}, Params(unit="api.service", mib=64)),
        ({"way": "reclaim", "unit": "batch.slice", "mib": "1"}, Params(unit="batch.slice", mib=1)),
    ],
)
def test_the_form_is_read(values: dict[str, str], params: Params) -> None:
    """A good form becomes parameters."""
    assert REMEDIATION.parse(values) == params


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({}, "way"),
        ({"way": "drop-4"}, "way"),
        ({"way": "drop-0"}, "way"),
        ({"way": "reclaim", "unit": "../x.service", "mib": "5"}, "unit"),
        ({"way": "reclaim", "unit": "", "mib": "5"}, "unit"),
        ({"way": "reclaim", "unit": "a.timer", "mib": "5"}, "unit"),
        ({"way": "reclaim", "unit": "api.service", "mib": "0"}, "mib"),
        ({"way": "reclaim", "unit": "api.service", "mib": "-1"}, "mib"),
        ({"way": "reclaim", "unit": "api.service", "mib": "4194305"}, "mib"),
        ({"way": "reclaim", "unit": "api.service", "mib": "٣"}, "mib"),
        ({"way": "reclaim", "unit": "api.service"}, "mib"),
    ],
)
def test_wrong_fields_are_named(values: dict[str, str], wrong: str) -> None:
    """Each wrong field is named by its block."""
    with pytest.raises(ConfigError) as caught:
        REMEDIATION.parse(values)
    assert any(problem.startswith(f"{wrong}: ") for problem in caught.value.problems)
