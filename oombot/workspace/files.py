"""The files.* methods: ask for a place, upload, complete; without a channel a file stays private."""

from dataclasses import replace
from typing import Any, Final

from oombot.workspace.calls import Call, Method
from oombot.workspace.directory import Channel
from oombot.workspace.errors import SlackError
from oombot.workspace.message_content import read_content
from oombot.workspace.state import State, StoredFile, random_id

FILE_MAX_BYTES: Final = 50_000_000
PREVIEW_CHARS: Final = 20_000
TEXT_TYPES: Final = frozenset(
    {"", "conf", "csv", "diff", "json", "log", "md", "patch", "py", "sh", "text", "txt", "yaml", "yml"}
)


def get_upload_url(call: Call) -> dict[str, Any]:
    """files.getUploadURLExternal: a place for `length` bytes."""
    name = call.args.required("filename")
    length = call.args.number("length", 0, low=1, high=FILE_MAX_BYTES)
    state = call.state
    created = int(state.clock())
    file = StoredFile(
        id=random_id("F"), name=name, title=name, length=length, upload_key=random_id("", 24), created=created
    )
    state.files[file.id] = file
    return {"file_id": file.id, "upload_url": f"{state.base_url}/upload/v1/{file.upload_key}"}


def receive_upload(state: State, upload_key: str, content: bytes) -> int:
    """Take the bytes of an upload and return how many; the announced length must be right."""
    file = next((f for f in state.files.values() if f.upload_key == upload_key), None)
    if file is None or file.is_complete:
        raise SlackError("invalid_upload_url", status=404)
    if len(content) != file.length:
        raise SlackError("length_mismatch", status=400)
    state.files[file.id] = replace(file, content=content)
    return len(content)


def complete_upload(call: Call) -> dict[str, Any]:
    """files.completeUploadExternal: finish the files and, when a channel is given, share them there."""
    wanted = call.args.json("files")
    if not isinstance(wanted, list) or not wanted or not all(isinstance(item, dict) for item in wanted):
        raise SlackError("invalid_arguments", messages=["[ERROR] missing required field: files"])
    channel = _target(call)
    _check_thread(call, channel)
    done = [_completed(call.state, item) for item in wanted]
    if channel is not None:
        done = [replace(file, channels=(channel.id,)) for file in done]
    call.state.files.update({file.id: file for file in done})
    if channel is not None:
        _share(call, channel, done)
    return {"files": [file_json(call.state, file) for file in done]}


def file_info(call: Call) -> dict[str, Any]:
    """files.info."""
    file = call.state.files.get(call.args.required("file"))
    if file is None or not file.is_complete:
        raise SlackError("file_not_found")
    return {"file": file_json(call.state, file)}


def is_text(file: StoredFile) -> bool:
    """Tell whether a file is shown as a snippet."""
    return file.name.rpartition(".")[2].lower() in TEXT_TYPES or "." not in file.name


def file_json(state: State, file: StoredFile) -> dict[str, Any]:
    """Return the file object; text files carry a preview."""
    extension = file.name.rpartition(".")[2].lower() if "." in file.name else "text"
    shown = {
        "id": file.id,
        "name": file.name,
        "title": file.title,
        "size": file.length,
        "created": file.created,
    }
    shown |= {
        "filetype": extension,
        "mode": "snippet" if is_text(file) else "hosted",
        "channels": list(file.channels),
    }
    shown |= {"is_public": bool(file.channels), "user": state.directory.bot.id}
    shown["url_private"] = f"{state.base_url}/page/files/{file.id}"
    if is_text(file):
        shown["preview"] = (file.content or b"").decode(errors="replace")[:PREVIEW_CHARS]
    return shown


def _target(call: Call) -> Channel | None:
    ids = call.args.text("channel_id") or call.args.text("channels")
    if not ids:
        return None
    if "," in ids:
        raise SlackError("invalid_channel")
    if call.state.directory.channels.get(ids) is None and ids not in call.state.directory.users:
        raise SlackError("channel_not_found")  # names are refused here, ids only
    return Call(state=call.state, args=type(call.args)({"channel": ids})).channel_to_write()


def _check_thread(call: Call, channel: Channel | None) -> None:
    thread_ts = call.args.text("thread_ts")
    if thread_ts and (channel is None or call.state.timeline.find(channel.id, thread_ts) is None):
        raise SlackError("invalid_thread_ts")


def _completed(state: State, item: dict[str, Any]) -> StoredFile:
    file = state.files.get(str(item.get("id")))
    if file is None or file.content is None or file.is_complete:
        raise SlackError("file_not_found")
    return replace(file, is_complete=True, title=str(item.get("title") or file.name))


def _share(call: Call, channel: Channel, files: list[StoredFile]) -> None:
    content = read_content({"text": call.args.text("initial_comment"), "blocks": call.args.raw.get("blocks")})
    shared = {"files": [file_json(call.state, file) for file in files], "upload": True}
    thread = {"thread_ts": call.args.text("thread_ts")} if call.args.text("thread_ts") else {}
    call.state.timeline.add(channel.id, call.state.bot_author() | content.as_json() | shared | thread)


METHODS: Final = {
    "files.getUploadURLExternal": Method(run=get_upload_url, scope="files:write"),
    "files.completeUploadExternal": Method(run=complete_upload, scope="files:write"),
    "files.info": Method(run=file_info, scope="files:read"),
}
