"""write-adjust and remove-adjust on a machine of files: one drop-in of ours, and nothing else, comes and goes."""

import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oombot import scores
from oombot.data import oombot_units
from oombot.data.oombot_helper import plan_of
from oombot.data.oombot_policy import Policy
from oombot.data.oombot_site import RefusedError, Site, StepError, UntouchedError
from oombot.data.oombot_systemd import UNIT_FORM
from oombot.data.oombot_units import OUR_ADJUST, UNITS_VERBS, Adjust
from tests.systemd import Systemd

PATH = "/etc/systemd/system/api.service.d/60-oombot.conf"
TEXT = "# oombot: request request-1{}\n[Service]\nOOMScoreAdjust=500\n"
POLICY = Policy(
    operations=("write-adjust", "remove-adjust"),
    units=("api*.service",),
    owners=("*",),
    oom_score_adj=(-500, 1000),
    changes_per_hour=99,
)


@pytest.fixture
def machine(tmp_path: Path) -> Systemd:
    """A machine on which api.service runs."""
    found = Systemd(tmp_path)
    found.unit("api.service")
    return found


def write(machine: Systemd, **wanted: str) -> tuple[str, str]:
    """write-adjust of 500, where nothing of ours stands, unless told otherwise."""
    usual = {"unit": "api.service", "was": "ABSENT", "had": "0", "value": "500", "tag": "request-1"}
    return UNITS_VERBS["write-adjust"].act(None, machine.site, **(usual | wanted))


def remove(machine: Systemd, *, was: str = "500") -> tuple[str, str]:
    """remove-adjust."""
    return UNITS_VERBS["remove-adjust"].act(None, machine.site, unit="api.service", was=was)


def planned(site: Site, *words: str, policy: Policy | None = None) -> list[Any]:
    """What the helper makes of one step."""
    return plan_of(site, [{"do": list(words)}], policy)


def test_there_and_back(machine: Systemd) -> None:
    """systemd holds the value after the first and the old one after the second; every file is as it was."""
    before = machine.standing()
    assert write(machine) == ("0", "500")
    assert machine.text(PATH) == TEXT.format(", with this folder")
    assert machine.standing()[PATH][1] == 0o644
    assert machine.shown("api.service")["OOMScoreAdjust"] == "500"
    assert remove(machine) == ("500", "0")
    assert machine.standing() == before
    assert [call[1] for call in machine.calls("daemon-reload")] == ["daemon-reload"] * 2


def test_a_folder_of_others_stays(machine: Systemd) -> None:
    """A folder that was there before, empty or not, is there afterwards."""
    (machine.root / "etc/systemd/system/api.service.d").mkdir()
    before = machine.standing()
    write(machine)
    assert machine.text(PATH) == TEXT.format("")
    remove(machine)
    assert machine.standing() == before


def test_another_drop_in_stays(machine: Systemd) -> None:
    """A drop-in of somebody else beside ours is left alone, and so is the folder that was ours."""
    write(machine)
    other = machine.file("/etc/systemd/system/api.service.d/70-x.conf", "[Service]\nMemoryMax=1G\n")
    remove(machine)
    assert other.read_text() == "[Service]\nMemoryMax=1G\n"


def test_ours_from_before_is_restored_byte_for_byte(machine: Systemd) -> None:
    """The undo of a second change writes the first one's file again, its request and its folder's mark included."""
    write(machine)
    before = machine.standing()
    assert write(machine, was="500", had="500", value="-100", tag="request-2") == ("500", "-100")
    assert machine.standing() != before
    write(machine, was="-100", had="-100", value="500", tag="request-1")
    assert machine.standing() == before


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"was": "500"}, "holds ABSENT now, not 500"),
        ({"had": "-100"}, "systemd has OOMScoreAdjust=0 for api.service now, not -100"),
        ({"unit": "gone.service"}, "gone.service is not-found"),
        ({"unit": "other-name.service"}, "by the name of api.service"),
        ({"unit": "run-1.service"}, "run-1.service is transient"),
    ],
)
def test_only_over_what_was_seen(machine: Systemd, wanted: dict[str, str], said: str) -> None:
    """What somebody else changed meanwhile, or a unit that is none for a drop-in, is left as it is."""
    with machine.state() as known:
        known["aliases"]["other-name.service"] = "api.service"
    machine.unit("run-1.service", properties={"Transient": "yes"}, folder="/run/systemd/transient")
    before = machine.standing()
    with pytest.raises(UntouchedError, match=said):
        write(machine, **wanted)
    assert machine.standing() == before
    assert not machine.calls("daemon-reload")


@pytest.mark.parametrize("text", ["", "[Service]\nOOMScoreAdjust=500\n", TEXT.format("") + "# mine\n"])
def test_what_is_not_ours_is_left_alone(machine: Systemd, text: str) -> None:
    """A file in our place that is not byte for byte as we write it is neither overwritten nor removed."""
    machine.file(PATH, text)
    machine.reload()
    for act in (lambda: write(machine, was="500", had="500", value="0"), lambda: remove(machine)):
        with pytest.raises(UntouchedError, match="is not as oombot writes it"):
            act()
    assert machine.text(PATH) == text


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_is_not_followed(machine: Systemd, what: str) -> None:
    """A link in the place of our file or of its folder leads nowhere."""
    elsewhere = machine.root / "etc/elsewhere"
    elsewhere.mkdir()
    (elsewhere / "60-oombot.conf").write_text(TEXT.format(""))
    folder = machine.root / "etc/systemd/system/api.service.d"
    if what == "folder":
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir()
        (folder / "60-oombot.conf").symlink_to(elsewhere / "60-oombot.conf")
    with pytest.raises(UntouchedError):
        write(machine)
    with pytest.raises(UntouchedError):
        remove(machine)
    assert (elsewhere / "60-oombot.conf").read_text() == TEXT.format("")
    assert not machine.calls("daemon-reload")


def test_a_reload_that_fails_leaves_nothing_behind(machine: Systemd) -> None:
    """Where systemd does not reload, the drop-in is taken away again, or put back, and it says so."""
    before = machine.standing()
    machine.fails("daemon-reload", "Failed to reload daemon: Connection timed out")
    with pytest.raises(UntouchedError, match=r"Connection timed out; .* was put back as it was"):
        write(machine)
    assert machine.standing() == before
    write(machine)
    before = machine.standing()
    machine.fails("daemon-reload")
    with pytest.raises(UntouchedError, match="was put back as it was"):
        remove(machine)
    assert machine.standing() == before


def test_a_half_change_is_said(machine: Systemd) -> None:
    """Where not even the way back can be reloaded, nobody says that nothing was changed."""
    machine.fails("daemon-reload")
    machine.fails("daemon-reload")
    with pytest.raises(StepError, match="was to be put back as it was, which failed") as caught:
        write(machine)
    assert not isinstance(caught.value, UntouchedError)


def test_another_file_that_decides_is_found(machine: Systemd) -> None:
    """A later drop-in that systemd had not read yet overrides ours: ours is taken away again."""
    machine.file("/etc/systemd/system/api.service.d/70-x.conf", "[Service]\nOOMScoreAdjust=-7\n")
    before = machine.standing()
    with pytest.raises(UntouchedError, match=r"holds OOMScoreAdjust=-7 for api\.service, not 500"):
        write(machine)
    assert machine.standing() == before


def test_no_reload_where_it_arms_a_kill(machine: Systemd) -> None:
    """A limit in files that would kill another unit stops both verbs before anything is written."""
    write(machine)
    machine.unit("db.service", current_b=300 << 20)
    machine.file("/etc/systemd/system/db.service.d/memory.conf", "[Service]\nMemoryMax=100M\n")
    before, reloads = machine.standing(), machine.calls("daemon-reload")
    with pytest.raises(UntouchedError, match=r"db\.service"):
        write(machine, was="500", had="500", value="100")
    with pytest.raises(UntouchedError, match=r"db\.service"):
        remove(machine)
    assert (machine.standing(), machine.calls("daemon-reload")) == (before, reloads)


def test_a_full_disk_leaves_no_folder(machine: Systemd) -> None:
    """Where the file can not be written, the folder that was made for it is gone again."""
    before, limits = machine.standing(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(UntouchedError, match="can not be written"):
            oombot_units._put_adjust(machine.site, "api.service", Adjust(500, "request-1", made=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert machine.standing() == before


WRITE = {"--unit": "api.service", "--was": "ABSENT", "--had": "0", "--value": "500", "--tag": "request-1"}
REMOVE = {"--unit": "api.service", "--was": "500"}


@pytest.mark.parametrize(
    ("verb", "options", "said"),
    [
        ("write-adjust", WRITE | {"--unit": "db.service"}, "not among the units"),
        ("write-adjust", WRITE | {"--value": "-501"}, "-501 is outside of -500 to 1000"),
        ("write-adjust", WRITE | {"--had": "-900"}, "-900 is outside of -500 to 1000"),
        ("write-adjust", WRITE | {"--value": "1001"}, "within -1000 and 1000"),
        ("remove-adjust", REMOVE | {"--unit": "ssh.service"}, "never changed"),
        ("remove-adjust", REMOVE | {"--was": "-900"}, "-900 is outside"),
    ],
)
def test_the_policy_of_the_host(machine: Systemd, verb: str, options: dict[str, str], said: str) -> None:
    """Units and values that the host's owner does not allow are refused before anything of a plan is run."""
    with pytest.raises(RefusedError, match=said):
        planned(machine.site, verb, *(word for pair in options.items() for word in pair), policy=POLICY)


HOSTILE = [
    "",
    "-H root@evil",
    "--",
    "--root=/tmp",
    "../../x.service",
    "a b.service",
    "a'b.service",
    'a"b.service',
    "a\n.service",
    "api.service\n",
    "*.service",
    "$(reboot).service",
    "`reboot`.service",
    "a;reboot.service",
    "a/b.service",
    "api.slice",
    "api@.service",
    "\u0430pi.service",
    "0" * 5,
    "--1",
    "1e3",
    "٣",
    "ABSENT\n[Service]",
]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    verb=st.sampled_from(["write-adjust", "remove-adjust"]),
    at=st.integers(0, 9),
    word=st.sampled_from(HOSTILE) | st.text(max_size=12),
    stdin=st.sampled_from(["", "[Service]\nExecStart=/bin/sh\n"]),
)
def test_words_are_typed(machine: Systemd, verb: str, at: int, word: str, stdin: str) -> None:
    """Whatever stands in the place of a word: it is refused, or is of the very form that is allowed there."""
    options = WRITE if verb == "write-adjust" else REMOVE
    words = [one for pair in options.items() for one in pair]
    at %= len(words)
    try:
        found = plan_of(
            machine.site, [{"do": [verb, *words[:at], word, *words[at + 1 :]], "stdin": stdin}], None
        )
    except RefusedError:
        return
    [(_, arguments)] = found
    assert not stdin
    assert UNIT_FORM.fullmatch(arguments["unit"])
    assert all(one.isascii() and not set(one) & set(" \n'\"$`;/*") for one in arguments.values())
    assert -1000 <= int(arguments.get("value", "0")) <= 1000


def test_the_bot_reads_what_the_helper_writes(machine: Systemd) -> None:
    """Both sides know our drop-in by the same form, and in the same place."""
    write(machine, value="-5")
    text = machine.text(scores.drop_in("api.service"))
    assert text is not None
    ours = scores.OURS.fullmatch(text)
    assert ours is not None
    assert (ours["value"], ours["tag"]) == ("-5", "request-1")
    assert scores.OURS.pattern == OUR_ADJUST.pattern.replace("(?P<made>", "(?:")
