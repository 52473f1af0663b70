"""What doctor asks a host: the script under three shells, and the parser against anything."""

import shutil
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot.facts import settings

ANSWER = b"""@@host
now 1795749042
user oombot
uid 996
groups oombot systemd-journal
kernel 6.1.0-25-amd64
machine x86_64
init systemd
systemd systemd 252 (252.39-1~deb12u1)
killer_systemd-oomd active
killer_earlyoom inactive
python 3.11.2
@@kernel
vm.overcommit_memory 2
vm.panic_on_oom 1
MemTotal: 2000000
SwapTotal: 0
oom_kill 4
psi off
proc rw,nosuid,hidepid=invisible,gid=4
cgroup2 /sys/fs/cgroup
controllers cpu io memory pids
@@logs
journald ok
journal_kept no
kmsg dd: failed to open '/dev/kmsg': Operation not permitted
dmesg dmesg: read kernel buffer failed: Operation not permitted
syslog no kern.log, messages or syslog in /var/log
@@helpers
read_helper yes
act_helper no
policy hidden
frozen no
@@sudo
sudo yes
may (root) NOPASSWD: /usr/local/libexec/oombot-helper ""
@@end
"""


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_every_shell_answers_whole(shell: str, need: Callable[[object, str], None]) -> None:
    """dash, bash and busybox run the script to its end, without a word on standard error."""
    need(shutil.which(shell), f"{shell} is missing: apt-get install {shell}")
    words = [shell, "sh"] if shell == "busybox" else [shell]
    done = subprocess.run([*words, "-s"], input=settings.SCRIPT.encode(), capture_output=True, check=False)
    found = settings.parse(done.stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert found is not None
    assert not found.cut
    assert found.uid is not None
    assert found.kernel
    assert set(found.sources) == {"journald", "kmsg", "dmesg", "syslog"}
    assert found.numbers["vm.overcommit_memory"] in {0, 1, 2}
    assert found.sudo in {"yes", "no", "missing", "slow"}


def test_half_a_script_runs_nothing() -> None:
    """A script that arrives cut prints nothing at all."""
    half = settings.SCRIPT[: len(settings.SCRIPT) // 2]
    done = subprocess.run(["sh", "-s"], input=half.encode(), capture_output=True, check=False)
    assert done.stdout == b""


def test_everything_is_read() -> None:
    """Each line of an answer becomes its value; what another account hides is unknown."""
    found = settings.parse(ANSWER)
    assert found is not None
    assert (found.user, found.uid, found.groups) == ("oombot", 996, ("oombot", "systemd-journal"))
    assert (found.systemd, found.init, found.other_killers) == (252, "systemd", ("systemd-oomd",))
    assert (found.numbers["vm.panic_on_oom"], found.numbers["oom_kill"], found.psi) == (1, 4, "off")
    assert (found.hidepid, found.controllers[-2]) == ("invisible", "memory")
    assert (found.sources["journald"], "not permitted" in found.sources["kmsg"]) == ("ok", True)
    assert (found.journal_kept, found.read_helper, found.act_helper) == (False, True, False)
    assert (found.policy, found.frozen) == (None, False)
    assert (found.sudo, found.any_root, found.cut) == ("yes", False, False)


@pytest.mark.parametrize(
    ("rule", "any_root"),
    [
        ("(ALL) NOPASSWD: ALL", True),
        ("(ALL : ALL) NOPASSWD: ALL", True),
        ("(root) NOPASSWD: SETENV: ALL", True),
        ("(ALL : ALL) ALL", False),
        ("(root) NOPASSWD: /usr/bin/python3 -I -", False),
        ("(www-data) NOPASSWD: ALL", False),
    ],
)
def test_root_for_everything_is_recognised(rule: str, any_root: bool) -> None:
    """Only a rule that gives root anything without a password counts as such."""
    found = settings.parse(b"@@host\nuid 1\n@@sudo\nsudo yes\nmay " + rule.encode() + b"\n@@end\n")
    assert found is not None
    assert found.any_root is any_root


@pytest.mark.parametrize("at", range(0, len(ANSWER), 37))
def test_a_cut_answer_says_so(at: int) -> None:
    """An answer cut anywhere is cut or no answer, never a whole one with settings missing."""
    found = settings.parse(ANSWER[:at])
    assert found is None or found.cut


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(junk: bytes) -> None:
    """Whatever a host prints, parsing gives values or None."""
    settings.parse(junk)
    settings.parse(b"@@host\n" + junk)
    settings.parse(ANSWER.replace(b"oombot", junk))
