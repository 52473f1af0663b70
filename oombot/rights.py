"""What the configuration says about who may change what: the model of `policy:`. The rulings are in policy.py."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

UserId = Annotated[str, StringConstraints(pattern=r"^[UW][A-Z0-9]{2,20}$")]
GroupId = Annotated[str, StringConstraints(pattern=r"^S[A-Z0-9]{2,20}$")]
Account = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")]
RuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,60}$")]
Action = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z][a-z0-9_]{0,40})$")]
HostPattern = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:*?,\[\]-]{1,200}$")]
Tier = Literal["amber", "red"]
TIERS: Final[tuple[Tier, ...]] = ("amber", "red")
# a host can not be reached or run without these: no plan may make them the next victim, cap or restart them
PROTECTED: Final = (
    "ssh.service",
    "sshd.service",
    "ssh@*",
    "sshd@*",
    "systemd-*",
    "dbus*",
    "init.scope",
    "polkit.service",
)


class Strict(BaseModel):
    """Frozen, with no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Approvers(Strict):
    """People, by Slack user id or user group. Nobody is named: nobody is meant."""

    users: tuple[UserId, ...] = ()
    groups: tuple[GroupId, ...] = ()  # Slack user groups, looked up at every press; a failed look-up refuses

    @property
    def nobody(self) -> bool:
        """Whether nobody is named."""
        return not (self.users or self.groups)

    def name(self, user_id: str, groups: frozenset[str]) -> bool:
        """Whether the user is named, or is in a named group (`groups`: those the user was found in just now)."""
        return user_id in self.users or bool(groups & set(self.groups))


class Rule(Strict):
    """Who may ask for and approve what, where. Every rule that matches a plan must agree; a deny rule wins."""

    name: RuleName = ""  # in every answer that it decides; default: its place, policy.rules.0
    actions: tuple[Action, ...] = ("*",)  # remedies by name
    hosts: tuple[HostPattern, ...] = ("fleet",)  # as /oom takes them: web*, group:db, tag:prod
    tiers: tuple[Tier, ...] = TIERS
    ask: Approvers = Approvers()  # nobody named: every full member of the workspace
    approve: Approvers = Approvers()
    approvals: Literal[1, 2] = 1  # how many different people
    own: bool = Field(default=False, alias="self")  # whether who asked may be one of them
    deny: bool = False  # refuses; where people are named under ask or approve, only them


class Limits(Strict):
    """How much may be changed in what time; an undo is never held up by them."""

    max_changes_per_host_per_day: int = Field(default=20, ge=1, le=10_000)
    max_hosts_changed_per_hour: int = Field(default=10, ge=1, le=10_000)
    restarts_per_unit: int = Field(default=2, ge=1, le=100)  # in ten minutes


class Policy(Strict):
    """What an approval needs."""

    approvers: Approvers = Approvers()  # the short form of a rule for everything
    second_person: Literal["always", "red", "never"] = "always"  # of the short form: when both must differ
    rules: tuple[Rule, ...] = ()
    red_on: tuple[HostPattern, ...] = ()  # hosts on which amber counts as red
    limits: Limits = Limits()
    accounts: Mapping[Account, UserId] = Field(
        default_factory=dict
    )  # who a Unix account is, for `oombot approve`
    approve_within_s: int = Field(default=900, ge=30, le=86400)  # counted from the request
    run_within_s: int = Field(default=60, ge=5, le=3600)  # counted from the approval
    adj_below_minus_900: tuple[str, ...] = ()  # process names, or units, that may get -900 and less
    adj_minus_1000: bool = False  # whether -1000 (never killed) may be asked for at all
    protected: tuple[str, ...] = ()  # globs of more units that are never touched, besides PROTECTED
    drop_caches: bool = False  # whether the host-wide drop of caches may be asked for
    swap_folder: str = "/"  # where swap files are put, when nobody says otherwise
    swap_max_mib: int = Field(default=16384, ge=64, le=1 << 22)  # of all swap files of ours on a host
    swap_reserve_mib: int = Field(default=2048, ge=0, le=1 << 22)  # of the disk, must stay free besides 10 %

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """Every rule by its name, those that the short form stands for first."""
        written = tuple(
            rule if rule.name else rule.model_copy(update={"name": f"policy.rules.{index}"})
            for index, rule in enumerate(self.rules)
        )
        return (*self._short, *written)

    @property
    def _short(self) -> tuple[Rule, ...]:
        if self.approvers.nobody:
            return ()
        own = {"always": (), "red": ("amber",), "never": TIERS}[self.second_person]
        return tuple(
            Rule.model_construct(
                name="policy.approvers",
                actions=("*",),
                hosts=("fleet",),
                tiers=(tier,),
                ask=Approvers(),
                approve=self.approvers,
                approvals=1,
                own=tier in own,
                deny=False,
            )
            for tier in TIERS
        )

    @property
    def people(self) -> Approvers:
        """Everybody who may approve anything."""
        named = [rule.approve for rule in self.all_rules if not rule.deny]
        users = dict.fromkeys(user for one in named for user in one.users)
        groups = dict.fromkeys(group for one in named for group in one.groups)
        return Approvers(users=tuple(users), groups=tuple(groups))
