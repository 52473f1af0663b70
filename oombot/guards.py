"""Guard rails that more than one remedy needs, as checks in sentences."""

import fnmatch

from oombot.details import Details, PendingChange, is_unit
from oombot.model import HostSnapshot
from oombot.proposals import Check
from oombot.rights import PROTECTED, Policy


def access(snapshot: HostSnapshot) -> list[Check]:
    """Whether changes that need root can be made at all on this host."""
    checks = [Check(ok=snapshot.has_python, text="the host has python3, which makes the change")]
    if snapshot.acts_as is not None:
        return [*checks, Check(ok=True, text=f"changes go through a login of their own, {snapshot.acts_as}")]
    if snapshot.login_uid in (None, 0):
        return checks
    if snapshot.can_sudo is False:
        fix = "fix: a NOPASSWD rule in sudoers for it, or a root login"
        text = f"no passwordless sudo for the login: a change can not be made; reading works ({fix})"
        return [*checks, Check(ok=False, text=text)]
    if snapshot.can_sudo is None:
        text = "it is not known whether the login may use sudo, which the change needs"
        return [*checks, Check(ok=None, text=text)]
    return [*checks, Check(ok=True, text="the login may use sudo without a password")]


def is_protected(unit: str, policy: Policy) -> bool:
    """Whether a unit is one that a host can not be reached or run without, or that the policy protects."""
    return any(fnmatch.fnmatchcase(unit, glob) for glob in (*PROTECTED, *policy.protected))


def not_a_service(unit: str) -> str:
    """Why a unit of this name is no service that remedies change; "" where it is one."""
    if "@." in unit:
        return f"{unit} is a template: name one of its instances"
    if not is_unit(unit) or not unit.endswith(".service"):
        return f"{unit} is no service"
    if unit.startswith("user@"):
        return f"{unit} holds everything that a person runs: units of users are not changed"
    return ""


def why_not_service(unit: str, policy: Policy) -> str:
    """The same, with those that are protected."""
    protected = untouchable(unit, policy)
    return not_a_service(unit) or ("" if protected.ok else protected.text)


def untouchable(unit: str, policy: Policy) -> Check:
    """That a unit is not a protected one."""
    if is_protected(unit, policy):
        return Check(ok=False, text=f"{unit} is protected: the host could not be reached or run without it")
    return Check(ok=True, text=f"{unit} is not a protected unit")


def waiting(details: Details, act: str, *, but: str = "", in_files: bool = False) -> list[Check]:
    """That `act` (daemon-reload, set-property, start) arms no kill: no limit of another unit waits below its use.

    `but` is the unit that is changed on purpose; `in_files`: also limits that systemd has not read yet, which only
    a daemon-reload arms.
    """
    kernel = details.kernel
    if kernel is not None and kernel.cgroup_version == 1:
        return [Check(ok=True, text=f"{act} kills nobody by the way: cgroup v1 takes limits at once")]
    if details.pending is None:
        return [Check(ok=False, text=f"it is not known whether a {act} would arm a kill of another unit")]
    others = [one for one in details.pending if one.unit != but and (in_files or not one.in_files)]
    said = [
        Check(
            ok=False if one.kills else None,
            text=f"{one.unit}: {one.setting} {_wanted(one)} waits to be set (its cgroup has "
            f"{_size(one.cgroup_b)}, it uses {_used(one.usage_b)}), and a {act} would set it"
            + (": it would be killed" if one.kills else ""),
        )
        for one in others
    ]
    return said or [
        Check(ok=True, text=f"{act} kills nobody by the way: no memory limit of another unit waits to be set")
    ]


def _wanted(one: PendingChange) -> str:
    return f"'{one.unknown}' (not understood)" if one.unknown else _size(one.wanted_b)


def _used(size_b: int | None) -> str:
    return "an unknown amount" if size_b is None else _size(size_b)


def _size(size_b: int | None) -> str:
    return "no limit" if size_b is None else f"{size_b / (1 << 20):.0f} MiB"
