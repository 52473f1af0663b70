"""The one door through which a value enters a view: escaped for Slack and for JSON by construction.

Templates can not forget it, because Jinja's `finalize` runs on every value that is printed. A command goes
through `command` or `exact` instead: shown to the letter, or refused.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate

from jinja2 import DictLoader, Environment, StrictUndefined, Undefined
from markupsafe import Markup

from oombot.errors import ViewError
from oombot.inventory import names
from oombot.model import Command

CLIP = 300
_KEPT = ("batch", "length", "trim")  # of Jinja's own filters: those that can not mix escaped and raw text
EXACT_MAX = 2900  # a rich_text element has no limit of its own; a section's 3000 is the nearest one

# C0, C1 and DEL; zero-width and bidi marks, embeddings, overrides and isolates; line and paragraph separators; BOM
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_SLACK = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": "'"}
_PLAIN = {"&": "＆", "<": "‹", ">": "›", "`": "'"}  # what a header shows for an entity is not documented
_LAST_S = 253_370_764_800  # 9999-01-01 UTC: the reader's zone may be ahead, and datetime ends with that year
_PERSON = re.compile(r"[UW][A-Z0-9]{2,20}")
_GROUP = re.compile(r"S[A-Z0-9]{2,20}")


def environment(templates: Mapping[str, str]) -> Environment:
    """Build the environment; its templates are given as texts."""
    made = Environment(
        loader=DictLoader(dict(templates)),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printed,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters = {name: made.filters[name] for name in _KEPT} | {
        "approver": approver,
        "argv": argv,
        "command": command,
        "exact": exact,
        "link": link,
        "log": log,
        "mention": mention,
        "opaque": opaque,
        "plain": plain,
        "ran": ran,
        "short": short,
        "table": table,
        "when": when,
    }
    return made


def printed(value: object) -> object:
    """Escape any value a template prints; what our own filters made passes."""
    if isinstance(value, Markup | Undefined):
        return value
    return _json(_escaped(clean(str(value)), _SLACK, CLIP))


def clean(text: str) -> str:
    """Turn what can not be seen into spaces; an empty text becomes `?`, since Slack refuses it."""
    return _UNSEEN.sub(" ", text).strip() or "?"


def plain(text: object, limit: int = 150) -> Markup:
    """Write a plain_text, where Slack's escapes are not documented: look-alikes for & < >."""
    return _json(_escaped(clean(str(text)), _PLAIN, limit))


def exact(text: str) -> Markup:
    """Show a text to the letter, or refuse: nobody approves half a command, or one with hidden signs."""
    hidden = _UNSEEN.search(text.replace("\n", "").replace("\t", ""))
    if hidden is not None:
        raise ViewError(
            "exact", [f"a command holds the invisible character U+{ord(hidden[0]):04X}: {text[:80]!r}"]
        )
    if not text.strip() or text.rstrip(" \t") != text or len(text) > EXACT_MAX:
        raise ViewError(
            "exact", [f"a command of {len(text)} characters can not be shown whole: {text[:80]!r}"]
        )
    return _json(text)


def opaque(text: str) -> Markup:
    """Write an id or metadata of our own, which must come back as it went."""
    return _json(text)


def command(value: Command) -> Markup:
    """Show a command as one would type it: argv quoted once, exactly."""
    return argv(value.argv)


def argv(words: Sequence[str]) -> Markup:
    """Show an argv as one would type it, exactly."""
    return exact(shlex.join(words))


def log(text: str, limit: int = 2900) -> Markup:
    """Show an excerpt of a log: lines kept, its middle left out when it is too long, what is unseen blanked."""
    lines = [_UNSEEN.sub(" ", line) for line in text.replace("\t", "    ").splitlines()]
    whole = "\n".join(lines).strip("\n")
    if len(whole) > limit:
        half = limit // 2 - 20
        whole = f"{whole[:half]}\n… left out …\n{whole[-half:]}"
    return _json(whole if whole.strip() else "(empty)")


def ran(words: Sequence[str]) -> Markup:
    """Show a command that was run, as the host reported it: clipped rather than refused, for it did run."""
    return log(shlex.join(words), 1000)


def table(text: str) -> Markup:
    """Show what a command of the host printed; columns stand no wider apart than needed, for narrow screens."""
    rows = [line.rstrip() for line in text.replace("\t", "    ").splitlines() if line.strip()]
    cells = [(["", *row.split()] if row[:1] == " " else row.split()) for row in rows]
    even = len(cells) > 1 and len({len(row) for row in cells}) == 1
    if even or _headed(cells):
        count = max(map(len, cells), default=0)
        padded = [[*row, *[""] * (count - len(row))] for row in cells]
        widths = [max(len(row[at]) for row in padded) for at in range(count)]
        rows = [
            "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
            for row in padded
        ]
    return log("\n".join(rows), 1400)


def _headed(cells: Sequence[Sequence[str]]) -> bool:
    """Whether a heading stands over rows that may end early, as `free` prints them."""
    return len(cells) > 1 and cells[0][:1] == [""] and all(1 < len(row) <= len(cells[0]) for row in cells)


def short(text: object) -> Markup:
    """Write a name in a list, where a long one would push the rest away."""
    return _json(_escaped(clean(str(text)), _SLACK, 80))


def mention(user_id: str) -> Markup:
    """Name a Slack user so that Slack links the name; anything else is shown as text."""
    if _PERSON.fullmatch(user_id):
        return Markup(f"<@{user_id}>")  # noqa: S704 (a pattern of capitals and digits)
    return _json(_escaped(clean(user_id), _SLACK, CLIP))


def approver(who: str) -> Markup:
    """Name who may approve, a Slack user or a user group of the configuration, so that they are called."""
    if _GROUP.fullmatch(who):
        return Markup(f"<!subteam^{who}>")  # noqa: S704 (a pattern of capitals and digits)
    return mention(who)


def link(url: str, label: str) -> Markup:
    """Link to a page that the configuration names; what is no plain https URL is shown as text."""
    if not re.fullmatch(names.RUNBOOK.strip("^$"), url):
        return _json(_escaped(clean(url), _SLACK, CLIP))
    return _json(f"<{url.replace('&', '&amp;')}|{_escaped(clean(label), _SLACK, 80)}>")


def when(at_s: float | None, form: str = "{date_short_pretty} {time_secs}") -> Markup:
    """Show a time in the reader's own zone, with UTC as fallback; what is no time of our age is not known."""
    if at_s is None or not 0 <= at_s < _LAST_S:  # false for NaN too
        return Markup("at an unknown time")
    utc = datetime.fromtimestamp(int(at_s), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup(f"<!date^{int(at_s)}^{form}|{utc}>")  # noqa: S704 (numbers and our own form)


def _escaped(text: str, table: Mapping[str, str], limit: int) -> str:
    """Replace what Slack would read as markup; cut by the length that is sent, never inside an entity."""
    signs = [table.get(sign, sign) for sign in text]
    if sum(map(len, signs)) <= limit:
        return "".join(signs)
    lengths = accumulate(len(sign) for sign in signs)
    return "".join(sign for sign, length in zip(signs, lengths, strict=True) if length < limit) + "…"


def _json(text: str) -> Markup:
    """Write the inside of a JSON string."""
    return Markup(json.dumps(text)[1:-1])  # noqa: S704 (the one place where text becomes JSON)
