"""The commands that change something, or say who may: drawn elsewhere, listed in a panel of their own."""

import sys
from typing import Annotated

import typer

from oombot.cli.options import CONFIG, ConfigOption, JsonOption, YesOption

changes_app = typer.Typer()
PANEL = "Changes, under the same policy as in Slack"
RequestArgument = Annotated[str, typer.Argument(help="The id of a request; its beginning, where it waits.")]


@changes_app.command(rich_help_panel=PANEL)
def fix(  # noqa: PLR0917 — the options of a command line
    host: Annotated[str, typer.Argument(help="A host of the configuration.")],
    remedy: Annotated[str, typer.Argument(help="A remedy by name; none: list them all.")] = "",
    values: Annotated[list[str], typer.Argument(help="Its fields, as key=value.")] = [],  # noqa: B006
    for_: Annotated[
        str, typer.Option("--for", help="Only so long, then the host puts it back: 30m, 2h.")
    ] = "",
    unit: Annotated[str, typer.Option(help="The unit meant, by its full name.")] = "",
    pid: Annotated[int | None, typer.Option(help="The process meant.")] = None,
    yes: YesOption = False,
    config: ConfigOption = CONFIG,
) -> None:
    """Propose a remedy for a host and, where the policy lets you, run it. Without a remedy: what there is.

    The plan is shown, with every command, before you are asked. Without a terminal and without --yes it is only
    proposed. Exit 0: proposed, or done and verified; 1: refused, failed or not known; 2: a mistake.
    """
    from oombot.cli.fixing import Wanted
    from oombot.cli.fixing import fix as fix_host

    wanted = Wanted(host=host, remedy=remedy, values=tuple(values), for_=for_, unit=unit, pid=pid, yes=yes)
    sys.exit(fix_host(wanted, config=config))


@changes_app.command(rich_help_panel=PANEL)
def pending(as_json: JsonOption = False, config: ConfigOption = CONFIG) -> None:
    """List the requests that wait for a decision, and those under way."""
    from oombot.cli.deciding import pending as listed

    sys.exit(listed(config=config, as_json=as_json))


@changes_app.command(rich_help_panel=PANEL)
def approve(request: RequestArgument, yes: YesOption = False, config: ConfigOption = CONFIG) -> None:
    """Show a plan, approve it and wait for what comes of it.

    Where a bot runs on this store, that bot runs it; else this command does. Exit 0: done and verified; 1: refused,
    failed or not known.
    """
    from oombot.cli.deciding import approve as decided

    sys.exit(decided(request, config=config, yes=yes))


@changes_app.command(rich_help_panel=PANEL)
def deny(
    request: RequestArgument,
    reason: Annotated[str, typer.Argument(help="Why; it stands on the card and in the audit trail.")] = "",
    config: ConfigOption = CONFIG,
) -> None:
    """Close a request without running it; who asked may withdraw their own."""
    from oombot.cli.deciding import deny as decided

    sys.exit(decided(request, reason, config=config))


@changes_app.command(rich_help_panel=PANEL)
def undo(request: RequestArgument, yes: YesOption = False, config: ConfigOption = CONFIG) -> None:
    """Put back what a request changed; the commands are shown first.

    At once where it still stands as it was made and you are an approver; else it waits for one.
    """
    from oombot.cli.deciding import undo as undone

    sys.exit(undone(request, config=config, yes=yes))


@changes_app.command(rich_help_panel=PANEL)
def history(
    host: Annotated[str, typer.Argument(help="A host of the configuration.")],
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = CONFIG,
) -> None:
    """Show what was asked for on a host, by whom, and what became of it; newest first."""
    from oombot.cli.deciding import history as shown

    sys.exit(shown(host, config=config, as_json=as_json, limit=limit))
