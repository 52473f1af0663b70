"""Reads what a message says (text, blocks, attachments, metadata) and refuses what Slack refuses."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from oombot.workspace.block_kit import checked_blocks
from oombot.workspace.errors import SlackError

TEXT_MAX: Final = 40_000
MARKDOWN_TEXT_MAX: Final = 12_000
ATTACHMENTS_MAX: Final = 100
METADATA_MAX_BYTES: Final = 16_384
_COLOURS: Final = {"good": "2eb886", "warning": "daa038", "danger": "a30200"}
_ATTACHMENT_KEYS: Final = frozenset({
    "actions", "app_id", "attachment_type", "author_icon", "author_link", "author_name", "author_subname", "blocks",
    "callback_id", "color", "fallback", "fields", "footer", "footer_icon", "id", "image_url", "mrkdwn_in", "pretext",
    "text", "thumb_url", "title", "title_link", "ts",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The parts of a message that were given; None means the part was left out."""

    text: str | None = None
    blocks: list[dict[str, Any]] | None = None
    attachments: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] | None = None

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to show."""
        return not (self.text and self.text.strip()) and not self.blocks and not self.attachments

    @property
    def shown_text(self) -> str:
        """Return the notification text, made from the blocks when none was given."""
        if self.text is not None:
            return self.text[:TEXT_MAX]
        return text_of_blocks(self.blocks or [])

    def as_json(self) -> dict[str, Any]:
        """Return the parts that have content, as they are stored."""
        parts: dict[str, Any] = {"text": self.shown_text}
        given = {"blocks": self.blocks, "attachments": self.attachments, "metadata": self.metadata}
        return parts | {key: value for key, value in given.items() if value}


def read_content(raw: Mapping[str, Any], files: Collection[str] = ()) -> Content:
    """Parse and check the content of a message; JSON may come as text, as in a form."""
    text = raw.get("text")
    blocks = parsed(raw.get("blocks"), "invalid_blocks_format")
    if raw.get("markdown_text") is not None:
        if text is not None or blocks is not None:
            raise SlackError("markdown_text_conflict")
        text = str(raw["markdown_text"])
        if len(text) > MARKDOWN_TEXT_MAX:
            raise SlackError("msg_too_long")
    attachments = parsed(raw.get("attachments"), "invalid_attachments")
    metadata = parsed(raw.get("metadata"), "invalid_metadata_format")
    return Content(
        text=None if text is None else str(text),
        blocks=None if blocks is None else checked_blocks(blocks, files=files),
        attachments=None if attachments is None else _attachments(attachments, files),
        metadata=None if metadata is None else _metadata(metadata),
    )


def parsed(value: Any, error: str) -> Any:
    """Return JSON given as text or as a value; an empty string counts as left out."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except ValueError:
        raise SlackError(error) from None


def text_of_blocks(blocks: list[dict[str, Any]]) -> str:
    """Return the words of some blocks in reading order: the notification Slack builds."""
    words: list[str] = []
    for block in blocks:
        found = block.get("text")
        if isinstance(found, dict):
            words.append(str(found.get("text", "")))
        elif isinstance(found, str):
            words.append(found)
        words += [str(field.get("text", "")) for field in block.get("fields", [])]
    return " ".join(words)


def _attachments(raw: Any, files: Collection[str]) -> list[dict[str, Any]]:
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
        raise SlackError("invalid_attachments")
    if len(raw) > ATTACHMENTS_MAX:
        raise SlackError("too_many_attachments")
    return [_attachment(item, position, files) for position, item in enumerate(raw)]


def _attachment(raw: dict[str, Any], position: int, files: Collection[str]) -> dict[str, Any]:
    if unknown := sorted(set(raw) - _ATTACHMENT_KEYS):
        raise SlackError(
            "invalid_attachments", messages=[f"[ERROR] invalid additional property: {unknown[0]}"]
        )
    stored = {**raw, "id": position + 1, "fallback": raw.get("fallback", "[no preview available]")}
    if "color" in raw:
        stored["color"] = _COLOURS.get(str(raw["color"]), str(raw["color"]).removeprefix("#").lower())
    if "blocks" in raw:
        blocks = parsed(raw["blocks"], "invalid_blocks_format")
        stored["blocks"] = checked_blocks(blocks, files=files, pointer=f"/attachments/{position}/blocks")
    return stored


def _metadata(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict) or not isinstance(raw.get("event_payload"), dict):
        raise SlackError("invalid_metadata_format")
    if not isinstance(raw.get("event_type"), str) or not raw["event_type"]:
        raise SlackError("invalid_metadata_format")
    if unknown := sorted(set(raw) - {"event_type", "event_payload"}):
        raise SlackError("invalid_metadata_schema", messages=[f"invalid additional property: {unknown[0]}"])
    if len(json.dumps(raw).encode()) > METADATA_MAX_BYTES:
        raise SlackError("metadata_too_large")
    if not all(_is_flat(value, depth=1) for value in raw["event_payload"].values()):
        raise SlackError("invalid_metadata_schema", messages=["event_payload may nest one level only"])
    return raw


def _is_flat(value: Any, *, depth: int) -> bool:
    if isinstance(value, str | int | float):
        return True
    inner = list(value.values()) if isinstance(value, dict) else value
    return depth > 0 and isinstance(inner, list) and all(_is_flat(item, depth=depth - 1) for item in inner)
