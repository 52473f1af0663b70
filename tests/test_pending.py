"""Memory limits that wait: found, told, and in the way of whatever would set them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot import guards, helper_call
from oombot.data.oombot_files import UnitFiles, Written, assignments, drop_in_names, size_of
from oombot.data.oombot_look import looked
from oombot.data.oombot_pending import check_reload, check_start, would_kill
from oombot.data.oombot_site import Site, StepError, UntouchedError, tell
from oombot.details import Details, PendingChange
from tests.patients import a_kernel, a_pending
from tests.systemd import MIB, Systemd

DROP_IN = "/etc/systemd/system/db.service.d/x.conf"


@pytest.fixture
def machine(tmp_path):
    """db.service uses 260 MiB that can not be dropped."""
    found = Systemd(tmp_path)
    found.unit("db.service", current_b=300 * MIB, inactive_file_b=40 * MIB, alias="sql.service")
    found.unit("web.service", "[Service]\nMemoryMax=1G\n")
    return found


def waits(machine):
    """What waits, as the bot reads it."""
    said = looked({"parts": ["pending"]}, machine.site)
    details = helper_call.looked(json.dumps(said).encode())
    assert details is not None
    assert details.problems == ()
    return details.pending


def test_nothing_waits_on_a_calm_machine(machine):
    """Limits that are set are none that wait, and everything may be started, changed and reloaded."""
    assert waits(machine) == ()
    check_start(machine.site)
    check_reload(machine.site)


def test_a_limit_in_a_file_waits_for_a_reload_then_for_a_start(machine):
    """It stands in files, then systemd holds it, then a start sets it and kills: this is why it is looked for."""
    machine.file(DROP_IN, "[Service]\nMemoryMax=200M\n")
    in_file = a_pending(wanted_b=200 * MIB, usage_b=260 * MIB, in_files=True)
    assert waits(machine) == (in_file,)
    check_start(machine.site)
    with pytest.raises(UntouchedError, match=r"MemoryMax 200 MiB of db\.service waits"):
        check_reload(machine.site)
    machine.reload()
    assert waits(machine) == (a_pending(wanted_b=200 * MIB, usage_b=260 * MIB),)
    with pytest.raises(UntouchedError, match="its cgroup has no limit, it uses 260 MiB"):
        check_start(machine.site)
    tell(machine.site, "systemctl", "restart", "web.service")
    assert machine.known("db.service")["result"] == "oom-kill"


def test_the_command_that_it_names_mends_it(machine):
    """What the refusal tells people to run leaves the unit alive, and nothing that waits."""
    machine.file(DROP_IN, "[Service]\nMemoryMax=200M\n")
    machine.reload()
    with pytest.raises(UntouchedError) as refused:
        check_start(machine.site)
    command = str(refused.value).rpartition("To mend it: ")[2]
    assert command == "systemctl set-property --runtime db.service MemoryMax=infinity"
    tell(machine.site, *command.split())
    check_start(machine.site)
    assert machine.known("db.service")["active"] == "active"


def test_what_waits_for_the_changed_unit_itself_is_its_own_matter(machine):
    """`but` names it, by any of its names; a limit above use is told, and in nobody's way."""
    machine.file(DROP_IN, "[Service]\nMemoryMax=200M\n")
    for name in ("db.service", "sql.service"):
        check_reload(machine.site, but=name)
    machine.file(DROP_IN, "[Service]\nMemoryMax=400M\n")
    assert [one.kills for one in waits(machine)] == [False]
    check_reload(machine.site)


def test_a_limit_that_somebody_wrote_past_systemd_waits_to_be_reset(machine):
    """As Docker does: systemd holds none, so the next start takes it off. That kills nobody."""
    (machine.tree / "system.slice/db.service/memory.max").write_text(f"{512 * MIB}\n")
    assert waits(machine) == (a_pending(wanted_b=None, cgroup_b=512 * MIB, usage_b=260 * MIB),)
    check_start(machine.site)


def test_memory_high_below_use_counts_and_a_swap_limit_does_not(machine):
    """MemoryHigh throttles to a stand-still; MemorySwapMax evicts nothing."""
    machine.file(DROP_IN, "[Service]\nMemorySwapMax=0\n")
    machine.reload()
    assert [(one.setting, one.wanted_b, one.kills) for one in waits(machine)] == [("MemorySwapMax", 0, False)]
    check_start(machine.site)
    machine.file(DROP_IN, "[Service]\nMemoryHigh=100M\n")
    machine.reload()
    with pytest.raises(UntouchedError, match="MemoryHigh 100 MiB"):
        check_start(machine.site)


def test_use_that_is_not_known_counts_as_too_much(machine):
    """Where memory.stat does not say, nothing is set off."""
    machine.file(DROP_IN, "[Service]\nMemoryMax=10G\n")
    machine.reload()
    (machine.tree / "system.slice/db.service/memory.stat").unlink()
    with pytest.raises(UntouchedError, match="it uses an unknown amount"):
        check_start(machine.site)


def test_a_value_that_is_not_understood_counts_as_killing(machine):
    """Before systemd has read it; what systemd has read already is its own word."""
    machine.file(DROP_IN, "[Service]\nMemoryMax=a banana\n")
    [one] = waits(machine)
    assert (one.unknown, one.kills, one.in_files) == ("a banana", True, True)
    with pytest.raises(UntouchedError, match=r"'a banana' \(not understood\)"):
        check_reload(machine.site)
    [said] = [check.text for check in guards.waiting(Details(pending=(one,)), "daemon-reload", in_files=True)]
    assert "'a banana' (not understood)" in said
    machine.reload()
    assert waits(machine) == ()


def test_a_file_that_can_not_be_read_counts_as_killing(machine):
    """A unit file without end is not read to its end."""
    machine.file(DROP_IN, b"#" * 100_000)
    assert waits(machine)[0].kills
    with pytest.raises(UntouchedError, match="longer than"):
        check_reload(machine.site)


def test_a_file_that_comes_after_set_property_undoes_it_with_the_next_reload(machine):
    """Drop-ins go by name, wherever they are: 60-x.conf of /etc comes after 50-MemoryMax.conf of system.control."""
    machine.file("/etc/systemd/system/db.service.d/60-x.conf", "[Service]\nMemoryMax=200M\n")
    machine.reload()
    tell(machine.site, "systemctl", "set-property", "db.service", "MemoryMax=800M")
    assert machine.shown("db.service")["NeedDaemonReload"] == "no"
    assert waits(machine) == (
        a_pending(wanted_b=200 * MIB, cgroup_b=800 * MIB, usage_b=260 * MIB, in_files=True),
    )


def test_removed_files_wait_too(machine):
    """A limit whose file was taken away is taken off by the next reload and start: told, and harmless."""
    machine.file("/etc/systemd/system/web.service", "[Service]\n")
    [one] = waits(machine)
    assert (one.unit, one.wanted_b, one.cgroup_b, one.in_files) == ("web.service", None, 1 << 30, True)
    check_reload(machine.site)


def test_one_question_of_systemctl_is_enough(machine):
    """However many units there are."""
    for at in range(20):
        machine.unit(f"u{at}.service")
    waits(machine)
    assert len(machine.calls()) == 1


def test_nothing_waits_on_cgroup_1(tmp_path):
    """There limits are set at once, and systemd's memory of them is no danger."""
    machine = Systemd(tmp_path, cgroup=1)
    machine.unit("db.service", current_b=300 * MIB)
    machine.file(DROP_IN, "[Service]\nMemoryMax=200M\n")
    assert waits(machine) == ()
    check_reload(machine.site)
    assert machine.calls() == []


def test_without_systemd_nothing_is_claimed(machine):
    """Neither that something waits nor that nothing does."""
    with pytest.raises(StepError, match="not installed"):
        check_start(Site(root=machine.site.root, programs="/nonexistent"))


# ------------------------------------------------------------------ files


def written(machine, name="a-b-c@x.service", **more):
    """What the files say about MemoryMax."""
    return UnitFiles(machine.site).limits(name, more.get("aliases", [name]), "").get("MemoryMax")


def test_drop_ins_of_prefixes_and_templates_are_its_own():
    """foo-.service.d, foo@.service.d and their mixtures, the most particular first (dropin.c)."""
    assert drop_in_names("a-b-c@x.service") == [
        *("a-b-c@x.service", "a-b-c@.service", "a-b-@.service", "a-@.service"),
        *("a-b-@x.service", "a-@x.service"),
    ]
    assert drop_in_names("a-b.slice") == ["a-b.slice", "a-.slice"]
    assert drop_in_names("-.slice") == ["-.slice"]
    assert drop_in_names("user-.slice") == ["user-.slice"]


def test_files_are_applied_by_name_and_hidden_by_folder(tmp_path):
    """The last by name wins wherever it is; of one name the first folder's; the folder of its type comes last."""
    machine = Systemd(tmp_path)
    machine.file("/usr/lib/systemd/system/a-b-c@.service", "[Service]\nMemoryMax=1M\n")
    assert written(machine) == Written(1 * MIB)
    machine.file("/usr/lib/systemd/system/service.d/90-all.conf", "[Service]\nMemoryMax=2M\n")
    assert written(machine) == Written(2 * MIB)
    machine.file("/run/systemd/system/a-.service.d/91-prefix.conf", "[Service]\nMemoryMax=3M\n")
    assert written(machine) == Written(2 * MIB)  # of instances only a-@
    machine.file("/run/systemd/system/a-@.service.d/91-prefix.conf", "[Service]\nMemoryMax=3M\n")
    assert written(machine) == Written(3 * MIB)
    machine.file("/etc/systemd/system/a-b-c@x.service.d/91-prefix.conf", "[Service]\nMemoryMax=4M\n")
    assert written(machine) == Written(4 * MIB)
    machine.file(
        "/etc/systemd/system.control/a-b-c@x.service.d/50-MemoryMax.conf", "[Service]\nMemoryMax=5M\n"
    )
    assert written(machine) == Written(4 * MIB)
    (machine.root / "etc/systemd/system.control/a-b-c@x.service.d/91-prefix.conf").symlink_to("/dev/null")
    assert written(machine) == Written(2 * MIB)
    machine.file("/etc/systemd/system/alias.service.d/95-z.conf", "[Service]\nMemoryMax=\n")
    assert written(machine, aliases=["a-b-c@x.service", "alias.service"]) == Written(None)
    assert written(machine, "other.slice") is None


def test_the_small_systemd_reads_files_alike(tmp_path):
    """Two readers, one written for the tests, agree about files in many places."""
    machine = Systemd(tmp_path)
    machine.unit("a-b.service", "[Service]\nMemoryMax=10%\n")
    for at, folder in enumerate(("usr/lib/systemd/system/service.d", "etc/systemd/system/a-.service.d")):
        machine.file(f"/{folder}/{50 + at}.conf", f"[Service]\nMemoryMax={at + 1}G\n")
        machine.reload()
        found = UnitFiles(machine.site).limits("a-b.service", [], "")["MemoryMax"]
        assert str(found.size_b) == machine.shown("a-b.service")["MemoryMax"]


def test_only_its_own_section_counts_and_comments_do_not():
    """A line that goes on is one line; keys of other sections and comments are none."""
    text = (
        "[Unit]\nMemoryMax=1\n[Service]\n# MemoryMax=2\n;MemoryMax=3\nMemoryMax = \\\n# note\n  4\n"
        "MemoryHigh=\n[Slice]\nMemoryMax=5\nMemoryMaxx=6\n[Service]\nMemoryMax=7"
    )
    assert assignments(text, "[Service]") == [("MemoryMax", "4"), ("MemoryHigh", ""), ("MemoryMax", "7")]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", Written(None)),
        ("infinity", Written(None)),
        ("0", Written(0)),
        ("1048576", Written(1 << 20)),
        ("512K", Written(512 << 10)),
        ("1.5G", Written(3 << 29)),
        ("2T", Written(2 << 40)),
        ("1 M", Written(1 << 20)),
        ("50%", Written(512 * MIB)),
        ("12.5%", Written(128 * MIB)),
        ("101%", Written(None, "101%")),
        ("1g", Written(None, "1g")),
        ("-1", Written(None, "-1")),
        ("1G 5M", Written(None, "1G 5M")),
        ("\u0661\u0662", Written(None, "\u0661\u0662")),
    ],
)
def test_sizes_are_read_as_systemd_reads_them(tmp_path, value, found):
    """Bytes with base 1024, a share of RAM, no limit; anything else is not guessed at."""
    assert size_of(Systemd(tmp_path).site, value) == found


@given(st.text(max_size=200))
def test_no_file_is_an_error(text):
    """Whatever stands in a unit file, and whatever a value is."""
    for _, value in assignments(f"[Service]\n{text}\nMemoryMax={text}", "[Service]"):
        assert size_of(Site(), value).unknown in ("", value[:64])


@given(
    st.builds(
        PendingChange,
        unit=st.just("a.service"),
        setting=st.sampled_from(["MemoryMax", "MemoryHigh", "MemorySwapMax"]),
        wanted_b=st.none() | st.integers(0, 3),
        cgroup_b=st.none(),
        usage_b=st.none() | st.integers(0, 3),
        unknown=st.sampled_from(["", "banana"]),
    )
)
def test_bot_and_host_judge_alike(change):
    """The rule stands twice, on the host for the verbs and in the bot for the card: they agree."""
    said = {name: getattr(change, name) for name in ("setting", "wanted_b", "usage_b", "unknown")}
    assert would_kill(said) is change.kills


# ------------------------------------------------------------------ the bot's side


def test_a_plan_says_what_waits_and_is_refused_where_it_would_kill():
    """A cross for a kill, a warning for what is only set along; its own unit is left out."""
    killer, harmless = a_pending(), a_pending(unit="web.service", usage_b=1)
    checks = guards.waiting(Details(pending=(killer, harmless), kernel=a_kernel()), "set-property")
    assert [check.ok for check in checks] == [False, None]
    assert "db.service: MemoryMax 100 MiB waits to be set" in checks[0].text
    [alone] = guards.waiting(Details(pending=(killer,), kernel=a_kernel()), "set-property", but="db.service")
    assert alone.ok is True


def test_what_is_only_in_files_counts_for_a_reload_only():
    """A start does not read files."""
    details = Details(pending=(a_pending(in_files=True),))
    assert [check.ok for check in guards.waiting(details, "start")] == [True]
    assert [check.ok for check in guards.waiting(details, "daemon-reload", in_files=True)] == [False]


def test_not_known_is_no_all_clear():
    """Where it was not looked for, nothing is done; cgroup v1 needs no look."""
    assert [check.ok for check in guards.waiting(Details(), "start")] == [False]
    assert [check.ok for check in guards.waiting(Details(kernel=a_kernel(cgroup_version=1)), "start")] == [
        True
    ]
