"""Hostile process names on their whole way: kernel record → reader → parser → store → card."""

import asyncio
import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from oombot import app, catalog, triage
from oombot.adapters.sql import SqlStore
from oombot.following import Digest, Position
from oombot.model import Draft, Entry, Incident, OomKill
from oombot.oom_report import OomReportParser
from oombot.views import Views

VIEWS = Views(app.templates())
NAMES = st.binary(min_size=1, max_size=15).filter(lambda name: b"\0" not in name)
HOSTILE = [
    b"<!channel>",
    b"@here",
    b"`rm -rf`",
    b"a) total-vm:9k",
    b"\xff\xfe(",
    b"x\ny",
    b"shm,pid=1,uid=0",
    b'"}]',
    b"\\",
]


def kmsg(text: bytes) -> bytes:
    """A record as /dev/kmsg gives it: what is not printable ASCII, and the backslash, as \\xNN."""
    plain = b"".join(
        bytes([byte]) if 32 <= byte < 127 and byte != 0x5C else b"\\x%02x" % byte for byte in text
    )
    return b"3,500,99000000,-;" + plain


def killed(comm: bytes) -> OomKill:
    """The one kill that the detector and the parser make of a record."""
    line = (
        b"Memory cgroup out of memory: Killed process 4242 (" + comm + b") total-vm:2000kB, anon-rss:1000kB, "
        b"file-rss:4kB, shmem-rss:0kB, UID:1000 pgtables:40kB oom_score_adj:0"
    )
    reader, parser = catalog.detectors()["kmsg"].reader(None), OomReportParser()
    kills = []
    for given_line in (b"@@boot 0b8a1f6e-1111-4222-8333-944445555666 100.0 1790000000", kmsg(line)):
        for item in reader.feed(given_line):
            if isinstance(item, Entry):
                kills += parser.feed(item)
    [kill] = kills + parser.close()
    return kill


def never(digest: Digest) -> Draft:
    """One kill is no storm."""
    raise AssertionError(digest)


async def stored(kill: OomKill) -> OomKill:
    """The kill as it comes back from the store."""
    async with SqlStore.open("sqlite+aiosqlite:///:memory:") as store:
        incident = Incident(id="incident-0001", host="host42", kill=kill, channel="oncall", seen_s=1.0)
        position = Position(host="host42", detector="kmsg", cursor="1", baselined_s=1.0, last_seen_s=1.0)
        await store.record_kills(position, [(incident, None)], digest=never)
        found = await store.incident("incident-0001")
    assert found is not None
    return found.kill


def mrkdwn(value: object) -> list[str]:
    """Every text that Slack reads as markup."""
    if isinstance(value, dict):
        own = [value["text"]] if value.get("type") == "mrkdwn" else []
        return own + [text for part in value.values() for text in mrkdwn(part)]
    if isinstance(value, list):
        return [text for part in value for text in mrkdwn(part)]
    return []


@settings(max_examples=40, deadline=None)
@given(comm=NAMES)
@example(comm=HOSTILE[0])
@example(comm=HOSTILE[1])
@example(comm=HOSTILE[2])
@example(comm=HOSTILE[3])
@example(comm=HOSTILE[4])
@example(comm=HOSTILE[5])
@example(comm=HOSTILE[6])
@example(comm=HOSTILE[7])
@example(comm=HOSTILE[8])
def test_any_name_stays_a_name(comm: bytes) -> None:
    """Whatever a process calls itself is kept as its name and numbers, and is never a mention, link or markup."""
    kill = killed(comm)
    assert (kill.pid, kill.anon_rss_kb, kill.comm) == (4242, 1000, comm.decode(errors="replace"))
    again = asyncio.run(stored(kill))
    assert again == kill
    view = VIEWS.incident(
        triage.about_kill(again, host="host42"),
        incident_id="incident-0001",
        mode="apply",
        offers=[("oom_score_adj", "Fix it")],
    )
    for text in [view["text"], *mrkdwn(view["blocks"])]:
        assert "<!channel" not in text
        assert "<@" not in text
    assert json.dumps(view)
