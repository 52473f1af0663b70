"""The shape of a remediation: look → inspect → plan → apply → verify → undo, where apply and undo are not its own.

Apply and undo are written once, in the engine: each step carries its command and its undo, decided while
planning from what was seen. A form, too, is drawn by the engine from `fields`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from oombot.details import Look
from oombot.model import HostSnapshot, Json, OomKill
from oombot.proposals import Check, Exhibit, Lasts, Plan, Risk, Step
from oombot.rights import Policy
from oombot.scores import unit_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One choice of a field; `value` is stored, `label` is read by people."""

    value: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One input of the form. Its `name` is the key in what `parse` is given, and the block that a mistake stands at.

    choice: one of `options` (at most 100); number: a whole number from `lowest` to `highest`; text: one line.
    `initial` is the value that stands there first (for a choice: the value of an option).
    """

    name: str
    label: str
    kind: Literal["choice", "number", "text"]
    hint: str = ""
    options: tuple[Option, ...] = ()
    initial: str = ""
    optional: bool = False
    lowest: int | None = None
    highest: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a person asked about, or what a kill points at: a process, a unit, both or neither (the whole host)."""

    pid: int | None = None
    start_ticks: int | None = None
    unit: str = ""

    def unit_in(self, snapshot: HostSnapshot) -> str:
        """The unit that is meant, by its name or as that of the process; "" where there is none."""
        process = next((one for one in snapshot.processes if one.pid == self.pid), None)
        return self.unit or (unit_of(process.cgroup) if process is not None else "")


class Usual:
    """What most remediations answer; one that inherits from it says only what it knows better."""

    settle_s: float = 0.2
    timed: bool = True
    replayable: bool = False

    def look(self, params: Any, snapshot: HostSnapshot) -> Look:
        """The reading says it all."""
        return Look()

    def evidence(self, params: Any, seen: Any) -> list[Exhibit]:
        """The read-back is the evidence."""
        return []

    def witness(self, params: Any, seen: Any) -> Json:
        """Nothing besides the state."""
        return {}

    def verify(self, params: Any, witness: Json, after: Any) -> list[str]:
        """The state is the proof."""
        return []

    def disproved(self, plan: Plan, seen: Any) -> list[str]:
        """The state is the proof."""
        return []

    def undoable(self, plan: Plan, seen: Any) -> list[Check]:
        """Nothing stands in the way."""
        return []

    def moved(self, plan: Plan, seen: Any) -> str:
        """The target is what it was."""
        return ""


class Remediation(Protocol):
    """A fix. `params` is the frozen dataclass a human approves; `seen` is what `inspect` found."""

    @property
    def name(self) -> str:
        """Equal to the file name."""
        ...

    @property
    def label(self) -> str:
        """What the menu calls it, in a few words."""
        ...

    @property
    def summary(self) -> str:
        """What it is good for, in one sentence for the menu."""
        ...

    @property
    def params(self) -> type[Any]:
        """The dataclass of its parameters: plain values only, since they are stored as JSON."""
        ...

    @property
    def mitigation(self) -> bool:
        """True when it moves the pain elsewhere instead of mending the cause; the card says so."""
        ...

    @property
    def settle_s(self) -> float:
        """How long the host is given between the run and the read-back."""
        ...

    @property
    def replayable(self) -> bool:
        """Whether a host that is replayed from a recording can show it: by set-adj, and without a closer look."""
        ...

    @property
    def timed(self) -> bool:
        """Whether it can be asked for a while only, and be put back by a timer on the host."""
        ...

    def unfit(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> str:
        """Why it can not work here, as a sentence; "" where it may. A reading without details is enough for it."""
        ...

    def fields(self, snapshot: HostSnapshot, target: Target, policy: Policy) -> Sequence[Field]:
        """The form, filled in for the target as far as an ordinary reading allows."""
        ...

    def parse(self, values: Json) -> Any:
        """Parameters from the form's fields; ConfigError names each wrong field as `field: sentence`."""
        ...

    def suggest(self, kill: OomKill, snapshot: HostSnapshot) -> Any | None:
        """Parameters worth offering after this kill, or None where it can not help."""
        ...

    def look(self, params: Any, snapshot: HostSnapshot) -> Look:
        """What it needs to know besides the reading; `Look()` for nothing."""
        ...

    def inspect(self, params: Any, snapshot: HostSnapshot) -> Any:
        """Find the target in the snapshot and its details; RefusedError when it is not there (any more)."""
        ...

    def preflight(self, params: Any, seen: Any, policy: Policy) -> list[Check]:
        """Every guard rail with its result; one `ok=False` refuses."""
        ...

    def title(self, params: Any, seen: Any) -> str:
        """What will be done, as a short imperative."""
        ...

    def target(self, params: Any, seen: Any) -> str:
        """What it is done to, so that a person recognises it."""
        ...

    def unit(self, params: Any, seen: Any) -> str:
        """The unit that it changes, for rules and limits; "" for the whole host or a process of none."""
        ...

    def state(self, params: Any, seen: Any) -> str:
        """The current value of what it changes, as shown and as compared."""
        ...

    def wanted(self, params: Any, seen: Any) -> str:
        """What `state` must read afterwards."""
        ...

    def risk(self, params: Any, seen: Any) -> tuple[Risk, str]:
        """The tier of the plan, and why in a few words; black plans are refused for everybody."""
        ...

    def lasts(self, params: Any, seen: Any) -> tuple[Lasts, str]:
        """How long the change lasts: the kind, and in words."""
        ...

    def plan(self, params: Any, seen: Any, tag: str) -> list[Step]:
        """The changes; an empty list means already right. `tag` is the request's id, for what is left on the host."""
        ...

    def back(self, plan: Plan) -> Any | None:
        """Parameters that lead back to what was before `plan`, wherever things stand now; None = there are none."""
        ...

    def effect(self, params: Any, seen: Any) -> list[str]:
        """What is predicted to be different afterwards, in sentences."""
        ...

    def evidence(self, params: Any, seen: Any) -> list[Exhibit]:
        """What the host itself shows, before and after; often nothing."""
        ...

    def witness(self, params: Any, seen: Any) -> Json:
        """What `verify` must know of the time before the change: plain values, kept in the store before the first step,
        since neither a lost link nor a restart of the bot may cost the proof."""
        ...

    def verify(self, params: Any, witness: Json, after: Any) -> list[str]:
        """Problems left after the change, beyond `state` differing from `wanted`; empty means verified.

        RefusedError where the host does not show it: then it is unverified.
        """
        ...

    def disproved(self, plan: Plan, seen: Any) -> list[str]:
        """Problems of the read-back that show against the plan itself, so that a crash of the bot hides none."""
        ...

    def undoable(self, plan: Plan, seen: Any) -> list[Check]:
        """Guard rails of the way back, on a fresh look; one `ok=False` refuses the undo."""
        ...

    def moved(self, plan: Plan, seen: Any) -> str:
        """What has changed since about the target, so that the plan's own undo does not fit it any more; "" = nothing.

        Then the undo is planned afresh, from `back`.
        """
        ...
