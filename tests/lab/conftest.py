"""Machines, links and the product as fixtures. Each test gets machines of its own: one goes on in about 3 seconds."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest

from oombot.workspace import Workspace
from tests.lab import images
from tests.lab.link import Link, link
from tests.lab.machine import Machine, machine
from tests.lab.product import Product


class Connect(Protocol):
    """Make a link to a machine."""

    async def __call__(self, machine: Machine) -> Link: ...


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """All tests of this folder are of the lab; those of remedies are sampled unless OOMBOT_FULL is set.

    A sample takes each of them on one of its suites, by turns, so that both suites come up.
    """
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        item.add_marker("lab")
    if os.environ.get("OOMBOT_FULL"):
        return
    full = [item for item in ours if item.get_closest_marker("full")]
    sampled = [item for item in ours if item.path.name.startswith("test_remedy_") and item not in full]
    left_out = [*full, *_left_out(sampled)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _left_out(items: list[pytest.Item]) -> list[pytest.Item]:
    """All but one form of each test that runs on both suites: the first test's on one, the second's on the other."""
    forms: dict[str, list[pytest.Item]] = {}
    for item in sorted(items, key=lambda one: one.nodeid):
        forms.setdefault(item.nodeid.partition("[")[0], []).append(item)
    several = [found for _, found in sorted(forms.items()) if len(found) > 1]
    return [
        item for turn, found in enumerate(several) for item in found if item is not found[turn % len(found)]
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A test that failed shows the end of each console, of the bot's log, and the channel."""
    report = yield
    if call.when == "call" and report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Machine):
                report.sections.append((f"console of {name} ({value.kind})", value.console[-3000:]))
            elif isinstance(value, Product):
                report.sections.append(("the product", value.report()))
    return report


@pytest.fixture(scope="session")
def lab(need) -> None:
    """Machines can be run here."""
    reason = images.missing()
    need(not reason, reason)


@pytest.fixture
def debian12(lab) -> Iterator[Machine]:
    """A fresh Debian 12: kernel 6.1, systemd 252, cgroup v2."""
    with machine(images.DEBIAN_12) as started:
        yield started


@pytest.fixture
def debian13(lab) -> Iterator[Machine]:
    """A fresh Debian 13: kernel 6.12, systemd 257, cgroup v2."""
    with machine(images.DEBIAN_13) as started:
        yield started


@pytest.fixture
def cgroup1(lab) -> Iterator[Machine]:
    """A fresh Debian 12 that was booted with cgroup v1."""
    with machine(images.CGROUP_V1) as started:
        yield started


@pytest.fixture(params=["debian12", "debian13"])
def debian(request: pytest.FixtureRequest) -> Machine:
    """The test runs once on each suite."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["debian12", "debian13", "cgroup1"])
def any_machine(request: pytest.FixtureRequest) -> Machine:
    """The test runs once on each kind of machine."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Make links, as many as are needed."""
    async with AsyncExitStack() as stack:

        async def to(machine: Machine) -> Link:
            return await stack.enter_async_context(link(machine.port))

        yield to


@pytest.fixture
async def product(tmp_path: Path) -> AsyncIterator[Product]:
    """A bot with a channel of its own, not started."""
    async with Workspace() as workspace:
        made = Product(workspace=workspace, folder=tmp_path)
        try:
            yield made
        finally:
            await made.kill()
