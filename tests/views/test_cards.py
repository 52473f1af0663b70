"""From the card alone a stranger knows what happened and what to do; nothing dead can be pressed."""

import json

import pytest

from oombot.errors import ViewError
from oombot.proposals import Exhibit
from oombot.remediations.oom_score_adj import REMEDIATION as REMEDY
from oombot.remediations.shape import Field, Option, Target
from oombot.rights import Policy
from oombot.triage import about_kill, diagnose
from oombot.views import Choice

RUN = {"runs": [{"argv": ["set-adj"], "exit_status": 0, "output": "ok"}]}


def words(view):
    """Everything a person reads on a card."""
    found = []

    def visit(value):
        if isinstance(value, dict):
            if isinstance(value.get("text"), str) and "type" in value:
                found.append(value["text"])
            for part in value.values():
                visit(part)
        elif isinstance(value, list):
            for part in value:
                visit(part)

    visit(view["blocks"])
    return "\n".join(found)


def buttons(view):
    """Action ids of the buttons of a message, with value and style."""
    return {
        element["action_id"]: (element["value"], element.get("style"))
        for block in view["blocks"]
        if block["type"] == "actions"
        for element in block["elements"]
    }


@pytest.fixture
def card(views, nouns):
    """The card of a kill whose unit is back."""
    story = about_kill(
        nouns.kill(),
        host="host42",
        snapshot=nouns.snapshot(),
        earlier=[
            nouns.kill(pid=7, time_s=nouns.NOW_S - 9000),
            nouns.kill(pid=8, time_s=nouns.NOW_S - 90_000),
        ],
    )
    return views.incident(
        story, incident_id="inc-1", mode="apply", offers=[("oom_score_adj", "Protect java (pid 5120)")]
    )


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        ("where", ["OOM kill: java on host42", "in payments.service"]),
        (
            "who",
            ["java (pid 4242)", "1.9 GiB resident (anon 1.9 GiB, file 3.3 MiB, shmem 512 KiB)", "uid 1000"],
        ),
        (
            "why",
            ["payments.service hit its own memory limit of 2.0 GiB", "no swap", "the only process there"],
        ),
        (
            "is it back",
            ["Is it back?", "payments.service is back: active (running) for 40 s, 3 restarts so far"],
        ),
        ("the host now", ["2.1 GiB of 7.8 GiB memory available", "tasks stalled on memory 1 %"]),
        (
            "will it recur",
            ["Again?", "3rd kill of java in 7 days", "likely", "the same limit of 2.0 GiB is still set"],
        ),
        (
            "what next",
            ["What next?", "Raise the memory limit of payments.service", "oom_score_adj does not help"],
        ),
        ("how sure", ["from the kernel's own kill line"]),
        ("more", ["Kernel report", "What do these fields mean?"]),
    ],
)
def test_a_stranger_can_answer(card, question, answers):
    """The kill card answers each question of the checklist in words."""
    read = words(card)
    assert [answer for answer in answers if answer not in read] == [], question


def test_the_notification_stands_alone(card):
    """The fallback text alone says who died, where, why, whether it is back and how often."""
    for gist in ("host42", "java (pid 4242)", "limit of 2.0 GiB", "payments.service is back", "3rd kill"):
        assert gist in card["text"]


def test_the_card_is_short(card):
    """The card has few lines: what is long waits behind buttons."""
    assert len(card["blocks"]) <= 6
    assert words(card).count("\n") <= 18


def test_buttons_of_the_card(card):
    """The suggested remedy is the one primary button; each carries ids and no parameter."""
    assert buttons(card) == {
        "propose": ("inc-1|oom_score_adj", "primary"),
        "more_fixes": ("inc-1", None),
        "kernel_report": ("inc-1", None),
        "fields_help": ("inc-1", None),
    }


def test_observe_mode_has_no_remedies(views, nouns):
    """A bot that only observes offers nothing to change."""
    story = about_kill(nouns.kill(), host="host42")
    view = views.incident(
        story, incident_id="inc-1", mode="observe", offers=[("oom_score_adj", "Protect java")]
    )
    assert set(buttons(view)) == {"kernel_report", "fields_help"}
    found = diagnose(host="host42", snapshot=nouns.snapshot(), kills=[nouns.kill()])
    assert "more_fixes" not in buttons(views.triage(found, incident_id="i", mode="observe", ask="ask-1"))


def test_before_the_snapshot(views, nouns):
    """A card from the log alone says that the host is being read, and claims nothing about it."""
    view = views.incident(about_kill(nouns.kill(), host="host42"), incident_id="inc-1", mode="propose")
    assert "not read yet" in words(view)
    assert "active" not in words(view)


def test_the_card_says_as_of_when(card, nouns):
    """Whether it is back and how the host is carry the time of the reading."""
    stamp = f"(as of <!date^{int(nouns.NOW_S)}^"
    back, host = (
        line for line in words(card).splitlines() if line.startswith(("*Is it back?*", "*Host now:*"))
    )
    assert stamp in back
    assert stamp in host


def test_a_host_that_can_not_be_read(views, nouns):
    """A host that stays silent is told with the reason, and no edit is promised."""
    story = about_kill(nouns.kill(), host="host42", unread="host42 can not be reached")
    view = views.incident(story, incident_id="inc-1", mode="propose")
    assert "the host could not be read: host42 can not be reached" in words(view)
    assert "the host could not be read (host42 can not be reached)" in view["text"]
    assert "is edited" not in words(view)
    assert "not read yet" not in words(view)


def test_the_longest_card_fits(views, nouns):
    """Names and reasons as long as a host and a link can make them still give a card."""
    name = f"{'u' * 240}.service"
    kill = nouns.host_kill(task_memcg=f"/system.slice/{name}", comm="x" * 15)
    host = nouns.snapshot(units=(nouns.unit(name, restart="&" * 90),))
    story = about_kill(kill, host="h" * 300, snapshot=host, unread="&" * 5000)
    assert views.incident(
        story,
        incident_id="inc-1",
        mode="apply",
        offers=[("a", "p" * 300), ("b", "&" * 90), ("c", "q"), ("d", "r")],
        late=True,
    )


def test_a_host_that_fell_silent(views, nouns):
    """What was read before stays, with its time, and the later silence is told."""
    story = about_kill(nouns.kill(), host="host42", snapshot=nouns.snapshot(), unread="timed out")
    read = words(views.incident(story, incident_id="inc-1", mode="propose"))
    assert "payments.service is back" in read
    assert "could not be read since: timed out" in read


def test_a_table_that_is_not_whole(views, nouns):
    """Lists from a partial process table say so; a whole one needs no word, and no share is made up."""
    hidden = nouns.snapshot(processes_whole=False, memory_kb={})
    found = diagnose(host="host42", snapshot=hidden, kills=[])
    read = words(views.triage(found, mode="observe", ask="a"))
    assert "*Most memory* (incomplete: the process table could not be read whole)" in read
    assert "*Highest OOM scores* (incomplete)" in read
    assert ", 0.0 %" not in read
    whole = diagnose(host="host42", snapshot=nouns.snapshot(), kills=[])
    assert "incomplete" not in words(views.triage(whole, mode="observe", ask="a"))


def test_no_red_without_a_whole_table(views, nouns):
    """The red circle stands for a process that is known not to run."""
    kill = nouns.kill(task_memcg="/hogs")
    for whole, circle in ((True, ":red_circle:"), (False, ":white_circle:")):
        host = nouns.snapshot(processes=(nouns.process(1, "systemd"),), processes_whole=whole)
        story = about_kill(kill, host="host42", snapshot=host)
        assert circle in words(views.incident(story, incident_id="inc-1", mode="propose"))


def test_late_and_replayed_are_said(views, nouns):
    """A card that comes late, or from a simulated host, says so."""
    story = about_kill(nouns.kill(), host="host42", seen_s=nouns.NOW_S + 9000)
    view = views.incident(story, incident_id="inc-1", mode="propose", replayed=True)
    assert "told late" in words(view)
    assert "replayed" in words(view)
    assert view["text"].startswith("(replayed)")


def test_answer_fits_a_phone(views, nouns):
    """The longest answer keeps Slack's limits, and its lists have five rows."""
    host = nouns.snapshot(processes=tuple(nouns.process(pid, "java", 90_000 + pid) for pid in range(2, 400)))
    found = diagnose(host="host42", snapshot=host, kills=[nouns.kill(pid=pid) for pid in range(2, 99)])
    view = views.triage(found, incident_id="inc-1", mode="apply", ask="ask-1")
    assert len(view["blocks"]) <= 15
    assert words(view).count("90.") + words(view).count("93 MiB") <= 10
    assert "(the last 5 of 97)" in words(view)
    assert buttons(view)["share"] == ("ask-1", None)


def test_plan_card(views, nouns):
    """The plan shows host, target, command, undo, change, duration, effect, checks, asker, expiry and digest."""
    view = views.plan(nouns.request(), mode="apply", approvers=["S0ONCALL1", "U0BEN0002"], now_s=nouns.NOW_S)
    read = words(view)
    for shown in (
        "Protect a process on host42",
        "java (pid 5120) in payments.service",
        "set-adj --pid 5120 --start 6120 --was 0 --value -500",
        "set-adj --pid 5120 --start 6120 --was -500 --value 0",
        "echo -500 | sudo tee /proc/5120/oom_score_adj",
        "oom_score_adj 0 → oom_score_adj -500, lasts until the process exits",
        "Next victim of the host: java (pid 5120), then mysqld (pid 812)",
        ":white_check_mark: java (pid 5120) lives",
        ":warning: it shares no cgroup limit",
        ":x: the host is frozen",
        "*mitigation, not a fix*",
        "<@U0ADA0001>",
        f"<!date^{int(nouns.NOW_S) + 900}^",
        "plan 3fa9c1d2 ",
        "approvers: <!subteam^S0ONCALL1> or <@U0BEN0002>",
    ):
        assert shown in read
    assert buttons(view) == {"approve": ("req-7Kq2", "primary"), "deny": ("req-7Kq2", None)}
    (approve,) = (
        e for b in view["blocks"] if b["type"] == "actions" for e in b["elements"] if "confirm" in e
    )
    for named in ("host42", "java (pid 5120)", "Next victim"):
        assert named in approve["confirm"]["text"]["text"]


@pytest.mark.parametrize("mode", ["propose", "observe"])
def test_plan_in_other_modes(views, nouns, mode):
    """Where nothing is applied the plan has no buttons and says to run it by hand."""
    view = views.plan(nouns.request(), mode=mode, approvers=(), now_s=nouns.NOW_S)
    assert buttons(view) == {}
    assert f"oombot runs in {mode} mode: run it by hand" in words(view)


def test_the_tier_is_said_in_words(views, nouns):
    """The tier stands in words beside its colour, with why; a red one asks once more, naming host, unit and effect."""
    plan = nouns.plan(
        risk="red", risk_why="it outlives a reboot", unit="payments.service", target="its limit"
    )
    view = views.plan(nouns.request(plan=plan), mode="apply", approvers=(), now_s=nouns.NOW_S)
    assert ":red_circle: *Red*: it outlives a reboot" in words(view)
    assert "(red)" in view["text"]
    [approve] = [e for b in view["blocks"] if b["type"] == "actions" for e in b["elements"] if "confirm" in e]
    assert (approve["style"], approve["confirm"]["style"]) == ("danger", "danger")
    for named in ("host42", "payments.service", "Next victim of the host"):
        assert named in approve["confirm"]["text"]["text"]


@pytest.mark.parametrize("count", [1, 5, 6, 60])
def test_every_step_is_shown_whole(views, nouns, count):
    """However many steps, each command, its line by hand and its undo stand there to the letter."""
    steps = many_steps(nouns, count)
    view = views.plan(
        nouns.request(plan=nouns.plan(steps=steps)), mode="apply", approvers=(), now_s=nouns.NOW_S
    )
    lines = words(view).splitlines()
    for step in steps:
        assert " ".join(step.do.argv) in lines
        assert " ".join(step.undo.argv) in lines
        assert step.by_hand in lines
    assert len(view["blocks"]) <= 20


def test_a_plan_too_long_for_slack_is_no_card(views, nouns):
    """What Slack can not show whole is an error, never half a plan."""
    plan = nouns.plan(steps=many_steps(nouns, 300))
    with pytest.raises(ViewError, match="characters in all"):
        views.plan(nouns.request(plan=plan), mode="apply", approvers=(), now_s=nouns.NOW_S)


def test_votes_are_counted(views, nouns):
    """A plan that needs two people says how many have approved and who."""
    request = nouns.request(approvals=2, voters=("U0BEN0002",))
    read = words(views.plan(request, mode="apply", approvers=(), now_s=nouns.NOW_S))
    assert "approvals: 1 of 2 (<@U0BEN0002>)" in read


def test_evidence_before_and_after(views, nouns):
    """What the host itself shows stands before and after the change, in columns that fit a phone."""
    free = "               total        used        free      shared  buff/cache   available\n"
    before = f"{free}Mem:           7.8Gi       6.9Gi       214Mi       118Mi       890Mi       612Mi\nSwap: 0B 0B 0B"
    plan = nouns.plan(evidence=(Exhibit(label="free -h", text=before),))
    evidence = RUN | {"exhibits": [{"label": "free -h", "text": before.replace("0B", "4Gi")}]}
    view = views.outcome(
        nouns.request("verified", plan=plan, evidence=evidence), undo=True, now_s=nouns.NOW_S
    )
    read = words(view)
    assert read.index("free -h before") < read.index("0B") < read.index("free -h after") < read.index("4Gi")
    assert all(len(line) <= 58 for line in read.splitlines() if line.startswith("Mem:"))
    assert "Undo would run" in read


def test_what_the_host_puts_back(views, nouns):
    """A change for a while says when the host puts it back, and so does the notice before."""
    request = nouns.request("verified", plan=nouns.plan(back_after_s=7200), evidence=RUN)
    at = f"<!date^{int(nouns.NOW_S) + 7200}^"
    assert at in words(views.outcome(request, undo=True, now_s=nouns.NOW_S))
    assert at not in words(views.outcome(request, undo=False, undone=True, now_s=nouns.NOW_S))
    assert at in words(views.put_back(request, at_s=nouns.NOW_S + 7200))


@pytest.mark.parametrize("state", ["unverified", "contradicted"])
def test_a_timer_that_may_not_be_set_is_not_promised(views, nouns, state):
    """Where the run did not come to its last step, which sets the timer, nothing is said to be put back by itself."""
    plan = nouns.plan(back_after_s=7200)
    cut = {**RUN, "runs": []}
    shown = words(views.outcome(nouns.request(state, plan=plan, evidence=cut), undo=False, now_s=nouns.NOW_S))
    assert "the host itself puts it back" not in shown


def many_steps(nouns, count):
    """Steps of one kind, each with its own process."""
    step = nouns.plan().steps[0]

    def one(pid):
        do = nouns.Command(argv=("set-adj", "--pid", str(pid), "--was", "0", "--value", "500"), sudo=True)
        undo = nouns.Command(argv=("set-adj", "--pid", str(pid), "--was", "500", "--value", "0"), sudo=True)
        return nouns.changed(step, do=do, undo=undo, by_hand=f"choom -p {pid} -n 500")

    return tuple(one(pid) for pid in range(1000, 1000 + count))


def test_a_plan_without_undo_says_so(views, nouns):
    """A step that can not be undone is told before the approval."""
    step = nouns.changed(nouns.plan().steps[0], undo=None)
    view = views.plan(
        nouns.request(plan=nouns.plan(steps=(step,))), mode="apply", approvers=(), now_s=nouns.NOW_S
    )
    assert "Cannot be undone" in words(view)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("approved", "⏳ approved by <@U0BEN0002>; the host is looked at once more before it runs"),
        ("running", "⏳ running, approved by <@U0BEN0002>"),
        ("verified", "✅ done and verified"),
        ("unverified", "⚠️ run, but what came of it is not known (unverified)"),
        ("contradicted", "the host shows something else"),
        ("failed", "❌ failed"),
        ("denied", "⛔ denied by <@U0BEN0002>; nothing was run"),
        ("expired", "⌛ expired; nothing was run"),
        ("stale", "♻️ stale: not run"),
        ("cancelled", "cancelled; nothing was run"),
    ],
)
def test_decided_cards_are_dead(views, nouns, state, said):
    """After a decision the card says who and what, in words, and has no button left."""
    request = nouns.request(state, approver="U0BEN0002", decided_s=nouns.NOW_S, evidence=RUN)
    view = views.decided(request, now_s=nouns.NOW_S)
    assert said in words(view)
    assert said in view["text"]
    assert buttons(view) == {}


@pytest.mark.parametrize(
    ("state", "said", "never"),
    [
        ("unverified", "it is not known whether it ran", "⚠️ run"),
        ("failed", "❌ not run: the helper is frozen", "failed"),
        ("stale", "♻️ stale: not run", "host changed"),
    ],
)
def test_nothing_is_said_to_have_run_without_evidence(views, nouns, state, said, never):
    """Without a run in the evidence no card claims one, nor a change of the host that nobody noted."""
    evidence = {"problems": ["the helper is frozen"]}
    request = nouns.request(state, approver="U0BEN0002", decided_s=nouns.NOW_S, evidence=evidence)
    view = views.decided(request, now_s=nouns.NOW_S)
    assert said in words(view)
    assert never not in words(view)
    if state != "stale":
        outcome = words(views.outcome(request, undo=False, now_s=nouns.NOW_S))
        assert said.split(":")[0].removeprefix("❌ ") in outcome
        assert "Read back" not in outcome
        assert "the helper is frozen" in outcome


def test_a_stale_plan_says_what_is_noted(views, nouns):
    """That the host changed is said where it was found, and nowhere else."""
    request = nouns.request("stale", approver="U0BEN0002", decided_s=nouns.NOW_S)
    view = views.decided(request, note="the host has changed since", now_s=nouns.NOW_S)
    assert "the host has changed since" in words(view)


def test_a_note_stands_for_the_thread(views, nouns):
    """A refusal before the run is noted on the card itself; without a note the thread has the evidence."""
    request = nouns.request("failed", approver="U0BEN0002", decided_s=nouns.NOW_S)
    noted = words(views.decided(request, note="not run: the mode is propose now", now_s=nouns.NOW_S))
    assert "the mode is propose now" in noted
    assert "see the thread" not in noted
    assert "see the thread" in words(views.decided(request, now_s=nouns.NOW_S))


def test_a_notice_names_who_stands_behind_it(views):
    """The person is a mention of their own, and what stands in the sentence stays text."""
    view = views.notice("Frozen (<@U0ADA0001>).", "/oom unfreeze", who="U0BEN0002")
    assert "It was <@U0BEN0002>." in words(view)
    assert "It was <@U0BEN0002>." in view["text"]
    assert "<@U0ADA0001>" not in words(view)


def test_outcome_keeps_its_time(views, nouns):
    """Drawn again after an undo, the evidence keeps the time at which it was read; else it is now."""
    request = nouns.request("verified", evidence={**RUN, "at_s": nouns.NOW_S - 500})
    read = words(views.outcome(request, undo=False, undone=True, now_s=nouns.NOW_S))
    assert f"<!date^{int(nouns.NOW_S) - 500}^" in read
    assert f"<!date^{int(nouns.NOW_S)}^" not in read
    bare = nouns.request("verified", evidence={**RUN, "at_s": "yesterday"})
    assert f"<!date^{int(nouns.NOW_S)}^" in words(views.outcome(bare, undo=False, now_s=nouns.NOW_S))


def test_an_expired_plan_has_no_buttons(views, nouns):
    """A plan that is rendered after its time can not be pressed."""
    view = views.plan(nouns.request(), mode="apply", approvers=(), now_s=nouns.NOW_S + 901)
    assert buttons(view) == {}
    assert "expired: nothing was run" in words(view)


def test_outcome(views, nouns):
    """The evidence shows what was read back, what was run and how it ended; Undo only where it is offered."""
    evidence = {
        "before": "0",
        "after": "-500",
        "runs": [{"argv": ["set-adj"], "exit_status": 0, "output": "ok"}],
    }
    request = nouns.request("verified", approver="U0BEN0002", evidence=evidence)
    view = views.outcome(request, undo=True, now_s=nouns.NOW_S)
    for shown in ("✅ verified", "0 → -500", "set-adj", "exit status 0", "*mitigation, not a fix*"):
        assert shown in words(view)
    assert buttons(view) == {"undo": ("req-7Kq2", None)}
    assert buttons(views.outcome(request, undo=False, now_s=nouns.NOW_S)) == {}


def test_form(views, nouns):
    """The form has a block of each field's name, keeps what was chosen, and takes numbers within their bounds."""
    fields = REMEDY.fields(nouns.snapshot(), Target(pid=900, start_ticks=1900), Policy())
    view = views.fix_form("host42", REMEDY, fields, private="opaque")
    inputs = [block for block in view["blocks"] if block["type"] == "input"]
    assert [block["block_id"] for block in inputs] == ["process", "value"]
    select, number = (block["element"] for block in inputs)
    assert (view["callback_id"], view["private_metadata"]) == ("fix", "opaque")
    assert select["initial_option"]["value"] == "900:1900"
    assert (number["min_value"], number["max_value"]) == ("-1000", "1000")


def test_a_form_says_what_it_leaves_out(views):
    """Slack takes a hundred options of 150 characters: what does not fit is counted, never shortened."""
    options = tuple(Option(value=f"u{n}.service", label="x") for n in range(120))
    long = Option(value="y" * 151, label="y")
    field = Field(name="unit", label="Unit", kind="choice", options=(long, *options, options[0]))
    [block] = [b for b in views.fix_form("h", REMEDY, [field], private="p")["blocks"] if b["type"] == "input"]
    assert [o["value"] for o in block["element"]["options"]] == [o.value for o in options[:100]]
    assert block["hint"]["text"].startswith("21 more do not fit")


def test_a_form_without_a_choice_has_no_submit(views):
    """Where a field has nothing to choose, the form says so and can not be sent."""
    view = views.fix_form("h", REMEDY, [Field(name="unit", label="Unit", kind="choice")], private="p")
    assert "submit" not in view
    assert "Unit: there is nothing to choose from" in words(view)


def test_menu_offers_what_may_work(views):
    """What can not work here has no button, and its reason stands there."""
    rows = [Choice(name=n, label=n, summary="s", unfit=why) for n, why in (("a", "no room"), ("b", ""))]
    view = views.fix_menu("h", "", rows, private="p")
    assert [b["accessory"]["action_id"] for b in view["blocks"] if "accessory" in b] == ["fix:b"]
    assert "*a* can not work here: no room" in words(view)


def test_views_are_json(card):
    """A view can be stored as JSON and comes back equal."""
    assert json.loads(json.dumps(card)) == card
