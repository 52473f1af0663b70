"""Replayed hosts: marked as such, alive enough to be triaged, killed again and changed."""

import asyncio
import json

import pytest

from oombot import catalog, facts, helper_call
from oombot.adapters.simulated import SimulatedHosts
from oombot.details import Details, Look
from oombot.engine import plans
from oombot.errors import HostError, UnknownHostError
from oombot.model import Command
from oombot.remediations.shape import Target
from oombot.rights import Policy


@pytest.fixture
async def hosts():
    """One replayed host, web-1."""
    async with SimulatedHosts(["web-1"]) as opened:
        yield opened


async def snapshot(hosts):
    """What the read script tells of web-1."""
    result = await hosts.run("web-1", facts.read(0), timeout_s=5)
    return facts.parse(result.stdout, host="web-1", taken_s=0.0)


async def ask(hosts, **request):
    """The helper's answer."""
    result = await hosts.run("web-1", helper_call.act("sent", "source", request), timeout_s=5)
    return json.loads(result.stdout)


def named(seen, comm):
    """The process of this name."""
    return next(row for row in seen.processes if row.comm == comm)


def adj(seen, comm, value, was=None):
    """A step that sets oom_score_adj of the process of this name."""
    row = named(seen, comm)
    stood = () if was is None else ("--was", was)
    words = ("--pid", row.pid, "--start", row.start_ticks, *stood, "--value", value)
    return {"do": ["set-adj", *map(str, words)], "stdin": ""}


async def test_a_replayed_host_says_so(hosts):
    """Its snapshot is whole, and marked as replayed."""
    seen = await snapshot(hosts)
    assert seen.replayed
    assert seen.problems == ()
    assert named(seen, "leaky").cgroup == named(seen, "neighbour").cgroup == "/demo.slice"
    assert seen.cgroups["/demo.slice"].limit_kb == 48 * 1024
    assert seen.kernel_log.source == "kmsg"
    assert seen.kernel_log.since_boot


async def test_a_trigger_kills_again(hosts):
    """Each trigger appends the report with the pid that lives now; the victim is restarted and counted."""
    for kills in (1, 2):
        before = await snapshot(hosts)
        hosts.trigger("web-1")
        after = await snapshot(hosts)
        assert after.oom_kill_count == after.cgroups["/demo.slice"].oom_kill_count == kills
        assert f"Killed process {named(before, 'leaky').pid} (leaky)".encode() in after.kernel_log.lines[-1]
        assert named(after, "leaky").pid != named(before, "leaky").pid
        assert len(after.kernel_log.lines) > len(before.kernel_log.lines)


async def test_a_follower_sees_the_kill(hosts):
    """The stream begins with the boot mark and numbers its records without a gap."""
    stream = hosts.follow("web-1", Command(argv=("anything",)))
    assert (await anext(stream)).startswith(b"@@boot ")
    assert await anext(stream) == b"@@replayed"
    assert (await anext(stream)).startswith(b"5,0,0,-;Linux version")
    assert await anext(stream) == b"@@live"
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    hosts.trigger("web-1")
    lines = [await waiting]
    while b"Killed process" not in lines[-1]:
        lines.append(await anext(stream))
    assert [int(line.split(b",")[1]) for line in lines] == list(range(1, len(lines) + 1))
    await stream.aclose()


async def test_a_change_is_made_once(hosts):
    """The helper's answers keep the promise of the real one."""
    seen = await snapshot(hosts)
    first = await ask(hosts, op="run", id="request-1", steps=[adj(seen, "leaky", 500)])
    assert (first["status"], first["steps"][0]["before"], first["steps"][0]["after"]) == ("done", "0", "500")
    assert await ask(hosts, op="run", id="request-1", steps=[adj(seen, "leaky", 9)]) == first
    assert await ask(hosts, op="result", id="request-1") == first
    assert named(await snapshot(hosts), "leaky").oom_score_adj == 500


async def test_a_value_that_changed_meanwhile_stays(hosts):
    """With --was a replayed host, too, writes only over the value that the plan saw."""
    seen = await snapshot(hosts)
    steps = [adj(seen, "leaky", 500, was=0), adj(seen, "leaky", 9, was=0)]
    answer = await ask(hosts, op="run", id="request-1", steps=steps)
    assert (answer["status"], [step["exit"] for step in answer["steps"]]) == ("failed", [0, 1])
    assert answer["steps"][1]["stderr"] == (
        "oom_score_adj is now 500, not 0 as it was when the plan was made: nothing was changed"
    )
    assert named(await snapshot(hosts), "leaky").oom_score_adj == 500


async def test_words_in_another_order_are_refused(hosts):
    """A replayed host takes the options in the order of the real helper, and no others."""
    step = adj(await snapshot(hosts), "leaky", 5)
    for number, words in enumerate((["--was", "0"], ["--was"], ["--value", "7"])):
        asked = {"do": [*step["do"], *words]}
        answer = await ask(hosts, op="run", id=f"request-{number}", steps=[asked])
        assert answer["status"] == "failed"
        assert named(await snapshot(hosts), "leaky").oom_score_adj == 0


async def test_a_result_of_nothing_cancels(hosts):
    """A request that was never begun is absent, and stays so."""
    seen = await snapshot(hosts)
    assert (await ask(hosts, op="result", id="request-2"))["status"] == "absent"
    answer = await ask(hosts, op="run", id="request-2", steps=[adj(seen, "leaky", 500)])
    assert answer["status"] == "cancelled"
    assert named(await snapshot(hosts), "leaky").oom_score_adj == 0


async def test_a_process_that_is_gone_is_not_changed(hosts):
    """After a kill the old pid is nobody; a plan stops there."""
    seen = await snapshot(hosts)
    hosts.trigger("web-1")
    steps = [adj(seen, "leaky", 500), adj(seen, "neighbour", 500)]
    answer = await ask(hosts, op="run", id="request-3", steps=steps)
    assert (answer["status"], len(answer["steps"])) == ("failed", 1)
    unknown = await ask(hosts, op="run", id="request-4", steps=[{"do": ["rm"]}])
    assert unknown["status"] == "failed"


async def test_nothing_else_runs(hosts):
    """Any other command is answered like a missing one."""
    result = await hosts.run("web-1", Command(argv=("rm", "-rf", "/")), timeout_s=5)
    assert result.exit_status == 127


async def test_only_open_and_only_known():
    """Unknown hosts and closed adapters are refused with a sentence."""
    hosts = SimulatedHosts(["web-1"])
    with pytest.raises(HostError, match="before they were opened"):
        hosts.trigger("web-1")
    async with hosts:
        with pytest.raises(UnknownHostError):
            hosts.trigger("db-1")


async def test_a_closer_look_is_answered_with_what_there_is_not(hosts):
    """A recording holds its reading and no more: each part is said not to be readable, and nothing is made up."""
    command = helper_call.look("sent", "source", Look(parts=("unit", "kernel"), unit="leaky.service"))
    details = helper_call.looked((await hosts.run("web-1", command, timeout_s=5)).stdout)
    assert details == Details(
        problems=tuple(
            f"{part} could not be read: the host is replayed from a recording" for part in ("unit", "kernel")
        )
    )


async def test_only_what_a_recording_can_show_is_offered(hosts):
    """The menu of a replayed host says of every other remedy why not."""
    seen = await snapshot(hosts)
    reasons = {
        name: plans.unfit(fix, seen, Target(), Policy()) for name, fix in catalog.remediations().items()
    }
    assert reasons.pop("oom_score_adj") == ""
    assert all("replayed from a recording" in reason for reason in reasons.values())
