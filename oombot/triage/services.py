"""What systemd says of a service, in sentences: how it ended, whether it is back, whether it will be retried."""

import signal

from oombot.model import HostSnapshot, Unit
from oombot.triage.amounts import age, plural

_CLD_EXITED, _CLD_KILLED, _CLD_DUMPED = 1, 2, 3  # si_code of SIGCHLD, as ExecMainCode has it
# service_shall_restart() of src/core/service.c: which Result each Restart= answers
_RETRIED = {
    "on-success": ("success",),
    "on-watchdog": ("watchdog",),
    "on-abort": ("signal", "core-dump"),
}
_NOT_RETRIED = {"always": (), "on-failure": ("success",), "on-abnormal": ("success", "exit-code")}


def find_unit(snapshot: HostSnapshot, name: str | None) -> Unit | None:
    """Look a service up by its name."""
    return next((unit for unit in snapshot.units if unit.name == name), None) if name else None


def restarts(unit: Unit, result: str) -> bool:
    """Whether the unit's Restart= answers this Result (start limits apart)."""
    if unit.restart in _NOT_RETRIED:
        return result not in _NOT_RETRIED[unit.restart]
    return result in _RETRIED.get(unit.restart, ())


def is_up(unit: Unit) -> bool | None:
    """Whether the service runs now; None while it comes up or goes down."""
    return {"active": True, "reloading": True, "failed": False, "inactive": False}.get(unit.active_state)


def will_run(unit: Unit) -> bool:
    """Whether the service runs or is about to, without anybody's help."""
    return unit.active_state in ("active", "reloading", "activating")


def unit_now(unit: Unit, *, since_s: float | None, now_s: float | None) -> str:
    """Say whether the service is up, since when, and whether systemd will retry; `since_s` is the kill."""
    for_long = _for(unit, now_s)
    times = "" if not unit.n_restarts else f", {plural(unit.n_restarts, 'restart')} so far"
    if unit.active_state == "activating" and unit.sub_state == "auto-restart":
        return f"{unit.name} is down; systemd will start it again by itself (Restart={unit.restart}{times})"
    if unit.active_state == "active":
        back = since_s is not None and unit.since_s is not None and unit.since_s >= since_s
        verb = "is back: active" if back else "is still active" if since_s is not None else "is active"
        return f"{unit.name} {verb} ({unit.sub_state}){for_long}{times}"
    if unit.active_state == "failed":
        return f"{unit.name} is DOWN: failed{for_long} (Result={unit.result}){times}; {_no_retry(unit)}"
    if unit.active_state == "inactive":
        return f"{unit.name} is DOWN: stopped{for_long}{times}; systemd will not start it by itself"
    return f"{unit.name} is {unit.active_state} ({unit.sub_state}){for_long}{times}"


def how_it_ended(unit: Unit) -> str:
    """Say in words how the main process ended, as systemd saw it."""
    status, code = unit.exec_main_status, unit.exec_main_code
    if unit.result == "timeout":
        return "systemd ended it at its time limit (Result=timeout)"
    if unit.result == "watchdog":
        return "systemd's watchdog ended it (Result=watchdog)"
    if unit.result == "oom-kill":
        return "systemd says out of memory (Result=oom-kill)"
    if unit.result == "core-dump" or code == _CLD_DUMPED:
        return f"it crashed with {signal_name(status)} and dumped core"
    if unit.result == "signal" or code == _CLD_KILLED:
        return f"it was killed by {signal_name(status)}"
    if unit.result == "exit-code" and status is not None and 128 < status < 192:
        return f"it exited with status {status} (128 + {signal_name(status - 128)}: a child was killed by that signal)"
    if unit.result == "exit-code":
        return f"it exited with status {'?' if status is None else status}"
    return f"Result={unit.result}"


def signal_name(number: int | None) -> str:
    """Write 9 as `SIGKILL`."""
    try:
        return signal.Signals(number or 0).name
    except ValueError:
        return "an unknown signal" if number is None else f"signal {number}"


def _no_retry(unit: Unit) -> str:
    """Say why systemd does not start a failed unit again."""
    if unit.result == "start-limit-hit":
        return "systemd gave up (start limit hit)"
    if restarts(unit, unit.result):
        return f"systemd has given up (Restart={unit.restart}, start limit)"
    return f"systemd will not restart it (Restart={unit.restart})"


def _for(unit: Unit, now_s: float | None) -> str:
    """Say for how long the unit has been in its state."""
    return "" if unit.since_s is None or now_s is None else f" for {age(now_s - unit.since_s)}"
