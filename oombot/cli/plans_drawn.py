"""A plan, and what came of it, on a terminal: the same facts as on the card in Slack."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from oombot.cli.drawing import cell, plain, when
from oombot.lifecycle import SAID
from oombot.model import Command
from oombot.proposals import Plan, Request

SIGNS = {True: "✓", False: "✗", None: "!"}
COLOURS = {"green": "green", "amber": "yellow", "red": "bold red", "black": "bold red"}


def draw_plan(console: Console, plan: Plan) -> None:
    """Everything that a person must know before saying yes; commands are never shortened."""
    _line(console, f"{plan.title} on {plan.host}", style="bold")
    why = f" ({plan.risk_why})" if plan.risk_why else ""
    rows = {
        "target": plan.target,
        "change": f"{plan.before} → {plan.after}",
        "lasts": plan.lasts,
        "risk": f"{plan.risk}{why}",
    }
    for name, value in rows.items():
        style = COLOURS[plan.risk] if name == "risk" else ""
        _line(console, f"  {name + ':':8} {value}", style=style)
    for number, step in enumerate(plan.steps, 1):
        _line(console, f"  step {number} of {len(plan.steps)}: {step.why}")
        _line(console, f"    runs: {command(step.do)}")
        undo = "nothing can put it back" if step.undo is None else command(step.undo)
        _line(console, f"    undo: {undo}")
        _line(console, f"    by hand: {step.by_hand}", style="dim")
    for text in plan.effect:
        _line(console, f"  • {text}")
    for check in plan.checks:
        _line(console, f"  {SIGNS[check.ok]} {check.text}")
    for exhibit in plan.evidence:
        _line(console, f"  {exhibit.label}:")
        _line(console, exhibit.text)
    if plan.mitigation:
        _line(console, "  This is a mitigation, not a fix.", style="yellow")


def draw_outcome(console: Console, request: Request) -> None:
    """How the request stands, what was run for it and what the host reads now."""
    evidence = request.evidence
    good = request.state == "verified"
    _line(console, f"{request.plan.title}: {request.state}", style="bold green" if good else "bold red")
    for run in evidence.get("runs") or ():
        _line(console, f"  {shlex.join(run.get('argv') or [])}  (exit {run.get('exit_status')})")
        if run.get("output"):
            _line(console, f"    {run['output']}")
    if evidence.get("before") or evidence.get("after"):
        _line(
            console, f"  read: {evidence.get('before') or '?'} → {evidence.get('after') or 'not read back'}"
        )
    for problem in evidence.get("problems") or ():
        _line(console, f"  problem: {problem}", style="yellow")
    if not good and not evidence.get("problems"):
        _line(console, f"  The request {SAID[request.state]}.", style="yellow")


def draw_requests(console: Console, requests: list[Request], people: Mapping[str, str], title: str) -> None:
    """A table of requests; `people` are the accounts by user id. An id is never cut: it is to be typed."""
    table = Table(Column("id", no_wrap=True), "when", "what", "state", "asked by", "approved by", title=title)
    for request in requests:
        table.add_row(
            cell(request.id),
            cell((when(request.created_s, approximate=False) or "")[5:16]),
            cell(f"{request.plan.title} on {request.plan.host}"),
            cell(f"{request.state}, {request.plan.risk}"),
            cell(named(request.requester, people)),
            cell(named(request.approver, people)),
        )
    console.print(table)


def as_data(request: Request) -> dict[str, Any]:
    """A request as data; commands are lists of words."""
    return asdict(request)


def named(user_id: str | None, people: Mapping[str, str]) -> str:
    """A person by account, where one is mapped to them, else by user id."""
    return people.get(user_id or "", user_id or "")


def command(given: Command) -> str:
    """A command with its whole input, as it is run."""
    text = shlex.join(given.argv)
    return f"{text} <<< {shlex.quote(given.stdin)}" if given.stdin else text


def _line(console: Console, text: str, *, style: str = "") -> None:
    console.print(plain(text), markup=False, soft_wrap=True, style=style or None)
