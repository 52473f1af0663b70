"""The dialog in which a person chooses a remedy and fills in its form: a menu first, then what the remedy asks for.

What comes back from Slack, fields and hidden state alike, is checked as if a stranger had written it.
"""

import json
import re
from collections.abc import Awaitable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from oombot import details, triage
from oombot.engine import plans
from oombot.engine.context import Context
from oombot.engine.people import People
from oombot.engine.readings import Readings
from oombot.engine.remedies import Remedies
from oombot.engine.visits import SayIn, Visit
from oombot.errors import ConfigError, OombotError, RefusedError
from oombot.model import HostSnapshot, Incident, Json
from oombot.proposals import Person
from oombot.remediations.shape import Remediation, Target
from oombot.triage import Match
from oombot.views import Choice
from oombot.views.forms import DURATIONS

FRESH_S: Final = (
    60.0  # a menu and its form are drawn from one reading; the plan is always made from a new one
)
CHOOSE, BACK, MEAN = "fix:", "fix_back", "fix_target:"  # action ids: a remedy by name, the menu, a target
TIME_BOX: Final = "for_how_long"  # the field that every timed remedy has besides its own
NOBODY: Final = Target()  # no process and no unit: the whole host
_CHANNEL = re.compile(r"[CDG][A-Z0-9]{2,20}")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a dialog carries along, out of sight: the question as far as it is answered."""

    host: str
    channel: str = ""
    incident: str = ""
    remedy: str = ""
    target: Target = NOBODY

    @property
    def packed(self) -> str:
        """As one text."""
        return json.dumps(asdict(self), separators=(",", ":"))


_STATE: Final = TypeAdapter(State)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogs:
    """Draws the dialog, and takes what people do in it."""

    context: Context
    readings: Readings
    remedies: Remedies
    people: People

    async def open(self, visit: Visit, host: str, *, asked: str, incident: Incident | None) -> None:
        """Open a loading dialog within the trigger's three seconds, then fill it in from a fresh reading."""
        views = self.context.views
        await visit.modal.open(views.loading_modal(f"Fix {host}"))
        if self.context.settings.mode == "observe":
            await visit.modal.update(
                views.fix_refused_modal("oombot runs in observe mode: it proposes nothing.")
            )
            return
        state = State(
            host=host,
            channel=visit.channel_id,
            incident="" if incident is None else incident.id,
            target=_of_kill(incident),
        )
        await self._in_dialog(visit, self._start(state, asked))

    async def press(self, visit: Visit, action_id: str, value: str) -> None:
        """A button inside the dialog: a remedy of the menu, what a word meant, or the way back."""
        await self._in_dialog(visit, self._pressed(visit, action_id, value))

    async def submit(self, person: Person, private: str, values: Json, say_in: SayIn) -> Json:
        """A filled form: {} when it was taken (the plan follows), else {field: what is wrong}."""
        try:
            state = await self._state(private)
            fix = self._remedy(state.remedy)
            params, back_after_s = fix.parse(values), _back_after(fix, values)
        except ConfigError as error:
            return {problem.partition(": ")[0]: problem.partition(": ")[2] for problem in error.problems}
        except OombotError as error:
            return {"": f"{error} {error.fix}".strip()}
        self.context.spawn(self._propose(state, params, person, say_in, back_after_s=back_after_s))
        return {}

    # ------------------------------------------------------------ steps of the dialog
    async def _start(self, state: State, asked: str) -> Json:
        snapshot = await self.readings.now(state.host, asked=True)
        if not asked:
            return self._menu(state, snapshot)
        found = triage.find(snapshot, asked)
        if len(found) == 1:
            return self._menu(replace(state, target=_target(found[0])), snapshot)
        if found:
            return self.context.views.fix_targets(state.host, asked, found, private=state.packed)
        if details.is_unit(asked):  # a slice, say, which a reading does not list
            return self._menu(replace(state, target=Target(unit=asked)), snapshot)
        whole = "" if snapshot.processes_whole else " (its process table could not be read whole)"
        raise RefusedError(f"No process or unit on {state.host} matches {asked!r}{whole}.")

    async def _pressed(self, visit: Visit, action_id: str, value: str) -> Json:
        state = await self._state(visit.private)
        await self.people.check(visit.person)
        snapshot = await self._snapshot(visit, state.host)
        if action_id.startswith(MEAN):
            state = replace(state, target=_meant(value, snapshot))
        if action_id.startswith(CHOOSE):
            return self._form(replace(state, remedy=action_id.removeprefix(CHOOSE)), snapshot)
        return self._menu(replace(state, remedy=""), snapshot)

    async def _propose(
        self, state: State, params: Any, person: Person, say_in: SayIn, *, back_after_s: int | None
    ) -> None:
        views = self.context.views
        try:
            request = await self.remedies.propose(
                state.host,
                state.remedy,
                params,
                person,
                incident_id=state.incident or None,
                back_after_s=back_after_s,
            )
            view = views.notice(f"Proposed: {request.plan.title}. The plan is in the channel.")
        except OombotError as error:
            view = views.notice(str(error), fix=error.fix, who=error.who)
        except Exception as error:
            self.context.log(person=person.user_id).exception("propose_failed")
            view = views.notice(
                f"oombot failed ({type(error).__name__}); nothing was proposed. Its log says more."
            )
        await say_in(state.channel, view)

    # ------------------------------------------------------------ drawing
    def _menu(self, state: State, snapshot: HostSnapshot) -> Json:
        policy = self.context.settings.policy
        rows = [
            Choice(
                name=name,
                label=fix.label,
                summary=fix.summary,
                unfit=plans.unfit(fix, snapshot, state.target, policy),
            )
            for name, fix in self.context.remediations.items()
        ]
        return self.context.views.fix_menu(
            state.host, _named(state.target, snapshot), rows, private=state.packed
        )

    def _form(self, state: State, snapshot: HostSnapshot) -> Json:
        fix, policy = self._remedy(state.remedy), self.context.settings.policy
        unfit = plans.unfit(fix, snapshot, state.target, policy)
        if unfit:
            raise RefusedError(f"{fix.label} can not work on {state.host}: {unfit}.")
        fields = fix.fields(snapshot, state.target, policy)
        return self.context.views.fix_form(
            state.host, fix, fields, private=state.packed, timed=snapshot.has_systemd
        )

    async def _in_dialog(self, visit: Visit, drawing: Awaitable[Json]) -> None:
        """Show what was drawn, or why there is nothing, where the person looks: in the dialog."""
        try:
            view = await drawing
        except OombotError as error:
            view = self.context.views.fix_refused_modal(f"{error} {error.fix}".strip())
        await visit.modal.update(view)

    # ------------------------------------------------------------ parts
    async def _snapshot(self, visit: Visit, host: str) -> HostSnapshot:
        """The reading that the dialog was opened with, or a new one while the person is told to wait."""
        last = await self.readings.last(host)
        if last is not None and 0 <= self.context.clock() - last.taken_s <= FRESH_S:
            return last
        await visit.modal.update(self.context.views.loading_modal(f"Fix {host}"))
        return await self.readings.now(host, asked=True)

    async def _state(self, private: str) -> State:
        """What the dialog carried, checked; a foreign word in it is refused."""
        try:
            state = _STATE.validate_json(private)
        except ValidationError as error:
            raise RefusedError("This form is not one of oombot's. Nothing was proposed.") from error
        host = self.context.settings.host(state.host).name
        incident = await self.context.store.incident(state.incident) if state.incident else None
        if state.incident and (incident is None or incident.host != host):
            raise RefusedError("oombot knows no such kill. Nothing was proposed.")
        if state.target.unit and not details.is_unit(state.target.unit):
            raise RefusedError("This form is not one of oombot's. Nothing was proposed.")
        channel = state.channel if _CHANNEL.fullmatch(state.channel) else ""
        return replace(state, host=host, channel=channel)

    def _remedy(self, name: str) -> Remediation:
        fix = self.context.remediations.get(name)
        if fix is None:
            raise RefusedError("oombot knows no such remedy. Nothing was proposed.")
        return fix


def _back_after(fix: Remediation, values: Json) -> int | None:
    """For how long it was asked, of what the form offers; None for no time limit."""
    chosen = str(values.get(TIME_BOX) or "")
    if not chosen:
        return None
    if not fix.timed or chosen not in {option.value for option in DURATIONS}:
        raise ConfigError([f"{TIME_BOX}: Choose one of the times offered."])
    return int(chosen)


def _of_kill(incident: Incident | None) -> Target:
    """The unit that a kill hit, where it was one of the host's own systemd."""
    unit = "" if incident is None else triage.workload(incident.kill.task_memcg).unit or ""
    return Target(unit=unit)


def _target(match: Match) -> Target:
    """A candidate as a target: a process by its start too, with the unit it runs in."""
    if match.unit is not None:
        return Target(unit=match.unit.name)
    assert match.process is not None
    process = match.process
    unit = triage.workload(process.cgroup).unit or ""
    return Target(pid=process.pid, start_ticks=process.start_ticks, unit=unit)


def _meant(value: str, snapshot: HostSnapshot) -> Target:
    """The candidate that was chosen: a process that still is the same one, or a unit."""
    if details.is_unit(value):
        return Target(unit=value)
    for process in snapshot.processes:
        if value == f"{process.pid}:{process.start_ticks}":
            return _target(Match(kind="process", process=process))
    raise RefusedError("What was chosen is not there any more. Nothing was proposed.")


def _named(target: Target, snapshot: HostSnapshot) -> str:
    """The target for the menu's first line; "" for none."""
    if target.pid is None:
        return target.unit
    comm = next((p.comm for p in snapshot.processes if p.pid == target.pid), "process")
    within = f" in {target.unit}" if target.unit else ""
    return f"{comm} (pid {target.pid}){within}"
