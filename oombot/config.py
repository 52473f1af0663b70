"""YAML text and the environment become frozen Settings, or every mistake at once, each as file:line."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from oombot import passable
from oombot.errors import ConfigError
from oombot.inventory import names
from oombot.inventory.consistency import InconsistentError, Problem, as_written, grouping, naming
from oombot.inventory.expansion import expanded
from oombot.inventory.marked import Path, dotted, place, read
from oombot.inventory.roster import Member, Roster, Selection
from oombot.inventory.sources import Read, extended
from oombot.rights import Policy, Strict

HostName = Annotated[str, StringConstraints(pattern=names.HOST)]
Address = Annotated[str, StringConstraints(pattern=names.ADDRESS)]  # IPv6 too
UserName = Annotated[str, StringConstraints(pattern=names.USER)]
GroupName = Annotated[str, StringConstraints(pattern=names.GROUP)]
Jump = Annotated[str, StringConstraints(pattern=names.JUMP)]
Runbook = Annotated[str, StringConstraints(pattern=names.RUNBOOK)]
Channel = Annotated[str, StringConstraints(pattern=r"^(C[A-Z0-9]{6,20}|G[A-Z0-9]{6,20}|#?[a-z0-9_-]{1,80})$")]
Mode = Literal["observe", "propose", "apply"]
Helpers = Literal[
    "sent", "installed"
]  # scripts sent along with each command, or root-owned programs on the host


class Host(Strict):
    """One machine."""

    name: HostName  # what people type; never meets a shell. In the file web[01-40] stands for forty hosts
    aliases: tuple[HostName, ...] = ()  # what people may type instead
    tags: tuple[GroupName, ...] = ()  # for /oom tag:NAME
    address: Address | None = None  # where SSH connects; default: name
    port: int | None = Field(default=None, ge=1, le=65535)  # none: ssh_config's, else 22
    user: UserName | None = None  # login; default: the group's, else ssh.user
    jump: Jump | None = None  # [USER@]HOST[:PORT],…, the first hop first; default: the group's
    group: str = "default"  # decides the channel, the runbook and the other defaults
    groups: tuple[str, ...] = ()  # more groups that it is in; asked where `group` has no default
    become: Literal["sudo", "none"] = "sudo"  # how changes get root; a root login needs none
    local: bool = False  # the bot's own machine: no SSH
    helpers: Helpers | None = None  # default: the group's, else the settings'


class Group(Strict):
    """Hosts that share a channel. What a group does not set comes from the group that holds it."""

    groups: tuple[GroupName, ...] = ()  # the groups in this one
    channel: Channel | None = None  # where kills of these hosts are posted; default: slack.channel
    runbook: Runbook | None = None  # what to do about these hosts; stands on the card
    user: UserName | None = None  # default: ssh.user
    jump: Jump | None = None  # default: none, or what ssh_config says
    helpers: Helpers | None = None  # default: the settings'


class Slack(Strict):
    """Where oombot speaks. Tokens come from SLACK_BOT_TOKEN and SLACK_APP_TOKEN (or *_FILE), never from here."""

    channel: Channel = "oncall"  # default channel
    api_url: str = "https://slack.com/api/"  # SLACK_API_URL wins; the local workspace uses it


class Act(Strict):
    """The acting identity: the login and keys that changes go through, apart from those that watch."""

    user: str = "oombot-act"
    keys: tuple[
        str, ...
    ] = ()  # private keys, KEY-cert.pub beside; its forced command on the host is the act helper


class Ssh(Strict):
    """How oombot reaches hosts."""

    user: str | None = None  # login where the host names none; none: ssh_config's, else the bot's own
    known_hosts: str = "~/.ssh/known_hosts"  # strict: an unknown or changed key is refused
    keys: tuple[str, ...] = ()  # private keys, read once at start; none: the agent and the usual files
    certificates: tuple[str, ...] = ()  # user certificates of these keys, read again when they are renewed
    config: str | None = None  # an ssh_config to honour (ProxyJump, User, HostName), parsed once
    act: Act | None = None  # none: changes go through the watching login, by sudo


class Inventory(Strict):
    """Files with more hosts, read at start; nothing in them is executed. Paths are relative to this file."""

    ansible: tuple[str, ...] = ()  # Ansible inventories, INI or YAML
    ssh_config: tuple[str, ...] = ()  # `Host` entries without wildcards


class Settings(Strict):
    """The whole configuration."""

    mode: Mode = "propose"  # observe: cards only; propose: plans with commands to copy; apply: buttons run
    slack: Slack = Slack()
    ssh: Ssh = Ssh()
    policy: Policy = Policy()
    groups: Mapping[GroupName, Group] = Field(default_factory=dict)
    hosts: tuple[Host, ...]
    inventory: Inventory = Inventory()
    helpers: Helpers = "sent"  # installed: `oombot sudoers` has put the helpers on the hosts
    store: str | None = None  # database file; default: the state directory
    since_s: int = Field(default=7 * 86400, ge=60)  # how far back a reading looks in the kernel log
    read_timeout_s: float = Field(default=10.0, gt=0, le=120)  # a host that thrashes is given up on then

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> "Settings":
        if not self.hosts:
            raise InconsistentError([(("hosts",), "hosts is empty: name at least one", None)])
        children = {name: group.groups for name, group in self.groups.items()}
        problems = [*naming(self._members), *grouping(self._members, children)]
        problems = problems or [*self._impassable((info.context or {}).get("actions", ())), *self._unacting()]
        if problems:
            raise InconsistentError(problems)
        return self

    def _unacting(self) -> Iterator[Problem]:
        """Installed helpers without a login that may change: the watching key runs the read helper only."""
        if self.mode != "apply" or self.ssh.act is not None:
            return
        text = (
            "helpers: installed in mode apply needs ssh.act: the watching key opens the read helper only, so no "
            "approved change could run. Add ssh: {act: {user: oombot-act, keys: [KEY]}} and install it by "
            "oombot sudoers HOST"
        )
        remote = ((index, host) for index, host in enumerate(self.hosts) if not host.local)
        found = (self._installed_by(*each) for each in remote if self.helpers_of(each[1].name) == "installed")
        yield from ((path, text, None) for path in dict.fromkeys(found))

    def _installed_by(self, index: int, host: Host) -> Path:
        """The place that decides about a host's helpers."""
        if host.helpers is not None:
            return ("hosts", index, "helpers")
        group, helpers = self._from_group(host.name, "helpers")
        return ("groups", group, "helpers") if helpers else ("helpers",)

    def _impassable(self, actions: Collection[str]) -> Iterator[Problem]:
        """What makes that something could never be approved."""
        names = [host.name for host in self.hosts]
        return passable.problems(self.policy, self.roster, names, apply=self.mode == "apply", actions=actions)

    @property
    def _members(self) -> list[Member]:
        return [
            Member(name=host.name, aliases=host.aliases, tags=host.tags, groups=(host.group, *host.groups))
            for host in self.hosts
        ]

    @cached_property
    def roster(self) -> Roster:
        """Who is called what; made once."""
        return Roster(self._members, {name: group.groups for name, group in self.groups.items()})

    @cached_property
    def _by_name(self) -> Mapping[str, Host]:
        return {host.name: host for host in self.hosts}

    def host(self, name: str) -> Host:
        """The host of this name or alias; UnknownHostError guesses what was meant, and never picks it."""
        return self._by_name[self.roster.name(name)]

    def select(self, pattern: str) -> tuple[Host, ...]:
        """The hosts that a pattern means: a name, web*, web[01-40], group:db, tag:x, fleet; commas join."""
        return tuple(self._by_name[name] for name in self.selection(pattern).names)

    def selection(self, pattern: str) -> Selection:
        """The same by name, with the names of its ranges that are no host."""
        return self.roster.select(pattern)

    def helpers_of(self, host: str) -> Helpers:
        """Whether this host has the helpers installed or gets them sent."""
        helpers: Helpers | None = self.host(host).helpers or self._of_group(host, "helpers")
        return helpers or self.helpers

    def channel(self, host: str) -> str:
        """The channel (name without #, or id) where kills of this host are posted."""
        return str(self._of_group(host, "channel") or self.slack.channel).lstrip("#")

    def runbook(self, host: str) -> str | None:
        """The link to what people have written down about this host's group."""
        found: str | None = self._of_group(host, "runbook")
        return found

    def user(self, host: str) -> str | None:
        """The watching login: the host's, else its group's, else the settings'."""
        return self.host(host).user or self._of_group(host, "user") or self.ssh.user

    def jump(self, host: str) -> str | None:
        """The chain of jump hosts: the host's, else its group's."""
        return self.host(host).jump or self._of_group(host, "jump")

    def _of_group(self, host: str, field: str) -> Any:
        """A default of the nearest group that has one."""
        return self._from_group(host, field)[1]

    def _from_group(self, host: str, field: str) -> tuple[str, Any]:
        """The same with the group's name: the host's own, those above, then its further groups."""
        found = self.host(host)
        for name in self.roster.lineage((found.group, *found.groups)):
            value = getattr(self.groups.get(name), field, None)
            if value is not None:
                return name, value
        return "", None


class Tokens(BaseModel):
    """The two Slack tokens; they are never printed."""

    model_config = ConfigDict(frozen=True)
    bot: str = Field(repr=False)
    app: str = Field(repr=False)


def load(
    text: str, *, filename: str, environ: Mapping[str, str] | None = None, read_file: Read | None = None
) -> Settings:
    """Read YAML text; raise ConfigError with every mistake as `file:line: path: what is wrong`."""
    return load_noted(text, filename=filename, environ=environ, read_file=read_file)[0]


def load_noted(
    text: str,
    *,
    filename: str,
    environ: Mapping[str, str] | None = None,
    read_file: Read | None = None,
    actions: Collection[str] = (),
) -> tuple[Settings, tuple[str, ...]]:
    """The same, with what was imported from the inventories, and what of them was left out.

    `actions` are the remedies that there are: a rule that names another one is told.
    """
    marked = read(text, filename)
    raw = {} if marked.data is None and not marked.problems else marked.data
    if raw is None:
        raise ConfigError(marked.problems)
    if not isinstance(raw, dict):
        raise ConfigError([f"{filename}:1: the file must hold keys and values (mode:, hosts:, …)"])
    problems = [*marked.problems]
    origins: list[int | str] = []
    if isinstance(raw.get("hosts"), list):
        hosts, indexes, wrong = expanded(raw["hosts"], marked.places)
        origins += indexes
        raw, problems = {**raw, "hosts": hosts}, [*problems, *wrong]
    more = extended(raw, marked.places, read_file)
    problems += more.problems
    places = {**more.groups, **marked.places}
    settings = _validated(more.raw, places, [*origins, *more.hosts], problems, filename, actions=actions)
    api_url = (environ or {}).get("SLACK_API_URL")
    if api_url:
        slack = settings.slack.model_copy(update={"api_url": api_url})
        settings = settings.model_copy(update={"slack": slack})
    return settings, more.notes


def _validated(
    raw: Mapping[str, Any],
    places: Mapping[Path, str],
    origins: Sequence[int | str],
    problems: list[str],
    filename: str,
    *,
    actions: Collection[str],
) -> Settings:
    try:
        text = json.dumps(raw, default=str)
    except TypeError as error:  # a key that is a date, say
        raise ConfigError([*problems, f"{filename}:1: {error}"]) from error
    try:
        settings = Settings.model_validate_json(text, strict=True, context={"actions": actions})
    except ValidationError as error:
        found = [*problems, *_problems(error, raw, places, origins, filename)]
        raise ConfigError(list(dict.fromkeys(found))) from error
    if problems:
        raise ConfigError(problems)
    return settings


def tokens(environ: Mapping[str, str], files: Mapping[str, str] | None = None) -> Tokens:
    """Take both Slack tokens from the environment, or from `files` (the contents of *_FILE), by their prefixes."""
    found: dict[str, str] = {}
    problems = []
    for name, prefix, kind in (
        ("SLACK_BOT_TOKEN", "xoxb-", "bot token (OAuth & Permissions)"),
        ("SLACK_APP_TOKEN", "xapp-", "app-level token (Basic Information, scope connections:write)"),
    ):
        value = (files or {}).get(name) or environ.get(name, "")
        value = value.strip()
        if not value:
            problems.append(f"{name} is not set: it takes the {kind}, which begins with {prefix}")
        elif not value.startswith(prefix):
            what = _TOKEN_KINDS.get(value[:5], "something else")
            problems.append(f"{name} must begin with {prefix}, but holds {what}: it takes the {kind}")
        found[name] = value
    if problems:
        raise ConfigError(problems)
    return Tokens(bot=found["SLACK_BOT_TOKEN"], app=found["SLACK_APP_TOKEN"])


_TOKEN_KINDS = {"xoxb-": "a bot token", "xapp-": "an app-level token", "xoxp-": "a user token"}


def duration_s(text: str) -> float | None:
    """Seconds of `2h`, `30m`, `45s`, `7d`; None for anything else."""
    match = re.fullmatch(r"(?P<number>[0-9]{1,6})(?P<unit>[smhd])", text.strip())
    if match is None:
        return None
    return int(match["number"]) * {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[match["unit"]]


def _problems(
    error: ValidationError,
    raw: Mapping[str, Any],
    places: Mapping[Path, str],
    origins: Sequence[int | str],
    filename: str,
) -> Iterator[str]:
    """Every mistake with its place; one that the forty hosts of a range share comes forty times alike."""

    def where(path: Path) -> tuple[str, Path]:
        if len(path) > 1 and path[0] == "hosts" and isinstance(path[1], int):
            origin = origins[path[1]]
            if isinstance(origin, str):
                return origin, path[2:]
            path = ("hosts", origin, *path[2:])
        return place(places, path, f"{filename}:1"), path

    contradictions: Sequence[Problem] | None = None
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, InconsistentError):
            contradictions = cause.problems
            continue
        found, path = where(tuple(item["loc"]))
        text = str(item["msg"]).removeprefix("Value error, ")
        text = "unknown key" if item["type"] == "extra_forbidden" else text
        yield f"{found}: {dotted(path)}: {text}" if path else f"{found}: {text}"
    for path, text, other in as_written(raw) if contradictions is None else contradictions:
        first = f" (first at {where(other)[0]})" if other else ""
        yield f"{where(path)[0]}: {text}{first}"
