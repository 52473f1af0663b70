"""The closer look as the engine asks it: what comes back, and what becomes of an answer that is none."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from oombot.details import Look
from oombot.engine.readings import Readings
from oombot.errors import CommandFailedError
from oombot.model import Command, CommandResult
from tests.examples import a_snapshot

LOOK = Look(parts=("cgroup",), cgroup="/system.slice/api.service")


@dataclass
class Host:
    """A host that answers everything with these bytes."""

    stdout: bytes = b""
    stderr: bytes = b""
    asked: list[Command] = field(default_factory=list)

    async def run(self, host: str, command: Command, **_: Any) -> CommandResult:
        self.asked.append(command)
        return CommandResult(exit_status=1 if self.stderr else 0, stdout=self.stdout, stderr=self.stderr)


def readings(engine, host):
    """Readings of this host."""
    return Readings(replace(engine.context, hosts=host))


async def test_details_come_with_the_snapshot(engine):
    """The answer is read into the shape of details; the snapshot is otherwise the same."""
    said = {
        "cgroup": {"path": LOOK.cgroup, "version": 2, "current_b": 5},
        "problems": ["unit could not be read: no"],
    }
    snapshot = a_snapshot()
    found = await readings(engine, Host(json.dumps(said).encode())).closer(snapshot, LOOK)
    assert found.details is not None
    assert found.details.cgroup is not None
    assert (found.details.cgroup.current_b, found.details.cgroup.max_b) == (5, None)
    assert found.details.problems == ("unit could not be read: no",)
    assert replace(found, details=snapshot.details) == snapshot


async def test_no_question_is_not_asked(engine):
    """A remedy that the reading suffices for costs no round trip."""
    host = Host()
    snapshot = a_snapshot()
    assert await readings(engine, host).closer(snapshot, Look()) is snapshot
    assert host.asked == []


@pytest.mark.parametrize(
    ("stdout", "stderr", "said"),
    [
        (b"", b"sh: python3: not found", "python3: not found"),
        (b'{"cgroup": {"path": "/x", "vers', b"", "no output"),
        (b'{"cgroup": {"path": "/x", "version": "two"}}', b"", "no output"),
        (b"Welcome to host42!\n", b"", "no output"),
        (b'{"cgroup": {"path": "\\ud800", "version": 2}}', b"", "no output"),
    ],
)
async def test_an_answer_that_is_none_is_no_all_clear(engine, stdout, stderr, said):
    """Cut off, of another shape, or of a host that can not: an error that says so and what to do."""
    with pytest.raises(CommandFailedError, match="did not answer a closer look") as failed:
        await readings(engine, Host(stdout, stderr)).closer(a_snapshot(), LOOK)
    assert said in str(failed.value)
    assert "python3 must be there" in failed.value.fix
