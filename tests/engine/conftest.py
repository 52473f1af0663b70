"""An engine on fakes, with a real store and real views."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from oombot import app, catalog, config
from oombot.adapters.sql import SqlStore
from oombot.engine.answers import Answers
from oombot.engine.cards import Cards
from oombot.engine.context import Context
from oombot.engine.desk import Desk
from oombot.engine.dialogs import Dialogs
from oombot.engine.fleet import Fleet, Pace
from oombot.engine.inquiries import Inquiries
from oombot.engine.outbox import Outbox
from oombot.engine.people import People
from oombot.engine.remedies import Remedies
from oombot.engine.runs import Runs
from oombot.proposals import Person
from oombot.remediations.oom_score_adj import Params
from oombot.views import Views
from tests.fakes import TEAM, Clock, FakeChat, FakeMachine, Spawned

SETTINGS = """
mode: apply
policy: {approvers: {groups: [S0ONCALL1]}, second_person: always}
hosts: [{name: host42}, {name: host43}]
"""
ADA = Person(user_id="U0ADA0001", team_id=TEAM)
BEN = Person(user_id="U0BEN0002", team_id=TEAM)
CLEO = Person(user_id="U0CLEO003", team_id=TEAM)
WANTED = Params(pid=4242, start_ticks=42420, value=500)


@dataclass
class Engine:
    """The parts a test talks to."""

    context: Context
    store: SqlStore
    chat: FakeChat
    machine: FakeMachine
    clock: Clock
    spawned: Spawned
    outbox: Outbox
    remedies: Remedies
    runs: Runs
    cards: Cards
    desk: Desk
    fleet: Fleet

    async def propose(self, person: Person = ADA) -> Any:
        """A pending request for +500, posted."""
        request = await self.remedies.propose("host42", "oom_score_adj", WANTED, person, incident_id=None)
        await self.send()
        return request

    async def send(self) -> None:
        """Let the outbox send everything, however long Slack makes it wait."""
        for _ in range(20):
            await self.outbox.flush()
            self.clock.now += 1.0

    async def finish(self) -> None:
        """Let all background work end, and send what it left."""
        await self.spawned.done()
        await self.send()

    async def state(self, request_id: str) -> str:
        """The state of a request in the store."""
        request = await self.store.request(request_id)
        assert request is not None
        return request.state


class QuickOutbox(Outbox):
    """The outbox without waiting for Slack to show the card: the fake clock stands still."""

    async def settled(self, key: str, *, within_s: float) -> bool:
        """Send at once."""
        await self.flush()
        return True


@asynccontextmanager
async def build(
    folder: Path,
    settings: str = SETTINGS,
    *,
    machine: FakeMachine,
    chat: FakeChat,
    clock: Clock,
    pace: Pace | None = None,
    flag: Callable[[], str] = lambda: "",
    replica: str = "oombot",
) -> AsyncIterator[Engine]:
    """Yield an engine on the store in `folder`; building it again there is a restart."""
    spawned, ids = Spawned(), itertools.count(1)
    prefix = f"id{len(list(folder.iterdir()))}{id(spawned) % 9973:04d}"
    async with SqlStore.open(f"sqlite+aiosqlite:///{folder / 'oombot.sqlite'}") as store:
        context = Context(
            settings=config.load(settings, filename="test.yaml"),
            hosts=machine,
            chat=chat,
            store=store,
            views=Views(app.templates()),
            detectors={},
            remediations=catalog.remediations(),
            helper_source="",
            look_source="",
            clock=clock,
            new_id=lambda: f"{prefix}-{next(ids):06d}",
            spawn=spawned,
            flag=flag,
            replica=replica,
        )
        outbox, people = QuickOutbox(context), People(context)
        readings: Any = machine
        cards, runs, answers = (
            Cards(context, readings),
            Runs(context, readings, people, outbox, again_s=()),
            Answers(context, readings),
        )
        remedies = Remedies(context, readings, people, runs)
        fleet = Fleet(context, readings, answers, pace=pace)
        desk = Desk(
            context=context,
            readings=readings,
            answers=answers,
            remedies=remedies,
            people=people,
            cards=cards,
            fleet=fleet,
            dialogs=Dialogs(context=context, readings=readings, remedies=remedies, people=people),
            inquiries=Inquiries(context=context, remedies=remedies, people=people),
        )
        made = Engine(
            context=context,
            store=store,
            chat=chat,
            machine=machine,
            clock=clock,
            spawned=spawned,
            outbox=outbox,
            remedies=remedies,
            runs=runs,
            cards=cards,
            desk=desk,
            fleet=fleet,
        )
        try:
            yield made
        finally:
            await spawned.stop()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """A fresh engine in apply mode."""
    async with build(tmp_path, machine=FakeMachine(), chat=FakeChat(), clock=Clock()) as built:
        yield built
