"""What a person approves, as frozen values: a plan of steps, the request that carries it, the trail it leaves.

Times ending in `_s` are seconds since the Unix epoch (UTC) unless the name says otherwise.
"""

from dataclasses import dataclass, field
from typing import Literal

from oombot.model import Command, Json

Risk = Literal["green", "amber", "red", "black"]
Lasts = Literal["process", "boot", "good"]  # until the process exits, until the next boot, for good


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change: why, the command, its undo (decided now, from what was seen) and how a person does it by hand.

    `do` and `undo` are verbs of the host helper or binaries of its closed list; `by_hand` is one copyable line.
    """

    why: str
    do: Command
    undo: Command | None
    by_hand: str
    undo_by_hand: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One preflight tick or cross, in a sentence; `ok` None is a warning that does not refuse."""

    ok: bool | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """What a command of the host shows, as evidence: `free -h`, `swapon --show`."""

    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a human approves, immutable once stored.

    `target` is shown to people; `digest` binds host, boot, remediation, params and every do/undo (SHA-256 hex).
    `unit` is the unit that is changed, "" where it is none or the whole host: rules and limits go by it.
    `back_after_s`: a timer on the host puts everything back so many seconds after the run; None = it stays.
    """

    host: str
    boot_id: str | None
    remediation: str
    params: Json
    title: str
    target: str
    steps: tuple[Step, ...]
    checks: tuple[Check, ...]
    effect: tuple[str, ...]
    before: str
    after: str
    lasts: str
    risk: Risk
    mitigation: bool
    digest: str
    lasting: Lasts = "process"
    risk_why: str = ""
    unit: str = ""
    back_after_s: int | None = None
    evidence: tuple[Exhibit, ...] = ()
    settle_s: float = 0.2  # how long the host is given before it is read back
    key_fp: str | None = None  # SHA-256 of the host key that was met; None where that is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who acts: a Slack user. `account`: through this Unix account, which `policy.accounts` says is theirs."""

    user_id: str
    team_id: str = ""
    name: str = ""
    account: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A plan on its way through people: who asked, who decided, what came of it.

    `states` are those of lifecycle.py. `undo_of` points back to the request that this one undoes.
    `evidence` holds the helper's result and the read-back, as JSON, once there is one.
    """

    id: str
    state: str
    plan: Plan
    requester: str
    created_s: float
    expires_s: float
    incident_id: str | None = None
    undo_of: str | None = None
    approver: str | None = None  # whose approval was the last one needed
    decided_s: float | None = None
    evidence: Json = field(default_factory=dict)
    channel: str = ""
    approvals: int = 1  # how many different people must approve
    voters: tuple[str, ...] = ()  # who has, so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What became of one press on Approve, and the request as it stands now.

    counted: one more is needed; complete: it was the last one, and the request is approved; again: the same person's
    second press, which changed nothing; late: the request was not pending any more, or had expired.
    """

    outcome: Literal["counted", "complete", "again", "late"]
    request: Request | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who runs a change on a host: one at a time. `fence` grows with every owner; an old one writes nothing."""

    host: str
    request_id: str
    owner: str
    fence: int
    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Whether a run may begin: with its lease, or who holds the host, a freeze or a limit; else it had moved."""

    lease: Lease | None = None
    busy: Request | None = None
    refused: str = ""
    frozen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """Nothing is changed anywhere until an approver says so. `flag`: a file on the bot's own machine says it."""

    person: str
    reason: str
    at_s: float
    flag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """One line of the audit trail: every transition and every refused press."""

    at_s: float
    request_id: str
    actor: str
    event: str
    state_from: str
    state_to: str
    data: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailLine:
    """An audit line with its place in the chain: `hash` is over all of it and the hash of the line before."""

    seq: int
    prev_hash: str
    hash: str
    audit: Audit
