"""What every drawing on a terminal needs: hostile strings made harmless."""

import unicodedata

from rich.text import Text


def plain(text: str) -> str:
    """The text without control and bidirectional characters: a process name can not move the cursor."""
    return "".join(
        " " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n" else c for c in text
    )


def cell(value: object) -> Text:
    """A value as a table cell: never read as markup; unknown is a dash."""
    return Text("–" if value is None or value == "" else plain(str(value)).replace("\n", " "))
