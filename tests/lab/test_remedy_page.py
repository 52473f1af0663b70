"""A remedy on a real machine through the Slack page, by two people; the machine is as before after the undo."""

from typing import Any

import pytest

from tests.lab.machine import Machine
from tests.lab.product import Product
from tests.lab.remedy import as_it_is, differences, surgery_on

pytestmark = pytest.mark.full


async def test_remedy_by_two_people_in_slack(debian: Machine, product: Product, connect: Any) -> None:
    """Ada fills in the form, Ben approves and undoes: the score of a service for good, and back byte for byte."""
    surgery = await surgery_on(product, debian, through="page", link=await connect(debian))
    await debian.write("/etc/systemd/system/eater.service", "[Service]\nExecStart=/usr/bin/sleep 100000\n")
    await debian.sh("systemctl daemon-reload && systemctl start eater.service")
    before = await as_it_is(debian)
    pid = (await debian.sh("systemctl show -P MainPID eater")).strip()

    done = await surgery.operate("oom_score_adjust_unit", unit="eater.service", value=400)
    assert (done.state, done.problems) == ("verified", [])
    assert (await debian.run("cat", f"/proc/{pid}/oom_score_adj")).strip() == "400"
    found = differences(before, await as_it_is(debian))
    assert any(one.startswith("files /etc/systemd/system/eater.service.d/60-oombot.conf: ") for one in found)
    assert any(one.startswith("units eater.service: ") for one in found)
    assert any(one.startswith(f"scores {pid} ") and one.endswith(": 0 → 400") for one in found)

    undone = await surgery.undo(done)
    assert (undone.state, undone.problems) == ("verified", [])
    assert differences(before, await as_it_is(debian)) == []
