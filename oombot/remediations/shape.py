"""The shape of a remediation: inspect → plan → apply → verify → undo, where only the first two and verify are its own.

Apply and undo are written once, in the engine: each step carries its command and its undo, decided while
planning from what was seen.
"""

from typing import Any, Protocol

from oombot.config import Policy
from oombot.model import Check, HostSnapshot, Json, OomKill, Plan, Step


class Remediation(Protocol):
    """A fix. `params` is the frozen dataclass a human approves; `seen` is what `inspect` found."""

    @property
    def name(self) -> str:
        """Equal to the file name."""
        ...

    @property
    def params(self) -> type[Any]:
        """The dataclass of its parameters: plain values only, since they are stored as JSON."""
        ...

    @property
    def lasts(self) -> str:
        """How long the change lasts, in words."""
        ...

    @property
    def mitigation(self) -> bool:
        """True when it moves the pain elsewhere instead of mending the cause; the card says so."""
        ...

    def parse(self, values: Json) -> Any:
        """Parameters from a form's fields; ConfigError names each wrong field as `block id: sentence`."""
        ...

    def suggest(self, kill: OomKill, snapshot: HostSnapshot) -> Any | None:
        """Parameters worth offering after this kill, or None where it can not help."""
        ...

    def inspect(self, params: Any, snapshot: HostSnapshot) -> Any:
        """Find the target in the snapshot; RefusedError when it is not there (any more)."""
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

    def state(self, params: Any, seen: Any) -> str:
        """The current value of what it changes, as shown and as compared."""
        ...

    def wanted(self, params: Any) -> str:
        """What `state` must read afterwards."""
        ...

    def risk(self, params: Any, seen: Any) -> str:
        """The tier of the plan: amber or red."""
        ...

    def plan(self, params: Any, seen: Any) -> list[Step]:
        """The changes; an empty list means already right."""
        ...

    def back(self, plan: Plan) -> Any:
        """Parameters that lead back to what was there before `plan`, wherever things stand now."""
        ...

    def effect(self, params: Any, seen: Any) -> list[str]:
        """What is predicted to be different afterwards, in sentences."""
        ...

    def verify(self, params: Any, before: Any, after: Any) -> list[str]:
        """Problems left after the change, beyond `state` differing from `wanted`; empty means verified."""
        ...
