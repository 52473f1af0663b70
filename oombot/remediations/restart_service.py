"""Restart a service, or start one that is down, and see whether it stands."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from oombot import guards, scores
from oombot.details import Details, Look, UnitDetails, is_unit
from oombot.errors import ConfigError, RefusedError
from oombot.model import Command, HostSnapshot, Json, OomKill, Unit
from oombot.proposals import Check, Exhibit, Lasts, Plan, Risk, Step
from oombot.remediations.shape import Field, Option, Target, Usual
from oombot.rights import Policy

STANDS_S = 15  # so long a service must have been active (data/oombot_restart.py waits for it)
KILLED_BY_IT_S = 30.0  # a service that went down so soon after a kill went down by it
RESTING = ("active", "failed", "inactive")
DOWN = ("failed", "inactive")
POLICIES = {
    "stop": "when the kernel kills one of its processes, systemd stops the others",
    "kill": "when the kernel kills one of its processes, it kills all of them",
    "continue": "when the kernel kills one of its processes, the others go on",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The service, and whether it is to be restarted although it runs."""

    unit: str
    running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The service as systemd tells of it, in its host."""

    unit: UnitDetails
    details: Details
    snapshot: HostSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartService(Usual):
    """The remediation; see shape.py for what each part means."""

    name: str = "restart_service"
    label: str = "Restart a service"
    summary: str = "Start a service that stayed down, or restart one whose memory only grows."
    params: type[Params] = Params
    mitigation: bool = True
    timed: bool = False

    def unfit(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> str:
        """It is for services of the host's systemd that are not protected."""
        unit = target.unit_in(snapshot)
        if not snapshot.has_systemd:
            return "systemd does not run here"
        if target.pid is not None and not unit:
            return f"process {target.pid} belongs to no service of systemd"
        return _misnamed(unit, policy) if unit else ""

    def fields(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> list[Field]:
        """The service, those that are down first, and whether it may run."""
        meant = target.unit_in(snapshot)
        listed = sorted(
            (unit for unit in snapshot.units if not _misnamed(unit.name, policy)),
            key=lambda unit: (unit.name != meant, unit.active_state != "failed", unit.name),
        )
        options = [Option(value=unit.name, label=f"{unit.name} ({unit.active_state})") for unit in listed]
        if meant and meant not in [option.value for option in options]:
            options.insert(0, Option(value=meant, label=meant))
        runs = any(unit.name == meant and unit.active_state == "active" for unit in snapshot.units)
        when = (
            Option(value="down", label="only if it is down"),
            Option(value="running", label="also if it runs"),
        )
        return [
            Field(name="unit", label="Service", kind="choice", options=tuple(options[:100]), initial=meant),
            Field(
                name="when",
                label="When",
                kind="choice",
                options=when,
                initial="running" if runs else "down",
                hint="A restart ends every process of the service, and what it was doing.",
            ),
        ]

    def parse(self, values: Json) -> Params:
        """Take `unit` and `when` of the form."""
        unit, when = str(values.get("unit") or ""), str(values.get("when") or "")
        problems = []
        if not is_unit(unit) or not unit.endswith(".service"):
            problems.append("unit: The full name of a service, such as api.service.")
        if when not in ("down", "running"):
            problems.append("when: Choose one of the two.")
        if problems:
            raise ConfigError(problems)
        return Params(unit=unit, running=when == "running")

    def suggest(self, kill: OomKill, snapshot: HostSnapshot) -> Params | None:
        """Offer to start the victim's service where it stayed down; never one that systemd has brought back."""
        name = scores.unit_of(kill.task_memcg)
        unit = next((unit for unit in snapshot.units if unit.name == name), None)
        if unit is None or _misnamed(name, Policy()) or not _stayed_down(unit, kill):
            return None
        return Params(unit=name)

    def look(self, params: Params, snapshot: HostSnapshot) -> Look:
        """The service, the limits that wait to be set, and the kernel."""
        return Look(parts=("unit", "pending", "kernel"), unit=params.unit)

    def inspect(self, params: Params, snapshot: HostSnapshot) -> Seen:
        """Find the service; an alias leads to its own name."""
        unit = snapshot.details.unit
        if unit is None:
            why = "; ".join(snapshot.details.problems) or "the host did not say why"
            raise RefusedError(f"{params.unit} on {snapshot.host} could not be read: {why}")
        return Seen(unit=unit, details=snapshot.details, snapshot=snapshot)

    def preflight(self, params: Params, seen: Seen, policy: Policy) -> list[Check]:
        """A service that may be restarted by hand, is at rest, and takes nobody protected along."""
        unit = seen.unit
        checks = guards.access(seen.snapshot)
        why = _misnamed(params.unit, policy) or _misnamed(unit.name, policy) or _unable(unit)
        checks.append(Check(ok=not why, text=why or f"{unit.name} is a loaded service and not protected"))
        if not why:
            checks += [*_at_rest(unit), _ours(seen)]
            checks += _along(unit, policy)
            checks += guards.waiting(seen.details, "start", but=unit.name)
            checks.append(_start_limit(unit))
        return checks

    def title(self, params: Params, seen: Seen) -> str:
        """Name the service, and whether it runs."""
        verb = "Start" if seen.unit.active_state in DOWN else "Restart"
        return f"{verb} {seen.unit.name}"

    def target(self, params: Params, seen: Seen) -> str:
        """The service, as it stands."""
        unit = seen.unit
        within = unit.result if unit.active_state == "failed" else unit.sub_state
        return f"{unit.name}, {unit.active_state} ({within})"

    def unit(self, params: Params, seen: Seen) -> str:
        """The service."""
        return seen.unit.name

    def state(self, params: Params, seen: Seen) -> str:
        """What systemd says of it; a oneshot service is well when it ran to its end, too."""
        unit = seen.unit
        if unit.type == "oneshot" and unit.active_state in ("active", "inactive"):
            return f"{unit.name} (oneshot): not failed"
        return f"{unit.name}: {unit.active_state}"

    def wanted(self, params: Params, seen: Seen) -> str:
        """Up, or for a oneshot service not failed."""
        oneshot = seen.unit.type == "oneshot"
        return f"{seen.unit.name} (oneshot): not failed" if oneshot else f"{seen.unit.name}: active"

    def risk(self, params: Params, seen: Seen) -> tuple[Risk, str]:
        """Red as soon as it stops anything that runs now."""
        unit = seen.unit
        if unit.active_state not in DOWN:
            return "red", "it ends a running service"
        if unit.dependants or unit.conflicts:
            return "red", "it stops or restarts other units that run"
        return "amber", f"it starts a service that is {unit.active_state}"

    def lasts(self, params: Params, seen: Seen) -> tuple[Lasts, str]:
        """As long as the service stands."""
        return "process", "until the service ends again; nothing is left behind, and nothing can be put back"

    def plan(self, params: Params, seen: Seen, tag: str) -> list[Step]:
        """One restart, of the very run that was seen; nothing where it was to be done only if it is down."""
        unit = seen.unit
        if unit.active_state == "active" and not params.running:
            return []
        name = ("--unit", unit.name, "--was", unit.invocation_id or "-", "--active", unit.active_state)
        quoted = shlex.quote(unit.name)
        return [
            Step(
                why="so that it runs again, with fresh memory",
                do=Command(argv=("restart-unit", *name), sudo=True),
                undo=None,
                by_hand=f"sudo systemctl reset-failed -- {quoted}; sudo systemctl restart -- {quoted}",
            )
        ]

    def back(self, plan: Plan) -> None:
        """There is no way back from a restart."""
        return

    def effect(self, params: Params, seen: Seen) -> list[str]:
        """What ends, what comes along, and what systemd does about the next kill."""
        unit = seen.unit
        said = []
        if unit.members:
            said.append(f"Ends its processes ({len(unit.members)}), and what they were doing is lost")
        said += [
            f"{what}: {', '.join(names)}"
            for what, names in (
                ("Stopped or restarted along with it", unit.dependants),
                ("Stopped, since it conflicts", unit.conflicts),
                ("Not stopped, but they want or need it", unit.requires_it),
            )
            if names
        ]
        said.append(f"Its memory is freed, and fills again if it leaks ({_after_a_kill(unit)})")
        return [*said, f"Done when its new run has been active for {STANDS_S} s; it can not be undone"]

    def evidence(self, params: Params, seen: Seen) -> list[Exhibit]:
        """What systemctl shows of it."""
        unit = seen.unit
        shown = {
            "ActiveState": unit.active_state,
            "SubState": unit.sub_state,
            "Result": unit.result,
            "InvocationID": unit.invocation_id,
            "MainPID": unit.main_pid or 0,
            "NRestarts": "" if unit.n_restarts is None else unit.n_restarts,
        }
        label = f"systemctl show -p {','.join(shown)} -- {shlex.quote(unit.name)}"
        return [Exhibit(label=label, text="\n".join(f"{name}={value}" for name, value in shown.items()))]

    def disproved(self, plan: Plan, seen: Seen) -> list[str]:
        """That it is another run than the one that was seen, and that systemd did not have to start it again."""
        unit, was = seen.unit, plan.steps[0].do.argv[4]
        if not unit.invocation_id and unit.type == "oneshot":
            raise RefusedError(f"systemd has forgotten when {unit.name} ran: see journalctl -u {unit.name}")
        found = []
        if unit.invocation_id == was:
            found.append(f"its InvocationID is still {was}: it was not restarted")
        if unit.active_state != "active" and unit.result not in ("", "success"):
            found.append(f"it went down again, result {unit.result}")
        elif unit.n_restarts:
            found.append(f"it has died since: systemd restarted it {unit.n_restarts} times (NRestarts)")
        return found


def _misnamed(unit: str, policy: Policy) -> str:
    """Why a unit of this name is never restarted; "" where it may be."""
    if unit.endswith(".scope"):
        return f"{unit} is a scope: systemd did not start its processes, restart them where they were started"
    return guards.why_not_service(unit, policy)


def _unable(unit: UnitDetails) -> str:
    """Why systemd could not restart it, or not without losing it; "" where it can."""
    if unit.load_state != "loaded":
        return f"{unit.name} is {unit.load_state}: systemd can not start it"
    if unit.transient:
        return (
            f"{unit.name} is transient: systemd forgets it as soon as it stops; start it where it was started"
        )
    if unit.refuse_manual_start or unit.refuse_manual_stop:
        return f"{unit.name} refuses to be started or stopped by hand (RefuseManualStart=, RefuseManualStop=)"
    if unit.active_state == "active" and not unit.invocation_id:
        return f"{unit.name} has no InvocationID (systemd before 232): a restart could not be proved"
    return ""


def _at_rest(unit: UnitDetails) -> list[Check]:
    if unit.active_state in RESTING:
        again = (
            "" if unit.n_restarts is None else f"; systemd has restarted it {unit.n_restarts} times by itself"
        )
        return [Check(ok=True, text=f"it is {unit.active_state} ({unit.sub_state}), not on its way{again}")]
    by_itself = " and systemd restarts it by itself" if unit.sub_state.startswith("auto-restart") else ""
    return [
        Check(ok=False, text=f"it is {unit.active_state} ({unit.sub_state}) just now{by_itself}: wait for it")
    ]


def _ours(seen: Seen) -> Check:
    """That the restart does not end the connection that it comes through, nor oombot itself."""
    ours = seen.snapshot.own_pids & {member.pid for member in seen.unit.members}
    text = "oombot's own connection does not run in it"
    return Check(
        ok=not ours, text=text if not ours else "oombot's own connection runs in it and would be cut"
    )


def _along(unit: UnitDetails, policy: Policy) -> list[Check]:
    """What else is stopped or restarted by it: nobody protected may be among those."""
    touched: Sequence[str] = (*unit.dependants, *unit.conflicts)
    if not touched:
        return [Check(ok=True, text="no other unit is stopped or restarted along with it")]
    return [
        Check(ok=False, text=f"{name} would be stopped or restarted along with it, and is protected")
        if guards.is_protected(name, policy)
        else Check(ok=None, text=f"{name} is stopped or restarted along with it")
        for name in touched
    ]


def _start_limit(unit: UnitDetails) -> Check:
    burst, within_s = unit.start_limit_burst, unit.start_limit_interval_s
    if not burst or not within_s:
        return Check(ok=True, text="it has no start limit, or systemd does not tell one")
    hit = " (hit now)" if unit.result == "start-limit-hit" else ""
    return Check(
        ok=True,
        text=f"start limit: {burst} starts in {within_s:g} s{hit}; the count is set back first (reset-failed)",
    )


def _after_a_kill(unit: UnitDetails) -> str:
    """What systemd does at the next kill, in its own settings."""
    policy = unit.oom_policy or "not told"
    said = f"OOMPolicy={policy}" + (f": {POLICIES[policy]}" if policy in POLICIES else "")
    return f"{said}; Restart={unit.restart or 'not told'}"


def _stayed_down(unit: Unit, kill: OomKill) -> bool:
    """Whether it is down by this kill: failed, or at rest since then; not where a person may have stopped it."""
    if unit.active_state == "failed":
        return True
    if unit.active_state != "inactive" or unit.since_s is None or kill.time_s is None:
        return False
    return -1.0 <= unit.since_s - kill.time_s <= KILLED_BY_IT_S


REMEDIATION = RestartService()
