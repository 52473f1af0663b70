"""What doctor has gathered before it judges: frozen answers of Slack, the store, this machine and each host.

None stands for what could not be asked; a `Fault` beside it says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from oombot.config import Settings
from oombot.facts.act_helper import ActHelper
from oombot.facts.settings import HostSettings
from oombot.model import HostSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why something could not be asked: the sentence, the fix, and a word for programs (Slack's code, or a kind)."""

    said: str
    fix: str = ""
    code: str = ""
    needed: str = ""  # the scope that Slack names


# ------------------------------------------------------------------ the store and this machine
@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """The database, looked at without creating, migrating or locking it."""

    where: str
    exists: bool
    schema: str | None = None  # the revision it is at; None: no table of ours in it
    newest: str = ""  # the revision that this oombot wants
    known: bool = True  # whether this oombot knows that revision
    writable: bool | None = None  # the file, or its directory where there is no file yet
    free_bytes: int | None = None
    size_bytes: int | None = None
    running_pid: int | None = None  # another oombot that holds the lock; 0: one whose pid is hidden
    lock_known: bool = True  # false: this machine does not tell who holds locks
    server: bool = False  # a database server: no file, no lock
    fault: Fault | None = None


Role = Literal["key", "certificate", "known_hosts", "ssh_config", "token"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """A file that the configuration names."""

    role: Role
    path: str
    exists: bool
    readable: bool = False
    mode: int = 0
    count: int | None = None  # entries of a known_hosts file


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """The machine and the account that doctor runs on: those of the bot, where it is run in the same place."""

    memory_bytes: int
    available_bytes: int
    files_soft: int
    files_hard: int
    python: str
    asyncssh: str
    openssh: str  # the version of the ssh client, for comparison by hand; empty: none
    root: bool
    files: tuple[FileFacts, ...] = ()


# ------------------------------------------------------------------ Slack
@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFacts:
    """A channel as the bot sees it."""

    name: str
    id: str
    member: bool
    archived: bool = False
    private: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFacts:
    """A person of the policy: why they may not approve, or nothing."""

    user_id: str
    name: str = ""
    barred: str = ""  # deactivated, a bot, a guest, of another workspace
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """A user group of the policy."""

    group_id: str
    members: tuple[str, ...] | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketFacts:
    """Whether Socket Mode opens; `connections` counts all of the app's, ours included."""

    connections: int | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PressFacts:
    """The real press of a button: who did it and how long it took, or why there was none."""

    pressed_by: str = ""
    after_s: float | None = None
    waited_s: float = 0.0
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackFacts:
    """Everything that was asked of Slack; `auth` is the fault of the first call, after which nothing more was asked."""

    token_problems: tuple[str, ...] = ()
    team: str = ""
    team_id: str = ""
    bot_name: str = ""
    app_id: str = ""
    auth: Fault | None = None
    scopes: frozenset[str] | None = None
    channels: Mapping[str, ChannelFacts | Fault] = field(default_factory=dict)
    people: Mapping[str, PersonFacts] = field(default_factory=dict)
    groups: Mapping[str, GroupFacts] = field(default_factory=dict)
    people_not_asked: int = 0  # members of large groups beyond what was looked up
    socket: SocketFacts | None = None
    press: PressFacts | None = None
    ahead_s: float | None = None  # how far this machine's clock is ahead of Slack's
    uncertain_s: float = 1.0


# ------------------------------------------------------------------ hosts
FaultKind = Literal["unreachable", "key", "login", "timeout", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFault:
    """Why a host could not be asked; `jump` is the jump host that failed."""

    kind: FaultKind
    said: str
    fix: str = ""
    jump: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What one host answered to a reading, to the questions of doctor, and about its helpers."""

    name: str
    answered_s: float | None = None  # how long the first round trip took, login included
    fault: HostFault | None = None  # nothing could be asked at all
    snapshot: HostSnapshot | None = None  # without its tables and log, of which a fleet has gigabytes
    processes: int = 0  # how many there were in it
    cgroups: int = 0
    units: int = 0
    reading_fault: HostFault | None = None
    settings: HostSettings | None = None
    settings_fault: HostFault | None = None
    ahead_s: float | None = None  # how far the host's clock is ahead of this machine's
    uncertain_s: float = 0.0
    versions: Mapping[str, str] | None = (
        None  # installed helper → its source's hash; None: not asked, no answer
    )
    act: ActHelper | None = None  # what the installed act helper said, by the acting login
    act_fault: HostFault | None = None  # why it said nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """All of it. Without `settings` the configuration could not be read, and nothing else was asked."""

    config_path: str
    now_s: float
    settings: Settings | None
    config_problems: tuple[str, ...] = ()
    asked_hosts: tuple[str, ...] = ()
    store: StoreFacts | None = None
    machine: MachineFacts | None = None
    slack: SlackFacts | None = None
    hosts: tuple[HostFacts, ...] = ()
    expected_versions: Mapping[str, str] = field(
        default_factory=dict
    )  # helper → the hash that this oombot installs

    @property
    def known(self) -> Settings:
        """The settings, for checks that only run where there are some."""
        assert self.settings is not None
        return self.settings
