"""`oombot fix|pending|approve|deny|undo|history` on this machine and a real process of its own."""

import contextlib
import io
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from oombot import app, cli
from oombot.cli.persons import acting_uid, own_account

ADA, BEN = "U0ADA0001", "U0BEN0002"
REMEDY = "oom_score_adj"


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def oombot(*words: str) -> Done:
    """Run a command here: a process for each would spend its time on imports."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    return Done(returncode=int(ended.value.code or 0), stdout=out.getvalue(), stderr=err.getvalue())


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process whose score may be raised."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def config(folder: Path, text: str) -> str:
    path = folder / "oombot.yaml"
    path.write_text(text)
    return str(path)


def written(folder: Path, policy: str, *, who: str = ADA, mode: str = "apply") -> str:
    """A configuration in which the account of this test is `who`; the store is the same for all of them."""
    text = "hosts: [{name: testbox, local: true}]\nstore: store.sqlite\n"
    account = own_account(app.config.load(text, filename="test.yaml"))
    return config(folder, f"mode: {mode}\npolicy: {{accounts: {{{account}: {who}}}, {policy}}}\n{text}")


ALONE = f"approvers: {{users: [{ADA}, {BEN}]}}, second_person: never"
FOUR_EYES = f"approvers: {{users: [{ADA}, {BEN}]}}, second_person: always"


def adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def requests(file: str) -> list[dict[str, object]]:
    """What is stored about the host, newest first."""
    done = oombot("history", "testbox", "--json", "-c", file)
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def propose(file: str, pid: int, *more: str, value: int = 300) -> Done:
    words = ("fix", "testbox", REMEDY, f"value={value}", "--pid", str(pid))
    return oombot(*words, *more, "-c", file)


def test_fix_runs_and_undo_puts_back(tmp_path: Path, sleeper: int) -> None:
    """With --yes a fix is proposed, approved, run and verified in one command, and undone in another."""
    file, before = written(tmp_path, ALONE), adj(sleeper)
    done = propose(file, sleeper, "--yes", value=before + 100)
    assert (done.returncode, adj(sleeper)) == (0, before + 100), done.stderr + done.stdout
    assert f"set-adj --pid {sleeper}" in done.stdout
    [made] = requests(file)
    assert (made["state"], made["requester"], made["approver"]) == ("verified", ADA, ADA)
    done = oombot("undo", str(made["id"]), "--yes", "-c", file)
    assert (done.returncode, adj(sleeper)) == (0, before), done.stderr + done.stdout


def test_without_a_terminal_it_is_only_proposed(tmp_path: Path, sleeper: int) -> None:
    """Nobody can say yes, so nothing is run; the plan waits under the id that is printed."""
    file, before = written(tmp_path, ALONE), adj(sleeper)
    done = propose(file, sleeper)
    [made] = requests(file)
    assert (done.returncode, made["state"], adj(sleeper)) == (0, "pending", before)
    assert f"oombot approve {made['id']}" in done.stdout
    listed = oombot("pending", "--json", "-c", file)
    assert [one["id"] for one in json.loads(listed.stdout)] == [made["id"]]


def test_two_people_must_agree(tmp_path: Path, sleeper: int) -> None:
    """Who asked can not approve it themselves; somebody else can, by the beginning of the id."""
    file, before = written(tmp_path, FOUR_EYES), adj(sleeper)
    done = propose(file, sleeper, "--yes", value=before + 100)
    assert (done.returncode, adj(sleeper)) == (1, before)
    assert "second person" in done.stderr
    [made] = requests(file)
    file = written(tmp_path, FOUR_EYES, who=BEN)
    done = oombot("approve", str(made["id"])[:8], "--yes", "-c", file)
    assert (done.returncode, adj(sleeper)) == (0, before + 100), done.stderr + done.stdout
    again = oombot("approve", str(made["id"]), "--yes", "-c", file)
    assert (again.returncode, "already" in again.stderr) == (1, True)


def test_nobody_is_refused(tmp_path: Path, sleeper: int) -> None:
    """An account that the configuration does not map may do nothing, and is told what to write where."""
    text = f"mode: apply\npolicy: {{{ALONE}}}\nhosts: [{{name: testbox, local: true}}]\nstore: store.sqlite\n"
    file = config(tmp_path, text)
    done = propose(file, sleeper, "--yes")
    assert (done.returncode, "nobody in policy.accounts" in done.stderr) == (1, True)
    assert requests(file) == []


def test_members_of_groups_are_not_known(tmp_path: Path, sleeper: int) -> None:
    """Who is in a user group only Slack could say: it is no, and said so."""
    file, before = written(tmp_path, "approvers: {groups: [S0ONCALL1]}, second_person: never"), adj(sleeper)
    done = propose(file, sleeper, "--yes")
    assert (done.returncode, adj(sleeper)) == (1, before)
    assert "Slack is not connected on the command line" in done.stderr


def test_deny_closes_it(tmp_path: Path, sleeper: int) -> None:
    """A denied request can not be approved any more."""
    file = written(tmp_path, ALONE)
    propose(file, sleeper)
    [made] = requests(file)
    done = oombot("deny", str(made["id"]), "-c", file)
    assert (done.returncode, "Nothing was run" in done.stdout) == (0, True)
    done = oombot("approve", str(made["id"]), "--yes", "-c", file)
    assert (done.returncode, "already denied" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonsense",), "nonsense is no remedy; those are"),
        ((REMEDY, "colour=red"), "colour=red: not a field; those are process=, value="),
        ((REMEDY, "value=3"), "process: it must be given"),
        ((REMEDY, "process=1;reboot", "value=3"), "process: not one of its choices"),
        ((REMEDY, "value=3", "--pid", "PID", "--for", "soon"), "--for soon: not a time"),
        (("--unit", "$(reboot).service"), "not the full name of a unit"),
        ((REMEDY, "value=9999", "--pid", "PID"), "value: A whole number from -1000 to 1000"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, sleeper: int, words: tuple[str, ...], said: str) -> None:
    """What can not be meant is exit 2 and a sentence, and proposes nothing."""
    file = written(tmp_path, ALONE)
    asked = [word.replace("PID", str(sleeper)) for word in words]
    done = oombot("fix", "testbox", *asked, "-c", file)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert requests(file) == []


def test_fix_lists_every_remedy(tmp_path: Path) -> None:
    """Without a remedy the command says what there is, each with its fields or why it can not work."""
    from oombot import catalog

    done = oombot("fix", "testbox", "-c", written(tmp_path, ALONE))
    assert done.returncode == 0
    assert [name for name in catalog.remediations() if name not in done.stdout] == []


def test_unknown_host_and_request(tmp_path: Path) -> None:
    """A host that is not configured is a mistake; a request that is not there is refused."""
    file = written(tmp_path, ALONE)
    assert oombot("fix", "nowhere", "-c", file).returncode == 2
    assert oombot("approve", "nosuchrequest", "--yes", "-c", file).returncode == 1


@pytest.mark.parametrize(
    ("uid", "login_uid", "counts"),
    [(0, 1000, 1000), (0, None, 0), (990, 1000, 1000), (1001, 1000, 1001), (1001, None, 1001)],
    ids=["sudo", "root itself", "the store's owner", "not trusted", "no login"],
)
def test_whose_act_it_is(uid: int, login_uid: int | None, counts: int) -> None:
    """Only root and the store's owner act for who logged in; nobody else can claim to be another."""
    assert acting_uid(uid, login_uid, trusted={0, 990}) == counts
