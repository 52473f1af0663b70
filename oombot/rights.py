"""What the configuration says about who may change what: the model of `policy:`. The rulings are in policy.py."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

UserId = Annotated[str, StringConstraints(pattern=r"^[UW][A-Z0-9]{2,20}$")]
GroupId = Annotated[str, StringConstraints(pattern=r"^S[A-Z0-9]{2,20}$")]
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
    """Who may approve. Nobody is named: nobody may."""

    users: tuple[UserId, ...] = ()
    groups: tuple[GroupId, ...] = ()  # Slack user groups, looked up at every press; a failed look-up refuses


class Policy(Strict):
    """What an approval needs."""

    approvers: Approvers = Approvers()
    second_person: Literal["always", "red", "never"] = "always"  # when approver and requester must differ
    approve_within_s: int = Field(default=900, ge=30, le=86400)  # counted from the request
    run_within_s: int = Field(default=60, ge=5, le=3600)  # counted from the approval
    adj_below_minus_900: tuple[str, ...] = ()  # process names, or units, that may get -900 and less
    adj_minus_1000: bool = False  # whether -1000 (never killed) may be asked for at all
    protected: tuple[str, ...] = ()  # globs of more units that are never touched, besides PROTECTED
    drop_caches: bool = False  # whether the host-wide drop of caches may be asked for
    swap_folder: str = "/"  # where swap files are put, when nobody says otherwise
    swap_max_mib: int = Field(default=16384, ge=64, le=1 << 22)  # of all swap files of ours on a host
