"""The page's server side: what it shows to whom, and whom it refuses."""

import json

import pytest

from oombot.workspace import NotAllowedError, PageAction, Workspace, seed


@pytest.fixture
def see(ws, http):
    """Return what a person sees."""

    async def look(user=seed.ADA, since="0"):
        async with http.get(f"{ws.url}/page/state?as={user}&since={since}") as answer:
            return await answer.json()

    return look


def channel(seen, name):
    return next(one for one in seen["channels"] if one["name"] == name)


@pytest.mark.parametrize(
    "path", ["/", "/page/page.css", "/page/page.js", "/page/blocks.js", "/page/mrkdwn.js"]
)
async def test_nothing_remote_nothing_inline(ws, http, path):
    """Every file of the page is served with a policy that allows this origin only."""
    async with http.get(ws.url + path) as answer:
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "//" not in policy
        text = await answer.text()
    assert "innerHTML" not in text
    assert "<script>" not in text
    assert "https://" not in text


async def test_ephemeral_is_gone_on_reload(ws, api, see, clock):
    """A page loaded later does not show an earlier ephemeral message, nor does anybody else's."""
    await api("chat.postEphemeral", channel=seed.ONCALL, user=seed.ADA, text="psst")
    assert len(channel(await see(), "oncall")["messages"]) == 1
    assert channel(await see(seed.BEN), "oncall")["messages"] == []
    clock.move(1)
    assert channel(await see(since=str(clock.now)), "oncall")["messages"] == []


async def test_metadata_is_not_shown(post, see):
    """The page never gets metadata."""
    await post(text="x", metadata={"event_type": "e", "event_payload": {}})
    assert "metadata" not in channel(await see(), "oncall")["messages"][0]


async def test_only_the_three_people(ws, http):
    """The page shows the workspace as one of its people only."""
    async with http.get(f"{ws.url}/page/state?as={seed.OTHER_BOT}") as answer:
        assert answer.status == 404


async def do(ws, http, path, body, **headers):
    sent = {"Origin": ws.url, "Content-Type": "application/json", **headers}
    sent = {name: value for name, value in sent.items() if value is not None}
    async with http.post(f"{ws.url}/page/{path}", data=json.dumps(body), headers=sent) as answer:
        return answer.status, await answer.json() if answer.content_type == "application/json" else None


SAY = {"as": seed.ADA, "channel": "oncall", "text": "hello"}


async def test_a_person_writes(ws, http):
    """The page posts as the person."""
    status, _ = await do(ws, http, "do/say", SAY)
    assert (status, [m["user"] for m in ws.messages("oncall")]) == (200, [seed.ADA])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
async def test_other_websites_cannot_use_it(ws, http, headers, status):
    """Another origin, a rebound host name, or a body a foreign form could send is refused."""
    assert (await do(ws, http, "do/say", SAY, **headers))[0] == status
    assert ws.messages("oncall") == []


async def test_other_websites_cannot_listen(ws, http):
    """The live socket needs the page's own origin."""
    async with http.get(f"{ws.url}/page/live", headers={"Origin": "https://evil.example"}) as answer:
        assert answer.status == 403


async def test_reading_needs_a_loopback_name(ws, http):
    """Nothing is shown under a foreign host name."""
    async with http.get(f"{ws.url}/page/state?as={seed.ADA}", headers={"Host": "evil.example"}) as answer:
        assert answer.status == 403


async def test_live_socket_tells_of_changes(ws, http, post):
    """The page hears of a change at once."""
    async with http.ws_connect(f"{ws.url}/page/live", headers={"Origin": ws.url}) as socket:
        first = (await socket.receive_json())["version"]
        await post(text="x")
        assert (await socket.receive_json(timeout=2))["version"] > first


async def test_page_actions(http):
    """A page action runs the embedder's callback and answers with its text, or with what went wrong."""

    async def fine():
        return "java was killed"

    async def broken():
        raise ValueError("no memory left to lose")

    actions = (PageAction("oom", "Run out of memory", fine), PageAction("bad", "Break", broken))
    async with Workspace(page_actions=actions) as ws:
        assert await do(ws, http, "action/oom", {}) == (200, {"toast": "java was killed"})
        assert await do(ws, http, "action/bad", {}) == (
            200,
            {"error": "Break failed: no memory left to lose"},
        )
        assert (await do(ws, http, "action/none", {}))[0] == 404


async def test_refusals_are_words(ws, http):
    """What a person cannot do comes back as a sentence."""
    _, reply = await do(ws, http, "do/say", {**SAY, "channel": "old-alerts"})
    assert reply == {"error": "nobody can write in an archived channel"}
    assert (await do(ws, http, "do/nothing", {}))[0] == 404
    with pytest.raises(NotAllowedError):
        await ws.say(seed.ADA, "oncall", " ")


async def test_files_are_served_harmlessly(ws, api, http):
    """A text file is plain text to download, whatever is in it."""
    place = await api("files.getUploadURLExternal", filename="x.html", length=8)
    async with http.post(place.upload_url, data=b"<script>"):
        pass
    async with http.get(f"{ws.url}/page/files/{place.file_id}") as answer:
        assert answer.headers["Content-Disposition"] == "attachment"
        assert answer.content_type == "application/octet-stream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["page/nothing.js", "page/files/F0NOTHERE", "page/state", "page/../server.py"]
)
async def test_only_what_belongs_to_the_page(ws, http, path):
    """Nothing else of the package is served."""
    async with http.get(f"{ws.url}/{path}") as answer:
        assert answer.status == 404


async def test_images_are_shown(ws, api, http):
    """A picture is served as what it is."""
    place = await api("files.getUploadURLExternal", filename="x.png", length=3)
    async with http.post(place.upload_url, data=b"png"):
        pass
    async with http.get(f"{ws.url}/page/files/{place.file_id}") as answer:
        assert (answer.content_type, answer.headers["Content-Disposition"]) == ("image/png", "inline")


@pytest.mark.parametrize("body", [{}, {"as": seed.ADA}, [1]])
async def test_incomplete_requests(ws, http, body):
    """A request of the page that lacks something is a bad one."""
    assert (await do(ws, http, "do/say", body))[0] == 400


async def test_invited_bot(ws, app, until):
    """Inviting the bot makes it a member and tells it."""
    await ws.invite_bot(seed.ADA, "secret")
    event = (await until(lambda: app.envelopes))[0]["payload"]["event"]
    assert (event["type"], event["channel"], event["inviter"]) == (
        "member_joined_channel",
        seed.PRIVATE,
        seed.ADA,
    )
    assert (await ws.mention(seed.ADA, "secret", "hello"))["text"].endswith("hello")


async def test_directory_can_change(ws, api):
    """Tests may change who is in the group."""
    from dataclasses import replace

    group = ws.directory.groups[seed.ONCALL_GROUP]
    ws.directory.put_group(replace(group, users=(seed.CLEO,)))
    assert (await api("usergroups.users.list", usergroup=seed.ONCALL_GROUP)).users == [seed.CLEO]
    ws.directory.leave(seed.ONCALL, seed.BOT_USER)
    assert (await api("chat.postMessage", channel=seed.ONCALL, text="x")).error == "not_in_channel"
