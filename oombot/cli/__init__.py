"""The command line: each command parses, makes one call and draws the answer. Imports stay inside the commands,
so that `oombot --help` answers at once."""

import sys
from logging import WARNING
from pathlib import Path
from typing import Annotated

import typer

from oombot.cli.changes import changes_app
from oombot.cli.options import CONFIG, ConfigOption

app = typer.Typer(
    help="OOM-killer triage and approved remedies for the on-call channel.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
slack_app = typer.Typer(help="Set up Slack.", no_args_is_help=True)
app.add_typer(slack_app, name="slack")
hosts_app = typer.Typer(help="List, test and trust the hosts of the configuration.", no_args_is_help=True)
app.add_typer(hosts_app, name="hosts")

app.add_typer(changes_app)


def main(words: list[str] | None = None) -> None:
    """Run a command; every error that oombot knows becomes a sentence and exit 2."""
    from oombot.errors import ConfigError, OombotError

    try:
        app(words)
    except ConfigError as error:
        _stop([*error.problems])
    except OombotError as error:
        _stop([str(error)] + ([f"fix: {error.fix}"] if error.fix else []))
    except KeyboardInterrupt:
        sys.exit(130)


def _stop(lines: list[str]) -> None:
    from oombot.cli.drawing import plain

    for line in lines:
        sys.stderr.write(f"oombot: {plain(line)}\n")
    sys.exit(2)


@app.command()
def run(config: ConfigOption = CONFIG) -> None:
    """Run the bot: follow every host, answer in Slack."""
    from oombot import app as composition
    from oombot.cli.serving import until_stopped

    settings = composition.load_settings(config)
    tokens = composition.load_tokens()
    until_stopped(lambda stop: composition.serve(settings, tokens, stop=stop))


@app.command()
def demo(
    port: Annotated[int, typer.Option(help="Port of the page on 127.0.0.1; 0 takes any free one.")] = 4477,
    replay: Annotated[bool, typer.Option("--replay", help="Replay a recorded host instead.")] = False,
) -> None:
    """Try everything here and now: a local Slack, the bot, and a process that the kernel really kills."""
    from oombot import demo as demonstration
    from oombot.cli.serving import until_stopped

    def say(line: str) -> None:
        typer.echo(line)
        sys.stdout.flush()

    until_stopped(
        lambda stop: demonstration.serve(port=port, say=say, stop=stop, replay=replay), level=WARNING
    )


@app.command()
def ask(
    host: Annotated[str, typer.Argument(help="A host, or many: web*, web[01-40], group:db, tag:x, fleet.")],
    target: Annotated[str, typer.Argument(help="A PID, a process name or a unit.")] = "",
    since: Annotated[str, typer.Option(help="How far back: 45s, 30m, 2h, 7d.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The same as data.")] = False,
    config: ConfigOption = CONFIG,
) -> None:
    """Ask a host: was it the OOM killer, who died, why, who is next. Works without Slack.

    A pattern ranks many hosts: who was killed, who is closest to it, who could not be asked. Exit 0 when every host
    was read, 1 when one could not be asked, 2 for a mistake.
    """
    from oombot.cli.ask import ask as ask_host

    words = [host, *([target] if target else []), *(["since", since] if since else [])]
    sys.exit(ask_host(" ".join(words), config=config, as_json=as_json))


@app.command()
def explain(
    file: Annotated[str, typer.Argument(help="A log file, or - for standard input.")] = "-",
    as_json: Annotated[bool, typer.Option("--json", help="The kills as data.")] = False,
) -> None:
    """Explain a kernel log: every kill in it, and the verdict."""
    from oombot.cli.explain import explain as explain_file

    sys.exit(explain_file(file, as_json=as_json))


@app.command()
def check(config: ConfigOption = CONFIG) -> None:
    """Check the configuration without touching anything; every mistake as file:line."""
    from oombot import app as composition
    from oombot.cli.drawing import plain
    from oombot.errors import ConfigError

    settings, notes = composition.load_noted(config)
    for note in notes:
        typer.echo(plain(note))
    if problems := composition.wrong_jumps(settings):
        raise ConfigError(problems)
    typer.echo(f"{config}: ok: mode {settings.mode}, {len(settings.hosts)} host(s)")


@app.command()
def doctor(
    *,
    host: Annotated[
        str, typer.Option(help="Only these hosts: a name, web*, web[01-40], group:db, tag:x.")
    ] = "fleet",
    as_json: Annotated[bool, typer.Option("--json", help="The same as data.")] = False,
    slack_test: Annotated[
        bool, typer.Option("--slack-test", help="Post a button and wait for a press.")
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for that press.")] = 120.0,
    everything: Annotated[
        bool, typer.Option("--all", help="Every line of every host, also what is ok.")
    ] = False,
    config: ConfigOption = CONFIG,
) -> None:
    """Look at everything the bot needs: each line says what, why and the command that fixes it."""
    from oombot.cli.doctor import doctor as look
    from oombot.examination import Wanted

    wanted = Wanted(config=config, pattern=host, press_wait_s=wait if slack_test else None)
    sys.exit(look(wanted, as_json=as_json, everything=everything))


@app.command()
def version() -> None:
    """Print the version."""
    from oombot import __version__

    typer.echo(f"oombot {__version__}")


@slack_app.command()
def manifest() -> None:
    """Print the app manifest, to be pasted at api.slack.com/apps → Create New App → From a manifest."""
    from oombot import app as composition

    typer.echo(composition.data_text("manifest.yaml"), nl=False)


PatternArgument = Annotated[str, typer.Argument(help="web*, web[01-40], group:db, tag:x, fleet, or a name.")]


@hosts_app.command("list")
def hosts_list(
    pattern: PatternArgument = "fleet",
    as_json: Annotated[bool, typer.Option("--json", help="The same as data.")] = False,
    config: ConfigOption = CONFIG,
) -> None:
    """Show the inventory: address, group, tags, helpers, and when each host last answered."""
    from oombot.cli.hosts import listed

    sys.exit(listed(pattern, config=config, as_json=as_json))


@hosts_app.command("test")
def hosts_test(
    pattern: PatternArgument = "fleet",
    as_json: Annotated[bool, typer.Option("--json", help="The same as data.")] = False,
    config: ConfigOption = CONFIG,
) -> None:
    """Reach, log in to and read each host; exit 1 when one can not be read."""
    from oombot.cli.hosts import readable

    sys.exit(readable(pattern, config=config, as_json=as_json))


@hosts_app.command("trust")
def hosts_trust(
    host: Annotated[str, typer.Argument(help="A host of the configuration, or a jump host.")],
    fingerprint: Annotated[str, typer.Option(help="Vouch for exactly this key, without a question.")] = "",
    config: ConfigOption = CONFIG,
) -> None:
    """Show the key that a host offers, and vouch for it in known_hosts after comparing. A changed key is refused."""
    from oombot.cli.hosts import trusted

    sys.exit(trusted(host, config=config, fingerprint=fingerprint))


@app.command()
def sudoers(  # noqa: PLR0917 — the options of a command line
    host: Annotated[str, typer.Argument(help="A host of the configuration.")],
    apply: Annotated[bool, typer.Option("--apply", help="Install it, after showing what changes.")] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take it away again, after showing what goes.")
    ] = False,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the script of --remove instead.")
    ] = False,
    login: Annotated[str, typer.Option("--as", help="Your own login there, never the bot's.")] = "",
    ssh: Annotated[str, typer.Option(help="Your own ssh client, with its options.")] = "ssh",
    sender: Annotated[str, typer.Option("--from", help="Where the bot connects from: addresses.")] = "",
    watch_key: Annotated[list[Path], typer.Option(help="Public key that watches.")] = [],  # noqa: B006
    act_key: Annotated[list[Path], typer.Option(help="Public key that acts.")] = [],  # noqa: B006
    policy: Annotated[Path | None, typer.Option(help="The host's policy, in JSON.")] = None,
    allow: Annotated[
        list[str], typer.Option(help="Write a policy that allows this remedy, or all; can be repeated.")
    ] = [],  # noqa: B006
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = CONFIG,
) -> None:
    """Print what gives oombot two identities without privilege on a host; --apply installs it, --remove undoes it."""
    from oombot.cli.sudoers import Wanted, applied, printed

    wanted = Wanted(
        host=host,
        config=config,
        login=login,
        ssh=ssh,
        sender=sender,
        watch_keys=tuple(watch_key),
        act_keys=tuple(act_key),
        policy=policy,
        allow=tuple(allow),
        yes=yes,
    )
    if apply and remove:
        raise typer.BadParameter("--apply and --remove exclude each other")
    by_hand = only_print or not (apply or remove)
    sys.exit(printed(wanted, remove=remove) if by_hand else applied(wanted, remove=remove))
