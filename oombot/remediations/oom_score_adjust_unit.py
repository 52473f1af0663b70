"""Set OOMScoreAdjust of a service for good: a drop-in for every start, and a live write to what runs now."""

import re
import shlex
from dataclasses import dataclass, replace

from oombot import guards, scores
from oombot.details import Details, Look, UnitDetails
from oombot.errors import ConfigError, RefusedError
from oombot.model import HostSnapshot, Json, OomKill
from oombot.proposals import Check, Exhibit, Lasts, Plan, Risk, Step
from oombot.remediations import oom_score_adj, restart_service
from oombot.remediations.shape import Field, Option, Target, Usual
from oombot.rights import Policy
from oombot.scores import FIRST_TO_GO, HIGHEST, LOWEST

NO_OTHER = "no process of it has another"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The service and its value; None takes the drop-in away, and sets what runs with `back_from` to `back_to`."""

    unit: str
    value: int | None
    restart: bool = False  # restart it, instead of writing to its processes
    back_from: int | None = None
    back_to: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The service as systemd tells of it, in its host."""

    unit: UnitDetails
    held: int  # OOMScoreAdjust of systemd
    text: str | None  # of our drop-in
    details: Details
    snapshot: HostSnapshot

    @property
    def ours(self) -> re.Match[str] | None:
        """Our drop-in, taken apart; None where there is none, or one that is not ours."""
        return scores.OURS.fullmatch(self.text) if self.text is not None else None

    @property
    def adjs(self) -> dict[int, int]:
        """The score of each process."""
        return {member.pid: member.oom_score_adj or 0 for member in self.unit.members}


@dataclass(frozen=True, slots=True, kw_only=True)
class OomScoreAdjustUnit(Usual):
    """The remediation; see shape.py for what each part means."""

    name: str = "oom_score_adjust_unit"
    label: str = "Score of a service, for good"
    summary: str = "Let the kernel take a service sooner or later than others, now and after every start."
    params: type[Params] = Params
    mitigation: bool = True
    timed: bool = False

    def unfit(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> str:
        """It is for services of the host's systemd that are not protected."""
        unit = target.unit_in(snapshot)
        if not snapshot.has_systemd:
            return "systemd does not run here"
        if target.pid is not None and not unit:
            return f"process {target.pid} belongs to no unit of systemd"
        return guards.why_not_service(unit, policy) if unit else ""

    def fields(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> list[Field]:
        """The service, its value, and what becomes of what runs now."""
        meant = target.unit_in(snapshot)
        names = [unit.name for unit in snapshot.units]
        fit = [name for name in names if not guards.why_not_service(name, policy)]
        listed = dict.fromkeys([*([meant] if meant else []), *sorted(fit)])
        options = tuple(Option(value=name, label=name) for name in listed)[:100]
        running = (
            Option(value="write", label="write to its running processes"),
            Option(value="restart", label="restart it now"),
        )
        hint = "higher = killed sooner"
        return [
            Field(name="unit", label="Service", kind="choice", options=options, initial=meant),
            Field(
                name="value",
                label="OOMScoreAdjust",
                kind="number",
                hint=hint,
                lowest=LOWEST,
                highest=HIGHEST,
            ),
            Field(name="running", label="What runs now", kind="choice", options=running, initial="write"),
        ]

    def parse(self, values: Json) -> Params:
        """Take `unit`, `value` and `running` of the form."""
        unit, running = str(values.get("unit") or ""), str(values.get("running") or "write")
        value, problems = scores.value_of(values.get("value")), []
        if guards.not_a_service(unit):
            problems.append("unit: The full name of a service, such as api.service.")
        if value is None:
            problems.append("value: A whole number from -1000 to 1000.")
        if running not in ("write", "restart"):
            problems.append("running: Choose one of the two.")
        if problems:
            raise ConfigError(problems)
        return Params(unit=unit, value=value, restart=running == "restart")

    def suggest(self, kill: OomKill, snapshot: HostSnapshot) -> Params | None:
        """Where the whole host ran out: let the culprit's service go first from now on."""
        live = oom_score_adj.REMEDIATION.suggest(kill, snapshot) if kill.scope == "global" else None
        culprit = next((p for p in snapshot.processes if live is not None and p.pid == live.pid), None)
        unit = scores.unit_of(culprit.cgroup) if culprit is not None else ""
        if guards.not_a_service(unit) or not snapshot.has_systemd:
            return None
        return Params(unit=unit, value=FIRST_TO_GO)

    def look(self, params: Params, snapshot: HostSnapshot) -> Look:
        """The service with its files and processes, and the limits that a daemon-reload would arm."""
        return Look(parts=("unit", "pending", "kernel"), unit=params.unit)

    def inspect(self, params: Params, snapshot: HostSnapshot) -> Seen:
        """Find the service, what systemd holds for it, and our drop-in."""
        unit, why = snapshot.details.unit, "; ".join(snapshot.details.problems)
        if unit is None:
            raise RefusedError(
                f"{params.unit} on {snapshot.host} could not be read: {why or 'the host did not say why'}"
            )
        if unit.oom_score_adjust is None and unit.load_state == "loaded":
            raise RefusedError(f"systemd of {snapshot.host} does not say the OOMScoreAdjust of {unit.name}.")
        text = next((file.text for file in unit.files if file.path == scores.drop_in(unit.name)), None)
        held = unit.oom_score_adjust or 0
        return Seen(unit=unit, held=held, text=text, details=snapshot.details, snapshot=snapshot)

    def preflight(self, params: Params, seen: Seen, policy: Policy) -> list[Check]:
        """A service that a drop-in of ours decides about, in a host where a daemon-reload arms nothing."""
        unit, snapshot = seen.unit, seen.snapshot
        why = guards.not_a_service(params.unit) or _unable(params, unit)
        checks = [Check(ok=snapshot.has_systemd, text="systemd runs here"), *guards.access(snapshot)]
        checks.append(Check(ok=not why, text=why or f"{unit.name} is a loaded service with a unit file"))
        if why:
            return checks
        checks += [guards.untouchable(unit.name, policy), *_file_checks(params, seen), *_members(seen)]
        if params.value is not None:
            comms = {member.comm for member in unit.members}
            checks += scores.value_checks(params.value, comms, unit.name, policy)
        checks.append(_exposed(params, seen, policy))
        checks += guards.waiting(seen.details, "daemon-reload", in_files=True)
        return checks + (_restart_checks(seen, policy) if params.restart else [])

    def title(self, params: Params, seen: Seen) -> str:
        """Name the service, the value, and what becomes of what runs."""
        if params.value is None:
            return f"Take OOMScoreAdjust={params.back_from} of {params.unit} away"
        now = ", and restart it" if params.restart else ""
        return f"Set OOMScoreAdjust of {params.unit} to {params.value} for good{now}"

    def target(self, params: Params, seen: Seen) -> str:
        """The service with its processes."""
        runs = scores.named((member.comm, member.pid) for member in seen.unit.members)
        return f"{seen.unit.name}, {seen.unit.active_state}: {runs or 'no process'}"

    def unit(self, params: Params, seen: Seen) -> str:
        """The service."""
        return seen.unit.name

    def state(self, params: Params, seen: Seen) -> str:
        """What systemd holds, our drop-in, and what /proc shows of every process."""
        own = seen.ours["value"] if seen.ours is not None else None if seen.text is None else "not its own"
        return _reads(params.unit, seen.held, own, seen.adjs)

    def wanted(self, params: Params, seen: Seen) -> str:
        """The value in all three places; or, the drop-in taken away, what was there without it."""
        held = params.back_to or 0 if params.value is None else params.value
        own = None if params.value is None else str(params.value)
        return _reads(params.unit, held, own, {} if params.restart else _aims(params, seen))

    def risk(self, params: Params, seen: Seen) -> tuple[Risk, str]:
        """It outlives a reboot: red."""
        lowered = any(value < seen.adjs[pid] for pid, value in _aims(params, seen).items())
        also = ", and it ends a running service" if params.restart else ""
        also += ", and it lowers a score, so somebody else is killed in its place" if lowered else ""
        return "red", f"it outlives a reboot{also}"

    def lasts(self, params: Params, seen: Seen) -> tuple[Lasts, str]:
        """For good."""
        return "good", "for good: what runs has it at once, and every start from now on sets it"

    def plan(self, params: Params, seen: Seen, tag: str) -> list[Step]:
        """The drop-in, then every process, or a restart; each undone by what was seen."""
        steps = _file_steps(params, seen, tag)
        if params.restart:
            return steps + (
                _restart_steps(seen) if steps or self.state(params, seen) != self.wanted(params, seen) else []
            )
        aims = _aims(params, seen)
        return steps + [
            scores.step(member, aims[member.pid])
            for member in seen.unit.members
            if member.oom_score_adj != aims[member.pid]
        ]

    def back(self, plan: Plan) -> Params | None:
        """The drop-in that was there before, or none; then what still has our value gets what systemd held."""
        params, first = Params(**plan.params), plan.steps[0]
        if first.do.argv[0] == "remove-adjust":
            return Params(unit=params.unit, value=int(first.do.argv[4]))
        if first.do.argv[0] != "write-adjust" or first.undo is None:
            return None
        if first.undo.argv[0] == "write-adjust":
            return Params(unit=params.unit, value=int(first.undo.argv[8]))
        return Params(unit=params.unit, value=None, back_from=params.value, back_to=int(first.do.argv[6]))

    def moved(self, plan: Plan, seen: Seen) -> str:
        """A changed process has ended, or others have come since, with the value that the drop-in gave them."""
        changed = scores.processes_of(plan.steps)
        now = {(member.pid, member.start_ticks) for member in seen.unit.members}
        if changed == now or (changed <= now and not plan.before.endswith(NO_OTHER)):
            return ""
        return f"{seen.unit.name} has not the same processes any more"

    def effect(self, params: Params, seen: Seen) -> list[str]:
        """Who the kernel would take next, before and after; which processes change; what a restart does."""
        said = scores.next_victims(seen.snapshot, _aims(params, seen))
        if params.restart:
            return said + restart_service.REMEDIATION.effect(_restart(seen), _as_restarted(seen))
        return [*said, scores.followers(seen.snapshot, set(seen.adjs))]

    def evidence(self, params: Params, seen: Seen) -> list[Exhibit]:
        """What systemctl shows, which says nothing of what runs."""
        unit = seen.unit
        text = f"OOMScoreAdjust={seen.held}\nDropInPaths={' '.join(unit.drop_in_paths)}"
        label = f"systemctl show -p OOMScoreAdjust,DropInPaths -- {shlex.quote(unit.name)}"
        return [Exhibit(label=label, text=text)]

    def disproved(self, plan: Plan, seen: Seen) -> list[str]:
        """That a restart which belongs to the plan has brought a new run that stands."""
        restart = tuple(step for step in plan.steps if step.do.argv[0] == "restart-unit")
        if not restart:
            return []
        return restart_service.REMEDIATION.disproved(replace(plan, steps=restart), _as_restarted(seen))

    def undoable(self, plan: Plan, seen: Seen) -> list[Check]:
        """The way back is a daemon-reload, too."""
        return guards.waiting(seen.details, "daemon-reload", in_files=True)


def _reads(unit: str, held: int, own: str | None, adjs: dict[int, int]) -> str:
    drop_in = "no drop-in of oombot" if own is None else f"drop-in of oombot: {own}"
    others = set(adjs.values()) - {held}
    live = f"its processes have {scores.shown(adjs)}" if others else NO_OTHER
    return f"OOMScoreAdjust of {unit}: {held} ({drop_in}), {live}"


def _aims(params: Params, seen: Seen) -> dict[int, int]:
    """What each process is to have afterwards."""
    if params.value is not None:
        return dict.fromkeys(seen.adjs, params.value)
    back = params.back_to or 0
    return {pid: back if adj == params.back_from else adj for pid, adj in seen.adjs.items()}


def _unable(params: Params, unit: UnitDetails) -> str:
    """Why a drop-in could not decide about it; "" where it can."""
    if unit.load_state != "loaded":
        return f"{params.unit} is {unit.load_state}: systemd has no such service to set it for"
    if unit.name != params.unit:
        return f"{params.unit} is another name of {unit.name}: ask for that"
    if unit.transient or unit.generated or not unit.fragment_path:
        kind = "transient" if unit.transient else "generated" if unit.generated else "without a unit file"
        return f"{unit.name} is {kind}: what made it decides its score, set it there"
    if unit.main_pid and not unit.control_group:
        return f"{unit.name} has no cgroup: its processes can not be found"
    return ""


def _file_checks(params: Params, seen: Seen) -> list[Check]:
    """That the drop-in is ours or none, and that no later one decides instead."""
    path, unit = scores.drop_in(seen.unit.name), seen.unit
    foreign = seen.text is not None and seen.ours is None
    text = f"{path} is {'not as oombot writes it: it is left alone' if foreign else 'free, or of oombot'}"
    checks = [Check(ok=not foreign, text=text)]
    texts = {file.path: file.text for file in unit.files}
    for other in unit.drop_in_paths:
        later = other != path and other.rpartition("/")[2] >= scores.FILE
        if later and _decides(texts.get(other)) and params.value is not None:
            checks.append(Check(ok=False, text=f"{other} is read after it and would override it"))
    if unit.need_daemon_reload:
        text = f"files of {unit.name} were changed by somebody else: the daemon-reload makes them count, too"
        checks.append(Check(ok=None, text=text))
    return checks


def _decides(text: str | None) -> bool:
    """Whether a drop-in sets the score; one that was not read may."""
    return text is None or re.search(r"^\s*OOMScoreAdjust\s*=", text, re.MULTILINE) is not None


def _exposed(params: Params, seen: Seen, policy: Policy) -> Check:
    """That no protected unit becomes the next victim; the way back to what was there before only warns of it."""
    check = scores.exposed(seen.snapshot, _aims(params, seen), policy)
    return replace(check, ok=None) if params.value is None and check.ok is False else check


def _members(seen: Seen) -> list[Check]:
    unread = [member.pid for member in seen.unit.members if member.oom_score_adj is None]
    ours = seen.snapshot.own_pids & set(seen.adjs)
    return [
        scores.few_enough(len(seen.unit.members)),
        Check(
            ok=not unread,
            text=f"the score of each was read{', but not of ' if unread else ''}{scores.pids(unread)}",
        ),
        Check(ok=not ours, text="it is not oombot's own connection"),
    ]


def _file_steps(params: Params, seen: Seen, tag: str) -> list[Step]:
    """Write or remove the drop-in, each with the reload; nothing where it stands and systemd has read it."""
    unit, ours = seen.unit.name, seen.ours
    was = ours["value"] if ours is not None else "ABSENT"
    if params.value is None:
        if ours is None:
            return []
        do, undo = (
            scores.removal(unit, was),
            scores.writing(unit, "ABSENT", params.back_to or 0, int(was), ours["tag"]),
        )
        return [scores.file_step("so that its own files decide again at its next start", unit, do, undo)]
    if was == str(params.value) and seen.held == params.value:
        return []
    do, undo = (
        scores.writing(unit, was, seen.held, params.value, tag),
        scores.removal(unit, str(params.value)),
    )
    if ours is not None:
        undo = scores.writing(unit, str(params.value), params.value, int(was), ours["tag"])
    return [scores.file_step("so that every start from now on sets it", unit, do, undo)]


def _restart(seen: Seen) -> restart_service.Params:
    return restart_service.Params(unit=seen.unit.name, running=True)


def _as_restarted(seen: Seen) -> restart_service.Seen:
    return restart_service.Seen(unit=seen.unit, details=seen.details, snapshot=seen.snapshot)


def _restart_steps(seen: Seen) -> list[Step]:
    return restart_service.REMEDIATION.plan(_restart(seen), _as_restarted(seen), "")


def _restart_checks(seen: Seen, policy: Policy) -> list[Check]:
    """Those of a restart; those of the host stand there already."""
    active = Check(ok=seen.unit.active_state == "active", text="it runs: only then it can be restarted")
    checks = restart_service.REMEDIATION.preflight(_restart(seen), _as_restarted(seen), policy)
    return [active, *(check for check in checks if check not in guards.access(seen.snapshot))]


REMEDIATION = OomScoreAdjustUnit()
