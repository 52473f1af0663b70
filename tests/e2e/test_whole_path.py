"""The whole path with no fakes: kernel kill → card over a WebSocket → Approve in a browser → sshd → proof → Undo."""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import ElementNotInteractableException, StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import Select, WebDriverWait

from oombot.pit import Pit
from oombot.workspace import Workspace
from tests.conftest import Sshd
from tests.e2e.conftest import ADA, BEN, Bot, until

pytestmark = [pytest.mark.kill, pytest.mark.sshd, pytest.mark.browser]

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,1000"
)


@pytest.fixture
def browser(need: Callable[[object, str], None], tmp_path: Path) -> Iterator[WebDriver]:
    """Debian's Chromium, headless."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    need(chromium and driver, "the browser is missing: apt-get install chromium chromium-driver")
    options = Options()
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path / 'browser'}"]:
        options.add_argument(flag)
    options.binary_location = str(chromium)
    opened = webdriver.Chrome(options=options, service=Service(str(driver)))
    yield opened
    opened.quit()


class Page:
    """The workspace's page, as a person uses it."""

    def __init__(self, browser: WebDriver, url: str) -> None:
        self._browser = browser
        self._wait = WebDriverWait(browser, 30)
        browser.get(f"{url}/?as={ADA}&channel=oncall")

    def press(self, action: str, inside: str = "") -> None:
        """Press the newest button of this action."""
        self._click(f'{inside} [data-action-id="{action}"]')

    def confirm(self) -> None:
        """Say yes in the confirmation dialog."""
        self._click("#confirm [data-confirm=confirm]")

    def become(self, user_id: str) -> None:
        """Switch the person."""
        Select(self._browser.find_element(By.ID, "whoami")).select_by_value(user_id)

    def open_thread(self) -> None:
        """Open the newest thread."""
        self._click(".replies")

    def sees(self, words: str) -> None:
        """Wait until the page shows these words."""
        self._wait.until(lambda b: words in b.find_element(By.TAG_NAME, "body").text)

    def _click(self, selector: str) -> None:
        def clicked(browser: WebDriver) -> bool:
            found = browser.find_elements(By.CSS_SELECTOR, selector)
            if found:
                found[-1].click()
            return bool(found)

        passing = (
            StaleElementReferenceException,
            ElementNotInteractableException,
        )  # the page draws itself anew
        WebDriverWait(self._browser, 30, ignored_exceptions=passing).until(clicked)


@pytest.fixture
async def ssh_bot(workspace: Workspace, sshd: Sshd, tmp_path: Path):
    """A bot that reaches this machine by SSH only."""
    hosts = (
        f"ssh: {{known_hosts: {sshd.known_hosts}, keys: [{sshd.key_file}], user: {sshd.user}}}\n"
        f"hosts: [{{name: testbox, address: 127.0.0.1, port: {sshd.port}, become: "
        f"{'none' if os.geteuid() == 0 else 'sudo'}}}]"
    )
    made = Bot(workspace=workspace, folder=tmp_path, hosts=hosts)
    yield made
    if made.process is not None and not made.dead:
        await made.kill()


def adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


async def test_kill_card_approve_proof_undo(
    ssh_bot: Bot, small_cgroup: Pit, browser: WebDriver, workspace: Workspace
) -> None:
    """A real kill becomes a card; a second person approves in the browser; /proc shows it; Undo restores it."""
    await ssh_bot.start()
    victim = await small_cgroup.run_out_of_memory()
    [card] = await until(lambda: ssh_bot.cards(victim))
    assert "leaky" in card["text"]
    page = await asyncio.to_thread(Page, browser, workspace.url)
    await asyncio.to_thread(page.press, "propose")
    plan = await until(lambda: ssh_bot.replies("'approve'"))
    target = small_cgroup.leaky_pid
    assert str(target) in str(plan)
    await asyncio.to_thread(page.become, BEN)
    await asyncio.to_thread(page.open_thread)
    await asyncio.to_thread(page.press, "approve", "#thread")
    await asyncio.to_thread(page.confirm)
    await until(lambda: adj(target) == 500)
    await asyncio.to_thread(page.sees, "verified: the host shows what was wanted")
    assert f"oom_score_adj of pid {target}: 500" in str(ssh_bot.replies("Read back"))
    await asyncio.to_thread(page.press, "undo", "#thread")
    await asyncio.to_thread(page.confirm)
    await until(lambda: adj(target) == 0)
    await until(lambda: len(ssh_bot.replies("Read back")) == 2)
    assert await ssh_bot.stop() == 0
