"""The three-step upload."""

import aiohttp
import pytest

from oombot.workspace import seed


@pytest.fixture
def upload(api, http):
    """Announce a file, send its bytes and return its id."""

    async def send(content=b"hello", *, name="a.log", length=None):
        place = await api("files.getUploadURLExternal", filename=name, length=length or len(content))
        async with http.post(place.upload_url, data=content) as answer:
            return place.file_id, answer.status

    return send


async def test_private_without_a_channel(ws, api, upload):
    """Without channel_id the file stays private and no message appears."""
    ws.scopes.add("files:read")
    file_id, _ = await upload()
    assert (await api("files.completeUploadExternal", files=[{"id": file_id, "title": "t"}])).ok
    file = (await api("files.info", file=file_id)).file
    assert (file["title"], file["channels"], file["is_public"]) == ("t", [], False)
    assert ws.messages("oncall") == []


async def test_shared_in_a_thread(ws, api, upload, post):
    """With channel_id and thread_ts the file appears as a reply with its comment."""
    parent = (await post(text="x")).ts
    file_id, _ = await upload()
    body = {"channel_id": seed.ONCALL, "thread_ts": parent, "initial_comment": "look"}
    await api("files.completeUploadExternal", files=[{"id": file_id}], **body)
    message = ws.messages("oncall")[1]
    assert (message["thread_ts"], message["text"], message["files"][0]["id"]) == (parent, "look", file_id)


async def test_length_must_be_right(upload):
    """Bytes of another length than announced are refused."""
    assert (await upload(b"hello", length=4))[1] == 400


async def test_upload_needs_a_place(ws, http):
    """An invented upload URL takes nothing."""
    async with http.post(f"{ws.url}/upload/v1/nowhere", data=b"x") as answer:
        assert answer.status == 404


async def test_multipart_upload(api, http):
    """The bytes may come as a form part."""
    place = await api("files.getUploadURLExternal", filename="a.log", length=3)
    form = aiohttp.FormData()
    form.add_field("file", b"abc", filename="a.log")
    async with http.post(place.upload_url, data=form) as answer:
        assert await answer.text() == "OK - 3"


async def test_complete_without_bytes(api):
    """A file whose bytes never came cannot be completed."""
    place = await api("files.getUploadURLExternal", filename="a.log", length=3)
    assert (
        await api("files.completeUploadExternal", files=[{"id": place.file_id}])
    ).error == "file_not_found"


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ({"channel_id": seed.ELSEWHERE}, "not_in_channel"),
        ({"channel_id": seed.PRIVATE}, "channel_not_found"),
        ({"channel_id": "oncall"}, "channel_not_found"),
        ({"channel_id": seed.ONCALL, "thread_ts": "1.000000"}, "invalid_thread_ts"),
    ],
)
async def test_where_a_file_cannot_go(api, upload, where, error):
    """Sharing obeys the same rules as posting, and takes channel ids only."""
    file_id, _ = await upload()
    assert (await api("files.completeUploadExternal", files=[{"id": file_id}], **where)).error == error


async def test_no_files(api):
    """There must be something to complete."""
    assert (await api("files.completeUploadExternal", files=[])).error == "invalid_arguments"


async def test_file_without_length(api):
    """The length in bytes must be given."""
    assert (await api("files.getUploadURLExternal", filename="a.log")).error == "invalid_length"


async def test_image_block_refers_to_a_file(api, upload, post):
    """An image block may show a completed file, not one that is unknown."""
    file_id, _ = await upload(b"png", name="a.png")
    await api("files.completeUploadExternal", files=[{"id": file_id}])
    await post(text="x", blocks=[{"type": "image", "slack_file": {"id": file_id}, "alt_text": "a"}])
    missing = [{"type": "image", "slack_file": {"id": "F0NOTHERE"}, "alt_text": "a"}]
    assert (
        await api("chat.postMessage", channel=seed.ONCALL, text="x", blocks=missing)
    ).error == "invalid_blocks"
