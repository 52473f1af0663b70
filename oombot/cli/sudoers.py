"""`oombot sudoers HOST`: print, install or take away what gives oombot two identities without privilege there."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh
from rich.console import Console

from oombot import app, installation
from oombot.cli.drawing import plain
from oombot.config import Host, Settings
from oombot.errors import ConfigError, HostError
from oombot.installation import Identity, Layout, Present

_ROOT_SH = 'if [ "$(id -u)" = 0 ]; then exec sh -s; else exec sudo -n sh -s; fi'
_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for on the command line."""

    host: str
    config: Path
    login: str = ""  # the administrator's own, on the host
    ssh: str = "ssh"  # the administrator's own client, with their ssh_config and agent
    sender: str = ""  # where the bot's connections come from
    watch_keys: tuple[Path, ...] = ()
    act_keys: tuple[Path, ...] = ()
    policy: Path | None = None
    allow: tuple[str, ...] = ()  # remedies that the host's policy is to allow
    yes: bool = False


def printed(wanted: Wanted, *, remove: bool) -> int:
    """Print the script; exit 0."""
    _, _, layout = _plan(wanted)
    sys.stdout.write(installation.remove_script(layout) if remove else installation.install_script(layout))
    return 0


def applied(wanted: Wanted, *, remove: bool) -> int:
    """Show what would change, ask, and do it over the administrator's own login; exit 0 when it is as wanted."""
    settings, host, layout = _plan(wanted)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    argv = _way(wanted, settings, host, layout)
    by_hand = f"oombot sudoers {host.name}{' --remove --print' if remove else ''}"
    now = _present(host, argv, layout, by_hand)
    changes = installation.removing(now) if remove else installation.installing(layout, now)
    if not remove and (left := installation.left_over(layout, now)):
        console.print(plain(f"{host.name}: of an earlier installation, and left as it is: {', '.join(left)}"))
        console.print(f"  fix: oombot sudoers {host.name} --remove takes everything away; then install anew")
    if not changes:
        console.print(
            f"{host.name}: {'nothing of oombot is there' if remove else 'all is in place'}; nothing was changed."
        )
        return 0
    console.print(f"{host.name}: this {'goes' if remove else 'changes'}\n")
    for change in changes:
        console.print(plain(change))
    if not _agreed(console, wanted):
        return 1
    script = installation.remove_script(layout) if remove else installation.install_script(layout)
    console.print(plain(_done(host, argv, script, by_hand).rstrip()))
    if not remove:
        console.print(f"Next: set helpers: installed for {host.name}, then: oombot doctor --host {host.name}")
    return 0


def _plan(wanted: Wanted) -> tuple[Settings, Host, Layout]:
    settings = app.load_settings(wanted.config)
    host = settings.host(wanted.host)
    ssh = settings.ssh
    watch = Identity(
        user=settings.user(host.name) or "oombot",
        keys=_public([Path(key) for key in ssh.keys], wanted.watch_keys, "--watch-key"),
    )
    act = None
    if ssh.act is not None:
        keys = _public([Path(key) for key in ssh.act.keys], wanted.act_keys, "--act-key")
        act = Identity(user=ssh.act.user, keys=keys)
    elif wanted.act_keys:
        raise ConfigError(
            ["--act-key: the configuration names no acting identity: add ssh: act: {user: …, keys: […]}"]
        )
    policy = _policy(wanted, settings)
    return (
        settings,
        host,
        installation.layout(host.name, watch=watch, act=act, sender=wanted.sender, policy=policy),
    )


def _policy(wanted: Wanted, settings: Settings) -> str | None:
    """The policy as given, or made for what is to be allowed; None: as it is there, else the usual one."""
    path, rules = wanted.policy, settings.policy
    if path is None:
        most, folder = rules.swap_max_mib, rules.swap_folder
        return (
            installation.policy_text(wanted.allow, swap_folder=folder, swap_max_mib=most)
            if wanted.allow
            else None
        )
    if wanted.allow:
        raise ConfigError(["--policy and --allow exclude each other"])
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError([f"{path}: this is no policy in JSON: {error}"]) from error
    return text


def _public(private: Sequence[Path], given: Sequence[Path], option: str) -> tuple[str, ...]:
    """The public halves: as given, or of the keys that the configuration names."""
    found = []
    for path in given or private:
        try:
            key = asyncssh.read_public_key(path) if given else asyncssh.read_private_key(path.expanduser())
        except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise ConfigError(
                [f"{path}: its public key can not be read ({error}): give it by {option}"]
            ) from error
        found.append(key.export_public_key().decode().strip())
    if not found:
        raise ConfigError([f"the configuration names no key: give the public one by {option} FILE"])
    return tuple(found)


# ------------------------------------------------------------------ the administrator's own way in
def _way(wanted: Wanted, settings: Settings, host: Host, layout: Layout) -> list[str]:
    """The command that runs a script as root on the host, by no login and no key of the bot's."""
    if host.local:
        return ["sh", "-s"] if os.geteuid() == 0 else ["sudo", "-n", "sh", "-s"]
    words = shlex.split(wanted.ssh)
    target = [*(["-p", str(host.port)] if host.port else []), *(["-l", wanted.login] if wanted.login else [])]
    target += ["--", host.address or host.name]
    effective = _effective([*words, "-G", *target])
    login = next((value for key, value in effective if key == "user"), wanted.login)
    if login in layout.users:
        raise HostError(
            f"{login} is the bot's login on {host.name}: what it may do is installed by an administrator. Nothing was "
            "sent.",
            fix=f"oombot sudoers {host.name} --apply --as YOUR_LOGIN",
        )
    own = {Path(key).expanduser().resolve() for key in _configured(settings)}
    files = [Path(value).expanduser().resolve() for key, value in effective if key == "identityfile"]
    prints = {asyncssh.import_public_key(key).get_fingerprint() for key in layout.keys}
    shared = [str(path) for path in files if path.exists() and (path in own or _prints("-lf", path) & prints)]
    if not shared and _agent_prints(dict(effective)) & prints:
        shared = ["a key of your agent"]
    if shared:
        raise HostError(
            f"your ssh would offer {shared[0]}, which is the bot's key. Nothing was sent.",
            fix=f"oombot sudoers {host.name} --apply --as YOUR_LOGIN --ssh 'ssh -o IdentitiesOnly=yes -i YOUR_KEY'",
        )
    return [*words, "-T", *target, f"sh -c {shlex.quote(_ROOT_SH)}"]


def _configured(settings: Settings) -> Sequence[str]:
    return (*settings.ssh.keys, *(settings.ssh.act.keys if settings.ssh.act else ()))


def _agent_prints(effective: Mapping[str, str]) -> set[str]:
    """The fingerprints of what the administrator's agent would offer."""
    agent = effective.get("identityagent", "SSH_AUTH_SOCK")
    if agent == "none" or effective.get("identitiesonly") == "yes":
        return set()
    named = {} if agent == "SSH_AUTH_SOCK" else {"SSH_AUTH_SOCK": str(Path(agent).expanduser())}
    return _prints("-l", program="ssh-add", env=os.environ | named)


def _prints(
    *words: str | Path, program: str = "ssh-keygen", env: Mapping[str, str] | None = None
) -> set[str]:
    """The fingerprints in the answer; of a private key too, whose public half is never encrypted."""
    try:
        said = subprocess.run(
            [program, *words],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=60,
            env=env,
        )
    except (OSError, subprocess.TimeoutExpired):
        return set()
    return {word for word in said.stdout.split() if word.startswith("SHA256:")}


def _effective(argv: Sequence[str]) -> list[tuple[str, str]]:
    """What the administrator's ssh would do, in its own words."""
    try:
        said = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(
            f"{argv[0]} can not be run: {error}. Nothing was sent.", fix="--ssh names your ssh client"
        ) from error
    if said.returncode:
        raise HostError(
            f"{argv[0]} does not understand its options: {said.stderr.strip()[:300]}. Nothing was sent."
        )
    return [(key, value) for key, _, value in (line.partition(" ") for line in said.stdout.splitlines())]


def _done(host: Host, argv: Sequence[str], script: str, by_hand: str) -> str:
    try:
        said = subprocess.run(
            argv,
            input=script,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise HostError(
            f"{host.name} did not finish within {_TIMEOUT_S} s; look at it before you try again."
        ) from error
    if said.returncode:
        words = said.stderr.strip()[-400:] or f"exit {said.returncode}"
        raise HostError(
            f"{host.name}: {words}",
            fix=f"as root there: sh oombot.sh, with what `{by_hand}` prints as oombot.sh",
        )
    return said.stdout


def _present(host: Host, argv: Sequence[str], layout: Layout, by_hand: str) -> Present:
    found = installation.present(_done(host, argv, installation.look_script(layout), by_hand))
    if found is None:
        raise HostError(
            f"{host.name} did not say what is there now; nothing was changed.",
            fix="its login shell must print nothing",
        )
    return found


def _agreed(console: Console, wanted: Wanted) -> bool:
    if wanted.yes:
        return True
    if not sys.stdin.isatty():
        console.print(
            "\nNobody can be asked here: nothing was changed. With --yes it is done without asking."
        )
        return False
    if console.input("\nDo it? yes does: ").strip().lower() == "yes":
        return True
    console.print("Nothing was changed.")
    return False
