"""Hosts that are not as one would like them, behind a real sshd: each key's forced command makes such a login."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import asyncssh
import psutil
import pytest

from oombot import facts, helper_call, installation
from oombot.adapters.ssh import SshHosts, SshTarget
from oombot.model import Command

pytestmark = pytest.mark.sshd

LONG_S = 60
SHELLS = {
    "banner": "printf '*** web-1 ***\\n@@meminfo? no: motd\\n\\n'; echo motd >&2; exec sh -c \"$SSH_ORIGINAL_COMMAND\"",
    "bashrc": 'HOME={0} exec env -u SHLVL bash -c "$SSH_ORIGINAL_COMMAND"',
    "tmout": 'TMOUT=1; readonly TMOUT; export TMOUT; exec bash -c "$SSH_ORIGINAL_COMMAND"',
    "rbash": 'PATH=/usr/bin:/bin exec rbash -c "$SSH_ORIGINAL_COMMAND"',
    "nothing": 'PATH=/nowhere; export PATH; exec /bin/rbash -c "$SSH_ORIGINAL_COMMAND"',
    "locale": 'LANG=de_DE.UTF-8 LC_ALL=tr_TR.UTF-8 LANGUAGE=de exec sh -c "$SSH_ORIGINAL_COMMAND"',
    "nologin": "echo 'This account is currently not available.'; exit 1",
    "nosudo": 'PATH={0}:$PATH; export PATH; exec sh -c "$SSH_ORIGINAL_COMMAND"',
    "hidepid": "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups "
    'sh -c "$SSH_ORIGINAL_COMMAND"',
    "nolog": "for name in journalctl dmesg; do file=$(command -v $name) && mount --bind {0}/$name $file; done; "
    'mount --bind /dev/null /dev/kmsg; mount -t tmpfs none /var/log; exec sh -c "$SSH_ORIGINAL_COMMAND"',
    "full": "mount -t tmpfs -o size=16k none /var/lib && mkdir -m 700 /var/lib/oombot-helper || exit 9; "
    "[ ! -d /run/systemd ] || mount -t tmpfs none /run/systemd; dd if=/dev/zero of=/var/lib/full bs=1k 2>/dev/null; "
    'exec sh -c "$SSH_ORIGINAL_COMMAND"',
}
MOUNTS = ("hidepid", "nolog", "full")  # in a mount namespace of their own
FILES = {
    ".bashrc": "echo noise; echo more noise >&2; cd /tmp; alias sh=false\n",
    "sudo": "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n",
    "journalctl": "#!/bin/sh\nexit 1\n",
    "dmesg": "#!/bin/sh\nexit 0\n",
}


@pytest.fixture(scope="module")
def odd(start_sshd, tmp_path_factory):
    """One sshd with a key for each kind of login."""
    folder = tmp_path_factory.mktemp("odd")
    for name, text in FILES.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    with start_sshd(folder) as server:
        lines = []
        for name, text in SHELLS.items():
            shell, key = folder / f"shell-{name}", asyncssh.generate_private_key("ssh-ed25519")
            body = text.replace("{0}", str(folder))
            shell.write_text(f"#!/bin/sh\n{body}\n")
            shell.chmod(0o755)
            key.write_private_key(folder / name)
            force = f"unshare -m {shell}" if name in MOUNTS else str(shell)
            lines.append(f'command="{force}" {key.export_public_key("openssh").decode().strip()}')
        with (folder / "authorized_keys").open("a") as allowed:
            allowed.write("\n".join(lines) + "\n")
        yield server


def behind(odd, name):
    """The host as this key finds it."""
    target = SshTarget(
        name="web-1",
        address="127.0.0.1",
        port=odd.port,
        user=odd.user,
        key_files=(str(odd.key_file.parent / name),),
    )
    return SshHosts([target], known_hosts=[str(odd.known_hosts)])


async def said(odd, name, command, timeout_s=LONG_S):
    """What such a host answers."""
    async with behind(odd, name) as hosts:
        return await hosts.run("web-1", command, timeout_s=timeout_s)


async def read(odd, name):
    """A reading of such a host."""
    result = await said(odd, name, facts.read(0))
    return facts.parse(result.stdout, host="web-1", taken_s=0.0)


def mounts(need):
    """Whether this machine lets us mount in a namespace of our own."""
    tried = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    need(tried.returncode == 0, "needs root that may mount (CAP_SYS_ADMIN)")


@pytest.mark.parametrize("name", ["banner", "bashrc", "tmout", "rbash", "locale"])
async def test_a_login_with_habits_is_read_whole(odd, name):
    """A banner, a noisy .bashrc, TMOUT, a restricted shell or another language take nothing from a reading."""
    seen = await read(odd, name)
    assert seen.boot_id
    assert seen.memory_kb["MemTotal"] > 0
    assert seen.processes_whole
    assert os.getpid() in {process.pid for process in seen.processes}
    assert not [problem for problem in seen.problems if "cut" in problem or "missing" in problem]


@pytest.mark.parametrize("name", ["banner", "bashrc", "tmout", "rbash", "locale"])
async def test_a_login_with_habits_is_followed_and_let_go(odd, name):
    """Noise before the first line does not hide the command's own lines, and closing ends it on the host."""
    marker = f"86403.{os.getpid()}{list(SHELLS).index(name)}"
    command = Command(argv=("sh", "-c", f"sleep 1.5; echo up; exec sleep {marker}"))
    async with behind(odd, name) as hosts:
        lines = hosts.follow("web-1", command)
        while await anext(lines) != b"up":
            pass
        await lines.aclose()
        async with asyncio.timeout(LONG_S):
            while living(marker):  # noqa: ASYNC110 - other processes can not be waited for
                await asyncio.sleep(0.05)


def living(marker):
    """Living processes with this word among their arguments."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if marker in (process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.parametrize(("name", "status"), [("nologin", 1), ("nothing", 127)])
async def test_a_login_that_runs_nothing_gives_no_reading(odd, name, status):
    """An account without a shell, or a shell without commands, answers with its own words and no section."""
    result = await said(odd, name, facts.read(0))
    assert result.exit_status == status
    assert b"@@end" not in result.stdout
    seen = facts.parse(result.stdout, host="web-1", taken_s=0.0)
    assert (seen.processes, seen.memory_kb, seen.boot_id) == ((), {}, None)


async def test_sudo_that_asks_for_a_password_is_said_in_its_own_words(odd):
    """A change that needs a password fails at once, runs nothing, and says why."""
    async with behind(odd, "nosudo") as hosts:
        await hosts.run("web-1", Command(argv=("true",)), timeout_s=LONG_S)
        hosts.pool.link("web-1").root = False  # the tests' own login may be root's, which needs no sudo
        result = await hosts.run("web-1", Command(argv=("id", "-u"), sudo=True), timeout_s=LONG_S)
    assert (result.exit_status, result.stdout) == (1, b"")
    assert result.stderr == b"sudo: a password is required\n"


async def test_hidden_processes_are_noticed(odd, need):
    """Under hidepid the table is not taken for whole, so nobody is called the largest process."""
    mounts(need)
    seen = await read(odd, "hidepid")
    assert not seen.processes_whole
    assert any("hidepid" in problem for problem in seen.problems)
    assert os.getpid() not in {process.pid for process in seen.processes}


async def test_no_journal_and_an_empty_ring_buffer_prove_nothing(odd, need):
    """Where no log can be found there is no log, with all that was tried: it is never read as no kill."""
    mounts(need)
    seen = await read(odd, "nolog")
    log = seen.kernel_log
    assert (log.source, log.lines, log.since_s, log.since_boot) == (None, (), None, False)
    assert "journald: " in log.problem
    assert "kmsg: the ring buffer is empty" in log.problem
    assert "dmesg: " in log.problem
    assert "syslog: no readable" in log.problem
    assert seen.processes_whole


@pytest.fixture
def sleeper():
    """A process that a change is meant for."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


async def test_a_full_disk_runs_nothing(odd, need, sleeper):
    """A helper that can not write its record first changes nothing, and says so; also when asked for the result."""
    mounts(need)
    start = Path(f"/proc/{sleeper}/stat").read_text().rsplit(")", 1)[1].split()[19]
    words = ["set-adj", "--pid", str(sleeper), "--start", start, "--value", "321"]
    run = {"op": "run", "id": "request-1", "steps": [{"do": words, "stdin": ""}]}
    for request in (run, {"op": "result", "id": "request-1"}):
        command = helper_call.act("sent", installation.act_source(), request, sudo=False)
        result = await said(odd, "full", command)
        answer = json.loads(result.stdout)
        assert answer["status"] == "refused", result.stderr
        assert "no record can be written in /var/lib/oombot-helper: No space left" in answer["error"]
    assert Path(f"/proc/{sleeper}/oom_score_adj").read_text() != "321\n"
