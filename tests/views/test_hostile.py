"""Names are chosen by attackers: no text breaks a view, becomes a mention, or changes a command."""

import json
import re
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oombot.errors import ViewError
from oombot.following import Digest, DigestLine, Outage
from oombot.model import Command
from oombot.proposals import Exhibit
from oombot.remediations.oom_score_adj import REMEDIATION as REMEDY
from oombot.remediations.shape import Field, Option
from oombot.triage import about_kill, diagnose, find, observed, overview, unheard
from oombot.views import Choice, Event, Fact
from oombot.views.escaping import (
    approver,
    argv,
    clean,
    command,
    exact,
    link,
    log,
    mention,
    opaque,
    plain,
    printed,
    short,
    when,
)

HOSTILE = (
    "<!channel>",
    "@here",
    "@channel",
    "<@U0ADA0001>",
    "<!subteam^S0ONCALL1>",
    "<https://evil.example|runbook>",
    "`rm -rf`",
    "```",
    "a) total-vm:9k",
    b"\xff\xfebad".decode(errors="replace"),
    "two\nlines",
    "nul\0",
    "\u202egnp.exe",
    'quote"\\',
    "{{ 7 * 7 }}",
    "&amp;",
    ":rotating_light:",
    "",
    " ",
    "*" * 400,
    "&" * 400,
)
NAMES = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40), st.text(alphabet='&<>`"\\\n', max_size=600))
TOKEN = re.compile(r"<(?:@[UW][A-Z0-9]+|!date\^\d+\^[^|>]*\|[^>]*)>")
FEW = settings(max_examples=40, deadline=None)


def every_text(value):
    """Every text of a view that Slack reads as mrkdwn, the fallback included."""
    if isinstance(value, dict):
        if value.get("type") == "mrkdwn" or (isinstance(value.get("text"), str) and "blocks" in value):
            yield value["text"]
        for part in value.values():
            yield from every_text(part)
    elif isinstance(value, list):
        for part in value:
            yield from every_text(part)


def assert_harmless(view):
    """No mention but those the templates wrote, nothing left of markup, every mrkdwn verbatim."""
    for text in every_text(view):
        rest = TOKEN.sub("", text)
        assert "<" not in rest
        assert ">" not in rest
        assert not re.search(r"&(?!amp;|lt;|gt;)", rest)
    whole = json.dumps(view)
    assert whole.count('"mrkdwn"') == whole.count('"verbatim": true')
    assert "<!channel>" not in json.dumps([*every_text(view)])


@given(name=NAMES, path=NAMES, host=NAMES)
@FEW
def test_kill_card_and_report(views, nouns, name, path, host):
    """Any name of a process, cgroup or host passes through the kill card and the report."""
    kill = nouns.kill(
        comm=name,
        invoker=name,
        constraint=path,
        task_memcg=f"/{path}.service",
        oom_memcg=f"/{path}",
        oom_group=path,
        report=name + path,
        tasks=(nouns.task(name=name), nouns.task(5, host, 9_000_000)),
        killer=name,
        evidence=name,
    )
    unit = nouns.unit(f"{path}.service", sub_state=name, result=path, restart=host)
    for story in (
        about_kill(kill, host=host),
        about_kill(kill, host=host, snapshot=nouns.snapshot(units=(unit,))),
        about_kill(nouns.changed(kill, oom_group=None, scope="global"), host=host),
    ):
        assert_harmless(
            views.incident(story, incident_id="i", mode="apply", offers=[(path, name), (name, host)])
        )
        assert_harmless(views.report(story, attached=True))


@given(name=NAMES, path=NAMES, host=NAMES)
@FEW
def test_fleet(views, nouns, name, path, host):
    """Any name of a process, cgroup, host or pattern passes through the overview, with its lists full."""
    hosts = [f"{host}{number}" for number in range(30)]
    kills = [nouns.kill(comm=name, task_memcg=f"/{path}.service", oom_memcg=f"/{path}")]
    cgroup = nouns.changed(
        next(iter(nouns.snapshot().cgroups.values())), path=f"/{path}.service", usage_kb=2_000_000
    )
    seen = {}
    for number, one in enumerate(hosts):
        snapshot = nouns.snapshot(
            host=one, cgroups={cgroup.path: cgroup}, kernel_log=nouns.log(source=None, problem=path)
        )
        answered = observed(snapshot, kills, since_s=0.0)
        seen[one] = (
            answered
            if number < 15
            else unheard(one, f"{path}{number % 7 * 'x'}", kills, since_s=0.0, fix=name)
        )
    for phase, known in (("asking", {}), ("done", seen)):
        view = views.fleet(
            overview(
                name, hosts, known, phase=phase, span_s=9.0, took_s=1.0, missing=[path] * 9, command=host
            ),
            asker=host,
        )
        assert_harmless(view)
        assert_harmless(views.fleet_interrupted(view) or view)


@given(
    url=NAMES
    | st.sampled_from(["https://a.example/?b=<!channel>", "https://a.example|<@U0ADA0001>", "javascript:x"])
)
@FEW
def test_runbook(url):
    """What is no plain https address never becomes a link."""
    shown = json.loads(f'"{link(url, "Runbook")}"')
    assert "<" not in shown
    assert link("https://wiki.example.net/a?b=1&c=2", "R") == "<https://wiki.example.net/a?b=1&amp;c=2|R>"


@given(name=NAMES, path=NAMES, host=NAMES)
@FEW
def test_answer(views, nouns, name, path, host):
    """Any name passes through the answer to /oom, its list of candidates and its modal."""
    process = nouns.process(comm=name, cgroup=f"/{path}")
    units = tuple(nouns.failed(f"{path}{i}.service", result=name, restart=host) for i in range(6))
    problems = (name, path, host) * 4
    shown = nouns.snapshot(host=host, processes=(process,) * 6, units=units, problems=problems)
    shown = nouns.changed(shown, kernel_log=nouns.log(problem=name, fix=path))
    for target in (None, *find(shown, name)[:1], *find(shown, f"{path}0")[:1]):
        found = diagnose(
            host=host,
            snapshot=shown,
            kills=[nouns.kill(comm=path)] * 6,
            target=target,
            asked=name,
            stale_s=1.0,
        )
        assert_harmless(views.triage(found, incident_id="i", mode="apply", ask="a", asker=name))
        lost = diagnose(host=host, snapshot=shown, kills=[], target=target, asked=name)
        assert_harmless(views.triage(lost, mode="apply", ask=None))
    assert_harmless(views.matches(host, name, find(shown, name)))
    assert_harmless(views.fix_targets(host, name, find(shown, name), private=path))
    rows = [
        Choice(name="a", label="A", summary="b", unfit=name),
        Choice(name="c", label="C", summary="d", unfit=""),
    ]
    assert_harmless(views.fix_menu(host, path, rows, private=name))
    options = tuple(Option(value=value, label=value) for value in (name, path, host))
    fields = [
        Field(name="a", label=name, kind="choice", hint=path, options=options, initial=name),
        Field(name="b", label=host, kind="number", lowest=1, highest=2, optional=True),
        Field(name="c", label=path, kind="text", hint=name, initial=host[:500]),
    ]
    assert_harmless(views.fix_form(host, REMEDY, fields, private=name, timed=True))
    for view in (
        views.notice(name, path),
        views.host_gap(host, name, fix=path),
        views.fix_refused_modal(name),
    ):
        assert_harmless(view)
    assert_harmless(views.facts(name, [Fact(name=host, value="a " + path)] * 30, note=name))
    event = Event(at_s=1.0, sign=":skull:", text=name, who="a " + path, expires_s=2.0)
    assert_harmless(views.events(name, [event] * 20, more=3, note=path))
    assert_harmless(views.help(hosts=[host] * 20, mode=name))
    assert_harmless(views.loading_modal(name))


@given(name=NAMES, path=NAMES, host=NAMES)
@FEW
def test_plan_and_outcome(views, nouns, name, path, host):
    """Any text passes through a plan, its decision and its outcome."""
    plan = nouns.plan(
        host=host,
        title=name,
        target=path,
        before=name,
        after=path,
        lasts=host,
        effect=(name, path),
        checks=tuple(nouns.Check(ok=True, text=name) for _ in range(20)),
        steps=(nouns.changed(nouns.plan().steps[0], why=name),) * 7,
        unit=path,
        risk="red",
        risk_why=name,
        evidence=(Exhibit(label=name, text=path),),
        back_after_s=7200,
    )
    evidence = {
        "before": name,
        "after": path,
        "problems": [name] * 9,
        "runs": [{"argv": ["true", path], "output": name + host}] * 9,
        "exhibits": [{"label": name, "text": host}, {"label": path, "text": name}],
    }
    request = nouns.request(
        "verified",
        plan=plan,
        requester=name,
        approver=path,
        evidence=evidence,
        approvals=2,
        voters=(host, path),
    )
    assert_harmless(views.put_back(request, at_s=nouns.NOW_S))
    who = (
        "a group" if re.fullmatch("S[A-Z0-9]+", name) else name
    )  # who may approve is the configuration's word
    assert_harmless(views.plan(request, mode="apply", approvers=[who] * 20, now_s=nouns.NOW_S, stale_of="r"))
    assert_harmless(views.decided(request, note=name, now_s=nouns.NOW_S))
    assert_harmless(views.outcome(request, undo=True, now_s=nouns.NOW_S))


# ------------------------------------------------------------------ commands
def shown_commands(view):
    """The preformatted texts of a view, in order."""
    for block in view["blocks"]:
        if block["type"] == "rich_text":
            for element in block["elements"]:
                if element["type"] == "rich_text_preformatted":
                    yield element["elements"][0]["text"]


@given(words=st.lists(st.text(max_size=80), min_size=1, max_size=6), stdin=st.text(max_size=200))
@FEW
def test_commands_are_shown_exactly_or_refused(views, nouns, words, stdin):
    """What is shown splits back into what would be run, standard input included, or nothing is shown."""
    step = nouns.changed(nouns.plan().steps[0], do=Command(argv=tuple(words), stdin=stdin))
    try:
        view = views.plan(
            nouns.request(plan=nouns.plan(steps=(step,))), mode="apply", approvers=(), now_s=nouns.NOW_S
        )
    except ViewError:
        return
    shown = list(shown_commands(view))
    assert shlex.split(shown[0]) == words
    if stdin:
        assert shown[1] == stdin


@pytest.mark.parametrize(
    "text", ["echo `id` && <a> *b* _c_ 'd e'", 'printf "%s\\n"', "line\nline", "tab\there"]
)
def test_signs_of_a_command_are_kept(text):
    """Back-ticks, angle brackets, ampersands, line breaks and tabs of a command stand as they are."""
    assert json.loads(f'"{exact(text)}"') == text


@pytest.mark.parametrize(
    "text", ["", "  ", "x" * 4000, "a\0b", "rm \u202e/", "zero\u200bwidth", "\ud800", "\x1b[2J"]
)
def test_commands_that_can_not_be_shown(text):
    """A command that is empty, too long or holds what can not be seen is refused."""
    with pytest.raises(ViewError):
        exact(text)


def test_edges_of_a_command_are_not_trimmed():
    """A command that begins or ends in white space is refused rather than shown without it."""
    with pytest.raises(ViewError):
        exact("MemoryMax=2G ")


def test_command_is_quoted_once():
    """An argv is shown as one would type it."""
    assert str(command(Command(argv=("systemctl", "stop", "we b; rm -rf /.service")))) == (
        "systemctl stop 'we b; rm -rf /.service'"
    )
    assert str(argv(["a", "b c"])) == "a 'b c'"


# ------------------------------------------------------------------ the door
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a<b>&`c`", "a&lt;b&gt;&amp;'c'"),
        ("two\nlines\u202e", "two lines"),
        ("", "?"),
        ("\0", "?"),
        (5, "5"),
        ('"\\', '\\"\\\\'),
    ],
)
def test_printed(value, shown):
    """A value is escaped for Slack and for JSON; nothing is shown as a question mark."""
    assert printed(value) == shown


def test_clipping_spares_entities():
    """A long text is cut by what is sent, never inside an entity."""
    text = str(printed("&" * 400))
    assert len(text) <= 310
    assert text.removesuffix("\\u2026").replace("&amp;", "") == ""


def test_plain_text_has_no_entities():
    """In a header, where escapes are not documented, look-alikes stand for markup."""
    assert json.loads(f'"{plain("<!channel> & `x`")}"') == "‹!channel› ＆ 'x'"
    assert len(json.loads(f'"{plain("x" * 400, 75)}"')) == 75


def test_names_in_lists_are_short():
    """A name in a list has at most 80 characters."""
    assert len(json.loads(f'"{short("y" * 400)}"')) == 80


def test_mention_is_for_users_only():
    """A Slack user is linked; a Unix account or an attack is text."""
    assert mention("U0ADA0001") == "<@U0ADA0001>"
    assert mention("<!channel>") == "&lt;!channel&gt;"
    assert mention("root") == "root"
    assert mention("S0ONCALL1") == "S0ONCALL1"


def test_approvers_may_be_a_group():
    """Who may approve is called by name, a user group too."""
    assert approver("S0ONCALL1") == "<!subteam^S0ONCALL1>"
    assert approver("U0BEN0002") == "<@U0BEN0002>"
    assert approver("<!here>") == "&lt;!here&gt;"


@given(st.floats() | st.integers())
def test_any_number_is_a_time_or_unknown(number):
    """Whatever a host gives for a time is shown as one or as unknown, and never raises."""
    shown = when(number)
    assert shown == "at an unknown time" or shown.startswith("<!date^")


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), -1.0, -1e300, 1e15, 253_402_300_799.0, 10**400]
)
def test_no_time_of_our_age(number):
    """What is no number, before 1970 or at the end of the calendar is an unknown time."""
    assert when(number) == "at an unknown time"


def test_when():
    """A time is shown in the reader's zone, with UTC as fallback."""
    assert when(0.0, "{time}") == "<!date^0^{time}|1970-01-01 00:00:00 UTC>"
    assert when(None) == "at an unknown time"


def test_log_excerpt():
    """A long report loses its middle, never its end, and keeps its lines."""
    report = "first\n" + "x" * 5000 + "\nlast \x07line"
    text = json.loads('"' + str(log(report)) + '"')
    assert text.startswith("first\n")
    assert "\n… left out …\n" in text
    assert text.endswith("\nlast  line")
    assert len(text) <= 2900
    assert log(" \n ") == "(empty)"
    assert log("a\tb") == "a    b"


def test_opaque_comes_back():
    """An id of our own is written as it is."""
    assert json.loads('"' + str(opaque('a"<b>\n')) + '"') == 'a"<b>\n'


def test_clean():
    """What can not be seen becomes a space."""
    assert clean("a\u2066b\u200bc") == "a b c"


@given(name=NAMES, host=NAMES, place=NAMES)
@FEW
def test_following(views, name, host, place):
    """Any name of a host, process or group, and what a host said, passes through what is told of following."""
    lines = tuple(DigestLine(host=host, comm=name, kills=n, first_s=1.0, last_s=2.0) for n in range(1, 21))
    digest = Digest(
        key="d", channel="c", kills=999, hosts=1, late=1, began_s=1.0, last_s=2.0, lines=lines
    )  # fmt: skip
    assert_harmless(views.digest(digest))
    for back_s in (None, 5.0):
        hosts = {f"{host}{n}": (back_s if n else None) for n in range(30)} | {name: back_s}
        for some in (hosts, {host: back_s}):
            outage = Outage(
                key="o", channel="c", place=place, cause=name, problem=name, fix=name, since_s=1.0, hosts=some
            )
            assert_harmless(views.outage(outage))
    for blind in (False, True):
        said = views.counter(host, counter=3, shown=1, blind=blind, since_s=None, until_s=1.0, fix=name)
        assert_harmless(said)
