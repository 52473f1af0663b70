"""Every message and modal of the bot, by name: pick the context, render, validate."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from jinja2 import TemplateError

from oombot.errors import ViewError
from oombot.following import Digest, Outage
from oombot.proposals import Request
from oombot.remediations.shape import Field, Remediation
from oombot.triage import Diagnosis, KillStory, Match, Overview
from oombot.views import contexts, forms, steps
from oombot.views.contexts import Event, Fact, Mode, evidence_of
from oombot.views.escaping import CLIP, environment, printed
from oombot.views.forms import Choice
from oombot.views.validation import problems_of

_LISTED = 15
_OFFERED = 3
_LINES = 7  # of a block
_BLOCK, _WHOLE = 2900, 9000  # characters of a block, and of all of them
_ROOM = 2300  # of the 3000 characters of a section, less its first line
ASKING = "fleet-asking"
T = TypeVar("T")

__all__ = ["Mode", "Views"]


class Views:
    """Renders the templates it was given; whatever leaves it, Slack takes."""

    def __init__(self, templates: Mapping[str, str]) -> None:
        """Take the texts of templates/*.j2 by file name."""
        self._environment = environment(templates)

    def render(self, name: str, context: Any) -> dict[str, Any]:
        """Render `name`.json.j2 with the fields of a frozen context; raise ViewError rather than send rubbish."""
        variables = {field.name: getattr(context, field.name) for field in dataclasses.fields(context)}
        try:
            text = self._environment.get_template(f"{name}.json.j2").render(variables)
            view: dict[str, Any] = json.loads(
                text, strict=False
            )  # a line break of the template is one in Slack
        except ViewError as error:
            raise ViewError(name, error.problems) from error
        except (TemplateError, ValueError) as error:
            raise ViewError(name, [f"{type(error).__name__}: {error}"]) from error
        problems = problems_of(view)
        if problems:
            raise ViewError(name, problems)
        return view

    # ------------------------------------------------------------ kills and answers
    def incident(
        self,
        story: KillStory,
        *,
        incident_id: str,
        mode: str,
        late: bool = False,
        replayed: bool = False,
        offers: Sequence[tuple[str, str]] = (),
        runbook: str | None = None,
    ) -> dict[str, Any]:
        """Show the kill card; `offers` are remedies by name and title, the first of them the best."""
        context = contexts.Incident(
            story=story,
            incident_id=incident_id,
            mode=mode,
            late=late or story.late,
            replayed=replayed,
            offers=tuple(offers[:_OFFERED]),
            runbook=runbook,
        )
        return self.render("incident", context)

    def triage(
        self,
        diagnosis: Diagnosis,
        *,
        incident_id: str | None = None,
        mode: str,
        ask: str | None,
        asker: str | None = None,
        runbook: str | None = None,
    ) -> dict[str, Any]:
        """Show the answer to /oom: `ask` gives it a Share button, `asker` names who asked in a shared one."""
        context = contexts.Triage(
            diagnosis=diagnosis, incident_id=incident_id, mode=mode, ask=ask, asker=asker, runbook=runbook
        )
        return self.render("triage", context)

    def report(self, story: KillStory, *, attached: bool = False) -> dict[str, Any]:
        """Show the state of memory at the kill and the report's lines; `attached` = the whole is a file below."""
        return self.render("report", contexts.Report(story=story, attached=attached))

    def fields_help(self) -> dict[str, Any]:
        """Explain the fields of a card."""
        return self.render("fields_help", contexts.Empty())

    def matches(self, host: str, asked: str, matches: Sequence[Match]) -> dict[str, Any]:
        """List what a word may mean, so that the person chooses."""
        listed = tuple(matches[: _fitting(host, matches)])
        context = contexts.Matches(host=host, asked=asked, matches=listed, more=len(matches) - len(listed))
        return self.render("matches", context)

    def fleet(self, overview: Overview, *, asker: str = "") -> dict[str, Any]:
        """Rank the hosts of a fleet, as far as they have answered."""
        return self.render("fleet", contexts.Fleet(overview=overview, asker=asker, asking=ASKING))

    def fleet_interrupted(self, view: Mapping[str, Any]) -> dict[str, Any] | None:
        """The overview that a restart cut off, saying so; None for one that was finished."""
        if not any(block.get("block_id") == ASKING for block in view["blocks"]):
            return None
        blocks = [
            _interrupted(block) if block.get("block_id") == ASKING else block for block in view["blocks"]
        ]
        text = str(view["text"]).removesuffix(" Still asking.") + " Interrupted by a restart of oombot."
        return {**view, "text": text, "blocks": blocks}

    def host_gap(
        self,
        host: str,
        reason: str,
        *,
        fix: str = "",
        since_s: float | None = None,
        until_s: float | None = None,
    ) -> dict[str, Any]:
        """Say that a stretch of a host's log was not seen."""
        context = contexts.HostGap(host=host, reason=reason, fix=fix, since_s=since_s, until_s=until_s)
        return self.render("host_gap", context)

    # ------------------------------------------------------------ following
    def digest(self, digest: Digest) -> dict[str, Any]:
        """Tell the kills of a storm together."""
        return self.render("digest", contexts.digest_of(digest))

    def outage(self, outage: Outage) -> dict[str, Any]:
        """Tell that hosts are not watched, and later that they are again."""
        return self.render("outage", contexts.outage_of(outage))

    def counter(
        self,
        host: str,
        *,
        counter: int,
        shown: int,
        before: int = 0,
        blind: bool,
        since_s: float | None,
        until_s: float,
        fix: str = "",
    ) -> dict[str, Any]:
        """Tell that the kernel counted kills of which no log shows the victim; `before`: settled or told earlier."""
        context = contexts.Counter(
            host=host,
            counter=counter,
            shown=shown,
            before=before,
            missing=counter - shown - before,
            blind=blind,
            since_s=since_s,
            until_s=until_s,
            fix=fix,
        )
        return self.render("counter", context)

    # ------------------------------------------------------------ plans
    def plan(
        self,
        request: Request,
        *,
        mode: str,
        approvers: Sequence[str],
        now_s: float,
        stale_of: str | None = None,
    ) -> dict[str, Any]:
        """Show a plan that waits for a decision; `stale_of` names the request it replaces."""
        expired = now_s >= request.expires_s
        note = "expired: nothing was run. Ask for a new plan." if expired else ""
        return self.render(
            "plan", self._plan(request, mode=mode, approvers=approvers, stale_of=stale_of, note=note)
        )

    def decided(self, request: Request, *, note: str = "", now_s: float) -> dict[str, Any]:
        """Show the same plan after a decision, without buttons; `note` adds a sentence."""
        del now_s  # the state says it all; the time stands in the request
        return self.render(
            "decided",
            self._plan(request, mode="apply", approvers=(), stale_of=None, note=note, briefly=True),
        )

    def outcome(self, request: Request, *, undo: bool, undone: bool = False, now_s: float) -> dict[str, Any]:
        """Show what came of a request, with the values read back; `undo` offers the way back, `undone` was it.

        Its time is that of the evidence; `now_s` stands in where that does not say.
        """
        evidence = evidence_of(request.evidence)
        at_s = now_s if evidence.at_s is None else evidence.at_s
        plan, back_s = request.plan, request.plan.back_after_s
        context = contexts.Outcome(
            request=request,
            plan=plan,
            evidence=evidence,
            undo=undo,
            undone=undone,
            at_s=at_s,
            exhibits=contexts.exhibits_of(plan, evidence),
            preview=steps.undo_preview(plan.steps[: len(evidence.runs)]) if undo else (),
            back_at_s=None if back_s is None or undone or not evidence.whole(plan) else at_s + back_s,
        )
        return self.render("outcome", context)

    def put_back(self, request: Request, *, at_s: float) -> dict[str, Any]:
        """Tell in time that the host puts a change back by itself at `at_s`."""
        return self.render("put_back", contexts.PutBack(request=request, plan=request.plan, at_s=at_s))

    # ------------------------------------------------------------ words for one person
    def notice(self, text: str, fix: str = "", who: str = "") -> dict[str, Any]:
        """Say one sentence, who stands behind it, and how to mend it."""
        return self.render("notice", contexts.Notice(sentence=text, fix=fix, who=who))

    def facts(self, title: str, facts: Sequence[Fact], *, note: str = "") -> dict[str, Any]:
        """Answer one person with a short list."""
        parts = _parted(facts, [f"{fact.name}{fact.value}" for fact in facts])
        context = contexts.Facts(title=title, facts=tuple(facts[:3]), parts=parts, note=note)
        return self.render("facts", context)

    def events(self, title: str, events: Sequence[Event], *, more: int = 0, note: str = "") -> dict[str, Any]:
        """Tell one person what happened or waits; `more` counts what is not listed."""
        parts = _parted(events, [f"{event.text}{event.who}" for event in events])
        listed = sum(len(part) for part in parts)
        context = contexts.Events(
            title=title, count=len(events), parts=parts, more=more + len(events) - listed, note=note
        )
        return self.render("events", context)

    def press_test(self, *, value: str, wait_s: float) -> dict[str, Any]:
        """Ask whoever sees it to press the button."""
        return self.render("press_test", contexts.PressTest(value=value, wait_s=round(wait_s)))

    def help(self, *, hosts: Sequence[str], mode: str, may_approve: bool = False) -> dict[str, Any]:
        """Answer /oom alone."""
        listed = tuple(hosts[:_LISTED])
        context = contexts.Help(
            hosts=listed, more=len(hosts) - len(listed), mode=mode, may_approve=may_approve
        )
        return self.render("help", context)

    # ------------------------------------------------------------ modals
    def loading_modal(self, title: str) -> dict[str, Any]:
        """Hold the place while the host is read: a trigger lives 3 s."""
        return self.render("modal", contexts.Modal(title=title, sentence=""))

    def fix_refused_modal(self, text: str) -> dict[str, Any]:
        """Say in the modal why there is nothing to choose."""
        return self.render("modal", contexts.Modal(title="Not possible", sentence=text))

    def fix_menu(self, host: str, about: str, choices: Sequence[Choice], *, private: str) -> dict[str, Any]:
        """Every remedy with what it is for, and why some can not work; `about` names what it is for, or is ""."""
        return self.render("fix_menu", forms.menu_of(host, about, choices, private))

    def fix_targets(self, host: str, asked: str, matches: Sequence[Match], *, private: str) -> dict[str, Any]:
        """Ask which of several things was meant."""
        return self.render("fix_targets", forms.targets_of(host, asked, matches, private))

    def fix_form(
        self, host: str, remedy: Remediation, fields: Sequence[Field], *, private: str, timed: bool = False
    ) -> dict[str, Any]:
        """The form of one remedy, drawn from its fields; `timed` lets it be asked for a while only."""
        return self.render("fix_form", forms.form_of(host, remedy, fields, private, timed=timed))

    def _plan(
        self,
        request: Request,
        *,
        mode: str,
        approvers: Sequence[str],
        stale_of: str | None,
        note: str,
        briefly: bool = False,
    ) -> contexts.PlanCard:
        return contexts.PlanCard(
            request=request,
            plan=request.plan,
            mode=mode,
            approvers=tuple(approvers),
            stale_of=stale_of,
            note=note,
            undo_of=request.undo_of,
            evidence=evidence_of(request.evidence),
            steps=steps.shown(request.plan.steps, briefly=briefly),
        )


def _interrupted(block: Mapping[str, Any]) -> dict[str, Any]:
    """The block that told the progress, as a last word."""
    [told] = block["elements"]
    text = (
        str(told["text"])
        .removeprefix(":hourglass_flowing_sand: ")
        .replace("; waiting for ", "; no answer from ", 1)
    )
    text = f":warning: interrupted by a restart of oombot, ask again · {text}"
    return {"type": "context", "elements": [{**told, "text": text}]}


def _parted(items: Sequence[T], texts: Sequence[str]) -> tuple[tuple[T, ...], ...]:
    """Cut a list into blocks that Slack takes, and leave out the end that would make the message too long.

    A text counts as long as it is once it is escaped; the line around it has less than 100 characters.
    """
    parts: list[list[T]] = []
    block = whole = 0
    for item, text in zip(items, texts, strict=True):
        size = len(str(printed(text[:CLIP]))) + len(str(printed(text[CLIP:]))) + 100
        if whole + size > _WHOLE:
            break
        if not parts or block + size > _BLOCK or len(parts[-1]) == _LINES:
            parts.append([])
            block = 0
        parts[-1].append(item)
        block, whole = block + size, whole + size
    return tuple(map(tuple, parts))


def _fitting(host: str, matches: Sequence[Match]) -> int:
    """How many candidates one section holds: names may be long, and longer still once they are escaped."""
    spent = [
        sum(len(str(printed(part))) for part in (host, match.ask, match.label, match.details)) + 20
        for match in matches[:_LISTED]
    ]
    return sum(sum(spent[: at + 1]) < _ROOM for at in range(len(spent)))
