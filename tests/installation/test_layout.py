"""What is installed, as values and as scripts: two identities, each for one thing, and nothing half."""

import shutil
import subprocess

import pytest

from oombot import installation
from oombot.errors import ConfigError
from oombot.installation import Identity, Present

KEY, OTHER = (f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{letter * 43} somebody@somewhere" for letter in "AB")
WATCH, ACT = Identity(user="oombot", keys=(KEY,)), Identity(user="oombot-act", keys=(OTHER,))
NOTHING = Present(files={}, accounts={})


def by_path(layout):
    """The files of a layout."""
    return {file.path: file for file in layout.files}


def test_each_key_gives_one_program():
    """The authorized keys are restricted, forced, and from where the bot is; what lets in comes last."""
    layout = installation.layout("web-1", watch=WATCH, act=ACT, sender="10.0.0.7")
    files = by_path(layout)
    home = "/var/lib/oombot-access"
    assert files[f"{home}/oombot/.ssh/authorized_keys"].text == (
        f'restrict,from="10.0.0.7",command="/usr/local/libexec/oombot-read" {KEY.rsplit(" ", 1)[0]} oombot\n'
    )
    assert files[f"{home}/oombot-act/.ssh/authorized_keys"].text.startswith(
        'restrict,from="10.0.0.7",command="sudo -n /usr/local/libexec/oombot-helper" ssh-ed25519 '
    )
    assert layout.files[-1].path == f"{home}/oombot/.ssh/authorized_keys"
    assert files["/etc/sudoers.d/oombot"].text.endswith(
        'oombot-act ALL=(root) NOPASSWD: /usr/local/libexec/oombot-helper ""\n'
    )


def test_watching_alone_brings_no_root():
    """Without an acting identity there is no sudoers, no act helper and no policy."""
    paths = set(by_path(installation.layout("web-1", watch=WATCH, act=None)))
    assert paths == {
        "/usr/local/libexec/oombot-read",
        "/var/lib/oombot-access/oombot/.ssh/authorized_keys",
    }


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"act": Identity(user="oombot", keys=(OTHER,))}, "share an account or a key"),
        ({"act": Identity(user="oombot-act", keys=(KEY,))}, "share an account or a key"),
        ({"watch": Identity(user="root", keys=(KEY,))}, "can not be an account of its own"),
        ({"watch": Identity(user="a b", keys=(KEY,))}, "can not be an account of its own"),
        ({"watch": Identity(user="oombot", keys=())}, "no public key is known"),
        ({"watch": Identity(user="oombot", keys=('x" ssh-rsa A',))}, "is no public key"),
        ({"watch": Identity(user="oombot", keys=(f"{KEY}\n{OTHER}",))}, "is no public key"),
        ({"sender": '1.2.3.4",command="sh'}, "is no pattern list"),
    ],
)
def test_what_would_be_no_two_identities_is_refused(changed, words):
    """Shared keys, root, and anything that could break out of its place are refused with a sentence."""
    with pytest.raises(ConfigError, match=words):
        installation.layout("web-1", **{"watch": WATCH, "act": ACT} | changed)


@pytest.mark.parametrize("act", [ACT, None], ids=["both", "watch"])
@pytest.mark.parametrize(
    "make", [installation.install_script, installation.remove_script, installation.look_script]
)
def test_a_script_is_whole_or_nothing(make, act):
    """Every script parses, and one that is cut anywhere runs nothing."""
    text = make(installation.layout("web-1", watch=WATCH, act=act))
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0
    for cut in range(0, text.rindex("main "), max(1, len(text) // 40)):
        done = subprocess.run(
            ["sh", "-s"],
            input=f"id() {{ echo 1; }}\n{text[:cut]}",
            capture_output=True,
            text=True,
            check=False,
        )
        assert "oombot:" not in done.stderr + done.stdout


def test_the_sudoers_file_is_valid(need, tmp_path):
    """visudo accepts what is printed."""
    program = shutil.which("visudo", path="/usr/sbin:/usr/bin")
    need(program, "visudo is missing: apt-get install sudo")
    path = tmp_path / "oombot"
    path.write_text(by_path(installation.layout("web-1", watch=WATCH, act=ACT))["/etc/sudoers.d/oombot"].text)
    assert subprocess.run([program, "-cqf", str(path)], check=False).returncode == 0


def test_changes_are_told_file_by_file():
    """New, changed and equal files are told apart; the policy is its owner's once it is there."""
    layout = installation.layout("web-1", watch=WATCH, act=ACT)
    assert len(installation.installing(layout, NOTHING)) == len(layout.files) + 2
    files = {file.path: (file.text, f"{int(file.mode, 8):o} 0") for file in layout.files}
    accounts = {user: f"{user}:x:9:9::/var/lib/oombot-access/{user}:/bin/sh" for user in layout.users}
    assert installation.installing(layout, Present(files=files, accounts=accounts)) == []
    files["/etc/oombot/policy.json"] = ("{}", "644 0")
    files["/etc/sudoers.d/oombot"] = ("ALL ALL=(ALL) ALL\n", "666 0")
    (told,) = installation.installing(layout, Present(files=files, accounts=accounts))
    assert "mode and owner 666 0 become 440 0" in told
    assert "-ALL ALL=(ALL) ALL" in told
    accounts["oombot"] = "oombot:x:1000:1000::/home/oombot:/bin/bash"
    assert "is not oombot's" in installation.installing(layout, Present(files=files, accounts=accounts))[0]
    assert len(installation.removing(Present(files=files, accounts=accounts))) == len(layout.files) + 1


def test_what_an_earlier_installation_left_is_told_and_goes():
    """Accounts and files that the configuration no longer names are still oombot's: told, and taken away."""
    layout = installation.layout("web-1", watch=WATCH, act=None)
    accounts = {"oombot-act": "oombot-act:x:9:9::/var/lib/oombot-access/oombot-act:/bin/sh"}
    now = Present(files={"/etc/sudoers.d/oombot": ("x", "440 0")}, accounts=accounts)
    assert installation.left_over(layout, now) == ["account oombot-act", "file /etc/sudoers.d/oombot"]
    assert installation.removing(now) == [
        "account oombot-act, with what it runs now",
        "file /etc/sudoers.d/oombot",
    ]


@pytest.mark.parametrize("end", ["", "\r\n", "\n\n"])
def test_another_end_of_the_text_is_a_change(end):
    """A file that differs in nothing but how its lines end is not in place."""
    layout = installation.layout("web-1", watch=WATCH, act=None)
    files = {file.path: (file.text, f"{int(file.mode, 8):o} 0") for file in layout.files}
    path = layout.files[-1].path
    files[path] = (files[path][0].removesuffix("\n") + end, files[path][1])
    accounts = {user: f"{user}:x:9:9::/var/lib/oombot-access/{user}:/bin/sh" for user in layout.users}
    assert len(installation.installing(layout, Present(files=files, accounts=accounts))) == 1


@pytest.mark.parametrize("raw", ["", "motd\n", "@@file /x 644 0\n!!!\n@@end\n", "@@file /x 644 0\neA==\n"])
def test_a_look_that_was_cut_is_none(raw):
    """What a host has is known only from a whole answer."""
    assert installation.present(raw) is None
