"""Which accounts and files make the two identities on a host: values only, nothing is done here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from oombot.errors import ConfigError
from oombot.helper_call import ACT_HELPER, READ_HELPER
from oombot.installation.policies import policy_text
from oombot.installation.sources import act_program, read_program

ACCESS: Final = (
    "/var/lib/oombot-access"  # homes of the accounts: root's, so that a login can not change its keys
)
POLICY: Final = "/etc/oombot/policy.json"
SUDOERS: Final = "/etc/sudoers.d/oombot"
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_KEY = re.compile(r"(?P<kind>[a-z0-9@.-]{5,60}) (?P<blob>[A-Za-z0-9+/]{40,4000}={0,2})(?: [^\n]*)?")
_SENDER = re.compile(r"[A-Za-z0-9.:*?!,/_-]{1,400}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One account of oombot's on a host, and the public keys that may use it."""

    user: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of the installation; `owners`: once it is there it is the host owner's, and is left as it is."""

    path: str
    text: str
    mode: str = "0644"
    owners: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """All that is installed on one host, in the order in which it is: what lets anybody in comes last."""

    host: str
    users: tuple[str, ...]
    files: tuple[File, ...]
    keys: tuple[str, ...]  # the bot's, of both identities


def home(user: str) -> str:
    """The home of an account: it holds its authorized keys and nothing else."""
    return f"{ACCESS}/{user}"


def layout(
    host: str, *, watch: Identity, act: Identity | None, sender: str = "", policy: str | None = None
) -> Layout:
    """The accounts and files for a host; ConfigError where they would not be two identities without privilege."""
    identities = [watch] if act is None else [watch, act]
    problems = [problem for identity in identities for problem in _problems(identity)]
    if act is not None and (act.user == watch.user or _blobs(act) & _blobs(watch)):
        problems.append(
            "watching and acting share an account or a key: who steals one must not have the other"
        )
    if sender and not _SENDER.fullmatch(sender):
        problems.append(f"--from {sender[:40]!r} is no pattern list of sshd(8)")
    if problems:
        raise ConfigError(problems)
    files = [File(path=READ_HELPER, text=read_program(), mode="0755")]
    if act is not None:
        text = policy_text() if policy is None else policy.rstrip("\n")
        files += [
            File(path=ACT_HELPER, text=act_program(), mode="0755"),
            File(path=POLICY, text=f"{text}\n", owners=policy is None),
            File(path=SUDOERS, text=_sudoers(act.user), mode="0440"),
            _authorized(act, f"sudo -n {ACT_HELPER}", sender),
        ]
    files.append(_authorized(watch, READ_HELPER, sender))
    return Layout(
        host=host,
        users=tuple(identity.user for identity in identities),
        files=tuple(files),
        keys=tuple(key for identity in identities for key in identity.keys),
    )


def _problems(identity: Identity) -> Sequence[str]:
    found = []
    if not _USER.fullmatch(identity.user) or identity.user == "root":
        found.append(
            f"{identity.user[:40]!r} can not be an account of its own for oombot: name one under ssh:"
        )
    if not identity.keys:
        found.append(f"no public key is known for {identity.user}")
    found += [f"{key[:40]!r} is no public key of OpenSSH" for key in identity.keys if not _KEY.fullmatch(key)]
    return found


def _blobs(identity: Identity) -> set[str]:
    return {key.split(" ")[1] for key in identity.keys if " " in key}


def _authorized(identity: Identity, command: str, sender: str) -> File:
    """One line a key: nothing but the one program, from nowhere else than where the bot is."""
    options = f'restrict,from="{sender}",command="{command}"' if sender else f'restrict,command="{command}"'
    lines = "".join(f"{options} {' '.join(key.split(' ')[:2])} {identity.user}\n" for key in identity.keys)
    return File(path=f"{home(identity.user)}/.ssh/authorized_keys", text=lines)


def _sudoers(user: str) -> str:
    return (
        f"# oombot: one program as root, without arguments; {POLICY} bounds what it does\n"
        f'{user} ALL=(root) NOPASSWD: {ACT_HELPER} ""\n'
    )
