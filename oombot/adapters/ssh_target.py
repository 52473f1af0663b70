"""Where and as whom to log in, and the chain of jump hosts to go through."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

_HOP: Final = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<six>[^\]]+)\]|(?P<host>[^\[\]@:\s]+))(?::(?P<port>[0-9]{1,5}))?"
)

_MOST_HOPS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """An account and the keys that open it."""

    user: str | None = None
    key_files: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SshTarget:
    """Where and as whom to log in.

    Without `key_files` the agent and the usual keys are tried; `user` and `port` None leave it to `ssh_config`.
    `jump` is a chain as ssh's ProxyJump has it (`first,second`), each hop a host of the configuration or
    `[user@]address[:port]`; `ssh_config` may give one too. `become` False means that sudo is never used.
    `act` is the login that changes go through, where that is another one.
    """

    name: str
    address: str
    port: int | None = None
    user: str | None = None
    key_files: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    ssh_config: str | None = None
    jump: str | None = None
    become: bool = True
    act: Login | None = None
    acts: bool = False  # this is the acting login itself

    @property
    def where(self) -> str:
        """The address as people write it."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port or 22}"

    @property
    def acting(self) -> "SshTarget":
        """The same host as the acting identity sees it."""
        if self.act is None:
            return self
        act = self.act
        return replace(
            self, user=act.user, key_files=act.key_files, certificates=act.certificates, act=None, acts=True
        )


def chained(
    targets: Mapping[str, SshTarget], told: Callable[[SshTarget], str | None] = lambda _: None
) -> tuple[dict[str, SshTarget], list[str]]:
    """Make each `jump` the key of exactly one other target, adding the hops that are no hosts; and what is wrong.

    `told` gives the jump of a target from elsewhere (ssh_config). A chain that comes back to itself is a mistake.
    """
    found, problems = dict(targets), list[str]()
    for name, target in targets.items():
        try:
            found[name] = replace(target, jump=_last_hop(target, targets, found, told))
        except ValueError as error:
            problems.append(f"host {name}: {error}")
            found[name] = replace(target, jump=None)
    return found, problems + [problem for name in targets for problem in _circle(name, found)]


def _last_hop(
    target: SshTarget,
    targets: Mapping[str, SshTarget],
    found: dict[str, SshTarget],
    told: Callable[[SshTarget], str | None],
    depth: int = 0,
) -> str | None:
    """The key of the target that this one is reached through; the hops before it are added to `found`."""
    chain = target.jump or told(target) or ""
    if chain.lower() in {"", "none"}:
        return None
    if depth > _MOST_HOPS:
        raise ValueError(f"its jump hosts come back to themselves, or are more than {_MOST_HOPS}")
    key: str | None = None
    for number, text in enumerate(part.strip() for part in chain.split(",")):
        hop = targets.get(text)
        if hop is not None and number == 0:
            key = hop.name
            continue
        hop = hop or _parsed(text, target)
        inner = key if number else _last_hop(hop, targets, found, told, depth + 1)
        key = f"{inner or ''},{hop.user or ''}@{hop.where}"
        found.setdefault(key, replace(hop, jump=inner, act=None))
    return key


def _parsed(text: str, target: SshTarget) -> SshTarget:
    """A hop that is no host of the configuration; what it does not say is as for the host behind it."""
    bare = text.count(":") > 1 and "[" not in text  # IPv6 without a port
    match = None if bare else _HOP.fullmatch(text)
    if match is None and not bare:
        raise ValueError(f"jump {text!r} is neither a host nor [user@]address[:port]")
    user, port = (match["user"], match["port"]) if match is not None else (None, None)
    address = (match["six"] or match["host"]) if match is not None else text
    return replace(
        target,
        name=address,
        address=address,
        user=user or target.user,
        port=int(port) if port else None,
        jump=None,
        act=None,
    )


def _circle(name: str, found: Mapping[str, SshTarget]) -> list[str]:
    seen, at = [name], found[name].jump
    while at is not None:
        seen.append(at)
        if at == name:
            return [f"host {name}: its jump hosts come back to itself ({' → '.join(seen)})"]
        if seen.count(at) > 1:
            return []  # somebody else's circle, named there
        at = found[at].jump
    return []
