"""The page in a real browser: a person types, reads, presses and fills in."""

import asyncio
import os
import shutil
from functools import partial

import pytest

from oombot.workspace import PageAction, Workspace, seed

pytestmark = pytest.mark.browser
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
)


def open_browser(profile):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER))


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    """One headless Chromium for the module."""
    if not (shutil.which(CHROMIUM) and shutil.which(DRIVER)):
        if os.environ.get("CI") == "true":
            pytest.fail("chromium and chromium-driver must be installed in CI")
        pytest.skip("Debian's chromium and chromium-driver are not installed")
    browser = open_browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.quit()


class Screen:
    """What a person does in the browser; each step runs in a thread so that the workspace can answer."""

    def __init__(self, browser, ws):
        self.browser = browser
        self.ws = ws

    async def run(self, function, *arguments):
        return await asyncio.to_thread(partial(function, *arguments))

    async def open(self, query=""):
        await self.run(self.browser.get, f"{self.ws.url}/{query}")
        await self.one("#whoami option")

    async def js(self, script, *arguments):
        return await self.run(self.browser.execute_script, script, *arguments)

    async def one(self, selector, words=""):
        """Wait for an element with some words in it."""
        from selenium.common.exceptions import WebDriverException

        def find():
            for element in self.browser.find_elements("css selector", selector):
                try:
                    if words in element.get_attribute("textContent") and element.is_displayed():
                        return element
                except WebDriverException:  # redrawn meanwhile
                    continue
            return None

        async with asyncio.timeout(10):
            while (found := await self.run(find)) is None:  # noqa: ASYNC110 (the browser is polled)
                await asyncio.sleep(0.03)
        return found

    async def press(self, selector, words=""):
        await self.run((await self.one(selector, words)).click)

    async def type(self, selector, words):
        await self.run((await self.one(selector)).send_keys, words)

    async def be(self, user_id):
        await self.press(f'#whoami option[value="{user_id}"]')
        await asyncio.sleep(0.2)

    async def gone(self, selector):
        script = "const e = document.querySelector(arguments[0]); return !!e && e.open !== false"
        async with asyncio.timeout(10):
            while await self.js(script, selector):  # noqa: ASYNC110 (the browser is polled)
                await asyncio.sleep(0.03)


@pytest.fixture
async def ws():
    """A workspace on real time with one page action."""

    async def oom():
        return ":boom: java was killed"

    action = PageAction("oom", "Run out of memory", oom)
    async with Workspace(page_actions=(action,), post_burst=100) as opened:
        yield opened


@pytest.fixture
async def screen(chrome, ws):
    """The page, as Ada in #oncall; at the end nothing may have gone wrong in the console."""
    made = Screen(chrome, ws)
    await made.open()
    yield made
    errors = [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []
    await made.run(chrome.get, "about:blank")


async def test_slash_button_modal(screen, app, api, kit, until):
    """Ada runs /oom and sees an answer only she sees; Ben confirms, fills in the modal and corrects an error."""
    card = {"text": "looking", "blocks": [kit.section]}
    app.answer = lambda envelope: card if envelope["type"] == "slash_commands" else {}
    await screen.type("#composer", "/oom host42\n")
    await screen.one("article.ephemeral", "hello")
    assert app.envelopes[0]["payload"]["text"] == "host42"
    words = {"title": "Sure?", "text": "Really", "confirm": "Yes", "deny": "No"}
    button = {**kit.button, "confirm": {part: kit.plain(text) for part, text in words.items()}}
    blocks = [{"type": "actions", "elements": [button]}]
    ts = (await api("chat.postMessage", channel=seed.ONCALL, text="x", blocks=blocks)).ts
    await screen.be(seed.BEN)
    assert await screen.js("return document.querySelectorAll('article.ephemeral').length") == 0
    await screen.press(f'[data-ts="{ts}"] [data-action-id="go"]')
    await screen.press('#confirm [data-confirm="deny"]')
    await screen.gone("#confirm")
    assert len(app.envelopes) == 1
    await screen.press(f'[data-ts="{ts}"] [data-action-id="go"]')
    await screen.press('#confirm [data-confirm="confirm"]')
    await until(lambda: len(app.envelopes) == 2)
    payload = app.envelopes[1]["payload"]
    assert payload["user"]["id"] == seed.BEN
    assert (await api("views.open", trigger_id=payload["trigger_id"], view=kit.modal)).ok
    await screen.press("#modal button[type=submit]")
    await screen.one('#modal [data-error-for="why"]', "required")
    await screen.type('#modal [data-action-id="words"]', "because")
    app.answer = lambda _envelope: {"response_action": "errors", "errors": {"why": "say more"}}
    await screen.press("#modal button[type=submit]")
    await screen.one('#modal [data-error-for="why"]', "say more")
    app.answer = lambda _envelope: {}
    await screen.press("#modal button[type=submit]")
    await screen.gone("#modal")
    values = app.envelopes[-1]["payload"]["view"]["state"]["values"]
    assert values["why"]["words"]["value"] == "because"


async def test_ephemeral_is_gone_on_reload(screen, api):
    """An ephemeral message is there until the page is loaded again."""
    await api("chat.postEphemeral", channel=seed.ONCALL, user=seed.ADA, text="psst")
    await screen.one("article.ephemeral", "psst")
    await screen.open()
    await asyncio.sleep(0.3)
    assert await screen.js("return document.querySelectorAll('article.ephemeral').length") == 0


async def test_thread(ws, screen, post):
    """Replies open in a pane, where a person answers; slash commands do not work there."""
    parent = (await post(text="parent")).ts
    await post(text="first reply", thread_ts=parent)
    await screen.press(f'[data-ts="{parent}"] .replies', "1 reply")
    await screen.one("#thread article", "first reply")
    await screen.type("#thread-composer", "I see\n")
    await screen.one("#thread article", "I see")
    assert ws.messages("oncall")[-1]["thread_ts"] == parent
    await screen.type("#thread-composer", "/oom\n")
    await screen.one("article.ephemeral", "not supported in threads")


async def test_unread_badge(screen, api):
    """A message elsewhere shows as unread until the channel is opened."""
    await api("chat.postMessage", channel=seed.DB_ONCALL, text="look here")
    await screen.one('[data-channel="db-oncall"] .badge', "1")
    await screen.press('[data-channel="db-oncall"]')
    await screen.one("article", "look here")
    assert await screen.js("return document.querySelector('[data-channel=db-oncall] .badge')") is None


async def test_page_action(screen):
    """A page action shows its text as a toast."""
    await screen.press('[data-page-action="oom"]')
    await screen.one("#toast.shown", "java was killed")


async def test_command_hint(screen):
    """Typing a slash offers the commands."""
    await screen.type("#composer", "/o")
    await screen.press("#hints button", "/oom")
    assert await screen.js("return document.getElementById('composer').value") == "/oom "


HOSTILE = "<img src=x onerror=alert(1)> &lt;!channel&gt; <javascript:alert(1)|x> `<b>` *a* _b_ ~c~"


async def test_text_is_never_markup(screen, post, kit):
    """Whatever a message says, it stays text: no element, no script, no mention out of escaped text."""
    blocks = [
        {"type": "section", "text": {"type": "mrkdwn", "text": HOSTILE, "verbatim": True}},
        {"type": "header", "text": kit.plain("<b>x</b>")},
    ]
    ts = (await post(text="x", blocks=blocks)).ts
    node = await screen.one(f'[data-ts="{ts}"]')
    text = await screen.run(node.get_attribute, "textContent")
    assert "<!channel>" in text
    count = "return arguments[0].querySelectorAll(arguments[1]).length"
    assert await screen.js(count, node, "img, .mention, a, script, h3 b") == 0
    assert [await screen.js(count, node, tag) for tag in ("b", "i", "s")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("text", "verbatim", "selector", "shown"),
    [
        ("@channel", False, ".mention.broadcast", "@channel"),
        ("x <!here>", True, ".mention.broadcast", "@here"),
        (f"<@{seed.ADA}>", True, ".mention.me", "@Ada Park"),
        (f"<@{seed.BEN}>", True, ".mention", "@Ben Ito"),
        (f"<#{seed.ONCALL}>", True, ".mention", "#oncall"),
        (f"<!subteam^{seed.ONCALL_GROUP}>", True, ".mention.me", "@oncall"),
        (
            "<https://example.com/a?b=1&amp;c=2|run book>",
            True,
            'a[href="https://example.com/a?b=1&c=2"]',
            "run book",
        ),
        ("see https://example.com/x.", False, 'a[href="https://example.com/x"]', "https://example.com/x"),
        ("```a <b>\n&lt;c&gt;```", True, "pre", "<c>"),
        ("&gt; quoted", True, "blockquote", "quoted"),
        ("<!date^0^{date_num} {ago}|long ago>", True, "time", "1970-01-01"),
        ("*<https://example.com|bold link>*", True, "b a", "bold link"),
    ],
)
async def test_mrkdwn(screen, post, text, verbatim, selector, shown):  # noqa: PLR0917 (fixtures)
    """mrkdwn is drawn as Slack draws it; without verbatim bare mentions and addresses are found too."""
    section = {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": verbatim}}
    ts = (await post(text="x", blocks=[section])).ts
    await screen.one(f'[data-ts="{ts}"] {selector}', shown)


async def test_verbatim_finds_no_mentions(screen, post):
    """With verbatim a bare @channel is only text."""
    text = {"type": "mrkdwn", "text": "@channel #oncall https://example.com", "verbatim": True}
    ts = (await post(text="x", blocks=[{"type": "section", "text": text}])).ts
    node = await screen.one(f'[data-ts="{ts}"]', "@channel #oncall")
    assert await screen.js("return arguments[0].querySelectorAll('.mention, a').length", node) == 0


async def test_table_is_last(screen, post, kit):
    """A table is drawn at the bottom wherever it stands."""
    table = {"type": "table", "rows": [[{"type": "raw_text", "text": "cell"}]]}
    ts = (await post(text="x", blocks=[table, kit.section])).ts
    node = await screen.one(f'[data-ts="{ts}"] .body')
    assert await screen.js("return arguments[0].lastElementChild.className", node) == "block block-table"


async def test_phone_width_has_no_sideways_scrolling(screen, post, kit):
    """On a phone nothing is wider than the screen."""
    fields = [{"type": "mrkdwn", "text": "*" + "w" * 60 + "*\nvalue", "verbatim": True}] * 4
    table = {"type": "table", "rows": [[{"type": "raw_text", "text": "cell" * 6}] * 6]}
    await post(
        text="x", attachments=[{"color": "#f00", "blocks": [{"type": "section", "fields": fields}, table]}]
    )
    await screen.js("document.documentElement.style.cssText = 'width: 390px'")
    await screen.run(screen.browser.set_window_size, 500, 800)
    try:
        await screen.open("?theme=dark")
        await screen.one("article")
        assert await screen.js("return document.documentElement.scrollWidth <= innerWidth")
        assert await screen.js(
            "const m = document.getElementById('messages'); return m.scrollWidth <= m.clientWidth"
        )
    finally:
        await screen.run(screen.browser.set_window_size, 1280, 900)


async def test_query_presets(screen):
    """Person, channel and theme come from the address."""
    await screen.open(f"?as={seed.CLEO}&channel=general&theme=dark")
    assert await screen.js("return document.getElementById('whoami').value") == seed.CLEO
    await screen.one("#title", "general")
    assert await screen.js("return document.documentElement.dataset.theme") == "dark"


async def test_emoji_need_no_font(screen, post):
    """Common emoji are drawn, by shortcode or by sign, and stay in the text; unknown shortcodes stay as typed."""
    ts = (await post(text=":red_circle: \N{SKULL} :shrug_cat: `:x:`")).ts
    node = await screen.one(f'[data-ts="{ts}"] .text')
    assert "\N{LARGE RED CIRCLE}" in await screen.run(node.get_attribute, "textContent")
    assert await screen.js("return arguments[0].querySelectorAll('svg').length", node) == 2
    await screen.one(f'[data-ts="{ts}"] code', ":x:")
    await screen.one(f'[data-ts="{ts}"]', ":shrug_cat:")
