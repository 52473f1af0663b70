"""What people say to oombot, in Slack's terms: a command, a press, a submitted form. Each gets a visible answer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from oombot.engine.answers import Answers, Question, question, unlinked
from oombot.engine.cards import Cards
from oombot.engine.context import Context
from oombot.engine.dialogs import BACK, CHOOSE, MEAN, Dialogs
from oombot.engine.drafts import incident_key
from oombot.engine.fleet import Fleet, survey_of
from oombot.engine.inquiries import Inquiries
from oombot.engine.people import People
from oombot.engine.readings import Readings
from oombot.engine.remedies import Remedies
from oombot.engine.visits import Say, SayIn, Visit
from oombot.errors import HostError, OombotError, RefusedError
from oombot.inventory.roster import Selection
from oombot.model import Draft, HostSnapshot, Incident, Json
from oombot.proposals import Audit, Person

ANSWER_WITHIN_S = 8.0  # a person waits no longer for a host: what is stored is shown, and edited later
LATE_ANSWER_S = 120.0
EXCERPT = 2900  # characters of a report that its message holds
ATTACH_AGAIN_S, ATTACH_TRIES = 0.5, 60
ATTACHED = "report_attached"
PROPOSE = ("propose", "propose_2", "propose_3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Takes everything that people do, and answers each of them."""

    context: Context
    readings: Readings
    answers: Answers
    remedies: Remedies
    people: People
    cards: Cards
    fleet: Fleet
    dialogs: Dialogs
    inquiries: Inquiries
    patience_s: float = ANSWER_WITHIN_S

    async def command(self, visit: Visit, text: str) -> None:
        """`/oom …`: help, a fix, a question about changes, or one about a host or many."""
        with_errors = self._guarded(visit)
        words = text.split()
        if not words or words[0] == "help":
            await visit.say(
                self.context.views.help(hosts=self._host_names(), mode=self.context.settings.mode), False
            )
        elif words[0] == "fix":
            await with_errors(self._fix(visit, words[1:]))
        elif words[0] in self.inquiries.commands:
            await with_errors(self.inquiries.answer(visit, [unlinked(word) for word in words]))
        else:
            await with_errors(self._ask(visit, text))

    async def press(self, visit: Visit, action_id: str, value: str) -> None:
        """A button; what it means is looked up in the store, never taken from Slack."""
        acts: Mapping[str, Callable[[], Awaitable[None]]] = {
            "approve": lambda: self._approve(visit, value),
            "deny": lambda: self._deny(visit, value),
            "undo": lambda: self._undo(visit, value),
            **dict.fromkeys(PROPOSE, lambda: self._propose(visit, value)),
            "more_fixes": lambda: self._more_fixes(visit, value),
            "kernel_report": lambda: self._kernel_report(visit, value),
            "fields_help": lambda: visit.say(self.context.views.fields_help(), False),
            "share": lambda: self._share(visit, value),
        }
        act = acts.get(action_id)
        if act is None and action_id.startswith((CHOOSE, BACK, MEAN)):
            await self._guarded(visit)(self.dialogs.press(visit, action_id, value))
        elif act is None:
            await visit.say(
                self.context.views.notice("oombot does not know this button. Nothing was done."), False
            )
        else:
            await self._guarded(visit)(act())

    async def submit(self, person: Person, private: str, values: Json, say_in: SayIn) -> Json:
        """A form: {} when it was taken (the plan follows), else {block id: what is wrong}; "" is the whole form."""
        return await self.dialogs.submit(person, private, values, say_in)

    # ------------------------------------------------------------ commands
    async def _ask(self, visit: Visit, text: str) -> None:
        await self.people.check(visit.person)
        asked = question(text)
        selection = self.context.settings.selection(asked.host)
        if not selection.plain:
            await self._ask_fleet(visit, asked, selection)
            return
        asked = replace(asked, host=selection.names[0])
        reading = asyncio.ensure_future(self.readings.now(asked.host, timeout_s=LATE_ANSWER_S, asked=True))
        try:
            snapshot = await asyncio.wait_for(asyncio.shield(reading), self.patience_s)
        except TimeoutError:
            await visit.say(await self.answers.stale(asked), False)
            self.context.spawn(self._answer_late(asked, reading, visit.say))
            return
        except HostError as error:
            await visit.say(await self.answers.stale(asked, str(error), fix=error.fix), False)
            return
        await visit.say(await self.answers.fresh(asked, snapshot), False)

    async def _ask_fleet(self, visit: Visit, asked: Question, selection: Selection) -> None:
        """An overview in the channel: it is edited for longer than an answer to one person can be."""
        if asked.target:
            raise RefusedError(
                "A process or a unit is asked of one host; nothing was asked.",
                fix=f"/oom HOST {asked.target}",
            )
        survey = survey_of(selection, asked.since_s, self.context.settings.since_s)
        key = await self.fleet.post(survey, visit.channel_id, visit.person.user_id)
        count = len(selection.names)
        hosts = "1 host" if count == 1 else f"{count} hosts"
        text = f"Asking {hosts}. The overview is a message in this channel, and grows as they answer."
        await visit.say(self.context.views.notice(text), False)
        self.context.spawn(self._tell_if_refused(key, visit.say))

    async def _tell_if_refused(self, key: str, say: Say) -> None:
        """Tell the asker when Slack does not take the message: the bot may not be in their channel."""
        for _ in range(ATTACH_TRIES):
            message = await self.context.store.message(key)
            if message is None or message.ts is not None:
                return
            if message.error:
                text = f"The overview could not be posted here: {message.error}"
                await say(self.context.views.notice(text, fix="/invite @oombot, then ask again"), False)
                return
            await asyncio.sleep(ATTACH_AGAIN_S)

    async def _answer_late(self, asked: Question, reading: "asyncio.Future[HostSnapshot]", say: Say) -> None:
        try:
            snapshot = await reading
        except HostError as error:
            await say(await self.answers.stale(asked, str(error), fix=error.fix), True)
            return
        await say(await self.answers.fresh(asked, snapshot), True)

    async def _fix(self, visit: Visit, words: list[str]) -> None:
        await self.people.check(visit.person)
        if not words:
            raise RefusedError("Which host? Nothing was done.", fix="/oom fix HOST [PID|NAME|UNIT]")
        host = self.context.settings.host(unlinked(words[0])).name
        await self.dialogs.open(visit, host, asked=" ".join(words[1:]), incident=None)

    # ------------------------------------------------------------ presses
    async def _approve(self, visit: Visit, request_id: str) -> None:
        request = await self.remedies.approve(request_id, visit.person)
        rest = request.approvals - len(request.voters)
        then = (
            f"{rest} more must approve it; nothing is run yet."
            if request.state == "pending"
            else "The result comes into the thread."
        )
        await visit.say(self.context.views.notice(f"Approved: {request.plan.title}. {then}"), False)

    async def _deny(self, visit: Visit, request_id: str) -> None:
        request = await self.remedies.deny(request_id, visit.person)
        await visit.say(self.context.views.notice(f"Denied: {request.plan.title}. Nothing was run."), False)

    async def _undo(self, visit: Visit, request_id: str) -> None:
        request = await self.remedies.undo(request_id, visit.person)
        said = "is running" if request.state == "approved" else "waits for an approver, in the thread"
        await visit.say(self.context.views.notice(f"{request.plan.title}: {said}."), False)

    async def _propose(self, visit: Visit, value: str) -> None:
        """One of the remedies offered under a card, made anew from what the host shows now."""
        incident_id, _, remedy = value.partition("|")
        incident = await self._incident(incident_id)
        await self.people.check(visit.person)
        snapshot = await self.readings.now(incident.host, asked=True)
        found = await self.cards.offers(incident, snapshot, only=remedy)  # "": a card of an older oombot
        if not found:
            raise RefusedError(
                "The host has changed: there is nothing to suggest any more. Nothing was proposed."
            )
        request = await self.remedies.propose(
            incident.host, found[0].remediation, found[0].params, visit.person, incident_id=incident.id
        )
        await visit.say(
            self.context.views.notice(f"Proposed: {request.plan.title}. The plan is in the thread."), False
        )

    async def _more_fixes(self, visit: Visit, incident_id: str) -> None:
        await self.people.check(visit.person)
        incident = await self._incident(incident_id)
        await self.dialogs.open(visit, incident.host, asked="", incident=incident)

    async def _kernel_report(self, visit: Visit, incident_id: str) -> None:
        """The report in the thread; one that does not fit into a message also as a file, once."""
        await self.people.check(visit.person)
        incident = await self._incident(incident_id)
        key, long = f"report:{incident.id}", len(incident.kill.report) > EXCERPT
        draft = Draft(
            key=key,
            channel=incident.channel,
            view=self.context.views.report(await self.cards.story(incident, snapshot=None), attached=long),
            thread_key=incident_key(incident.id),
        )
        await self.context.store.put_messages([draft])
        self.context.wake.set()
        where = f"in #{incident.channel}" if incident.history else "in the thread"
        await visit.say(self.context.views.notice(f"The kernel's report is {where}."), False)
        trail = await self.context.store.audit(incident.id)
        if long and not any(line.event == ATTACHED for line in trail):
            await self._attach(incident, key, visit.person)

    async def _attach(self, incident: Incident, key: str, person: Person) -> None:
        """Put the whole report under the message, once that stands; that it was done is in the audit trail."""
        for _ in range(ATTACH_TRIES):
            message = await self.context.store.message(key)
            if message is not None and message.ts is not None and message.channel_id is not None:
                parent = await self.context.store.message(incident_key(incident.id))
                thread_ts = parent.ts if parent is not None and parent.ts is not None else message.ts
                name = f"oom-{incident.host}-{incident.kill.pid}.txt"
                await self.context.chat.upload(
                    message.channel_id, thread_ts, filename=name, title=name, content=incident.kill.report
                )
                await self.context.store.add_audit(_attached(self.context, incident, person))
                return
            await asyncio.sleep(ATTACH_AGAIN_S)
        raise RefusedError(
            "Slack is slow: the whole report is not attached yet.", fix="press Kernel report again"
        )

    async def _share(self, visit: Visit, ask: str) -> None:
        """Ask again and post the answer for everybody in the channel."""
        await self.people.check(visit.person)
        asked = self.answers.remembered(ask)
        if asked is None:
            raise RefusedError("This answer is too old to share. Ask again with /oom.")
        snapshot = await self.readings.now(asked.host, asked=True)
        view = await self.answers.fresh(asked, snapshot, asker=visit.person.user_id)
        await self.context.store.put_messages(
            [Draft(key=f"share:{self.context.new_id()}", channel=visit.channel_id, view=view)]
        )
        self.context.wake.set()

    # ------------------------------------------------------------ parts
    def _guarded(self, visit: Visit) -> Callable[[Awaitable[None]], Awaitable[None]]:
        """Turn every error into a sentence for the person: no press and no command is silent."""

        async def run(act: Awaitable[None]) -> None:
            try:
                await act
            except OombotError as error:
                await visit.say(self.context.views.notice(str(error), fix=error.fix, who=error.who), False)
            except Exception as error:
                self.context.log(person=visit.person.user_id).exception("desk_failed")
                await visit.say(
                    self.context.views.notice(f"oombot failed ({type(error).__name__}); its log says more."),
                    False,
                )

        return run

    async def _incident(self, incident_id: str) -> Incident:
        incident = await self.context.store.incident(incident_id)
        if incident is None:
            raise RefusedError("oombot knows no such kill. Nothing was done.")
        return incident

    def _host_names(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.context.settings.hosts)


def _attached(context: Context, incident: Incident, person: Person) -> Audit:
    return Audit(
        at_s=context.clock(),
        request_id=incident.id,
        actor=person.user_id,
        event=ATTACHED,
        state_from="",
        state_to="",
        data={"host": incident.host},
    )
