"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

CONFIG = Path("config/oombot.yaml")
ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="OOMBOT_CONFIG", help="The configuration file.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="The same as data.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
