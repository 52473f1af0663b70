"""Each host: what of it can be read, and what a person will be told is unknown."""

from collections.abc import Iterable

from oombot.doctor.gathered import Gathered, HostFacts
from oombot.doctor.shape import HostCheck, Line, ok, unknown, warning


def _lines(host: HostFacts, gathered: Gathered) -> Iterable[Line]:
    del gathered
    if host.fault is not None or host.answered_s is None:
        return
    snapshot, settings = host.snapshot, host.settings
    if snapshot is not None:
        log_problem = snapshot.kernel_log.problem
        problems = [problem for problem in snapshot.problems if problem != log_problem]
        for problem in problems:
            why = "a card can not say what could not be read; it says unknown"
            yield warning("part", problem, why, f"oombot ask {host.name}")
        if not problems:
            found = f"{host.processes} processes, {host.cgroups} cgroups, {host.units} units"
            yield ok("parts", f"memory, {found}")
    if settings is None:
        fault = host.settings_fault
        said = "its kernel settings could not be asked" + (f": {fault.said}" if fault else "")
        why = "whether it can be trusted to kill and to tell is not known"
        yield unknown("settings", said, why, (fault and fault.fix) or f"oombot doctor --host {host.name}")
        return
    if settings.cut:
        why = "what is missing below is unknown, not absent"
        yield unknown(
            "settings", "its answer about settings ended early", why, f"oombot doctor --host {host.name}"
        )
    if settings.hidepid and settings.uid != 0:
        user = settings.user or "ACCOUNT"
        yield warning(
            "hidepid",
            f"/proc is mounted with hidepid={settings.hidepid}",
            "other accounts' processes are invisible: who holds memory and who dies next is not seen",
            f"on the host: add {user} to the group that /proc's gid= names, or oombot sudoers {host.name}",
        )


CHECK = HostCheck(name="reading", rank=120, lines=_lines)
