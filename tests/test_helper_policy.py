"""The host's own policy: it bounds whoever holds the key, and any fault in it refuses everything."""

import json
import os
import subprocess
import types
from pathlib import Path

import pytest

from oombot import installation
from oombot.data.oombot_pending import starting_kills
from tests.systemd import Systemd

ALL = {
    "operations": ["set-adj"],
    "units": ["*"],
    "owners": ["*"],
    "oom_score_adj": [-500, 1000],
    "changes_per_hour": 20,
}


@pytest.fixture(scope="module")
def helper():
    """The helper as a module."""
    module = types.ModuleType("oombot_helper")
    exec(installation.act_source(), module.__dict__)
    return module


@pytest.fixture
def place(helper, tmp_path):
    """An installed helper's files, all of them in a temporary directory."""
    (tmp_path / "etc").mkdir(mode=0o755)
    names = ("state", "frozen", "etc/policy.json", "journal")
    return helper.Place(*(str(tmp_path / name) for name in names), installed=True)


@pytest.fixture
def allow(place):
    """Write the policy; gives the file."""

    def write(**changed):
        path = Path(place.policy)
        path.write_text(json.dumps(ALL | changed))
        path.chmod(0o644)
        return path

    return write


@pytest.fixture
def sleeper():
    """A process of ours to change."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture
def ask(helper, place, sleeper):
    """Ask to set the sleeper's score; gives the answer."""

    def asked(value=100, name="request-0001", **more):
        start = Path(f"/proc/{sleeper.pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
        words = ["set-adj", "--pid", str(sleeper.pid), "--start", start, "--value", str(value)]
        request = {"op": "run", "id": name, "steps": [{"do": words, "stdin": ""}], **more}
        return helper.answer(json.dumps(request), place)

    return asked


def adj(pid):
    """The value that the kernel shows."""
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_what_the_policy_allows_is_run(ask, allow, sleeper):
    """Within all bounds the plan is run."""
    allow()
    assert ask()["status"] == "done"
    assert adj(sleeper.pid) == 100


def test_an_installed_helper_needs_a_policy(ask, sleeper):
    """Without the file nothing is allowed, and the sentence names what its owner must write."""
    said = ask()
    assert said["status"] == "refused"
    assert "this host has no policy: its owner must write" in said["error"]
    assert adj(sleeper.pid) == 0


FAULTS = {
    "unknown key": ({"colour": "red"}, "unknown ['colour']"),
    "a word for a list": ({"units": "*"}, "units must be a list of words"),
    "no range": ({"oom_score_adj": [5]}, "oom_score_adj must be [lowest, highest]"),
    "turned range": ({"oom_score_adj": [5, 1]}, "oom_score_adj must be [lowest, highest]"),
    "truth for a number": ({"changes_per_hour": True}, "changes_per_hour must be a whole number"),
    "operation": ({"operations": []}, "set-adj is not among the operations"),
    "unit": ({"units": ["web-*.service"]}, "is not among the units"),
    "owner": ({"owners": ["nobody-of-this-name"]}, "is not among the owners"),
    "value": ({"oom_score_adj": [200, 300]}, "outside of 200 to 300"),
    "value that stands": ({"oom_score_adj": [50, 300]}, "oom_score_adj 0 is outside of 50 to 300"),
    "rate": ({"changes_per_hour": 0}, "0 changes an hour"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_the_policy_does_not_allow_is_refused(ask, allow, sleeper, place, name):
    """Each bound and each fault of the file refuses with its own sentence, before anything is run or recorded."""
    changed, sentence = FAULTS[name]
    allow(**changed)
    said = ask()
    assert said["status"] == "refused"
    assert sentence in said["error"]
    assert adj(sleeper.pid) == 0
    assert not (Path(place.state) / "request-0001").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 5000, "{}"])
def test_a_garbled_policy_allows_nothing(ask, allow, sleeper, text):
    """A file that is no policy is not half a policy."""
    allow().write_text(text)
    assert ask()["status"] == "refused"
    assert adj(sleeper.pid) == 0


def _open_file(path):
    path.chmod(0o646)


def _open_folder(path):
    path.parent.chmod(0o777)


def _link(path):
    path.rename(path.parent / "other.json")
    path.symlink_to("other.json")


def _linked_folder(path):
    path.parent.rename(path.parent.parent / "elsewhere")
    path.parent.symlink_to("elsewhere")


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _folder(path):
    path.unlink()
    path.mkdir()


def _huge(path):
    path.write_text(path.read_text() + " " * 70_000)


@pytest.mark.parametrize("spoil", [_open_file, _open_folder, _link, _linked_folder, _pipe, _folder, _huge])
def test_a_policy_that_others_could_have_written_is_not_believed(ask, allow, sleeper, spoil):
    """Links, open modes and things that are no small file refuse everything, at once."""
    spoil(allow())
    assert ask()["status"] == "refused"
    assert adj(sleeper.pid) == 0


def test_what_the_host_needs_is_never_changed(helper):
    """Whatever the policy says, nobody reaches the way in or the manager itself."""
    policy = helper.Policy(("set-adj",), ("*",), ("*",), (-1000, 1000), 1)
    for unit in ("ssh.service", "sshd.service", "ssh@1-2.service", "systemd-journald.service", "init.scope"):
        with pytest.raises(helper.RefusedError):
            helper.check_unit(policy, unit)
    helper.check_unit(policy, "web.service")


def test_a_unit_is_the_outermost(helper):
    """A user who names a unit of their own like one of the system's is not taken for it."""
    units = {
        "0::/system.slice/web.service\n": "web.service",
        "0::/system.slice/web.service/worker.service\n": "web.service",
        "0::/user.slice/user-7.slice/user@7.service/app.slice/web.service\n": "user@7.service",
        "4:memory:/x\n1:name=systemd:/system.slice/db.service\n0::/\n": "db.service",
        "0::/\n": "",
        "0::/system.slice/a:b.service\n": "a:b.service",
        "": "",
    }
    assert {text: helper.unit_of(text) for text in units} == units


def test_a_unit_within_a_container_is_none_of_the_hosts(helper):
    """A container with a systemd of its own names its units itself: no glob but `*` means them, and never its sshd."""
    inside = helper.unit_of("0::/docker/0a1b2c/system.slice/web-1.service\n")
    web = helper.Policy(("set-adj",), ("web-*.service", "*.service"), ("*",), (-1000, 1000), 1)
    with pytest.raises(helper.RefusedError, match="is not among the units"):
        helper.check_unit(web, inside)
    anything = web._replace(units=("*",))
    helper.check_unit(anything, inside)
    with pytest.raises(helper.RefusedError, match="is never changed"):
        helper.check_unit(anything, helper.unit_of("0::/lxc/101/system.slice/ssh.service\n"))


def test_changes_are_counted_from_the_records(ask, allow, place):
    """The rate is what the records of the last hour say: results that were only asked for do not count."""
    allow(changes_per_hour=2)
    assert [ask(name=f"request-000{n}")["status"] for n in (1, 2, 3)] == ["done", "done", "refused"]
    old = Path(place.state) / "request-0001"
    os.utime(old, (old.stat().st_mtime - 4000,) * 2)
    assert ask(name="request-0004")["status"] == "done"


def test_every_step_is_a_change(helper, place, allow, sleeper):
    """A plan of many steps counts as many changes: the rate is no rate of plans."""
    allow(changes_per_hour=3)
    start = Path(f"/proc/{sleeper.pid}/stat").read_text().rsplit(")", 1)[1].split()[19]

    def plan(name, *values):
        words = ["set-adj", "--pid", str(sleeper.pid), "--start", start, "--value"]
        steps = [{"do": [*words, str(value)]} for value in values]
        return helper.answer(json.dumps({"op": "run", "id": name, "steps": steps}), place)

    said = plan("request-0001", 1, 2, 3, 4)
    assert (said["status"], adj(sleeper.pid)) == ("refused", 0)
    assert "0 were begun within it and this plan has 4" in said["error"]
    assert plan("request-0002", 1, 2)["status"] == "done"
    assert plan("request-0003", 7, 8)["status"] == "refused"
    assert plan("request-0004", 3)["status"] == "done"
    assert adj(sleeper.pid) == 3


def test_a_freeze_stops_a_plan_that_has_begun(helper, place, allow, sleeper):
    """What is left of a plan is not run from the moment on that the file is there, and the step says so."""
    allow()
    policy = helper.load_policy(place.policy, required=True)
    plan = helper.plan_of(place.site, json.loads(_change(sleeper))["steps"], policy)
    helper.prepare(place.state)
    Path(place.frozen).touch()
    said = helper._steps(place, "request-0001", {"status": "running", "steps": []}, plan, policy)
    assert said["status"] == "failed"
    assert "frozen" in said["steps"][0]["stderr"]
    assert adj(sleeper.pid) == 0


def test_a_policy_that_says_a_thing_twice_allows_nothing(ask, allow, sleeper):
    """Of two lines for one bound nobody can tell which its owner means."""
    path = allow()
    path.write_text(path.read_text().replace('"units"', '"units": ["web.service"], "units"'))
    said = ask()
    assert said["status"] == "refused"
    assert "'units' stands there twice" in said["error"]
    assert adj(sleeper.pid) == 0


def test_a_full_room_hides_no_result(helper, place, allow, ask):
    """However many records there are, what became of a run is still told."""
    allow()
    first = ask()
    for number in range(helper.MAX_RECORDS + 1):
        (Path(place.state) / f"another-{number:05}").touch()
    assert helper.answer('{"op": "result", "id": "request-0001"}', place) == first


def test_where_no_record_can_be_linked_nothing_runs(helper, tmp_path):
    """Any fault of the disk while the record is made is a sentence, and nothing was run."""
    with pytest.raises(helper.RefusedError, match="nothing was run"):
        helper.create(str(tmp_path), "missing-folder/request-0001", {"status": "running"})
    assert not list(tmp_path.iterdir())


def test_asking_for_results_fills_no_disk(helper, place):
    """Each unknown id that is asked for leaves a record, so there is an end to them."""
    state = Path(place.state)
    state.mkdir(mode=0o700)
    for number in range(helper.MAX_RECORDS + 1):
        (state / f"request-{number:05}").touch()
    said = helper.answer('{"op": "result", "id": "one-too-many"}', place)
    assert said["status"] == "refused"
    assert not (state / "one-too-many").exists()


def test_a_record_is_no_link(helper, place):
    """A link in the place of a record is not followed."""
    state = Path(place.state)
    state.mkdir(mode=0o700)
    (state / "outside").write_text('{"status": "done"}')
    (state / "request-0001").symlink_to("outside")
    assert helper.answer('{"op": "result", "id": "request-0001"}', place)["status"] == "unreadable"


@pytest.mark.parametrize(
    "text",
    [
        '{"op": "run", "id": "request-0001", "steps": [], "shell": "sh"}',
        '{"op": "result", "id": "request-0001", "steps": []}',
        '{"op": "about", "id": "request-0001"}',
        '{"op": "run", "id": "request-0001", "steps": [], "approver": "a\\nb"}',
        '{"op": "run", "id": "request-0001", "steps": [{"do": ["set-adj"], "env": {}}]}',
        '{"op": ["run"], "id": "request-0001"}',
        '{"op": "run"}',
        '{"op": "run", "id": "request-0001", "steps": "' + "x" * 70_000 + '"}',
        "[" * 100_000,
    ],
)
def test_only_requests_of_the_closed_set_are_taken(helper, place, allow, text):
    """An unknown key, a missing one, a wrong type or too much of anything refuses the whole request."""
    allow()
    assert helper.answer(text, place)["status"] == "refused"
    assert not list(Path(place.state).glob("request-*"))


def test_the_policy_bounds_the_sent_form_too(helper, place, allow, ask):
    """Where the owner wrote a policy it counts however the helper came; where there is none, sent code needs none."""
    sent = place._replace(installed=False)
    request = json.dumps({"op": "run", "id": "request-0001", "steps": [{"do": ["set-adj"], "stdin": ""}]})
    allow(operations=[])
    step = ["set-adj", "--pid", "4194300", "--start", "1", "--value", "5"]
    request = json.dumps({"op": "run", "id": "request-0001", "steps": [{"do": step}]})
    assert helper.answer(request, sent)["status"] == "refused"
    Path(place.policy).unlink()
    assert helper.answer(request, sent)["status"] == "failed"


def test_what_the_helper_says_of_itself(helper, place, allow):
    """It tells its version, its policy, and whether changes are frozen or refused."""
    module = types.ModuleType("sent")
    exec(installation.act_source(), module.__dict__)
    module.SOURCE = installation.act_source()
    about = '{"op": "about"}'
    assert module.answer(about, place)["status"] == "refused"
    allow(changes_per_hour=3)
    said = module.answer(about, place)
    assert (said["status"], said["policy"]["changes_per_hour"], len(said["version"])) == ("ready", 3, 64)
    Path(place.frozen).touch()
    assert module.answer(about, place)["status"] == "frozen"


def test_every_request_is_noted_in_the_hosts_journal(ask, allow, place, helper, sleeper):
    """One record each: who is said to have approved it, and what stood there before and after."""
    import socket

    allow()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(place.journal)
        journal.settimeout(30)
        ask(50, approver="U0ALICE")
        text = journal.recv(65_536).decode()
        helper.answer('{"op": "run", "id": "a\\nb"}', place)
        refused = journal.recv(65_536).decode()
    fields = dict(line.split("=", 1) for line in text.splitlines())
    assert fields["OOMBOT_REQUEST"] == "request-0001"
    assert fields["OOMBOT_APPROVER"] == "U0ALICE"
    assert fields["OOMBOT_STATUS"] == "done"
    assert f"--pid {sleeper.pid}" in fields["MESSAGE"]
    assert ": 0 -> 50" in fields["MESSAGE"]
    assert "OOMBOT_STATUS=refused\n" in refused
    assert all("=" in line for line in refused.splitlines())


def test_no_step_is_too_far_down_to_be_noted(helper, place, allow, sleeper):
    """A long plan can not hide its last step from the host's journal behind harmless ones."""
    import socket

    allow(changes_per_hour=500)
    steps = json.loads(_change(sleeper))["steps"] * 100 + json.loads(_change(sleeper, value=77))["steps"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(place.journal)
        journal.settimeout(30)
        helper.answer(json.dumps({"op": "run", "id": "request-0001", "steps": steps}), place)
        assert ": 60 -> 77" in journal.recv(1_000_000).decode()


UNIT = """#!/bin/sh
echo "$@" >"${0%/*}/asked"
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""


@pytest.fixture
def calm(helper, tmp_path):
    """This host with a systemctl that knows no units."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text("#!/bin/sh\n")
    (tmp_path / "bin/systemctl").chmod(0o755)
    return helper.Site(programs=f"{tmp_path}/bin:/usr/bin:/bin")


@pytest.fixture
def under_systemd(place, tmp_path, calm):
    """The same host with a systemd whose systemd-run notes its words and runs the command."""
    (tmp_path / "system").mkdir()
    program = tmp_path / "systemd-run"
    program.write_text(UNIT)
    program.chmod(0o755)
    return place._replace(systemd=str(tmp_path / "system"), systemd_run=str(program), site=calm)


@pytest.fixture
def sent(need):
    """The helper as it runs where it knows its own text, and units can be started."""
    need(os.geteuid() == 0, "only root runs units")
    module = types.ModuleType("sent")
    exec(installation.act_source(), module.__dict__)
    module.SOURCE = installation.act_source()
    return module


def _change(process, name="request-0001", value=60):
    start = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    words = ["set-adj", "--pid", str(process.pid), "--start", start, "--value", str(value)]
    return json.dumps({"op": "run", "id": name, "steps": [{"do": words}], "approver": "U0ALICE"})


def test_a_plan_is_a_unit_of_its_name(sent, under_systemd, allow, sleeper, tmp_path):
    """Under systemd the whole plan runs in a transient unit named after it, and its record is the same."""
    allow()
    place = sent.Place(*under_systemd)
    said = sent.answer(_change(sleeper), place)
    assert said["status"] == "done"
    assert adj(sleeper.pid) == 60
    assert "--unit=oombot-act-request-0001 " in (tmp_path / "asked").read_text()
    assert "--property=RuntimeMaxSec=300" in (tmp_path / "asked").read_text()
    assert "--slice=-.slice " in (tmp_path / "asked").read_text()
    (tmp_path / "asked").unlink()
    assert sent.answer(_change(sleeper), place) == said
    assert not (tmp_path / "asked").exists()


def test_no_unit_is_started_where_that_would_kill(sent, under_systemd, allow, sleeper, tmp_path):
    """Where a limit of a slice beside it waits and would kill, or nobody knows, the plan is run without a unit."""
    allow()
    machine = Systemd(tmp_path)
    machine.unit("apps.slice", "[Slice]\n", slice_="-.slice", pids=(), current_b=300 << 20)
    machine.file("/etc/systemd/system/apps.slice.d/x.conf", "[Slice]\nMemoryMax=100M\n")
    machine.reload()
    assert starting_kills(machine.site, "-.slice")
    assert not starting_kills(machine.site, "system.slice")
    assert starting_kills(machine.site._replace(programs="/nonexistent"), "-.slice")
    place = sent.Place(*under_systemd)._replace(site=machine.site)
    assert sent.in_unit(_change(sleeper), place, json.loads(_change(sleeper))) is None
    assert not (tmp_path / "asked").exists()
    calm = place._replace(site=under_systemd.site)
    assert sent.in_unit(_change(sleeper), calm, json.loads(_change(sleeper)))["status"] == "done"


def test_where_no_unit_starts_it_runs_here(sent, under_systemd, allow, sleeper, tmp_path):
    """A systemd-run that fails or is missing keeps no plan from being run once."""
    allow()
    (tmp_path / "systemd-run").write_text("#!/bin/sh\nexit 1\n")
    place = sent.Place(*under_systemd)
    assert sent.answer(_change(sleeper), place)["status"] == "done"
    missing = place._replace(systemd_run=str(tmp_path / "missing"))
    assert sent.answer(_change(sleeper, "request-0002"), missing)["status"] == "done"


def test_what_is_refused_starts_no_unit(sent, under_systemd, allow, sleeper, tmp_path):
    """Neither the policy nor a freeze costs the host more than a look."""
    allow(operations=[])
    place = sent.Place(*under_systemd)
    assert sent.answer(_change(sleeper), place)["status"] == "refused"
    allow()
    Path(place.frozen).touch()
    assert sent.answer(_change(sleeper), place)["status"] == "frozen"
    assert not (tmp_path / "asked").exists()


def test_a_unit_that_comes_after_a_refusal_runs_nothing(sent, under_systemd, allow, sleeper, tmp_path):
    """Whoever started the unit died, another plan runs, so nothing is run here: then nothing runs later either."""
    allow()
    place = sent.Place(*under_systemd)
    (tmp_path / "systemd-run").write_text("#!/bin/sh\nexit 137\n")
    sent.prepare(place.state)
    lock = sent.take_lock(place.state)
    try:
        assert sent.answer(_change(sleeper), place)["status"] == "refused"
    finally:
        os.close(lock)
    assert sent.answer(_change(sleeper), place._replace(inside=True))["status"] == "cancelled"
    assert adj(sleeper.pid) == 0
