"""The configuration: every mistake at once, as file:line, and nothing silently taken."""

import pytest

from oombot import config
from oombot.app import example_config
from oombot.errors import ConfigError, UnknownHostError

GOOD = "hosts:\n  - name: host42\n  - name: localhost\n    local: true\n"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(text, filename="oombot.yaml")
    return list(caught.value.problems)


def test_example_is_valid() -> None:
    """The shipped example loads, and proposes without running anything."""
    assert config.load(example_config(), filename="oombot.yaml").mode == "propose"


def test_default_mode_is_propose() -> None:
    """A configuration that names no mode runs nothing."""
    assert config.load(GOOD, filename="x").mode == "propose"


def test_every_mistake_at_once() -> None:
    """Two mistakes and a repeated key are three lines, each with its place."""
    text = "mode: aply\nhosts:\n  - name: a\n    prt: 22\nmode: observe\n"
    found = problems(text)
    assert any(line.startswith("oombot.yaml:5: mode: this key stands here twice") for line in found)
    assert "oombot.yaml:4: hosts.0.prt: unknown key" in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hosts: [", "not YAML"),
        ("hosts: " + "[" * 100_000, "nested more than 100 deep"),
        ("", "hosts: Field required"),
        ("- a\n", "must hold keys and values"),
        ("hosts:\n  - name: '-x'\n", "String should match pattern"),
        ("hosts:\n  - name: a;reboot\n", "String should match pattern"),
        ("hosts:\n  - name: a\n    port: '22'\n", "valid integer"),
        ("hosts:\n  - name: a\n  - name: a\n", "host named twice: a"),
        ("hosts:\n  - name: a\n    group: db\n", "a group that is not under groups: db"),
        (
            "hosts:\n  - name: a\n    aliases: [b]\n  - name: b\n",
            "yaml:4: host named twice: b (first at oombot.yaml:2)",
        ),
        ("hosts:\n  - name: a[1-2\n", "yaml:2: hosts.0: a[1-2 has a [ without a ]"),
        ("hosts:\n  - name: a[1-2]\n    port: 0\n", "yaml:3: hosts.0.port: "),
        ("hosts:\n  - name: a[1-2]\n    address: b[1-3]\n", "b[1-3] stands for 3, but a[1-2] for 2 hosts"),
        ("hosts:\n  - name: a\n  - name: fleet\n", "yaml:3: no host can be called fleet"),
        ("hosts:\n  - name: a\n  - name: group:a\n", "no host can be called group:a"),
        (
            "groups:\n  x: {groups: [y]}\n  y: {groups: [x]}\nhosts: [{name: a}]\n",
            "yaml:2: groups hold each other in a circle: x → y → x",
        ),
        ("groups: {x: {groups: [y]}}\nhosts: [{name: a}]\n", "x holds a group that is not under groups: y"),
        ("groups: {x: {runbook: 'http://a.example'}}\nhosts: [{name: a}]\n", "groups.x.runbook: "),
        (
            "groups: {x: {runbook: 'https://a.example/<!channel>'}}\nhosts: [{name: a}]\n",
            "groups.x.runbook: ",
        ),
        ("groups: {x: {jump: '-oProxyCommand=id'}}\nhosts: [{name: a}]\n", "groups.x.jump: "),
        ("hosts:\n  - {name: a, user: '-l root'}\n", "hosts.0.user: "),
        ("mode: apply\nhosts:\n  - name: a\n", "nobody could ever approve"),
        (
            "mode: apply\npolicy:\n  approvers:\n    users: [U0ADA0001]\nhosts:\n  - name: a\n",
            "policy.approvers can never pass: 1 must approve, but one person may, of whom the one who asks does not",
        ),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    """Each mistake is told in words, with a file and a line in front."""
    [line] = problems(text)
    assert said in line
    assert line.startswith("oombot.yaml:")


APPLY = "mode: apply\npolicy: {approvers: {users: [U0ADA0001, U0BEN0002]}}\n"
UNACTING = (
    ("helpers: installed\nhosts: [{name: a}]\n", 3),
    ("hosts:\n  - name: b\n  - {name: a, helpers: installed}\n", 5),
    ("hosts:\n  - name: a[1-3]\n    helpers: installed\n", 5),
    ("groups:\n  x: {helpers: installed}\nhosts: [{name: a, group: x}, {name: b, group: x}]\n", 4),
    ("groups:\n  y: {groups: [x]}\n  x: {}\nhosts: [{name: a, group: x}]\nhelpers: installed\n", 7),
)


@pytest.mark.parametrize(("text", "line"), UNACTING)
def test_installed_helpers_need_an_acting_login(text: str, line: int) -> None:
    """Where no approved change could ever run, the line that says `installed` is told, once for all its hosts."""
    [said] = problems(APPLY + text)
    assert said.startswith(f"oombot.yaml:{line}: helpers: installed in mode apply needs ssh.act")
    assert config.load(APPLY + text + "ssh: {act: {}}\n", filename="x").mode == "apply"
    assert config.load(text, filename="x").mode == "propose"


def test_no_acting_login_is_needed_where_nothing_goes_through_it() -> None:
    """A local host acts by sudo on its own machine, and a host with helpers sent along by its one login."""
    text = f"{APPLY}helpers: installed\nhosts: [{{name: a, local: true}}, {{name: b, helpers: sent}}]\n"
    assert config.load(text, filename="x").helpers_of("b") == "sent"


def test_unknown_host_guesses_and_does_not_pick() -> None:
    """A mistyped host is refused, with the likely one named."""
    settings = config.load(GOOD, filename="x")
    with pytest.raises(UnknownHostError, match=r"Did you mean host42\?"):
        settings.host("hst42")


def test_group_decides_channel() -> None:
    """A host's kills go to its group's channel, else to the default one."""
    text = "slack: {channel: ops}\ngroups: {db: {channel: '#db-oncall'}}\nhosts: [{name: a, group: db}, {name: b}]\n"
    settings = config.load(text, filename="x")
    assert (settings.channel("a"), settings.channel("b")) == ("db-oncall", "ops")


def test_api_url_from_environment_wins() -> None:
    """SLACK_API_URL points the bot at the local workspace."""
    settings = config.load(GOOD, filename="x", environ={"SLACK_API_URL": "http://127.0.0.1:1/api/"})
    assert settings.slack.api_url == "http://127.0.0.1:1/api/"


def test_swapped_tokens_are_named() -> None:
    """Tokens in each other's place are told apart by their prefixes, and never printed."""
    with pytest.raises(ConfigError) as caught:
        config.tokens({"SLACK_BOT_TOKEN": "xapp-secret", "SLACK_APP_TOKEN": "xoxb-secret"})
    said = str(caught.value)
    assert "SLACK_BOT_TOKEN must begin with xoxb-, but holds an app-level token" in said
    assert "secret" not in said


def test_missing_tokens_are_both_named() -> None:
    """Without tokens, both are asked for at once."""
    with pytest.raises(ConfigError) as caught:
        config.tokens({})
    assert len(caught.value.problems) == 2


def test_token_file_is_taken() -> None:
    """A token may come from a file's contents, newline and all."""
    found = config.tokens({"SLACK_APP_TOKEN": "xapp-1"}, {"SLACK_BOT_TOKEN": "xoxb-1\n"})
    assert (found.bot, found.app) == ("xoxb-1", "xapp-1")
    assert "xoxb-1" not in repr(found)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45.0), ("30m", 1800.0), ("2h", 7200.0), ("7d", 604800.0), ("2 h", None), ("h", None)],
)
def test_durations(text: str, seconds: float | None) -> None:
    """A length of time is a number and one of s, m, h, d; anything else is refused."""
    assert config.duration_s(text) == seconds
