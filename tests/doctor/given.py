"""What doctor may have gathered, in good order; a test names only what is different."""

from dataclasses import replace
from typing import Any

from oombot import catalog, config
from oombot.doctor import Line, examine
from oombot.doctor.gathered import (
    ChannelFacts,
    FileFacts,
    Gathered,
    GroupFacts,
    HostFacts,
    MachineFacts,
    PersonFacts,
    SlackFacts,
    SocketFacts,
    StoreFacts,
)
from oombot.doctor.scopes import NEEDED, USEFUL
from oombot.facts.settings import HostSettings
from oombot.model import HostSnapshot, KernelLog
from tests.examples import NOW, a_process, a_snapshot

MIB = 1024 * 1024
ADA, BEN = "U0ADA0001", "U0BEN0002"
APPLY = f"mode: apply\npolicy: {{approvers: {{users: [{ADA}, {BEN}]}}}}\nhosts: [{{name: web01}}]\n"
PEOPLE = {
    ADA: PersonFacts(user_id=ADA, name="Ada Park"),
    BEN: PersonFacts(user_id=BEN, name="Ben Ito"),
}


def settings(text: str = APPLY) -> config.Settings:
    """Settings from YAML."""
    return config.load(text, filename="oombot.yaml")


def a_store(**wanted: Any) -> StoreFacts:
    """A migrated SQLite file with room, on which nobody runs."""
    values: dict[str, Any] = {
        "where": "/var/lib/oombot/oombot.sqlite",
        "exists": True,
        "schema": "0001",
        "newest": "0001",
        "writable": True,
        "free_bytes": 4096 * MIB,
    }
    return StoreFacts(**(values | wanted))


def a_machine(**wanted: Any) -> MachineFacts:
    """A machine with enough of everything."""
    values: dict[str, Any] = {
        "memory_bytes": 4096 * MIB,
        "available_bytes": 2048 * MIB,
        "files_soft": 1024,
        "files_hard": 4096,
        "python": "3.11.2",
        "asyncssh": "2.24.1",
        "openssh": "",
        "root": False,
        "files": (FileFacts(role="key", path="/k/id", exists=True, readable=True, mode=0o600),),
    }
    return MachineFacts(**(values | wanted))


def a_slack(**wanted: Any) -> SlackFacts:
    """A workspace where everything is set up."""
    values: dict[str, Any] = {
        "team": "Acme",
        "team_id": "T0ACME001",
        "bot_name": "oombot",
        "app_id": "A0OOMBOT1",
        "scopes": frozenset({*NEEDED, *USEFUL}),
        "channels": {"oncall": ChannelFacts(name="oncall", id="C0ONCALL1", member=True)},
        "people": PEOPLE,
        "socket": SocketFacts(connections=1),
        "ahead_s": 0.2,
    }
    return SlackFacts(**(values | wanted))


def a_group(*members: str, **wanted: Any) -> GroupFacts:
    """A user group."""
    return GroupFacts(group_id="S0ONCALL1", **({"members": members} | wanted))


def some_settings(**wanted: Any) -> HostSettings:
    """A Debian 12 host whose account may read the journal."""
    values: dict[str, Any] = {
        "now_s": int(NOW),
        "user": "oombot",
        "uid": 996,
        "groups": ("oombot", "systemd-journal"),
        "kernel": "6.1.0-25-amd64",
        "machine": "x86_64",
        "init": "systemd",
        "systemd": 252,
        "python": "3.11.2",
        "numbers": {
            "vm.overcommit_memory": 0,
            "vm.panic_on_oom": 0,
            "vm.oom_dump_tasks": 1,
            "vm.swappiness": 60,
            "SwapTotal:": 1024 * 1024,
            "SwapFree:": 1024 * 1024,
            "oom_kill": 4,
        },
        "psi": "yes",
        "cgroup2": "/sys/fs/cgroup",
        "controllers": ("cpu", "memory"),
        "sources": {"journald": "ok", "kmsg": "Operation not permitted", "dmesg": "not permitted"},
        "journal_kept": True,
        "policy": True,
        "frozen": False,
        "sudo": "no",
    }
    return HostSettings(**(values | wanted))


def a_reading(**wanted: Any) -> HostSnapshot:
    """A reading of that host."""
    values: dict[str, Any] = {
        "host": "web01",
        "kernel_log": KernelLog(source="journald", lines=()),
        "login_uid": 996,
        "has_systemd": True,
        "can_sudo": False,
    }
    return a_snapshot(a_process(), **(values | wanted))


def a_host(name: str = "web01", **wanted: Any) -> HostFacts:
    """A host that answered everything."""
    values: dict[str, Any] = {
        "answered_s": 0.084,
        "snapshot": a_reading(),
        "settings": some_settings(),
        "ahead_s": 0.1,
        "uncertain_s": 0.5,
    }
    return HostFacts(name=name, **(values | wanted))


def gathered(text: str = APPLY, **wanted: Any) -> Gathered:
    """All of it, in good order."""
    known = settings(text)
    values: dict[str, Any] = {
        "config_path": "oombot.yaml",
        "now_s": NOW,
        "settings": known,
        "asked_hosts": tuple(host.name for host in known.hosts),
        "store": a_store(),
        "machine": a_machine(),
        "slack": a_slack(),
        "hosts": (a_host(),),
    }
    return Gathered(**(values | wanted))


def judged(check: str, found: Gathered) -> dict[str, Line]:
    """The lines of one check by item; whatever is not ok says why and how to mend it."""
    lines = [line for line in examine(found, catalog.checks()) if line.check == check]
    for line in lines:
        assert line.what == line.what.strip() != "", line
        assert line.state == "ok" or (line.why and line.fix), line
    return {line.item: line for line in lines}


def states(check: str, found: Gathered) -> dict[str, str]:
    """Each item's state."""
    return {item: line.state for item, line in judged(check, found).items()}


def changed(value: Any, **fields: Any) -> Any:
    """A copy with other fields."""
    return replace(value, **fields)
