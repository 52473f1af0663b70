"""put-back and keep: a timer of the host that runs the way back once, on a small stand-in for systemd."""

import json
import shlex
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from oombot.installation import act_source

SOURCE, ID = act_source(), "request-0001"
RUN = """#!/bin/sh
printf '%s\\n' "$*" >>{base}/asked
for word in "$@"; do program=$word; done
cp "$program" {base}/fired.py && : >{base}/active
"""
CONTROL = """#!/bin/sh
case $1 in
  show) if [ -e {base}/active ]; then echo ActiveState=active; else echo ActiveState=inactive; fi ;;
  stop) rm -f {base}/active ;;
esac
"""


@dataclass
class Machine:
    """A host with a process of ours, whose timers fire when they are told to."""

    helper: Any
    place: Any
    base: Path
    pid: int

    def step(self, was: int, value: int) -> list[str]:
        """One change of the process."""
        start = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
        process = ["--pid", str(self.pid), "--start", start]
        return ["set-adj", *process, "--was", str(was), "--value", str(value)]

    def run(self, *steps: tuple[list[str], str], name: str = ID) -> dict[str, Any]:
        """Send a plan to the helper."""
        wire = [{"do": words, "stdin": stdin} for words, stdin in steps]
        text = json.dumps({"op": "run", "id": name, "steps": wire, "approver": "U0ADA0001"})
        answer: dict[str, Any] = self.helper.answer(text, self.place)
        return answer

    def change(self, after: str = "7200") -> dict[str, Any]:
        """Raise the score for a while."""
        words = ["put-back", "--after", after, "--name", ID]
        return self.run(
            (self.step(0, 300), ""), (words, json.dumps([{"do": self.step(300, 0), "stdin": ""}]))
        )

    def fire(self) -> dict[str, Any]:
        """Let the timer fire, as a process of its own, and give the record that it leaves."""
        done = subprocess.run(
            [sys.executable, "-I", str(self.base / "fired.py")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        record: dict[str, Any] = json.loads((Path(self.place.state) / f"{ID}-back").read_text())
        return record

    @property
    def adj(self) -> int:
        """The value that the kernel shows."""
        return int(Path(f"/proc/{self.pid}/oom_score_adj").read_text())

    @property
    def program(self) -> Path:
        """What the timer is to run."""
        return Path(self.place.site.root) / "run" / "oombot" / f"{ID}.py"


@pytest.fixture
def machine(tmp_path: Path, need: Callable[[object, str], None]) -> Iterator[Machine]:
    """A host under systemd."""
    import os

    need(os.geteuid() == 0, "root: a timer that puts something back is root's")
    helper: Any = types.ModuleType("oombot_helper")
    helper.SOURCE = SOURCE
    exec(SOURCE, helper.__dict__)
    root, programs = tmp_path / "root", tmp_path / "bin"
    (root / "run" / "systemd" / "system").mkdir(parents=True)
    (root / "proc").symlink_to("/proc")
    programs.mkdir()
    for name, text in (("systemd-run", RUN), ("systemctl", CONTROL)):
        (programs / name).write_text(text.format(base=shlex.quote(str(tmp_path))))
        (programs / name).chmod(0o755)
    site = helper.Site(root=str(root), programs=f"{programs}:/usr/bin:/bin")
    files = [str(tmp_path / name) for name in ("state", "frozen", "policy.json", "journal")]
    place = helper.Place(*files, inside=True, site=site)
    with subprocess.Popen(["sleep", "600"]) as process:
        Path(f"/proc/{process.pid}/oom_score_adj").write_text("0")
        yield Machine(helper=helper, place=place, base=tmp_path, pid=process.pid)
        process.kill()


def test_a_timer_puts_it_back(machine: Machine) -> None:
    """The change is made, the timer is armed outside of system.slice, and when it fires the old value stands."""
    said = machine.change()
    assert (said["status"], machine.adj) == ("done", 300), said
    asked = (machine.base / "asked").read_text()
    wanted = (f"--unit=oombot-back-{ID} ", "--on-active=7200 ", "AccuracySec=1s", "--slice=-.slice ")
    assert [words for words in wanted if words not in asked] == []
    assert machine.program.stat().st_mode & 0o777 == 0o600
    record = machine.fire()
    assert (record["status"], machine.adj) == ("done", 0)
    assert not machine.program.exists()


def test_it_fires_once(machine: Machine) -> None:
    """A second run of the same timer changes nothing more."""
    machine.change()
    first = machine.fire()
    Path(f"/proc/{machine.pid}/oom_score_adj").write_text("300")
    assert (machine.fire(), machine.adj) == (first, 300)


def test_keep_calls_it_off(machine: Machine) -> None:
    """After keep neither the timer nor a run of it that was under way puts anything back."""
    machine.change()
    said = machine.run((["keep", "--name", ID], ""), (machine.step(300, 0), ""), name="request-0002")
    assert (said["status"], machine.adj) == ("done", 0), said
    assert not (machine.base / "active").exists()
    assert not machine.program.exists()
    Path(f"/proc/{machine.pid}/oom_score_adj").write_text("300")
    assert (machine.fire()["status"], machine.adj) == ("cancelled", 300)


def test_what_is_called_off_is_so_without_systemctl(machine: Machine) -> None:
    """The record decides: that the timer itself could not be stopped is not told as a timer that still acts."""
    machine.change()
    (machine.base / "bin" / "systemctl").unlink()
    machine.program.parent.rename(machine.program.parent.with_name("moved"))
    machine.program.parent.touch()
    said = machine.run((["keep", "--name", ID], ""), name="request-0002")
    assert (said["status"], said["steps"][0]["after"]) == ("done", "called off"), said
    assert (machine.fire()["status"], machine.adj) == ("cancelled", 300)


def test_keep_after_it_fired_stops_nothing(machine: Machine) -> None:
    """What the timer has done stands in its record, and keep says so."""
    machine.change()
    machine.fire()
    said = machine.run((["keep", "--name", ID], ""), name="request-0002")
    assert said["steps"][0]["after"] == "it has fired already: done"


def test_frozen_host_is_not_put_back(machine: Machine) -> None:
    """A freeze of the host stops the timer's run as well; its record says so, for whoever asks later."""
    machine.change()
    Path(machine.place.frozen).touch()
    record = machine.fire()
    assert (record["status"], machine.adj) == ("frozen", 300)


def test_what_was_refused_stands_in_the_record(machine: Machine) -> None:
    """What the policy does not allow any more is not put back; asked later, the record says so, and when that was."""
    machine.change()
    policy = {"operations": [], "units": [], "owners": [], "oom_score_adj": [0, 0], "changes_per_hour": 0}
    Path(machine.place.policy).write_text(json.dumps(policy))
    assert (machine.fire()["status"], machine.adj) == ("refused", 300)
    said = machine.helper.answer(json.dumps({"op": "result", "id": f"{ID}-back"}), machine.place)
    assert (said["status"], "ended_s" in said) == ("refused", True)
    assert "not among the operations" in said["error"]


def test_what_somebody_changed_is_not_overwritten(machine: Machine) -> None:
    """The way back has the same guards as any change: another value stays."""
    machine.change()
    Path(f"/proc/{machine.pid}/oom_score_adj").write_text("77")
    record = machine.fire()
    assert (record["status"], machine.adj) == ("failed", 77)
    assert "nothing was changed" in record["steps"][0]["stderr"]


def test_asking_does_not_call_it_off(machine: Machine) -> None:
    """Who asks for what the timer did before it has fired hears that there is none yet, and it fires all the same."""
    machine.change()
    text = json.dumps({"op": "result", "id": f"{ID}-back"})
    assert machine.helper.answer(text, machine.place)["status"] == "absent"
    assert (machine.fire()["status"], machine.adj) == ("done", 0)
    assert machine.helper.answer(text, machine.place)["status"] == "done"


def test_no_timer_is_said(machine: Machine) -> None:
    """Where systemd sets no timer the plan fails at this step, with what was done before it."""
    (machine.base / "bin" / "systemd-run").write_text("#!/bin/sh\necho no bus >&2; exit 1\n")
    said = machine.change()
    assert (said["status"], [step["exit"] for step in said["steps"]]) == ("failed", [0, 1])
    assert "nothing will put it back by itself" in said["steps"][1]["stderr"]
    assert not machine.program.exists()


def test_a_timer_that_is_set_is_not_set_anew(machine: Machine) -> None:
    """A second timer of the same name neither takes the program of the first away nor changes what it does."""
    machine.change()
    program = machine.program.read_text()
    other = (["put-back", "--after", "300", "--name", ID], json.dumps([{"do": machine.step(300, 9)}]))
    said = machine.run(other, name="request-0002")
    assert (said["status"], said["steps"][0]["untouched"]) == ("failed", True)
    assert machine.program.read_text() == program
    assert (machine.fire()["status"], machine.adj) == ("done", 0)


def put_back(machine: Machine, *words: str, steps: object = None) -> str:
    """Why this is refused before anything is run."""
    way = [{"do": machine.step(300, 0), "stdin": ""}] if steps is None else steps
    said = machine.run((machine.step(0, 300), ""), (["put-back", *words], json.dumps(way)))
    assert (said["status"], machine.adj) == ("refused", 0), said
    return str(said["error"])


@pytest.mark.parametrize(
    "words",
    [
        ("--after", "299", "--name", ID),
        ("--after", "604801", "--name", ID),
        ("--after", "-300", "--name", ID),
        ("--after", "7200", "--name", "../../etc/x"),
        ("--after", "7200", "--name", "$(reboot)xx"),
        ("--after", "7200", "--name", "a b c d e f"),
        ("--name", ID, "--after", "7200"),
        ("--after", "7200"),
    ],
)
def test_other_words_are_refused(machine: Machine, words: tuple[str, ...]) -> None:
    """Times outside of the range and names that are no request's set no timer, and nothing else is run."""
    assert "put-back" in put_back(machine, *words)
    assert not (machine.base / "asked").exists()


@pytest.mark.parametrize(
    "steps", [[], "x", [{"do": ["reboot"]}], [{"do": ["set-adj", "--pid", "1"]}], [3], {}]
)
def test_the_way_back_is_checked_as_a_plan(machine: Machine, steps: object) -> None:
    """What would be refused as a plan can not be put off until later."""
    put_back(machine, "--after", "7200", "--name", ID, steps=steps)
    assert not (machine.base / "asked").exists()


def test_no_timer_in_a_timer(machine: Machine) -> None:
    """A way back sets and calls off no timers."""
    way = [{"do": ["keep", "--name", "request-0009"], "stdin": ""}]
    assert "of its own" in put_back(machine, "--after", "7200", "--name", ID, steps=way)


def test_no_systemd_is_refused(machine: Machine) -> None:
    """Where nothing keeps the time nothing is changed."""
    (Path(machine.place.site.root) / "run" / "systemd" / "system").rmdir()
    assert "has no systemd" in put_back(machine, "--after", "7200", "--name", ID)


def test_the_way_back_counts_against_the_rate(machine: Machine) -> None:
    """What a timer will do is counted when it is set: an hour's limit can not be put off."""
    policy = {
        "operations": ["set-adj", "put-back", "keep"],
        "units": ["*"],
        "owners": ["*"],
        "oom_score_adj": [-1000, 1000],
        "changes_per_hour": 2,
    }
    Path(machine.place.policy).write_text(json.dumps(policy))
    machine.base.chmod(0o755)
    said = machine.change()
    assert (said["status"], "2 changes an hour" in said["error"]) == ("refused", True), said
