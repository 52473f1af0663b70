"""Verbs of memory limits: set-memory by `systemctl set-property`, and restore-memory, its way back, byte for byte.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).

What systemd shows is never taken for what the kernel has: limits are read, and read back, in the cgroup. The way back
puts the old value in force first, then the old files, and lets systemd read them last (measured on 252 and 257).
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import time
from typing import Any

from oombot.data.oombot_dropins import (
    MAX_TEXT,
    holds_only,
    last_limit,
    limit_in_files,
    limit_path,
    limit_text,
    same_limit,
)
from oombot.data.oombot_pending import check_reload, check_start
from oombot.data.oombot_policy import NEVER, Policy, check_unit
from oombot.data.oombot_shape import Verb, no_input, options
from oombot.data.oombot_site import (
    RefusedError,
    Site,
    StepError,
    UntouchedError,
    folder_of,
    read_file,
    remove_empty_folder,
    remove_file,
    tell,
    write_file,
)
from oombot.data.oombot_systemd import (
    WITH_CGROUP,
    cgroup_at,
    number,
    show,
)

# option, setting of systemd, file of cgroup v2; v1 has MemoryMax only
LIMITS = (
    ("high", "MemoryHigh", "memory.high"),
    ("max", "MemoryMax", "memory.max"),
    ("swap_max", "MemorySwapMax", "memory.swap.max"),
)
SETTING_OF = {option: setting for option, setting, _ in LIMITS}
FILE_OF = {setting: name for _, setting, name in LIMITS}
V1_MAX = "memory.limit_in_bytes"
LIMIT_FORM = r"infinity|0|[1-9][0-9]{0,15}"
STOOD_FORM = r"[a-z]+(?:/unit)?(?:,[a-z]+(?:/unit)?){0,5}"
WIDE_UNITS = ("-.slice", "system.slice", "user.slice", "machine.slice", "user-*.slice", "user@*", "kubepods*")
SET_WITHIN_S = 5.0


def _limit_forms() -> dict[str, str]:
    forms = {}
    for option, _, _ in LIMITS:
        name = option.replace("_", "-")
        forms.update({f"[--{name}]": LIMIT_FORM, f"[--{name}-was]": LIMIT_FORM})
    return forms


def _limit_pairs(verb: str, found: dict[str, str]) -> dict[str, Any]:
    """The unit, the new limits and those that are replaced, by setting; each comes with its old one."""
    new = {setting: found[option] for option, setting in SETTING_OF.items() if option in found}
    was = {
        setting: found[f"{option}_was"] for option, setting in SETTING_OF.items() if f"{option}_was" in found
    }
    if not new or set(new) != set(was):
        raise RefusedError(f"{verb} takes at least one limit, each with what it was")
    if "0" in (new.get("MemoryMax"), new.get("MemoryHigh")):
        raise RefusedError(f"{verb}: MemoryMax and MemoryHigh are never 0")
    return {"unit": found["unit"], "new": new, "was": was}


def _set_memory_words(words: list[str], stdin: str) -> dict[str, Any]:
    """`--unit U --lasting boot|good [--high V --high-was V] [--max …] [--swap-max …] --files SHA-256`."""
    no_input("set-memory", stdin)
    unit = WITH_CGROUP
    forms = {"--unit": unit, "--lasting": "boot|good", **_limit_forms(), "--files": "[0-9a-f]{64}"}
    found = options("set-memory", words, forms)
    pairs = _limit_pairs("set-memory", found)
    return {**pairs, "lasting": found["lasting"], "files": found["files"]}


def _restore_memory_words(words: list[str], stdin: str) -> dict[str, Any]:
    """`--unit U [--high V --high-was V] [--max …] [--swap-max …] [--stood control,control/unit,…]`, the last being
    the folders that stay when they are empty; and the files as they were as JSON."""
    forms = {"--unit": WITH_CGROUP, **_limit_forms(), "[--stood]": STOOD_FORM}
    found = options("restore-memory", words, forms)
    pairs, stood = _limit_pairs("restore-memory", found), found.get("stood", "")
    return {**pairs, "texts": _old_texts(stdin, tuple(pairs["new"])), "stood": stood.split(",")}


def _old_texts(stdin: str, settings: tuple[str, ...]) -> dict[str, str | None]:
    """The old files by kind and setting: those of these limits and no others, each with one limit in it or nothing."""
    try:
        texts = json.loads(stdin) if len(stdin) <= 6 * MAX_TEXT else None
    except (ValueError, RecursionError):
        texts = None
    wanted = [
        {f"{kind}/{setting}" for kind in kinds for setting in settings}
        for kinds in (("control", "runtime"), ("transient",))
    ]
    if not isinstance(texts, dict) or set(texts) not in wanted:
        raise RefusedError("restore-memory takes the old text, or null, of each file of its limits, as JSON")
    for key, text in texts.items():
        if text is not None and not holds_only(text, key.split("/")[1]):
            raise RefusedError(f"restore-memory: the old text of {key} holds more than its limit")
    return texts


def _memory_allowed(policy: Policy | None, site: Site, unit: str, **_: Any) -> None:
    """Refuse what is no service or slice, what holds the host, and what the policy does not allow."""
    if not unit.endswith((".service", ".slice")):
        raise RefusedError(f"{unit} is no service and no slice: its limits are not changed")
    if any(fnmatch.fnmatchcase(unit, glob) for glob in (*NEVER, *WIDE_UNITS)):
        raise RefusedError(f"{unit} is never limited: the host could not be run without what is in it")
    check_unit(policy, unit)


# ---------------------------------------------------------------- what stands


def _limited_unit(site: Site, unit: str) -> dict[str, str]:
    """The unit as systemd has it, where it runs and may be limited; nothing was changed where not."""
    names = "Id,LoadState,ActiveState,ControlGroup,Transient,FragmentPath,MemoryHigh,MemoryMax,MemorySwapMax"
    found = show(site, unit, names)
    if found.get("Id") != unit or found.get("LoadState") != "loaded":
        raise UntouchedError(f"{unit} is not loaded under this name; nothing was changed")
    if found.get("ActiveState") in ("inactive", "failed", None) or not found.get("ControlGroup"):
        raise UntouchedError(f"{unit} is not running; nothing was changed")
    inside = _never_inside(site, found["ControlGroup"])
    if inside:
        raise UntouchedError(f"{inside} is in {unit}: it is never limited; nothing was changed")
    return found


def _never_inside(site: Site, group: str) -> str:
    """A unit below this cgroup that the host can not be run without."""
    for _folder, below, _files in os.walk(cgroup_at(site, group).folder):
        for name in below:
            if any(fnmatch.fnmatchcase(name, glob) for glob in NEVER):
                return name
    return ""


def _live_limits(site: Site, group: str, settings: Any) -> dict[str, str]:
    """What the kernel holds a cgroup to, by setting; nothing is taken for no limit."""
    cgroup, found = cgroup_at(site, group), {}
    for setting in settings:
        if cgroup.version == 1 and setting != "MemoryMax":
            raise UntouchedError(f"cgroup v1 has no {setting}; nothing was changed")
        name = V1_MAX if cgroup.version == 1 else FILE_OF[setting]
        text = cgroup.text(name)
        if text is None:
            raise UntouchedError(f"{name} of {group} can not be read; nothing was changed")
        size = number(text)
        found[setting] = "infinity" if size is None else str(size)
    return found


def _working_set(site: Site, group: str) -> int:
    """What a cgroup holds that can not be dropped at once."""
    working_b = cgroup_at(site, group).working_set_b()
    if working_b is None:
        raise UntouchedError(f"what {group} uses can not be read; nothing was changed")
    return working_b


def _check_cap(site: Site, group: str, cap: str, what: str) -> None:
    """UntouchedError for a cap of less than 1.25 times what can not be dropped."""
    if cap == "infinity":
        return
    working = _working_set(site, group)
    if int(cap) * 4 < working * 5:
        raise UntouchedError(
            f"{what} {cap} is less than 1.25 times the {working} bytes that {group} holds now: "
            "the kernel would kill in it; nothing was changed"
        )


def _limit_files(site: Site, found: dict[str, str], settings: Any) -> dict[str, str | None]:
    """The texts of the files that set-property may write for these limits."""
    kinds = ("transient",) if found.get("Transient") == "yes" else ("control", "runtime")
    texts: dict[str, str | None] = {}
    for key in (f"{kind}/{setting}" for kind in kinds for setting in settings):
        data = read_file(site, limit_path(found["Id"], key), limit=MAX_TEXT)
        texts[key] = None if data is None else data.decode("utf-8", "replace")
    return texts


# ---------------------------------------------------------------- the verbs


def set_memory(
    policy: Policy | None,
    site: Site,
    unit: str,
    new: dict[str, str],
    was: dict[str, str],
    lasting: str,
    files: str,
) -> tuple[str, str]:
    """Set limits in one call, where kernel and files still are what the plan saw, and none would kill."""
    found = _limited_unit(site, unit)
    group, texts = found["ControlGroup"], _limit_files(site, found, new)
    before = _live_limits(site, group, new)
    _check_unchanged(before, was)
    if hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest() != files:
        raise UntouchedError(f"somebody has changed the limits of {unit} since; nothing was changed")
    if lasting == "good" and found.get("Transient") == "yes":
        raise UntouchedError(f"{unit} is transient: it has no limits for good; nothing was changed")
    kind = "transient" if found.get("Transient") == "yes" else "control" if lasting == "good" else "runtime"
    for setting, value in new.items():
        after = limit_in_files(
            site, found, setting, {**texts, f"{kind}/{setting}": limit_text(unit, setting, value)}
        )
        if not same_limit(after, value):
            raise UntouchedError(
                f"another file of systemd sets {setting} to {after}, and would win when systemd reads its files "
                "again; nothing was changed"
            )
    _check_own(site, found, new)
    check_start(site, but=unit)
    _check_cap(site, group, new.get("MemoryMax", "infinity"), "MemoryMax")
    modes = {key: _mode(site, limit_path(unit, key)) for key, text in texts.items() if text is not None}
    with _once_set(unit):
        _set_property(site, unit, new, runtime=lasting == "boot")
        for key, mode in modes.items():
            _keep_mode(site, limit_path(unit, key), mode)
        return _limits_told(before), _limits_told(_until_set(site, group, new))


def restore_memory(
    policy: Policy | None,
    site: Site,
    unit: str,
    new: dict[str, str],
    was: dict[str, str],
    texts: dict[str, str | None],
    stood: list[str],
) -> tuple[str, str]:
    """Put limits and files back as they were, where both still are what was set, and none would kill."""
    found = _limited_unit(site, unit)
    group, stand = found["ControlGroup"], _limit_files(site, found, new)
    before = _live_limits(site, group, new)
    _check_unchanged(before, was)
    if set(stand) != set(texts):
        raise UntouchedError(f"{unit} is another kind of unit now; nothing was changed")
    for key, text in stand.items():
        setting = key.split("/")[1]
        ours = text is not None and holds_only(text, setting) and last_limit(site, unit, setting, text)
        if text != texts[key] and not (ours and same_limit(ours, was[setting])):
            raise UntouchedError(f"somebody has changed {limit_path(unit, key)} since; nothing was changed")
    _check_own(site, found, new, files=True)
    check_start(site, but=unit)
    check_reload(site, but=unit)
    _check_way_back(site, found, new, was, texts)
    with _once_set(unit):
        _set_property(site, unit, new, runtime=True)
        _until_set(site, group, new)
        _put_back_files(site, unit, texts, stood)
        tell(site, "systemctl", "daemon-reload")
        return _limits_told(before), _limits_told(_until_set(site, group, new))


@contextlib.contextmanager
def _once_set(unit: str) -> Any:
    """From here on nothing is called untouched: what fails fails after systemd was told, or while it is."""
    try:
        yield
    except UntouchedError as error:
        said = str(error).removesuffix("; nothing was changed")
        raise StepError(f"systemd was told to set the limits of {unit}, and then: {said}") from None


def _check_unchanged(live: dict[str, str], was: dict[str, str]) -> None:
    for setting, value in was.items():
        if not same_limit(live[setting], value):
            raise UntouchedError(
                f"{setting} is now {live[setting]}, not {value} as it was when the plan was made: nothing was changed"
            )


def _check_own(site: Site, found: dict[str, str], new: dict[str, str], *, files: bool = False) -> None:
    """UntouchedError where another limit of the unit itself waits: set-property sets all that systemd holds, and with
    `files` a daemon-reload makes it hold what stands in them."""
    group = found["ControlGroup"]
    cgroup = cgroup_at(site, group)
    for setting, name in FILE_OF.items():
        here = V1_MAX if cgroup.version == 1 else name
        gone = (cgroup.version == 1 and setting != "MemoryMax") or cgroup.text(here) is None
        if setting in new or gone:
            continue  # a kernel that has it not sets nothing
        live = _live_limits(site, group, [setting])[setting]
        size = number(found.get(setting))
        held = ["infinity" if size is None else str(size)]
        if files:
            held.append(limit_in_files(site, found, setting, _limit_files(site, found, [setting])))
        if not all(same_limit(one, live) for one in held):
            raise UntouchedError(f"{setting} of {found['Id']} itself waits to be set; nothing was changed")


def _check_way_back(
    site: Site, found: dict[str, str], new: dict[str, str], was: dict[str, str], texts: dict[str, str | None]
) -> None:
    """UntouchedError where the old cap, or one that the old files hold, is under what is used now."""
    for setting, value in new.items():
        held = limit_in_files(site, found, setting, texts)
        if setting == "MemoryMax":
            for cap in (value, held):
                if cap != "infinity" and (was[setting] == "infinity" or int(cap) < int(was[setting])):
                    _check_cap(site, found["ControlGroup"], cap, "the old MemoryMax")


def _set_property(site: Site, unit: str, new: dict[str, str], *, runtime: bool) -> None:
    words = ("systemctl", "set-property", *(("--runtime",) if runtime else ()), "--", unit)
    tell(site, *words, *(f"{setting}={value}" for setting, value in new.items()))


def _put_back_files(site: Site, unit: str, texts: dict[str, str | None], stood: list[str]) -> None:
    """The files of set-property byte for byte; folders that are empty then go as well, but for those that stood."""
    for key, text in texts.items():
        path = limit_path(unit, key)
        if text is None:
            remove_file(site, path)
            kind, folder = key.split("/")[0], os.path.dirname(path)
            if f"{kind}/unit" not in stood:
                remove_empty_folder(site, folder)
            if kind not in (*stood, "transient"):
                remove_empty_folder(site, os.path.dirname(folder))
        else:
            write_file(site, path, text.encode(), make=True)


def _until_set(site: Site, group: str, new: dict[str, str]) -> dict[str, str]:
    """What the kernel has, as soon as it is what was wanted; StepError where it never is."""
    deadline = time.monotonic() + SET_WITHIN_S
    while True:
        live = _live_limits(site, group, new)
        wrong = [setting for setting, value in new.items() if not same_limit(live[setting], value)]
        if not wrong:
            return live
        if time.monotonic() > deadline:
            raise StepError(f"systemd took {wrong[0]}={new[wrong[0]]}, but the kernel has {live[wrong[0]]}")
        time.sleep(0.1)


def _mode(site: Site, path: str) -> tuple[int, int, int]:
    with folder_of(site, path) as folder:
        found = os.stat(os.path.basename(path), dir_fd=folder, follow_symlinks=False)
        return found.st_mode & 0o7777, found.st_uid, found.st_gid


def _keep_mode(site: Site, path: str, mode: tuple[int, int, int]) -> None:
    """The mode and owner that a file had before systemd wrote it anew: so they are there when it comes back."""
    with folder_of(site, path) as folder:
        handle = os.open(os.path.basename(path), os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            os.fchown(handle, mode[1], mode[2])
            os.fchmod(handle, mode[0])
        finally:
            os.close(handle)


def _limits_told(limits: dict[str, str]) -> str:
    return " ".join(f"{setting}={value}" for setting, value in limits.items())


MEMORY_VERBS = {
    "set-memory": Verb(words=_set_memory_words, allowed=_memory_allowed, act=set_memory),
    "restore-memory": Verb(words=_restore_memory_words, allowed=_memory_allowed, act=restore_memory),
}
