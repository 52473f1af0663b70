"""What people say and press: every one of them gets a visible answer, and Slack chooses nothing."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from oombot.engine import desk as desk_module
from oombot.engine.answers import Answers, question
from oombot.engine.drafts import plan_draft
from oombot.engine.visits import Visit
from oombot.errors import RefusedError
from oombot.following import Outage, Position
from oombot.model import Incident, Json
from oombot.proposals import Person
from tests.engine.conftest import ADA, BEN, CLEO, Engine
from tests.examples import a_kill


@dataclass
class Person1:
    """Somebody in a channel, who keeps what they were shown."""

    person: Person = ADA
    said: list[Json] = field(default_factory=list)
    replaced: list[Json] = field(default_factory=list)
    modals: list[Json] = field(default_factory=list)
    private: str = ""

    async def say(self, view: Json, replace: bool) -> None:
        (self.replaced if replace else self.said).append(view)

    async def open(self, view: Json) -> None:
        self.modals.append(view)

    async def update(self, view: Json) -> None:
        self.modals.append(view)

    @property
    def visit(self) -> Visit:
        return Visit(
            person=self.person, channel_id="C0ONCALL1", say=self.say, modal=self, private=self.private
        )

    @property
    def last(self) -> str:
        return str(self.said[-1])


async def stored_kill(engine: Engine, *, history: bool = False, **kill: Any) -> Incident:
    """A kill that the watch has recorded, with its card unless it is history."""
    incident = Incident(
        id="incident-0001",
        host="host42",
        kill=a_kill(**kill),
        channel="oncall",
        seen_s=engine.clock(),
        history=history,
    )
    card = None if history else await engine.cards.card(incident, replayed=False)
    position = Position(host="host42", detector="kmsg", cursor="1", baselined_s=1.0, last_seen_s=1.0)
    await engine.store.record_kills(position, [(incident, card)], digest=engine.cards.digest)
    await engine.send()
    return incident


async def test_help_is_answered(engine: Engine) -> None:
    """`/oom` alone explains itself and names the hosts."""
    ada = Person1()
    await engine.desk.command(ada.visit, "")
    assert "host42" in ada.last


async def test_unknown_host_is_guessed(engine: Engine) -> None:
    """A mistyped host is answered with the likely one, and nobody is asked."""
    ada = Person1()
    await engine.desk.command(ada.visit, "hst42")
    assert "Did you mean host42?" in ada.last


async def test_answer_of_a_reachable_host(engine: Engine) -> None:
    """`/oom host42` is answered to the asker alone, with a Share button."""
    ada = Person1()
    await engine.desk.command(ada.visit, "host42")
    assert "'share'" in ada.last
    assert engine.chat.posted == []


async def test_silent_host_is_answered_in_time_and_edited_later(engine: Engine, monkeypatch) -> None:
    """A host that thrashes is told as not answering, last seen 40 s ago; the answer replaces that when it comes."""
    released = asyncio.Event()
    at_once = engine.machine.now

    async def slow(host: str, *, timeout_s: float | None = None, asked: bool = False) -> Any:
        await released.wait()
        return await at_once(host)

    engine.machine.now = slow  # type: ignore[method-assign]
    quick = replace(engine.desk, patience_s=0.05)
    ada = Person1()
    await quick.command(ada.visit, "host42")
    assert "not answering, last seen 40 s ago" in ada.last
    assert ada.replaced == []
    released.set()
    await engine.finish()
    assert len(ada.replaced) == 1
    assert "not answering" not in str(ada.replaced[0])


async def test_unreachable_host_is_unknown_with_the_reason(engine: Engine) -> None:
    """A host that can not be reached is said to be so; that is never called `no OOM`."""
    engine.machine.down = True
    ada = Person1()
    await engine.desk.command(ada.visit, "host42")
    assert "can not be reached" in ada.last
    assert "not the OOM killer" not in ada.last


@pytest.mark.parametrize("text", ["host42 a b", "host42 since", "host42 since yesterday", "since 2h"])
async def test_bad_words_are_answered(engine: Engine, text: str) -> None:
    """What can not be understood is answered with how to say it."""
    ada = Person1()
    await engine.desk.command(ada.visit, text)
    assert len(ada.said) == 1
    assert "/oom HOST" in ada.last or "No host named" in ada.last or "since 45s" in ada.last


def test_links_of_slack_are_unwrapped() -> None:
    """A host name that Slack made a link of is taken as it was typed."""
    assert question("<http://web01.prod|web01.prod> nginx since 2h").host == "web01.prod"


def test_a_question_is_a_host_and_perhaps_more() -> None:
    """Host, target and span are told apart; nothing else is taken."""
    asked = question("host42 nginx since 2h")
    assert (asked.host, asked.target, asked.since_s) == ("host42", "nginx", 7200.0)
    with pytest.raises(RefusedError):
        question("a b c")


async def test_strangers_get_no_answer_about_hosts(engine: Engine) -> None:
    """A person of another workspace is told no, and the host is not read."""
    eve = Person1(person=Person(user_id="U0ADA0001", team_id="T0FOREIGN"))
    await engine.desk.command(eve.visit, "host42")
    assert "full members" in eve.last


async def test_presses_are_all_answered(engine: Engine) -> None:
    """Unknown buttons, unknown ids and forbidden presses each get a sentence."""
    request = await engine.propose(ADA)
    for action, value in [
        ("launch", "x"),
        ("approve", "nobody-knows"),
        ("approve", request.id),
        ("deny", "nobody-knows"),
        ("undo", request.id),
        ("kernel_report", "nobody-knows"),
        ("fields_help", ""),
        ("share", "nobody-knows"),
        ("propose", "nobody-knows"),
    ]:
        cleo = Person1(person=CLEO)
        await engine.desk.press(cleo.visit, action, value)
        assert len(cleo.said) == 1, action
    assert engine.machine.writes == 0


async def test_approve_by_press(engine: Engine) -> None:
    """A press of the second person runs the plan and says so."""
    request = await engine.propose(ADA)
    ben = Person1(person=BEN)
    await engine.desk.press(ben.visit, "approve", request.id)
    await engine.finish()
    assert "Approved" in ben.last
    assert engine.machine.adj == 500


async def test_kernel_report_comes_into_the_thread(engine: Engine) -> None:
    """The report is posted under the card, once however often it is asked for."""
    incident = await stored_kill(engine)
    ada = Person1()
    for _ in range(2):
        await engine.desk.press(ada.visit, "kernel_report", incident.id)
    await engine.send()
    report = engine.chat.message(f"report:{incident.id}")
    assert report.thread_ts == engine.chat.message(f"incident:{incident.id}").ts
    assert "Killed process 4242" in str(report.view)


async def test_long_report_is_attached_once(engine: Engine) -> None:
    """A report that does not fit into a message is also put into the thread as a file, whole, once."""
    report = "\n".join(f"line {number} of a long report" for number in range(400))
    incident = await stored_kill(engine, report=report)
    ada = Person1()
    for _ in range(2):
        pressing = asyncio.ensure_future(engine.desk.press(ada.visit, "kernel_report", incident.id))
        await asyncio.sleep(0.1)
        await engine.send()
        await pressing
    card = engine.chat.message(f"incident:{incident.id}")
    assert engine.chat.files == [(card.ts, "oom-host42-4242.txt", report)]


async def test_report_of_history_goes_into_the_channel(engine: Engine) -> None:
    """A kill of before the first contact has no card: its report is posted in the channel, and said to be there."""
    incident = await stored_kill(engine, history=True)
    ada = Person1()
    await engine.desk.press(ada.visit, "kernel_report", incident.id)
    await engine.send()
    assert engine.chat.message(f"report:{incident.id}").thread_ts is None
    assert "#oncall" in ada.last


@pytest.mark.parametrize("action", ["propose", "propose_2", "propose_3"])
@pytest.mark.parametrize("remedy", ["", "|oom_score_adj", "|../shape", "|<!channel>"])
async def test_suggestion_that_is_gone_is_refused(engine: Engine, action: str, remedy: str) -> None:
    """A suggested fix is looked up afresh: what the host no longer needs, or never was offered, is not proposed."""
    incident = await stored_kill(engine)
    ada = Person1()
    await engine.desk.press(ada.visit, action, f"{incident.id}{remedy}")
    assert "nothing to suggest any more" in ada.last
    assert await engine.store.requests(("pending",)) == []


async def test_a_plan_too_long_for_slack_is_refused(engine: Engine) -> None:
    """A plan that can not be shown whole is refused in words rather than half shown."""
    request = await engine.propose(ADA)
    long = replace(request, plan=replace(request.plan, steps=request.plan.steps * 300))
    with pytest.raises(RefusedError, match="can not be shown whole"):
        plan_draft(engine.context, long)


async def test_share_posts_the_answer(engine: Engine) -> None:
    """Share asks again and posts the answer for everybody, naming who asked."""
    ada = Person1()
    await engine.desk.command(ada.visit, "host42")
    [button] = [
        element
        for block in ada.said[-1]["blocks"]
        for element in block.get("elements", ())
        if element.get("action_id") == "share"
    ]
    await engine.desk.press(ada.visit, "share", button["value"])
    await engine.send()
    [shared] = engine.chat.posted
    assert "<@U0ADA0001>" in str(shared.view)


def test_patience_is_under_ten_seconds() -> None:
    """A person waits less than ten seconds for an answer."""
    assert desk_module.ANSWER_WITHIN_S < 10


async def test_answer_says_that_a_host_is_not_followed(engine: Engine) -> None:
    """Where the channel was told that a host is not followed, the answer to /oom says so and why."""
    outage = Outage(
        key="outage:1",
        channel="oncall",
        place="group default",
        cause="blind",
        problem="The kernel log can not be read.",
        fix="",
        since_s=1.0,
        blind=True,
        hosts={"host42": None},
    )
    answers = Answers(engine.context, engine.machine)  # type: ignore[arg-type]
    assert "not followed" not in str(await answers.fresh(question("host42"), engine.machine.snapshot()))
    await engine.store.save_outage(outage)
    said = str(await answers.fresh(question("host42"), engine.machine.snapshot()))
    assert "not followed: The kernel log can not be read." in said
