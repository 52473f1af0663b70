"""The rich_text block as a table of what Slack accepts."""

from typing import Any, Final

from oombot.workspace.shapes import Check, Report, array, boolean, number, one_of, shape, string, tagged

_FLAGS: Final = ("bold", "italic", "strike", "code", "underline", "highlight", "client_highlight", "unlink")
_STYLE: Final[dict[str, Check]] = {"style": shape({}, dict.fromkeys(_FLAGS, boolean), typed=False)}
_ID: Final = string(1, 255)

_LEAVES: Final[dict[str, Check]] = {
    "text": shape({"text": string(1, 30_000)}, _STYLE),
    "link": shape({"url": string(1, 3000)}, {**_STYLE, "text": string(0, 3000), "unsafe": boolean}),
    "emoji": shape({"name": _ID}, {**_STYLE, "unicode": _ID, "url": string(1, 3000)}),
    "user": shape({"user_id": _ID}, _STYLE),
    "usergroup": shape({"usergroup_id": _ID}, _STYLE),
    "channel": shape({"channel_id": _ID}, _STYLE),
    "team": shape({"team_id": _ID}, _STYLE),
    "broadcast": shape({"range": one_of("here", "channel", "everyone")}, _STYLE),
    "color": shape({"value": string(4, 9)}, _STYLE),
    "date": shape(
        {"timestamp": number(0, 99_999_999_999), "format": string(1, 255)},
        {**_STYLE, "url": string(1, 3000), "fallback": string(1, 3000)},
    ),
}
_INLINE: Final = array(tagged(_LEAVES), 0, 1000)
_VERBATIM: Final = array(tagged({"text": _LEAVES["text"], "link": _LEAVES["link"]}), 0, 1000)
_SECTION: Final = shape({"elements": _INLINE})
_ITEMS: Final = array(tagged({"rich_text_section": _SECTION}), 1, 200)
_BORDER: Final[dict[str, Check]] = {"border": number(0, 1)}


def _filled(report: Report, value: Any, pointer: str) -> None:
    if not any(part["elements"] for part in value["elements"]):
        report.fault(f"{pointer}/elements", "rich text has no content")


RICH_TEXT: Final = shape(
    {
        "elements": array(
            tagged({
                "rich_text_section": _SECTION,
                "rich_text_preformatted": shape({"elements": _VERBATIM}, {**_BORDER, "language": _ID}),
                "rich_text_quote": shape({"elements": _INLINE}, _BORDER),
                "rich_text_list": shape(
                    {"style": one_of("bullet", "ordered"), "elements": _ITEMS},
                    {**_BORDER, "indent": number(0, 8), "offset": number(0, 1_000_000)},
                ),
            }),
            1,
            200,
        )
    },
    {"block_id": string(1, 255)},
    _filled,
)  # fmt: skip
