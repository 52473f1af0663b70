"""`oombot hosts`: who is configured, who can be reached, and whose key is vouched for."""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from oombot import app
from oombot.adapters import ssh_trust
from oombot.adapters.sql import SqlStore
from oombot.adapters.ssh_known import Offer
from oombot.cli import offline
from oombot.cli.drawing import cell, plain, when
from oombot.config import Host, Settings
from oombot.errors import HostError, UnknownHostError

AT_ONCE = 32


# ------------------------------------------------------------------ list
def listed(pattern: str, *, config: Path, as_json: bool) -> int:
    """Draw the inventory; exit 0."""
    settings = app.load_settings(config)
    hosts = settings.select(pattern)
    seen = asyncio.run(_last_seen(settings, hosts))
    if as_json:
        Console(soft_wrap=True).print_json(json.dumps([_as_data(settings, host, seen) for host in hosts]))
        return 0
    table = Table("name", "address", "group", "tags", "through", "helpers", "last seen")
    for host in hosts:
        data = _as_data(settings, host, seen)
        names = ", ".join((host.name, *host.aliases))
        tags, groups = ", ".join(host.tags), ", ".join((host.group, *host.groups))
        at = when(seen[host.name], approximate=False) or "never"
        table.add_row(
            *(
                cell(part)
                for part in (names, data["address"], groups, tags, data["jump"], data["helpers"], at)
            )
        )
    Console(emoji=False, highlight=False).print(table)
    return 0


async def _last_seen(settings: Settings, hosts: Sequence[Host]) -> dict[str, float | None]:
    """When each host last answered, to a follower or to a reading."""
    async with SqlStore.open(app.store_url(settings)) as store:
        seen = {}
        for host in hosts:
            position, reading = await store.position(host.name), await store.snapshot(host.name)
            times = [position and position.last_seen_s, reading and reading[0]]
            seen[host.name] = max((time for time in times if time), default=None)
        return seen


def _as_data(settings: Settings, host: Host, seen: dict[str, float | None]) -> dict[str, object]:
    address = host.address or host.name
    shown = f"[{address}]" if ":" in address and host.port else address
    return {
        "name": host.name,
        "aliases": host.aliases,
        "address": "this machine" if host.local else f"{shown}:{host.port}" if host.port else address,
        "group": host.group,
        "groups": host.groups,
        "tags": host.tags,
        "jump": None if host.local else settings.jump(host.name),
        "helpers": settings.helpers_of(host.name),
        "last_seen_s": seen[host.name],
    }


# ------------------------------------------------------------------ test
@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What a test of one host found; `jump` is the host before it that failed in its place."""

    host: str
    error: str = ""
    fix: str = ""
    jump: str | None = None
    missing: tuple[str, ...] = ()


def readable(pattern: str, *, config: Path, as_json: bool) -> int:
    """Reach, log in and read each host; exit 0 when all could be read, else 1."""
    settings = app.load_settings(config)
    names = [host.name for host in settings.select(pattern)]
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        bar = progress.add_task("reading hosts", total=len(names))
        found = asyncio.run(_try_all(settings, names, lambda: progress.advance(bar)))
    failed = [each for each in found if each.error]
    if as_json:
        data = [
            {"host": e.host, "ok": not e.error, "error": e.error, "fix": e.fix, "missing": e.missing}
            for e in found
        ]
        Console(soft_wrap=True).print_json(json.dumps(data))
    else:
        _draw(found, failed)
    return 1 if failed else 0


async def _try_all(settings: Settings, names: Sequence[str], done: Callable[[], None]) -> list[Tried]:
    places = asyncio.Semaphore(AT_ONCE)
    async with offline.asking(settings) as bot:

        async def one(name: str) -> Tried:
            async with places:
                try:
                    snapshot = await bot.readings.now(name, asked=True)
                    return Tried(host=name, missing=tuple(snapshot.problems))
                except HostError as error:
                    return Tried(host=name, error=str(error), fix=error.fix, jump=error.jump)
                finally:
                    done()

        return list(await asyncio.gather(*(one(name) for name in names)))


def _draw(found: Sequence[Tried], failed: Sequence[Tried]) -> None:
    """One line a host that can be read; what is wrong in full below, once for all behind one jump host."""
    console = Console(emoji=False, highlight=False)
    table = Table("host", "", "what could not be read")
    for each in found:
        sign = "[bold red]failed[/]" if each.error else "[bold green]ok[/]"
        table.add_row(cell(each.host), sign, cell("see below" if each.error else "; ".join(each.missing)))
    console.print(table)
    told = set[str]()
    for each in failed:
        if each.jump is not None:
            if each.jump in told:
                continue
            told.add(each.jump)
            behind = sum(other.jump == each.jump for other in failed)
            console.print(plain(f"{behind} host(s) behind {each.jump}:"), markup=False, soft_wrap=True)
        console.print(plain(each.error), markup=False, soft_wrap=True)
        if each.fix:
            console.print(plain(f"  fix: {each.fix}"), markup=False, soft_wrap=True)
    console.print(f"{len(found) - len(failed)} of {len(found)} hosts can be read")


# ------------------------------------------------------------------ trust
def trusted(name: str, *, config: Path, fingerprint: str) -> int:
    """Show the key that a host offers and write it down on a yes; exit 0 when it is vouched for, else 1."""
    settings = app.load_settings(config)
    console = Console(emoji=False, highlight=False, soft_wrap=True, markup=False)
    host = _called(settings, name)
    file, offer = asyncio.run(_offered(settings, host))
    if offer is None:
        console.print(f"The key of {host} is trusted already ({file}); nothing was written.")
        return 0
    console.print(plain(f"{host} ({offer.name}) offers this key:\n  {_kind(offer)} {offer.fingerprint}"))
    console.print(
        "Compare it with the host's own, not over this network: on its console, or in your provider's page,\n"
        f"  ssh-keygen -lf /etc/ssh/{_key_file(offer)}"
    )
    if not _agreed(console, host, offer, fingerprint, file):
        return 1
    ssh_trust.enrol(file, offer)
    console.print(f"Written to {file}. Next: oombot hosts test {host}")
    return 0


async def _offered(settings: Settings, host: str) -> tuple[Path, Offer | None]:
    async with app.ssh_hosts(settings) as hosts:
        return hosts.pool.known.file, await ssh_trust.offered(hosts.pool, host)


def _called(settings: Settings, name: str) -> str:
    """The host of this name or alias; any other name may be that of a jump host."""
    try:
        host = settings.host(name)
    except UnknownHostError:
        hops = {
            hop.rpartition("@")[2]
            for each in settings.hosts
            for hop in (settings.jump(each.name) or "").split(",")
        }
        if not any(hop in {name, f"[{name}]"} or hop.startswith((f"{name}:", f"[{name}]:")) for hop in hops):
            raise
        return name
    if host.local:
        raise HostError(f"{host.name} is this machine: there is no key to trust.")
    return host.name


def _agreed(console: Console, host: str, offer: Offer, fingerprint: str, file: Path) -> bool:
    """Whether the person vouches for the key: by the fingerprint given, or by typing yes."""
    if fingerprint:
        wanted = fingerprint if fingerprint.startswith("SHA256:") else f"SHA256:{fingerprint}"
        if wanted.rstrip("=") == offer.fingerprint:
            return True
        console.print(
            f"That is not {wanted}: nothing was written. Somebody may stand between you and {host}."
        )
        return False
    if not sys.stdin.isatty():
        console.print(
            f"Nobody can be asked here, so nothing was written. After comparing:\n"
            f"  oombot hosts trust {host} --fingerprint {offer.fingerprint}"
        )
        return False
    if console.input(f"Do they agree? yes writes it to {file}: ").strip().lower() == "yes":
        return True
    console.print("Nothing was written.")
    return False


def _kind(offer: Offer) -> str:
    return offer.key.get_algorithm() if offer.key is not None else ""


def _key_file(offer: Offer) -> str:
    kind = "ed25519" if "ed25519" in _kind(offer) else "ecdsa" if "ecdsa" in _kind(offer) else "rsa"
    return f"ssh_host_{kind}_key.pub"
