"""set-memory and restore-memory on a small systemd: what is set, what is refused, and the way back byte for byte."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot.data.oombot_memory import MEMORY_VERBS
from oombot.data.oombot_policy import Policy
from oombot.data.oombot_site import RefusedError, StepError, UntouchedError
from tests.systemd import MIB, Systemd

SET, RESTORE = MEMORY_VERBS["set-memory"], MEMORY_VERBS["restore-memory"]
WEB = "web.service"
KEPT = "/etc/systemd/system.control/web.service.d/50-MemoryMax.conf"
RUNTIME = "/run/systemd/system.control/web.service.d/50-MemoryMax.conf"
OWN = "[Service]\n# ours,\tdo not touch: 100 %\n\nMemoryMax=700M"


@pytest.fixture
def machine(tmp_path: Path) -> Systemd:
    """A machine with web.service, which holds 300 MiB, and a neighbour."""
    machine = Systemd(tmp_path)
    machine.unit(WEB, current_b=340 * MIB, inactive_file_b=40 * MIB)
    machine.unit("db.service", current_b=300 * MIB)
    return machine


def texts(
    machine: Systemd, *settings: str, unit: str = WEB, transient: bool = False
) -> dict[str, str | None]:
    """The files of set-property as they stand."""
    kinds = {"control": "/etc/systemd/system.control", "runtime": "/run/systemd/system.control"}
    if transient:
        kinds = {"transient": "/run/systemd/transient"}
    return {
        f"{kind}/{setting}": machine.text(f"{folder}/{unit}.d/50-{setting}.conf")
        for kind, folder in kinds.items()
        for setting in settings or ("MemoryMax",)
    }


def words(unit: str, new: dict[str, str], was: dict[str, str]) -> list[str]:
    """The words that both verbs share."""
    pairs = [word for name in new for word in (f"--{name}", new[name], f"--{name}-was", was[name])]
    return ["--unit", unit, *pairs]


def set_words(
    machine: Systemd, new: dict[str, str], was: dict[str, str], *, lasting: str = "boot", unit: str = WEB
) -> list[str]:
    """set-memory as a plan has it."""
    names = {"max": "MemoryMax", "high": "MemoryHigh", "swap-max": "MemorySwapMax"}
    stand = texts(machine, *(names[one] for one in new), unit=unit)
    seal = hashlib.sha256(json.dumps(stand, sort_keys=True).encode()).hexdigest()
    rest = words(unit, new, was)
    return [*rest[:2], "--lasting", lasting, *rest[2:], "--files", seal]


def run(verb: Any, machine: Systemd, argv: list[str], stdin: str = "", policy: Policy | None = None) -> Any:
    """Read the words, ask the policy, act: as the helper does."""
    arguments = verb.words(argv, stdin)
    verb.allowed(policy, machine.site, **arguments)
    return verb.act(policy, machine.site, **arguments)


def limit(machine: Systemd, size_mib: int | None = 512, was: str = "infinity", **more: Any) -> Any:
    """Set MemoryMax of web.service."""
    value = "infinity" if size_mib is None else str(size_mib * MIB)
    return run(SET, machine, set_words(machine, {"max": value}, {"max": was}, **more))


def back(
    machine: Systemd, old: dict[str, str | None], value: str = "infinity", was: str = str(512 * MIB)
) -> Any:
    """Put MemoryMax of web.service back."""
    return run(RESTORE, machine, words(WEB, {"max": value}, {"max": was}), json.dumps(old))


@pytest.mark.parametrize(("lasting", "path"), [("boot", RUNTIME), ("good", KEPT)])
def test_limit_is_set_and_put_back(machine: Systemd, lasting: str, path: str) -> None:
    """In the kernel and in one file; afterwards nothing is left, not even a folder."""
    old, before = texts(machine), machine.standing()
    assert limit(machine, lasting=lasting) == ("MemoryMax=infinity", f"MemoryMax={512 * MIB}")
    assert machine.cgroup_file(WEB, "memory.max") == str(512 * MIB)
    assert machine.text(path) is not None
    assert back(machine, old) == (f"MemoryMax={512 * MIB}", "MemoryMax=infinity")
    assert machine.cgroup_file(WEB, "memory.max") == "max"
    gone = {path: held for path, held in before.items() if not path.endswith("system.control")}
    assert {path: held for path, held in machine.standing().items() if "system.control" not in path} == gone
    assert machine.shown(WEB)["MemoryMax"] == "infinity"
    assert machine.shown(WEB)["NeedDaemonReload"] == "no"


@pytest.mark.parametrize("own", ["", "/etc/systemd/system.control", "/run/systemd/system.control"])
def test_folders_that_stood_there_empty_stay(machine: Systemd, own: str) -> None:
    """All that was there before is there afterwards, and nothing else."""
    stood = ["control", "runtime"]  # the machine has both, empty
    if own:
        (machine.root / own[1:] / f"{WEB}.d").mkdir()
        stood.append("control/unit" if own.startswith("/etc") else "runtime/unit")
    old, before = texts(machine), {path for path in machine.standing() if "system.control" in path}
    limit(machine, lasting="good")
    argv = [*words(WEB, {"max": "infinity"}, {"max": str(512 * MIB)}), "--stood", ",".join(stood)]
    run(RESTORE, machine, argv, json.dumps(old))
    assert {path for path in machine.standing() if "system.control" in path} == before


@pytest.mark.parametrize("stood", ["", "control,", "/etc", "control/../unit", "control\n"])
def test_folders_are_named_by_their_kind(stood: str) -> None:
    """A path, or what is none, is refused."""
    argv = [*words(WEB, {"max": "infinity"}, {"max": "1048576"}), "--stood", stood]
    with pytest.raises(RefusedError, match="--stood"):
        RESTORE.words(argv, json.dumps({"control/MemoryMax": None, "runtime/MemoryMax": None}))


def test_several_limits_are_one_call(machine: Systemd) -> None:
    """Atomic: systemd takes all or none."""
    new = {"high": str(400 * MIB), "max": str(512 * MIB), "swap-max": "0"}
    run(SET, machine, set_words(machine, new, dict.fromkeys(new, "infinity")))
    [call] = machine.calls("set-property")
    limits = [f"MemoryHigh={400 * MIB}", f"MemoryMax={512 * MIB}", "MemorySwapMax=0"]
    assert call == ["systemctl", "set-property", "--runtime", "--", WEB, *limits]


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_file_of_an_administrator_comes_back_byte_for_byte(machine: Systemd, mode: int) -> None:
    """With its remarks, its missing last line break and its mode."""
    machine.file(KEPT, OWN, mode)
    machine.reload()
    limit(machine, None, was="infinity", unit="db.service")  # sets what waits in the slice
    old, before = texts(machine), machine.standing("/etc/systemd/system.control")
    assert machine.cgroup_file(WEB, "memory.max") == str(700 * MIB)
    limit(machine, 512, was=str(700 * MIB), lasting="good")
    assert machine.text(KEPT) != OWN
    back(machine, old, str(700 * MIB))
    assert machine.standing("/etc/systemd/system.control") == before
    assert machine.text(RUNTIME) is None
    assert machine.shown(WEB)["MemoryMax"] == machine.cgroup_file(WEB, "memory.max") == str(700 * MIB)


def test_both_files_come_back(machine: Systemd) -> None:
    """A runtime file below a kept one is remembered too: it would count once the kept one is gone."""
    machine.file(KEPT, OWN)
    machine.file(RUNTIME, "[Service]\nMemoryMax=600M\n")
    machine.reload()
    limit(machine, None, was="infinity", unit="db.service")
    old, before = texts(machine), machine.standing("/etc", "/run/systemd/system.control/web.service.d")
    limit(machine, 512, was=str(700 * MIB), lasting="good")
    back(machine, old, str(700 * MIB))
    assert machine.standing("/etc", "/run/systemd/system.control/web.service.d") == before


# ---------------------------------------------------------------- what is refused, and nothing changed


def untouched(machine: Systemd, said: str, act: Any) -> None:
    """The act fails with these words, and nothing was changed."""
    before, live = machine.standing(), machine.cgroup_file(WEB, "memory.max")
    with pytest.raises(UntouchedError, match=said):
        act()
    assert machine.standing() == before
    assert machine.cgroup_file(WEB, "memory.max") == live
    assert machine.calls("set-property") == machine.calls("daemon-reload") == []


@pytest.mark.parametrize("cgroup", [1, 2])
def test_floor_holds_at_the_moment_of_setting(tmp_path: Path, cgroup: int) -> None:
    """1.25 × (memory.current − inactive_file): what the plan saw may be long past."""
    machine = Systemd(tmp_path, cgroup=cgroup)
    machine.unit(WEB, current_b=340 * MIB, inactive_file_b=40 * MIB)
    name = "memory.limit_in_bytes" if cgroup == 1 else "memory.max"
    with pytest.raises(UntouchedError, match=r"less than 1\.25 times"):
        limit(machine, 374)
    assert machine.calls("set-property") == []
    limit(machine, 375)
    assert machine.cgroup_file(WEB, name) == str(375 * MIB)


def test_cgroup_1_has_memory_max_only(tmp_path: Path) -> None:
    """systemd would take MemoryHigh there, and nothing would happen."""
    machine = Systemd(tmp_path, cgroup=1)
    machine.unit(WEB, current_b=MIB)
    argv = set_words(machine, {"high": str(64 * MIB)}, {"high": "infinity"})
    with pytest.raises(UntouchedError, match="cgroup v1 has no MemoryHigh"):
        run(SET, machine, argv)


def test_limit_that_somebody_changed_is_not_overwritten(machine: Systemd) -> None:
    """The kernel's limit is compared with what the plan saw."""
    machine.cgroup("/system.slice/web.service", max_b=900 * MIB, current_b=300 * MIB)
    untouched(machine, r"MemoryMax is now 943718400, not infinity", lambda: limit(machine))


def test_file_that_somebody_changed_is_not_overwritten(machine: Systemd) -> None:
    """The files are compared with what the plan saw, by their hash."""
    argv = set_words(machine, {"max": str(512 * MIB)}, {"max": "infinity"})
    machine.file(KEPT, OWN)
    untouched(machine, "somebody has changed the limits", lambda: run(SET, machine, argv))


@pytest.mark.parametrize(
    ("path", "lasting"),
    [
        (KEPT, "boot"),
        ("/etc/systemd/system/web.service.d/60-more.conf", "good"),
        ("/etc/systemd/system/web.service.d/60-more.conf", "boot"),
        ("/run/systemd/system/service.d/90-all.conf", "good"),
    ],
)
def test_no_limit_that_another_file_would_undo(machine: Systemd, path: str, lasting: str) -> None:
    """A file that counts more, read by systemd or not, would win at the next daemon-reload: below the floor, too."""
    machine.file(path, "[Service]\nMemoryMax=64M\n")
    untouched(
        machine,
        r"another file of systemd sets MemoryMax to 67108864",
        lambda: limit(machine, lasting=lasting),
    )


def test_no_kill_of_another_unit_is_armed(machine: Systemd) -> None:
    """A limit of a neighbour that waits would be set along, and kill it."""
    machine.file("/etc/systemd/system/db.service.d/50-MemoryMax.conf", "[Service]\nMemoryMax=64M\n")
    machine.reload()
    untouched(machine, r"of db\.service waits", lambda: limit(machine))


def test_no_other_limit_of_the_unit_itself_is_armed(machine: Systemd) -> None:
    """A MemoryHigh that waits would be set along with the MemoryMax that was approved."""
    machine.file("/etc/systemd/system/web.service.d/10.conf", "[Service]\nMemoryHigh=64M\n")
    machine.reload()
    untouched(machine, "MemoryHigh of web.service itself waits", lambda: limit(machine))


def test_unit_that_is_down_or_gone_is_left_alone(machine: Systemd) -> None:
    """A limit would stand in files only, and bite at the next start."""
    machine.unit("off.service", state="inactive")
    with pytest.raises(UntouchedError, match="not running"):
        limit(machine, unit="off.service")
    with pytest.raises(UntouchedError, match="not loaded"):
        limit(machine, unit="none.service")


@pytest.mark.parametrize(
    "unit",
    [
        "system.slice",
        "-.slice",
        "user.slice",
        "user-1000.slice",
        "user@1000.service",
        "ssh.service",
        "x.scope",
    ],
)
def test_what_holds_the_host_is_never_limited(machine: Systemd, unit: str) -> None:
    """Not even without a policy."""
    with pytest.raises(RefusedError):
        limit(machine, unit=unit)


def test_slice_with_sshd_in_it_is_never_limited(machine: Systemd) -> None:
    """Its cgroup says who is in it."""
    machine.unit("edge.slice", "[Slice]\n", slice_="-.slice", pids=())
    machine.cgroup("/edge.slice/ssh.service")
    with pytest.raises(UntouchedError, match=r"ssh\.service is in edge\.slice"):
        limit(machine, unit="edge.slice")


def test_policy_of_the_host_bounds_the_unit(machine: Systemd) -> None:
    """Units that its owner did not list are refused."""
    policy = Policy(
        operations=("set-memory",),
        units=("db.*",),
        owners=("*",),
        oom_score_adj=(0, 0),
        changes_per_hour=9,
    )
    argv = set_words(machine, {"max": str(512 * MIB)}, {"max": "infinity"})
    with pytest.raises(RefusedError, match="not among the units"):
        run(SET, machine, argv, policy=policy)


def test_failure_of_systemd_is_told(machine: Systemd) -> None:
    """With its own words; whether it changed something is not claimed."""
    machine.fails("set-property", "Failed to set unit properties: Access denied")
    with pytest.raises(StepError, match="Access denied") as caught:
        limit(machine)
    assert not isinstance(caught.value, UntouchedError)


@pytest.mark.parametrize("verb", ["set", "restore"])
def test_a_unit_that_ends_as_it_is_limited_is_not_called_unchanged(machine: Systemd, verb: str) -> None:
    """systemd has its new limit, and may have written it to a file, although the cgroup can not be read any more."""
    old = texts(machine)
    if verb == "restore":
        limit(machine)
    group = machine.root / "sys/fs/cgroup/system.slice/web.service"
    real = machine.bin / "real-systemctl"
    (machine.bin / "systemctl").rename(real)
    gone = f'case "$1" in set-property) rm -f {group}/memory.max ;; esac'
    machine.program("systemctl", f'#!/bin/sh\n{real} "$@"; status=$?\n{gone}\nexit $status\n')
    with pytest.raises(StepError, match="was told to set the limits") as caught:
        limit(machine) if verb == "set" else back(machine, old)
    assert not isinstance(caught.value, UntouchedError)
    assert "nothing was changed" not in str(caught.value)


# ---------------------------------------------------------------- refusals of the way back


def test_way_back_does_not_kill(machine: Systemd) -> None:
    """An old cap under what the unit holds by now is not put back."""
    limit(machine, 400)
    old = texts(machine)
    limit(machine, 900, was=str(400 * MIB))
    machine.cgroup("/system.slice/web.service", max_b=900 * MIB, current_b=700 * MIB)
    with pytest.raises(UntouchedError, match="the old MemoryMax 419430400 is less than"):
        back(machine, old, str(400 * MIB), str(900 * MIB))
    assert machine.cgroup_file(WEB, "memory.max") == str(900 * MIB)


def test_way_back_does_not_arm_a_kill_by_the_old_files(machine: Systemd) -> None:
    """Old files that hold less than the old limit did are weighed too: a daemon-reload makes them wait."""
    limit(machine, 900)
    old = {"control/MemoryMax": None, "runtime/MemoryMax": "[Service]\nMemoryMax=64M\n"}
    with pytest.raises(UntouchedError, match="the old MemoryMax 67108864 is less than"):
        back(machine, old, was=str(900 * MIB))


def test_way_back_overwrites_nobody(machine: Systemd) -> None:
    """A file, or a limit, that somebody else has written since stays."""
    old = texts(machine)
    limit(machine, lasting="good")
    machine.file(KEPT, "[Service]\nMemoryMax=800M\n")
    with pytest.raises(UntouchedError, match=r"somebody has changed /etc/systemd/system\.control"):
        back(machine, old)
    machine.cgroup("/system.slice/web.service", max_b=800 * MIB)
    with pytest.raises(UntouchedError, match="MemoryMax is now 838860800"):
        back(machine, old)
    assert machine.text(KEPT) == "[Service]\nMemoryMax=800M\n"


def test_way_back_arms_no_kill_by_its_reload(machine: Systemd) -> None:
    """A limit in a file of a neighbour that systemd has not read is armed by no daemon-reload of ours."""
    old = texts(machine)
    limit(machine)
    machine.file("/etc/systemd/system/db.service.d/50-MemoryMax.conf", "[Service]\nMemoryMax=64M\n")
    with pytest.raises(UntouchedError, match=r"of db\.service waits"):
        back(machine, old)
    assert machine.calls("daemon-reload") == []


def test_a_masked_file_that_comes_back_to_count_is_weighed(machine: Systemd) -> None:
    """An administrator's 50-MemoryMax.conf in /etc/systemd/system, hidden by ours, must not kill when ours goes."""
    limit(machine, 900, lasting="good")
    machine.file("/etc/systemd/system/web.service.d/50-MemoryMax.conf", "[Service]\nMemoryMax=64M\n")
    with pytest.raises(UntouchedError, match="the old MemoryMax 67108864 is less than"):
        back(machine, {"control/MemoryMax": None, "runtime/MemoryMax": None}, was=str(900 * MIB))


def test_transient_unit_has_its_own_folder(machine: Systemd) -> None:
    """Its files go with it, so it is limited until the next boot only, and put back all the same."""
    machine.unit("run-1.service", folder="/run/systemd/transient", properties={"Transient": "yes"})
    stand = texts(machine, unit="run-1.service", transient=True)
    seal = hashlib.sha256(json.dumps(stand, sort_keys=True).encode()).hexdigest()
    new, was = {"max": str(512 * MIB)}, {"max": "infinity"}
    rest = words("run-1.service", new, was)
    good = [*rest[:2], "--lasting", "good", *rest[2:], "--files", seal]
    with pytest.raises(UntouchedError, match="is transient"):
        run(SET, machine, good)
    before = machine.standing("/run/systemd/transient")
    run(SET, machine, [*rest[:2], "--lasting", "boot", *rest[2:], "--files", seal])
    assert machine.standing("/run/systemd/transient") != before
    run(RESTORE, machine, words("run-1.service", was, new), json.dumps(stand))
    assert machine.standing("/run/systemd/transient") == before


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    "change",
    [
        {"--unit": "-H evil"},
        {"--unit": "../x.service"},
        {"--unit": "a.service\nb.service"},
        {"--unit": "$(id).service"},
        {"--unit": "*.service"},
        {"--max": "-1"},
        {"--max": "0"},
        {"--max": "512M"},
        {"--max": "99999999999999999999"},
        {"--max-was": "x"},
        {"--lasting": "forever"},
        {"--files": "0"},
    ],
)
def test_words_of_another_form_are_refused(machine: Systemd, change: dict[str, str]) -> None:
    """Names of units, sizes in bytes and a hash: nothing else is read."""
    argv = set_words(machine, {"max": str(512 * MIB)}, {"max": "infinity"})
    for option, value in change.items():
        argv[argv.index(option) + 1] = value
    with pytest.raises(RefusedError):
        SET.words(argv, "")


@pytest.mark.parametrize(
    "stdin",
    [
        "",
        "null",
        "[]",
        "{",
        "{}",
        '{"control/MemoryMax": null}',
        '{"control/MemoryMax": null, "runtime/MemoryMax": null, "control/MemoryHigh": null}',
        '{"control/MemoryMax": null, "../../passwd": null}',
        '{"control/MemoryMax": 5, "runtime/MemoryMax": null}',
        '{"control/MemoryMax": "[Service]\\nExecStart=/bin/sh\\n", "runtime/MemoryMax": null}',
        '{"control/MemoryMax": "[Service]\\nMemoryMax=1G\\r\\nExecStart=x\\n", "runtime/MemoryMax": null}',
    ],
)
def test_files_that_are_put_back_hold_one_limit(stdin: str) -> None:
    """Typed, not free: only these files, only comments, a section and the one key."""
    with pytest.raises(RefusedError, match="restore-memory"):
        RESTORE.words(words(WEB, {"max": "infinity"}, {"max": "512"}), stdin)


def test_set_memory_takes_no_input(machine: Systemd) -> None:
    """Bytes that nobody expects are refused."""
    with pytest.raises(RefusedError, match="no input"):
        SET.words(set_words(machine, {"max": str(512 * MIB)}, {"max": "infinity"}), "x")


@given(
    st.lists(st.one_of(st.sampled_from(["--unit", "--max", "--max-was", "--lasting", "--files"]), st.text()))
)
def test_no_words_are_read_as_something_else(argv: list[str]) -> None:
    """Whatever the words, they are refused, or are a unit's name, bytes and a hash."""
    try:
        found = SET.words(argv, "")
    except RefusedError:
        return
    assert not found["unit"].startswith("-")
    assert all(value.isdigit() or value == "infinity" for value in found["new"].values())


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.text(), st.integers())))
def test_no_file_is_put_back_but_those_of_the_limit(texts: dict[str, Any]) -> None:
    """Whatever the names, only those of this limit are taken."""
    try:
        found = RESTORE.words(words(WEB, {"max": "infinity"}, {"max": "512"}), json.dumps(texts))
    except RefusedError:
        return
    assert set(found["texts"]) in ({"control/MemoryMax", "runtime/MemoryMax"}, {"transient/MemoryMax"})
