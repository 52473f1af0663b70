"""Everything the bot asks a host in one round trip, and the pure parser of the answer."""

from collections.abc import Sequence

from oombot.facts.kernel_log import kernel_log
from oombot.facts.memory import memory_kb, pressure, swaps
from oombot.facts.processes import cgroups, family, processes, whole
from oombot.facts.script import SCRIPT
from oombot.facts.sections import Sections, decimal, integer, pairs, split, text
from oombot.facts.units import units
from oombot.model import Command, HostSnapshot, Process

_NAMES = {
    "host": "host identity",
    "meminfo": "/proc/meminfo",
    "processes": "process table",
    "cgroups": "memory cgroups",
    "units": "systemd units",
    "log_source": "kernel log",
    "log": "kernel log",
}
_DEFAULT_PAGE_KB = 4


def read(since_s: int) -> Command:
    """Ask for the whole host, with its kernel log since `since_s`."""
    return Command(argv=("sh", "-s", "--", str(since_s)), stdin=SCRIPT)


def parse(raw: bytes, *, host: str, taken_s: float) -> HostSnapshot:
    """Turn the answer of `read` into a snapshot; what is missing, cut or garbled is said in `problems`."""
    sections = split(raw)
    named = sections.named
    said = pairs(named.get("host", ()))
    now_s, uptime_s, uid = decimal(said.get(b"now")), decimal(said.get(b"uptime")), integer(said.get(b"uid"))
    booted_s = None if now_s is None or uptime_s is None else now_s - uptime_s
    table = processes(named.get("processes", ()))
    complete = whole(named.get("processes", ()), table) and "cgroups" in named  # awk's END has come
    log, notes = kernel_log(sections, booted_s, uid)
    page_bytes, own = integer(said.get(b"page")), integer(said.get(b"self"))
    return HostSnapshot(
        host=host,
        taken_s=taken_s,
        now_s=now_s,
        boot_id=text(said.get(b"boot_id", b"")) or None,
        uptime_s=uptime_s,
        kernel=text(said.get(b"kernel", b"")) or None,
        page_kb=page_bytes // 1024 if page_bytes and page_bytes >= 1024 else _DEFAULT_PAGE_KB,
        memory_kb=memory_kb(named.get("meminfo", ())),
        swaps=swaps(named.get("swaps", ())),
        pressure=pressure(named.get("pressure", ())),
        oom_kill_count=integer(pairs(named.get("vmstat", ())).get(b"oom_kill")),
        processes=table,
        cgroups=cgroups(named.get("cgroups", ()), table),
        units=units(named.get("units", ()), booted_s),
        kernel_log=log,
        own_pids=family(own, table) if own is not None else frozenset(),
        login_uid=uid,
        has_systemd=b"systemd" in said,
        has_python=b"python" in said,
        can_sudo={b"yes": True, b"no": False}.get(_sudo(named.get("sudo", ()), said)),
        processes_whole=complete,
        problems=(*_problems(sections, said, table, complete=complete), *notes),
        replayed="replayed" in named,
    )


def _sudo(lines: Sequence[bytes], said: dict[bytes, bytes]) -> bytes:
    """The script's word on sudo: `no` beside the host's facts where there is none, else in a section of its own."""
    return pairs(lines).get(b"sudo") or said.get(b"sudo", b"")


def _problems(
    sections: Sections, said: dict[bytes, bytes], table: Sequence[Process], *, complete: bool
) -> Sequence[str]:
    named, found, pids = sections.named, [], {row.pid for row in table}
    if sections.cut_in is not None:
        found.append(f"{_NAMES.get(sections.cut_in, sections.cut_in)} was cut: the answer ended early")
    found += [
        f"{_NAMES[name]} could not be read"
        for name in ("host", "meminfo", "processes", "cgroups", "units")
        if name not in named or (not named[name] and name != "units")
    ]
    if named.get("host"):
        if not integer(said.get(b"page")):
            found.append("page size is unknown, 4 kB is assumed")
        found += [
            f"{key.decode()} is unknown" for key in (b"boot_id", b"uptime", b"now") if not said.get(key)
        ]
    if pids and 1 not in pids and sections.cut_in != "processes":
        found.append(f"only {len(pids)} processes are visible: /proc hides those of others (hidepid)")
    elif pids and not complete and sections.cut_in != "processes":
        found.append("process table is not whole: the host stopped in the middle of it")
    failed = [line for line in named.get("units", ()) if line.startswith(b"failed ")]
    if failed or (b"systemd" in said and sections.cut_in != "units" and not named.get("units")):
        reason = b" ".join(line for line in named.get("units", ()) if b"=" not in line)[:200]
        found.append(f"systemd units could not be listed: {text(reason) or 'no answer'}")
    return found
