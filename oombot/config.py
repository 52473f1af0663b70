"""YAML text and the environment become frozen Settings, or every mistake at once, each as file:line."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from oombot.errors import ConfigError, UnknownHostError

HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,252}$")]
Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:][A-Za-z0-9._:%-]{0,252}$")]  # IPv6 too
UserId = Annotated[str, StringConstraints(pattern=r"^[UW][A-Z0-9]{2,20}$")]
GroupId = Annotated[str, StringConstraints(pattern=r"^S[A-Z0-9]{2,20}$")]
Channel = Annotated[str, StringConstraints(pattern=r"^(C[A-Z0-9]{6,20}|G[A-Z0-9]{6,20}|#?[a-z0-9_-]{1,80})$")]
Mode = Literal["observe", "propose", "apply"]
Helpers = Literal[
    "sent", "installed"
]  # scripts sent along with each command, or root-owned programs on the host


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Host(_Strict):
    """One machine."""

    name: HostName  # what people type; never meets a shell
    address: Address | None = None  # where SSH connects; default: name
    port: int | None = Field(default=None, ge=1, le=65535)  # none: ssh_config's, else 22
    user: str | None = None  # login; default: ssh.user
    group: str = "default"  # decides the channel
    become: Literal["sudo", "none"] = "sudo"  # how changes get root; a root login needs none
    local: bool = False  # the bot's own machine: no SSH
    helpers: Helpers | None = None  # default: the group's, else the settings'


class Group(_Strict):
    """Hosts that share a channel."""

    channel: Channel | None = None  # where kills of these hosts are posted; default: slack.channel
    helpers: Helpers | None = None  # default: the settings'


class Slack(_Strict):
    """Where oombot speaks. Tokens come from SLACK_BOT_TOKEN and SLACK_APP_TOKEN (or *_FILE), never from here."""

    channel: Channel = "oncall"  # default channel
    api_url: str = "https://slack.com/api/"  # SLACK_API_URL wins; the local workspace uses it


class Act(_Strict):
    """The acting identity: the login and keys that changes go through, apart from those that watch."""

    user: str = "oombot-act"
    keys: tuple[
        str, ...
    ] = ()  # private keys, KEY-cert.pub beside; its forced command on the host is the act helper


class Ssh(_Strict):
    """How oombot reaches hosts."""

    user: str | None = None  # login where the host names none; none: ssh_config's, else the bot's own
    known_hosts: str = "~/.ssh/known_hosts"  # strict: an unknown or changed key is refused
    keys: tuple[str, ...] = ()  # private keys, read once at start; none: the agent and the usual files
    certificates: tuple[str, ...] = ()  # user certificates of these keys, read again when they are renewed
    config: str | None = None  # an ssh_config to honour (ProxyJump, User, HostName), parsed once
    act: Act | None = None  # none: changes go through the watching login, by sudo


class Approvers(_Strict):
    """Who may approve. Nobody is named: nobody may."""

    users: tuple[UserId, ...] = ()
    groups: tuple[GroupId, ...] = ()  # Slack user groups, looked up at every press; a failed look-up refuses


class Policy(_Strict):
    """What an approval needs."""

    approvers: Approvers = Approvers()
    second_person: Literal["always", "red", "never"] = "always"  # when approver and requester must differ
    approve_within_s: int = Field(default=900, ge=30, le=86400)  # counted from the request
    run_within_s: int = Field(default=60, ge=5, le=3600)  # counted from the approval
    adj_below_minus_900: tuple[str, ...] = ()  # process names that may get -900 and less
    adj_minus_1000: bool = False  # whether -1000 (never killed) may be asked for at all


class Settings(_Strict):
    """The whole configuration."""

    mode: Mode = "propose"  # observe: cards only; propose: plans with commands to copy; apply: buttons run
    slack: Slack = Slack()
    ssh: Ssh = Ssh()
    policy: Policy = Policy()
    groups: Mapping[str, Group] = Field(default_factory=dict)
    hosts: tuple[Host, ...]
    helpers: Helpers = "sent"  # installed: `oombot sudoers` has put the helpers on the hosts
    store: str | None = None  # database file; default: the state directory
    since_s: int = Field(default=7 * 86400, ge=60)  # how far back a reading looks in the kernel log
    read_timeout_s: float = Field(default=10.0, gt=0, le=120)  # a host that thrashes is given up on then

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if not self.hosts:
            raise ValueError("hosts is empty: name at least one")
        names = [host.name for host in self.hosts]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"host named twice: {', '.join(doubled)}")
        unknown = sorted({host.group for host in self.hosts} - set(self.groups) - {"default"})
        if unknown:
            raise ValueError(f"hosts name a group that is not under groups: {', '.join(unknown)}")
        approvers = self.policy.approvers
        if self.mode == "apply" and not (approvers.users or approvers.groups):
            raise ValueError("mode apply with no policy.approvers: nobody could ever approve")
        alone = not approvers.groups and len(set(approvers.users)) < 2
        if self.mode == "apply" and self.policy.second_person == "always" and alone:
            raise ValueError("policy.second_person is always, but fewer than two approvers are named")
        return self

    def host(self, name: str) -> Host:
        """The host of this name; UnknownHostError guesses what was meant, and never picks it."""
        for host in self.hosts:
            if host.name == name:
                return host
        names = [host.name for host in self.hosts]
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"Did you mean {close[0]}?" if close else f"Known hosts: {', '.join(names[:10])}"
        raise UnknownHostError(f"No host named {name!r} is configured. {hint}", fix="add it under hosts:")

    def helpers_of(self, host: str) -> Helpers:
        """Whether this host has the helpers installed or gets them sent."""
        found = self.host(host)
        group = self.groups.get(found.group)
        return found.helpers or (group and group.helpers) or self.helpers

    def channel(self, host: str) -> str:
        """The channel (name without #, or id) where kills of this host are posted."""
        group = self.groups.get(self.host(host).group)
        return ((group and group.channel) or self.slack.channel).lstrip("#")


class Tokens(BaseModel):
    """The two Slack tokens; they are never printed."""

    model_config = ConfigDict(frozen=True)
    bot: str = Field(repr=False)
    app: str = Field(repr=False)


def load(text: str, *, filename: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Read YAML text; raise ConfigError with every mistake as `file:line: path: what is wrong`."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError([_syntax(filename, error)]) from error
    lines: dict[tuple[str | int, ...], int] = {}
    doubled = list(_mark(tree, (), lines)) if tree is not None else []
    problems = [f"{filename}:{line}: {_dotted(path)}: this key stands here twice" for path, line in doubled]
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise ConfigError([f"{filename}:1: the file must hold keys and values (mode:, hosts:, …)"])
    settings = None
    try:
        settings = Settings.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        problems += [_problem(filename, dict(item), lines) for item in error.errors()]
    if problems or settings is None:
        raise ConfigError(problems)
    api_url = (environ or {}).get("SLACK_API_URL")
    if api_url:
        settings = settings.model_copy(
            update={"slack": settings.slack.model_copy(update={"api_url": api_url})}
        )
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


def _syntax(filename: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else 1
    return f"{filename}:{line}: not YAML: {getattr(error, 'problem', None) or error}"


def _mark(
    node: yaml.Node, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]
) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Note the line of every path; yield keys that stand twice (the safe loader would take the last)."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            inner = (*path, str(key.value))
            if inner in seen:
                yield inner, key.start_mark.line + 1
            seen.add(inner)
            lines[inner] = key.start_mark.line + 1
            yield from _mark(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _mark(value, (*path, index), lines)


def _problem(filename: str, item: dict[str, Any], lines: Mapping[tuple[str | int, ...], int]) -> str:
    path = tuple(item["loc"])
    known = path
    while known and known not in lines:
        known = known[:-1]
    text = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        text = "unknown key"
    where = f"{_dotted(path)}: " if path else ""
    return f"{filename}:{lines.get(known, 1)}: {where}{text}"


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)
