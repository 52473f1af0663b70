"""The host helper: at most once, only what it knows, and only the process that was meant."""

import contextlib
import json
import os
import subprocess
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import psutil
import pytest

from oombot import helper_call, installation

SOURCE = installation.act_source()
ID = "request-0001"


@pytest.fixture(scope="module")
def helper():
    """The helper as a module."""
    module = types.ModuleType("oombot_helper")
    exec(SOURCE, module.__dict__)
    return module


@pytest.fixture
def state(tmp_path):
    """A state directory of its own."""
    return tmp_path / "state"


@pytest.fixture
def place(helper, state, tmp_path):
    """The files of a host that count, all of them in a temporary directory."""
    return helper.Place(
        str(state),
        str(tmp_path / "frozen"),
        str(tmp_path / "policy" / "policy.json"),
        str(tmp_path / "journal"),
    )


@pytest.fixture
def sleeper():
    """A process of ours to change."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture
def ask(helper, place, capsys):
    """Ask the helper in this process; gives its answer."""

    def asked(op="run", name=ID, **more):
        assert helper.main(json.dumps({"op": op, "id": name, **more}), place) == 0
        return json.loads(capsys.readouterr().out)

    return asked


def start_of(pid):
    """Field 22 of /proc/PID/stat."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])


def adj(pid):
    """The value that the kernel shows."""
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def step(pid, value, start=None, was=None):
    """One step of a plan."""
    words = ["set-adj", "--pid", str(pid), "--start", str(start_of(pid) if start is None else start)]
    stood = [] if was is None else ["--was", str(was)]
    return {"do": [*words, *stood, "--value", str(value)], "stdin": ""}


def test_a_plan_is_run_and_recorded(ask, sleeper, state):
    """The value is written, read back, answered and kept on disk for its owner alone."""
    answer = ask(steps=[step(sleeper.pid, 321)])
    assert adj(sleeper.pid) == 321
    assert answer["status"] == "done"
    assert answer["steps"][0] | {"argv": []} == {
        "argv": [],
        "exit": 0,
        "stdout": "0 -> 321",
        "stderr": "",
        "before": "0",
        "after": "321",
    }
    assert json.loads((state / ID).read_text())["status"] == "done"
    assert oct(state.stat().st_mode)[-3:] == "700"


def test_a_second_run_changes_nothing(ask, sleeper):
    """The same request again gets the recorded result, whatever it asks for."""
    first = ask(steps=[step(sleeper.pid, 100)])
    assert ask(steps=[step(sleeper.pid, 200)]) == first
    assert adj(sleeper.pid) == 100


def test_a_plan_runs_once_however_often_it_is_sent(place, sleeper):
    """Of eight helpers started at once with one request, one runs it."""
    plan = {"op": "run", "id": ID, "steps": [step(sleeper.pid, value) for value in (10, 20, 30)]}
    call = f"\nraise SystemExit(main({json.dumps(plan)!r}, Place(*{tuple(place)!r})))\n"

    def sent(_):
        return subprocess.run(
            [sys.executable, "-I", "-"], input=SOURCE + call, capture_output=True, text=True, check=True
        ).stdout

    with ThreadPoolExecutor(8) as pool:
        answers = [json.loads(text) for text in pool.map(sent, range(8))]
    assert {answer["status"] for answer in answers} <= {"done", "running"}
    assert len({answer["began_s"] for answer in answers}) == 1
    assert adj(sleeper.pid) == 30


def test_result_of_a_run_that_never_came_cancels_it(ask, sleeper):
    """Who asks for the result before the run came is told absent, and the late run is refused."""
    assert ask("result")["status"] == "absent"
    assert ask(steps=[step(sleeper.pid, 100)])["status"] == "cancelled"
    assert adj(sleeper.pid) == 0


def test_result_of_a_run_is_the_run(ask, sleeper):
    """After a lost link the result can be fetched."""
    first = ask(steps=[step(sleeper.pid, 100)])
    assert ask("result") == first


def test_a_run_that_was_cut_off_is_unreadable(ask, state):
    """A record that says running while nobody runs it is for a person to judge."""
    state.mkdir(mode=0o700)
    (state / ID).write_text('{"status": "running", "steps": []}')
    assert ask("result")["status"] == "unreadable"


def test_a_run_that_is_going_on_says_so(helper, ask, state):
    """While the lock is held the same record means running."""
    state.mkdir(mode=0o700)
    (state / ID).write_text('{"status": "running", "steps": []}')
    lock = helper.take_lock(str(state))
    assert ask("result")["status"] == "running"
    os.close(lock)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"steps": []}'])
def test_a_garbled_record_is_unreadable(ask, state, text):
    """A record that can not be read is never taken for one that may be run again."""
    state.mkdir(mode=0o700)
    (state / ID).write_text(text)
    assert ask(steps=[])["status"] == "unreadable"


def test_a_reused_pid_is_not_hit(ask, sleeper):
    """Another start time is another process."""
    answer = ask(steps=[step(sleeper.pid, 100, start=start_of(sleeper.pid) + 1)])
    assert answer["status"] == "failed"
    assert "another process now" in answer["steps"][0]["stderr"]
    assert adj(sleeper.pid) == 0


def test_a_process_that_is_gone(ask):
    """A pid nobody has is a failed step with a sentence."""
    answer = ask(steps=[step(4_194_300, 5, start=1)])
    assert "is gone" in answer["steps"][0]["stderr"]


def test_a_kernel_thread_is_refused(ask):
    """Kernel threads are never changed."""
    threads = [p.pid for p in psutil.process_iter() if p.ppid() == 2]
    if not threads:
        pytest.skip("no kernel thread is visible here")
    answer = ask(steps=[step(threads[0], 5)])
    assert "kernel thread" in answer["steps"][0]["stderr"]


def test_a_value_that_still_stands_is_replaced(ask, sleeper):
    """With --was the write is made where the value is the one of the plan, each step seeing the one before."""
    answer = ask(steps=[step(sleeper.pid, 100, was=0), step(sleeper.pid, 200, was=100)])
    assert (answer["status"], [one["exit"] for one in answer["steps"]]) == ("done", [0, 0])
    assert adj(sleeper.pid) == 200


def test_a_value_that_somebody_else_set_stays(ask, sleeper):
    """With --was nothing is written where the value is another one by now."""
    Path(f"/proc/{sleeper.pid}/oom_score_adj").write_text("7")
    answer = ask(steps=[step(sleeper.pid, 100, was=0)])
    assert answer["status"] == "failed"
    assert answer["steps"][0]["stderr"] == (
        "oom_score_adj is now 7, not 0 as it was when the plan was made: nothing was changed"
    )
    assert adj(sleeper.pid) == 7


def test_an_end_after_the_write_is_not_called_unchanged(helper):
    """A process that ends between the write and the read-back was changed, and the step does not deny it."""
    with subprocess.Popen(["sleep", "600"]) as process:
        folder = os.open(f"/proc/{process.pid}", os.O_RDONLY | os.O_DIRECTORY)
        helper._write_adj(folder, process.pid, 5, None)
        process.kill()
    try:
        with pytest.raises(helper.StepError) as caught:
            helper._read_back(folder, process.pid, 5)
    finally:
        os.close(folder)
    assert str(caught.value) == f"process {process.pid} ended right after 5 was written"


def test_an_end_before_the_write_changed_nothing(helper, sleeper):
    """A process that ends after it was found and before the write is said to be unchanged."""
    folder = os.open(f"/proc/{sleeper.pid}", os.O_RDONLY | os.O_DIRECTORY)
    start = start_of(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    try:
        with pytest.raises((FileNotFoundError, ProcessLookupError)):
            helper._write_adj(folder, sleeper.pid, 5, None)
    finally:
        os.close(folder)
    with pytest.raises(helper.StepError, match="nothing was changed"):
        helper.set_adj(None, helper.Site(), sleeper.pid, start, 5)


def test_a_failed_step_stops_the_plan(ask, sleeper):
    """What comes after a failure is not run; what came before stays on record."""
    answer = ask(steps=[step(sleeper.pid, 10), step(sleeper.pid, 20, start=1), step(sleeper.pid, 30)])
    assert answer["status"] == "failed"
    assert [one["exit"] for one in answer["steps"]] == [0, 1]
    assert adj(sleeper.pid) == 10


def test_an_unforeseen_fault_ends_the_run(helper, tmp_path):
    """A verb that fails in a way that nobody thought of is a failed step, not a run that seems to go on."""

    def fail(*_, **__):
        raise KeyError("of its own")

    helper.VERBS["fail"] = helper.Verb(lambda _words, _stdin: {}, lambda *_: None, fail)
    request = {"op": "run", "id": "request-0009", "steps": [{"do": ["fail"]}]}
    said = helper.answer(json.dumps(request), helper.Place(str(tmp_path / "state"), str(tmp_path / "frozen")))
    assert said["status"] == "failed"
    assert "'of its own'" in said["steps"][0]["stderr"]


def _verb(helper, name, act):
    """Teach this helper one more verb."""
    helper.VERBS[name] = helper.Verb(lambda _words, _stdin: {}, lambda *_: None, act)
    return {"do": [name]}


def test_a_freeze_in_the_middle_changes_nothing_more(helper, place, ask, sleeper):
    """The step that a freeze stopped says that it changed nothing, which is known."""

    def freeze(*_):
        Path(place.frozen).touch()
        return "warm", "frozen"

    said = ask(steps=[_verb(helper, "freeze", freeze), step(sleeper.pid, 30)])
    assert (said["status"], adj(sleeper.pid)) == ("failed", 0)
    assert [one.get("untouched", False) for one in said["steps"]] == [False, True]
    assert "nor is any after it" in said["steps"][1]["stderr"]


def test_a_plan_goes_no_further_than_its_record(helper, ask, sleeper, state):
    """Where a step can not be written down nothing follows it: a record that is cut off tells no less than was done."""

    def lose(*_):
        state.rename(state.with_name("gone"))
        return "there", "gone"

    said = ask(steps=[_verb(helper, "lose", lose), step(sleeper.pid, 30), step(sleeper.pid, 40)])
    assert (said["status"], adj(sleeper.pid)) == ("failed", 0)
    assert [(one["exit"], one.get("untouched", False)) for one in said["steps"]] == [(0, False), (1, True)]


def test_a_deep_cgroup_hides_no_unit(helper, tmp_path):
    """However long the lines above it are, the line that names the unit is read."""
    lines = [f"{number}:cpu{number}:/{'x' * 1000}\n" for number in range(2, 9)]
    (tmp_path / "cgroup").write_text("".join(lines) + "1:name=systemd:/system.slice/ssh.service\n")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert helper.unit_of(helper._read(folder, "cgroup")) == "ssh.service"
    finally:
        os.close(folder)


BAD = {
    "unknown verb": {"do": ["rm", "-rf", "/"]},
    "no words": {"do": []},
    "no list": {"do": "set-adj --pid 5"},
    "not words": {"do": ["set-adj", 5]},
    "too few": {"do": ["set-adj", "--pid", "77"]},
    "order": {"do": ["set-adj", "--start", "1", "--pid", "77", "--value", "1"]},
    "init": {"do": ["set-adj", "--pid", "1", "--start", "1", "--value", "1"]},
    "too low": {"do": ["set-adj", "--pid", "77", "--start", "1", "--value", "-1001"]},
    "too high": {"do": ["set-adj", "--pid", "77", "--start", "1", "--value", "1001"]},
    "was last": {"do": ["set-adj", "--pid", "77", "--start", "1", "--value", "1", "--was", "0"]},
    "was first": {"do": ["set-adj", "--was", "0", "--pid", "77", "--start", "1", "--value", "1"]},
    "was no number": {"do": ["set-adj", "--pid", "77", "--start", "1", "--was", "x", "--value", "1"]},
    "was alone": {"do": ["set-adj", "--pid", "77", "--start", "1", "--was", "--value", "1"]},
    "something else": {"do": ["set-adj", "--pid", "77", "--start", "1", "--from", "0", "--value", "1"]},
    "path": {"do": ["set-adj", "--pid", "../1", "--start", "1", "--value", "1"]},
    "other digits": {"do": ["set-adj", "--pid", "٧٧", "--start", "1", "--value", "1"]},
    "newline": {"do": ["set-adj", "--pid", "77\n", "--start", "1", "--value", "1"]},
    "input": {"do": ["set-adj", "--pid", "77", "--start", "1", "--value", "1"], "stdin": "x"},
}


@pytest.mark.parametrize("name", BAD)
def test_what_it_does_not_know_is_refused_before_anything_runs(ask, sleeper, state, name):
    """One bad step refuses the whole plan, and leaves no record."""
    assert ask(steps=[step(sleeper.pid, 10), BAD[name]])["status"] == "refused"
    assert adj(sleeper.pid) == 0
    assert not (state / ID).exists()


@pytest.mark.parametrize("name", ["", "short", "../../etc/x", "a" * 65, "with blank", ".lock", "newline-\n"])
def test_ids_that_are_no_ids(ask, state, name):
    """An id is a plain file name of a fixed alphabet."""
    assert ask("result", name)["status"] == "refused"
    assert not state.exists() or not list(state.iterdir())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"id": "request-0001"}', '{"id": "request-0001", "op": "sh"}']
)
def test_what_is_no_request(helper, state, capsys, text):
    """Rubbish is answered as refused, not with a traceback."""
    helper.main(text, helper.Place(str(state)))
    assert json.loads(capsys.readouterr().out)["status"] == "refused"


def test_a_frozen_host_runs_nothing(ask, sleeper, tmp_path):
    """The freeze file of the host's owner stops runs, not the asking for results."""
    (tmp_path / "frozen").touch()
    assert ask(steps=[step(sleeper.pid, 10)])["status"] == "frozen"
    assert adj(sleeper.pid) == 0
    assert ask("result")["status"] == "absent"


def test_a_directory_open_to_others_is_not_believed(ask, sleeper, state):
    """Records that anybody may write prove nothing."""
    state.mkdir()
    state.chmod(0o777)
    assert ask(steps=[step(sleeper.pid, 10)])["status"] == "refused"
    assert adj(sleeper.pid) == 0


def test_old_records_are_forgotten(ask, sleeper, state):
    """Records older than 30 days go when the next plan is run."""
    ask("result", "old-request")
    os.utime(state / "old-request", (time.time() - 31 * 86400,) * 2)
    ask(steps=[step(sleeper.pid, 10)])
    assert sorted(path.name for path in state.iterdir()) == [".lock", ID]


def test_what_is_not_ours_is_never_removed(helper, ask, sleeper, state):
    """Only old files of our own names go: no directory, no link and nothing of somebody else's."""
    ask("result", "old-request")
    (state / ".lock").touch()
    (state / "a-directory").mkdir()
    (state / "directory-with-file").mkdir()
    (state / "directory-with-file" / "old-request").touch()
    (state / "oombot.sqlite").touch()
    (state / "a-link-of-ours").symlink_to("oombot.sqlite")
    temporary = Path(helper.written(str(state), {}))
    kept = {".lock", ID, "a-directory", "directory-with-file", "oombot.sqlite", "a-link-of-ours"}
    for path in state.rglob("*"):
        os.utime(path, (time.time() - 31 * 86400,) * 2, follow_symlinks=False)
    assert temporary.name in {path.name for path in state.iterdir()}
    assert ask(steps=[step(sleeper.pid, 10)])["status"] == "done"
    assert {path.name for path in state.iterdir()} == kept
    assert (state / "directory-with-file" / "old-request").exists()


def test_pruning_never_stops_a_plan(helper, tmp_path):
    """A directory that can not be listed is no reason to fail."""
    helper.prune(str(tmp_path / "missing"))


def test_the_state_directory_is_not_the_bots(helper):
    """An account that is not root keeps its records beside the bot's own state, never in it."""
    text = "import sys; sys.stdout.write(state_directory())"
    for environ, wanted in (
        ({"XDG_STATE_HOME": "/tmp/x", "HOME": "/h"}, "/tmp/x/oombot-helper"),
        ({"HOME": "/h"}, "/h/.local/state/oombot-helper"),
    ):
        source = f"{SOURCE}\nos.geteuid = lambda: 1000\n{text}\n"
        done = subprocess.run(
            [sys.executable, "-I", "-"], input=source, capture_output=True, text=True, check=True, env=environ
        )
        assert done.stdout == wanted
    assert helper.ROOT_STATE == "/var/lib/oombot-helper"


def test_a_request_cut_anywhere_runs_nothing(sleeper, tmp_path):
    """The source sent along, ended early at any line or within the last one, changes nothing."""
    request = {"op": "run", "id": ID, "steps": [step(sleeper.pid, 99)]}
    text = helper_call.act("sent", SOURCE, request).stdin.rstrip("\n")
    lines = [at for at, char in enumerate(text) if char == "\n"]
    for cut in (*lines[::12], len(text) - 5, len(text) - 1):
        subprocess.run(
            [sys.executable, "-I", "-"],
            input=text[:cut],
            capture_output=True,
            text=True,
            check=False,
            env={"XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)},
        )
    assert adj(sleeper.pid) == 0


def test_a_kill_in_the_middle_leaves_a_readable_truth(place, state, sleeper):
    """A helper that is killed while it runs leaves unreadable or done behind, never absent and never a second run."""
    steps = [step(sleeper.pid, value % 1000) for value in range(1, 400)]
    plan = {"op": "run", "id": ID, "steps": steps}
    call = f"\nraise SystemExit(main({json.dumps(plan)!r}, Place(*{tuple(place)!r})))\n"
    with subprocess.Popen(
        [sys.executable, "-I", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        process.stdin.write((SOURCE + call).encode())
        process.stdin.close()
        while not (state / ID).exists():
            time.sleep(0.005)
        process.kill()
    ask = f"\nraise SystemExit(main({json.dumps({'op': 'result', 'id': ID})!r}, Place(*{tuple(place)!r})))\n"
    result = subprocess.run(
        [sys.executable, "-I", "-"], input=SOURCE + ask, capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout)["status"] in ("unreadable", "done")


def test_the_kernels_refusal_is_a_sentence(helper, need, state):
    """Without CAP_SYS_RESOURCE a value can not be lowered, and the answer says why."""
    need(os.geteuid() == 0, "runs only as root, who can become somebody else")
    state.mkdir()
    os.chown(state, 65534, 65534)
    state.chmod(0o700)
    for parent in list(state.parents)[:3]:
        with contextlib.suppress(OSError):
            parent.chmod(parent.stat().st_mode | 0o011)
    with subprocess.Popen(["sleep", "60"], user=65534, group=65534, extra_groups=[]) as process:
        plan = {"op": "run", "id": ID, "steps": [step(process.pid, -5)]}
        call = f"\nraise SystemExit(main({json.dumps(plan)!r}, Place({str(state)!r})))\n"
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-"],
            input=SOURCE + call,
            capture_output=True,
            text=True,
            check=True,
            user=65534,
            group=65534,
            extra_groups=[],
        )
        process.kill()
    answer = json.loads(done.stdout)
    assert answer["status"] == "failed"
    assert "CAP_SYS_RESOURCE" in answer["steps"][0]["stderr"]


def test_it_needs_nothing_but_the_standard_library():
    """The parts are all there is to send, and each is short enough to be read."""
    modules = {
        line.split()[1].split(".")[0] for line in SOURCE.splitlines() if line.startswith(("import ", "from "))
    }
    assert modules <= set(sys.stdlib_module_names)
    for part in (resources.files("oombot") / "data").iterdir():
        assert not part.name.startswith("oombot_") or part.read_text().count("\n") <= 400, part.name
