"""The commands that change something, or say who may: drawn elsewhere, listed in a panel of their own."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from oombot.cli.options import CONFIG, ConfigOption, JsonOption, YesOption

changes_app = typer.Typer()
audit_app = typer.Typer(help="Check the audit trail, or write it out.", no_args_is_help=True)
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


@changes_app.command(rich_help_panel=PANEL)
def freeze(
    reason: Annotated[str, typer.Argument(help="Why; everybody is told.")] = "", config: ConfigOption = CONFIG
) -> None:
    """Stop every change on every host, whatever was approved. Reading goes on; an approver ends it."""
    from oombot.cli.standing import freeze as frozen

    sys.exit(frozen(reason, config=config))


@changes_app.command(rich_help_panel=PANEL)
def unfreeze(config: ConfigOption = CONFIG) -> None:
    """End a freeze; what it held back is listed, and needs an approval of its own again."""
    from oombot.cli.standing import unfreeze as ended

    sys.exit(ended(config=config))


@changes_app.command(rich_help_panel=PANEL)
def can(
    action: Annotated[str, typer.Argument(help="A remedy by name.")],
    host: Annotated[str, typer.Argument(help="A host of the configuration.")],
    who: Annotated[str, typer.Option("--as", help="An account, or a Slack user id; default: you.")] = "",
    as_json: JsonOption = False,
    config: ConfigOption = CONFIG,
) -> None:
    """Say who may ask for and approve a remedy on a host, and which rule says so.

    User groups can not be looked up without Slack: who is only in one counts as no. Exit 0: may approve; 1: may not.
    """
    from oombot.cli.standing import can as may

    sys.exit(may(action, host, who, config=config, as_json=as_json))


@changes_app.command(rich_help_panel=PANEL)
def whoami(as_json: JsonOption = False, config: ConfigOption = CONFIG) -> None:
    """Say which Unix account acts, and who policy.accounts says that is.

    It is the account of the process; root and the store's owner act for whoever logged in (/proc/self/loginuid).
    """
    from oombot.cli.standing import whoami as said

    sys.exit(said(config=config, as_json=as_json))


@audit_app.command()
def verify(
    kept: Annotated[str, typer.Option(help="A hash of a line that was kept elsewhere.")] = "",
    as_json: JsonOption = False,
    config: ConfigOption = CONFIG,
) -> None:
    """Check that no line of the audit trail was changed, taken out or cut off. Exit 1 names the first broken place."""
    from oombot.cli.audit import verified

    sys.exit(verified(config=config, kept=kept, as_json=as_json))


@audit_app.command()
def export(
    file: Annotated[Path | None, typer.Argument(help="A new file; none: standard output.")] = None,
    config: ConfigOption = CONFIG,
) -> None:
    """Write the whole audit trail as JSON lines, oldest first."""
    from oombot.cli.audit import exported

    sys.exit(exported(config=config, file=file))


changes_app.add_typer(audit_app, name="audit", rich_help_panel=PANEL)
