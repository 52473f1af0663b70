"""The demo's pit under a user's systemd: what is not really capped is refused, and nothing is left behind."""

from importlib import resources
from pathlib import Path

import pytest

from oombot.pit import Pit


def command(folder: Path, name: str, script: str) -> None:
    """Put a program into a folder."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


async def test_a_limit_that_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the memory controller systemd accepts a limit and sets none: the kernel's own value decides."""
    calls = tmp_path / "calls"
    command(tmp_path, "systemd-run", 'while [ "$1" != "${1#--}" ]; do shift; done; exec "$@"')
    command(tmp_path, "systemctl", f'echo "$@" >>{calls}')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with resources.as_file(resources.files("oombot") / "data" / "hog.py") as hog:
        pit = Pit(hog, "systemd-run --user", name="oombot-test")
        with pytest.raises(OSError, match="not delegated"):
            async with pit:
                pytest.fail("it started without a limit")
    said = [line.split()[2:] for line in calls.read_text().splitlines()]
    assert [words[0] for words in said] == ["set-property", "stop", "revert"]
    assert said[1:] == [["stop", "oombot_test.slice"], ["revert", "oombot_test.slice"]]
