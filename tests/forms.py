"""The dialog of the remedies as a person goes through it in the workspace: menu, form, submission."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from oombot.workspace import Workspace

WITHIN_S = 30.0


async def fill_in(
    workspace: Workspace,
    person: str,
    line: str,
    remedy: str,
    values: Mapping[str, str] | Callable[[dict[str, Any]], Mapping[str, str]],
    *,
    within_s: float = WITHIN_S,
) -> dict[str, str]:
    """Type `/oom fix …`, choose a remedy, fill in its form and submit; what Slack shows at the fields.

    `values` may be what makes them of the form. A wrong submission leaves the dialog open.
    """
    await open_form(workspace, person, line, remedy, within_s=within_s)
    form = workspace.view(person)
    assert form is not None
    return await workspace.submit(person, values(form) if callable(values) else values)


async def open_form(
    workspace: Workspace, person: str, line: str, remedy: str, *, within_s: float = WITHIN_S
) -> dict[str, Any]:
    """Type `/oom fix …` and choose a remedy of the menu; the form."""
    await workspace.slash(person, "oncall", line)
    await shown(workspace, person, "fix_menu", within_s=within_s)
    assert await workspace.click_view(person, f"fix:{remedy}")
    return await shown(workspace, person, "fix", within_s=within_s)


async def shown(
    workspace: Workspace, person: str, callback_id: str, *, within_s: float = WITHIN_S
) -> dict[str, Any]:
    """Wait for a dialog of this kind."""
    async with asyncio.timeout(within_s):
        while (view := workspace.view(person)) is None or view["callback_id"] != callback_id:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return view


def offered(form: dict[str, Any], field: str) -> list[str]:
    """The values that a field of the form offers."""
    [block] = [block for block in form["blocks"] if block.get("block_id") == field]
    return [option["value"] for option in block["element"]["options"]]
