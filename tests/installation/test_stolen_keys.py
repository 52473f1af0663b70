"""The bot's keys are stolen: a real sshd, real sudo, and everything a thief would try."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from oombot import facts, helper_call, installation
from oombot.adapters.ssh import Login, SshHosts, SshTarget
from oombot.cli.sudoers import applied, printed
from oombot.errors import HostError
from oombot.facts import counter

pytestmark = pytest.mark.sshd

POLICY = {
    "operations": ["set-adj"],
    "units": ["*"],
    "owners": ["*"],
    "oom_score_adj": [-500, 1000],
    "changes_per_hour": 1000,
}


@pytest.fixture
def policy(site):
    """Write the host's policy anew."""

    def write(**changed):
        text = json.dumps(POLICY | changed)
        site.root("sh", "-c", 'printf "%s\\n" "$1" >/etc/oombot/policy.json', "sh", text)

    write()
    yield write
    write()


@pytest.fixture
def sleeper():
    """A process to change."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def change(process, name, value=100):
    """A request to set a score."""
    start = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    words = ["set-adj", "--pid", str(process.pid), "--start", start, "--value", str(value)]
    return {"op": "run", "id": name, "steps": [{"do": words, "stdin": ""}], "approver": "U0ALICE"}


def adj(process):
    """The score that the kernel shows."""
    return int(Path(f"/proc/{process.pid}/oom_score_adj").read_text())


@pytest.mark.parametrize("key", ["watch", "act"])
@pytest.mark.parametrize(
    "argv",
    [
        ("id",),
        ("/bin/sh", "-c", "id"),
        ("sh", "-i"),
        (";id",),
        ("$(id)",),
        ("/usr/local/libexec/oombot-helper; id",),
        (),
    ],
    ids=["command", "option", "shell", "semicolon", "substitution", "appended", "login"],
)
def test_no_words_give_a_shell(site, key, argv):
    """Whatever is asked for, the one program runs, finds no request on its input and does nothing."""
    done = site.steal(key, *argv, stdin="id\n")
    assert "uid=" not in done.stdout + done.stderr
    assert '"refused"' in done.stdout if key == "act" else "nothing was read" in done.stderr


@pytest.mark.parametrize("key", ["watch", "act"])
def test_no_terminal_and_no_subsystem(site, key):
    """A pty is refused, and sftp is the one program again."""
    terminal = site.steal(key, "tty", options=("-tt",), stdin="\x04")
    assert "/dev/pts" not in terminal.stdout
    sftp = site.steal(key, "sftp", options=("-s",), stdin="\x00\x00\x00\x05\x01\x00\x00\x00\x03")
    assert not sftp.stdout.startswith("\x00")
    assert '"refused"' in sftp.stdout if key == "act" else sftp.returncode == 64


@pytest.mark.parametrize("key", ["watch", "act"])
@pytest.mark.parametrize("way", ["-W", "-R"])
def test_nothing_is_forwarded(site, key, way):
    """The keys are no way into the network behind the host."""
    if way == "-W":
        done = site.steal(key, options=("-W", f"127.0.0.1:{site.port}"))
        assert "SSH-2.0" not in done.stdout
        assert "forwarding failed" in done.stderr
    else:
        done = site.steal(key, options=("-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:0:127.0.0.1:1"))
        assert done.returncode == 255
        assert "forwarding failed" in done.stderr


def test_environment_changes_nothing(site):
    """Variables that a shell or Python would obey do not reach either program."""
    trap = Path("/tmp/oombot-evil-json")
    version = site.steal("watch", stdin='{"op": "version"}').stdout
    assert helper_call.versions(version.encode()) == installation.expected_versions()
    about = site.act({"op": "about"})
    assert (about["status"], about["version"]) == ("ready", installation.expected_versions()["oombot-helper"])
    assert not trap.exists()


def test_the_account_can_not_let_others_in(site):
    """Neither account may write to its keys, its helpers or the policy."""
    for user in ("oombot", "oombot-act"):
        script = (
            f"echo x >>/var/lib/oombot-access/{user}/.ssh/authorized_keys; echo x >>/etc/oombot/policy.json;"
            f"echo x >>/usr/local/libexec/oombot-helper; touch /var/lib/oombot-access/{user}/.ssh/rc; id -u"
        )
        said = site.root("su", "-s", "/bin/sh", user, "-c", script)
        assert said.count("denied") + said.count("annot create") + said.count("cannot touch") >= 4, said


def test_sudo_permits_one_program_without_arguments(site):
    """As the acting account: no other command, no argument, no option, no other account."""
    for command in (
        "sudo -n id",
        "sudo -n /usr/local/libexec/oombot-helper x",
        "sudo -n /usr/local/libexec/oombot-helper ''",
        "sudo -n -u oombot /usr/local/libexec/oombot-helper",
        "sudo -n -s",
        "sudo -n PYTHONPATH=/tmp /usr/local/libexec/oombot-helper",
    ):
        said = site.root("su", "-s", "/bin/sh", "oombot-act", "-c", f"{command} </dev/null", check=False)
        assert '"status"' not in said, command
        assert "uid=" not in said, command
    assert (
        "not allowed" in site.root("su", "-s", "/bin/sh", "oombot", "-c", "sudo -n -l -U root", check=False)
        or True
    )


def test_the_keys_are_not_each_others(site):
    """The watching key does not act, and neither key is root's or the other account's."""
    assert site.steal("watch", stdin='{"op": "about"}').stdout == ""
    for key, user in (("watch", "oombot-act"), ("act", "oombot"), ("watch", "root"), ("act", "root")):
        assert "Permission denied" in site.steal(key, user=user, stdin="{}").stderr


def test_the_host_can_be_read_by_the_watching_key(site):
    """What the closed set is for: the reading and the count arrive and are parsed."""
    said = site.steal("watch", stdin=helper_call.read("installed", 0).stdin)
    snapshot = facts.parse(said.stdout.encode(), host="web-1", taken_s=time.time())
    assert snapshot.memory_kb["MemTotal"] > 0
    assert {1} <= {row.pid for row in snapshot.processes}
    assert snapshot.login_uid != 0
    assert counter.parse(site.steal("watch", stdin=helper_call.count("installed").stdin).stdout.encode())


def test_the_act_key_reaches_what_the_policy_allows_and_no_more(site, policy, sleeper):
    """The owner's file decides, whoever holds the key; the refusal says which rule it was."""
    assert site.act(change(sleeper, "allowed-one"))["status"] == "done"
    assert adj(sleeper) == 100
    for number, (bound, words) in enumerate(
        {
            "operations": ([], "operations"),
            "units": (["web-*.service"], "units"),
            "owners": (["www-data"], "owners"),
            "oom_score_adj": ([0, 150], "outside of 0 to 150"),
            "changes_per_hour": (0, "0 changes an hour"),
        }.items()
    ):
        policy(**{bound: words[0]})
        said = site.act(change(sleeper, f"beyond-{number}", value=200))
        assert said["status"] == "refused"
        assert words[1] in said["error"]
    site.root("sh", "-c", "mv /etc/oombot/policy.json /etc/oombot/p; ln -s p /etc/oombot/policy.json")
    assert site.act(change(sleeper, "by-a-link"))["status"] == "refused"
    site.root("sh", "-c", "rm /etc/oombot/policy.json; mv /etc/oombot/p /etc/oombot/policy.json")
    assert adj(sleeper) == 100


def test_the_frozen_file_stops_the_act_key(site, policy, sleeper):
    """Nothing is changed while it is there; a dangling link in its place freezes too."""
    for made in ("touch /etc/oombot/frozen", "ln -s nowhere /etc/oombot/frozen"):
        site.root("sh", "-c", made)
        try:
            said = site.act(change(sleeper, "while-frozen"))
        finally:
            site.root("rm", "-f", "/etc/oombot/frozen")
        assert said["status"] == "frozen"
    assert adj(sleeper) == 0


def test_too_much_is_refused(site, policy):
    """An input without end is not read to its end."""
    request = json.dumps(
        {"op": "run", "id": "huge-request", "steps": [{"do": ["set-adj"], "stdin": "x" * 200_000}]}
    )
    done = site.steal("act", stdin=request)
    assert json.loads(done.stdout)["status"] == "refused"
    assert site.steal("watch", stdin=json.dumps({"op": "count", "x": "y" * 100_000})).stdout == ""


def test_many_at_once_keep_to_the_rate(site, policy, sleeper):
    """Requests sent at the same moment are counted one after the other."""
    done = sum(
        json.loads(site.root("sh", "-c", "cat /var/lib/oombot-helper/" + name))["status"] != "cancelled"
        for name in site.root("sh", "-c", "ls /var/lib/oombot-helper 2>/dev/null || true").split()
    )
    policy(changes_per_hour=done + 2)
    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(lambda n: site.act(change(sleeper, f"at-once-{n}", value=n)), range(6)))
    assert sum(one["status"] == "done" for one in said) == 2
    assert {one["status"] for one in said} == {"done", "refused"}


def test_a_run_is_known_again(site, policy, sleeper):
    """The same request runs once, and its result can be fetched by its name."""
    first = site.act(change(sleeper, "known-again", value=77))
    assert site.act(change(sleeper, "known-again", value=88)) == first
    assert site.act({"op": "result", "id": "known-again"}) == first
    assert adj(sleeper) == 77


async def test_the_bots_own_adapter_speaks_to_both(site, policy, sleeper):
    """Reading and acting go through two identities of one host, by the commands of helper_call."""
    target = SshTarget(
        name="web-1",
        address="127.0.0.1",
        port=site.port,
        user="oombot",
        key_files=(str(site.folder / "watch"),),
        act=Login(user="oombot-act", key_files=(str(site.folder / "act"),)),
    )
    async with SshHosts([target], known_hosts=[str(site.folder / "known_hosts")]) as hosts:
        read = await hosts.run("web-1", helper_call.read("installed", 0), timeout_s=60)
        request = change(sleeper, "by-the-bot", value=55)
        acted = await hosts.run("web-1", helper_call.act("installed", "", request), timeout_s=60)
    assert facts.parse(read.stdout, host="web-1", taken_s=0.0).memory_kb
    assert json.loads(acted.stdout)["status"] == "done"
    assert adj(sleeper) == 55


def test_installing_again_changes_nothing(site, capsys):
    """The second time all is in place."""
    assert applied(site.wanted, remove=False) == 0
    assert "all is in place; nothing was changed" in capsys.readouterr().out


def test_a_changed_file_is_shown_and_put_right(site, capsys):
    """What somebody changed is shown line by line, and the host owner's policy is left alone."""
    site.root(
        "sh", "-c", "echo '# mine' >>/usr/local/libexec/oombot-read; chmod 755 /usr/local/libexec/oombot-read"
    )
    site.root("sh", "-c", "echo >>/etc/oombot/policy.json")
    version = site.steal("watch", stdin='{"op": "version"}').stdout.encode()
    assert helper_call.versions(version)["oombot-read"] != installation.expected_versions()["oombot-read"]
    assert applied(site.wanted, remove=False) == 0
    said = capsys.readouterr().out
    assert "-# mine" in said
    assert "kept /etc/oombot/policy.json" in said
    assert "installed /usr/local/libexec/oombot-read" in said
    assert "installed /etc" not in said


def test_the_bots_own_ways_are_refused(site):
    """An installation over the bot's login or by the bot's key is no installation by an administrator."""
    with pytest.raises(HostError, match="is the bot's login"):
        applied(replace(site.wanted, login="oombot-act"), remove=False)
    ssh = f"ssh -F {site.folder}/ssh_config -i {site.folder}/act"
    with pytest.raises(HostError, match="which is the bot's key"):
        applied(replace(site.wanted, ssh=ssh), remove=True)


def test_the_bots_key_is_known_by_what_it_is(site, tmp_path):
    """Neither a copy under another name nor a key in the administrator's agent brings the bot's key in."""
    copy, agent = tmp_path / "mine", tmp_path / "agent"
    copy.write_bytes((site.folder / "act").read_bytes())
    copy.chmod(0o600)
    with pytest.raises(HostError, match=r"mine, which is the bot's key"):
        applied(replace(site.wanted, ssh=f"ssh -F {site.folder}/ssh_config -i {copy}"), remove=False)
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while not agent.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            subprocess.run(["ssh-add", "-q", str(copy)], env={"SSH_AUTH_SOCK": str(agent)}, check=True)
            offers = f"-o IdentityAgent={agent} -o IdentitiesOnly"
            with pytest.raises(HostError, match="a key of your agent, which is the bot's key"):
                applied(replace(site.wanted, ssh=f"{site.wanted.ssh} {offers}=no"), remove=False)
            assert applied(replace(site.wanted, ssh=f"{site.wanted.ssh} {offers}=yes"), remove=False) == 0
        finally:
            process.kill()


def test_a_folder_of_others_is_no_place_for_roots_programs(site, capsys):
    """Where somebody else could put their own program in the place of the helper, nothing is installed."""
    printed(site.wanted, remove=False)
    script = capsys.readouterr().out
    for spoil in ("chmod 775 /usr/local", "chown 1000 /usr/local/libexec", "chmod 777 /var/lib"):
        path = spoil.split()[-1]
        owner, mode = site.root("stat", "-c", "%u %a", path).split()
        site.root(*spoil.split())
        try:
            words = ["nsenter", "-t", str(site.pid), "-m", "sh", "-s"]
            done = subprocess.run(words, input=script, capture_output=True, text=True, check=False)
        finally:
            site.root("chown", owner, path)
            site.root("chmod", mode, path)
        assert (done.returncode, done.stdout) == (1, ""), spoil
        assert f"others than root can write to {path}, so nothing was changed" in done.stderr


def test_nobody_to_ask_changes_nothing(site, capsys):
    """Without a yes the changes are shown only."""
    site.root("rm", "/usr/local/libexec/oombot-read")
    try:
        assert applied(replace(site.wanted, yes=False), remove=False) == 1
        assert "new file /usr/local/libexec/oombot-read" in capsys.readouterr().out
        assert site.root("ls", "/usr/local/libexec").split() == ["oombot-helper"]
    finally:
        applied(site.wanted, remove=False)


def test_sudoers_is_never_left_broken(site, capsys):
    """What visudo does not accept is not installed, and nothing of it stays behind."""
    printed(site.wanted, remove=False)
    script = capsys.readouterr().out.replace("ALL=(root)", "ALL=((root")
    before = site.root("cat", "/etc/sudoers.d/oombot")
    done = subprocess.run(
        ["nsenter", "-t", str(site.pid), "-m", "sh", "-s"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "visudo rejects" in done.stderr
    assert site.root("cat", "/etc/sudoers.d/oombot") == before
    assert site.root("ls", "-A", "/etc/sudoers.d").split() == ["README", "oombot"]
    site.root("visudo", "-cq")


def test_removing_takes_all_of_it_away(site, policy, sleeper, capsys):
    """Accounts, keys, sudoers, helpers and policy go; records of runs and a freeze stay, and that is said."""
    site.act(change(sleeper, "kept-record"))
    assert applied(site.wanted, remove=True) == 0
    said = capsys.readouterr().out
    try:
        assert "removed the account oombot-act" in said
        assert "kept /var/lib/oombot-helper" in said
        there = site.root(
            *("sh", "-c"),
            "ls /usr/local/libexec /etc/oombot /etc/sudoers.d /var/lib/oombot-access 2>&1;"
            "getent passwd oombot oombot-act; getent group oombot oombot-act; visudo -cq && echo valid",
            check=False,
        )
        assert "oombot-read" not in there
        assert "policy.json" not in there
        assert ":x:" not in there
        assert there.endswith("valid\n")
        assert "Permission denied" in site.steal("watch", stdin="{}").stderr
        assert applied(site.wanted, remove=True) == 0
        assert "nothing of oombot is there" in capsys.readouterr().out
        _not_taken(site)
    finally:
        applied(site.wanted, remove=False)


def test_removing_ends_who_is_in_and_what_an_older_configuration_made(site, policy, tmp_path, capsys):
    """The acting identity goes although the configuration no longer names it, and so does who is logged in."""
    text = (site.folder / "oombot.yaml").read_text()
    config = tmp_path / "oombot.yaml"
    config.write_text(
        "".join(line for line in text.splitlines(keepends=True) if not line.startswith("  act:"))
    )
    older = replace(site.wanted, config=config)
    assert applied(older, remove=False) == 0
    said = capsys.readouterr().out
    assert "left as it is: account oombot-act, " in said
    assert "/etc/sudoers.d/oombot" in said
    follow = json.dumps({"op": "follow", "detector": "syslog", "words": ["", "", ""]})
    words = ["ssh", "-F", f"{site.folder}/ssh_config", "-i", f"{site.folder}/watch", "oombot@127.0.0.1"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as logged_in:
        try:
            logged_in.stdin.write(follow.encode())
            logged_in.stdin.close()
            assert logged_in.stdout.readline()
            assert applied(older, remove=True) == 0
            assert logged_in.wait(60) != 0
        finally:
            logged_in.kill()
            applied(site.wanted, remove=False)
    assert "removed the account oombot-act" in capsys.readouterr().out


def _not_taken(site):
    """An account of that name that oombot did not make stops the installation before anything is let in."""
    site.root("useradd", "--no-create-home", "--home-dir", "/home/person", "oombot")
    try:
        with pytest.raises(HostError, match="is there already and is not oombot's"):
            applied(site.wanted, remove=False)
        assert not site.root("sh", "-c", "ls -d /etc/sudoers.d/oombot 2>/dev/null || true").strip()
    finally:
        site.root("userdel", "oombot")
