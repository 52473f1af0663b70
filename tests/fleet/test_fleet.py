"""A fleet of simulated hosts, followed by one bot that runs as a process of its own."""

from pathlib import Path

from oombot import facts
from oombot.detectors import journald
from oombot.model import Entry
from oombot.oom_report import OomReportParser
from tests.fleet.fleet import running_fleet
from tests.fleet.machine import ROWS, Machine
from tests.fleet.product import followed, running_product, stored, told

HOSTS, KILLED = 60, 20


def wanted(kills):
    """What the store must hold, as the fleet says it."""
    return sorted((kill["host"], kill["pid"], kill["comm"], kill["anon_rss_kb"]) for kill in kills)


def test_a_simulated_host_answers_as_a_real_one():
    """The reading of a simulated host is whole: the parser of real readings has nothing to say about it."""
    machine = Machine(7)
    machine.kill("leaky")
    snapshot = facts.parse(machine.reading(), host="host-0007", taken_s=0.0)
    assert snapshot.problems == ()
    assert snapshot.processes_whole
    assert (len(snapshot.processes), len(snapshot.units), snapshot.oom_kill_count) == (ROWS + 1, 20, 1)
    assert snapshot.kernel_log.source == "journald"


def test_a_simulated_kill_reads_as_a_real_one():
    """The journal of a simulated host holds the kill that it tells of, with pid, name and memory of its own."""
    machine = Machine(3)
    said = machine.kill("leaky")
    reader, parser, found = journald.DETECTOR.reader(None), OomReportParser(), []
    for line in [machine.mark.encode(), *machine.history("").splitlines()]:
        for item in reader.feed(line):
            found += parser.feed(item) if isinstance(item, Entry) else []
    [kill] = found + parser.close()
    assert (kill.pid, kill.comm, kill.anon_rss_kb) == (said["pid"], said["comm"], said["anon_rss_kb"])
    assert kill.boot_id == machine.boot_id


async def test_every_kill_of_a_storm_is_stored_once_and_told_in_few_messages(tmp_path: Path):
    """Kills on a third of the hosts at once are each stored once, with pid, name and RSS, and the rest in a digest."""
    async with running_fleet(HOSTS, tmp_path / "fleet") as fleet, running_product(fleet, tmp_path) as bot:
        await followed(fleet, bot, within_s=120)
        kills = await fleet.kill(0, KILLED - 1, within_s=1.0)
        assert sorted(await stored(bot, KILLED, within_s=120)) == wanted(kills)
        named = bot.message_keys()
        cards, digests = (
            {key for key in named if "digest:" not in key},
            {key for key in named if "digest:" in key},
        )
        assert (len(named), len(cards), len(digests)) == (KILLED, 5, 1)
        assert len(await told(bot, cards | digests, within_s=120)) == len(cards | digests)


async def test_kills_while_the_links_are_down_are_found_on_return(tmp_path: Path):
    """A host that dropped its connection while it killed is asked from where it was left."""
    async with running_fleet(5, tmp_path / "fleet") as fleet, running_product(fleet, tmp_path) as bot:
        await followed(fleet, bot, within_s=120)
        await fleet.order("refusing")
        kills = await fleet.kill(0, 4)
        await fleet.order("heal")
        assert sorted(await stored(bot, 5, within_s=120)) == wanted(kills)
