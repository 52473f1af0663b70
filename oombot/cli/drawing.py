"""What every drawing on a terminal needs: hostile strings made harmless."""

import unicodedata
from datetime import UTC, datetime

from rich.text import Text


def plain(text: str) -> str:
    """The text without control and bidirectional characters: a process name can not move the cursor."""
    return "".join(
        " " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n" else c for c in text
    )


def cell(value: object) -> Text:
    """A value as a table cell: never read as markup; unknown is a dash."""
    return Text("–" if value is None or value == "" else plain(str(value)).replace("\n", " "))


def when(time_s: float | None, *, approximate: bool) -> str | None:
    """A point in time for a terminal, in its own zone; a derived one is marked."""
    try:
        moment = datetime.fromtimestamp(time_s, tz=UTC) if time_s is not None else None
        text = moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment is not None else None
    except (ValueError, OverflowError, OSError):
        text = None  # a log may claim any year
    if text is None:
        return None
    return f"~{text}" if approximate else text
