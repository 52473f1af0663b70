"""The configuration file: read as a whole, every mistake as file:line."""

from collections.abc import Iterable

from oombot.doctor.gathered import Gathered
from oombot.doctor.shape import BotCheck, Line, ok, wrong


def _lines(gathered: Gathered) -> Iterable[Line]:
    settings, path = gathered.settings, gathered.config_path
    for problem in gathered.config_problems:
        yield wrong(
            "file",
            problem,
            "oombot does not start with a configuration that it can not read as a whole",
            f"correct the line, then: oombot check -c {path}",
        )
    if settings is not None:
        count = len(settings.hosts)
        yield ok("file", f"{path}: mode {settings.mode}, {count} host{'' if count == 1 else 's'}")


CHECK = BotCheck(name="config", rank=10, lines=_lines, needs_settings=False)
