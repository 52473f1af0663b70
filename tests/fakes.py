"""In-memory twins of the ports for tests of the engine; the same contracts are tested against the real ones."""

import ast
import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from oombot.errors import ChatError, HostError, HostUnreachableError
from oombot.model import Command, CommandResult, HostSnapshot, Json
from tests.examples import NOW, a_process, a_snapshot

MEMBERS = {"S0ONCALL1": frozenset({"U0ADA0001", "U0BEN0002"})}
PEOPLE = frozenset({"U0ADA0001", "U0BEN0002", "U0CLEO003"})
TEAM = "T0ACME001"


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Posted:
    """A message as Slack would hold it."""

    channel: str
    ts: str
    view: Json
    key: str
    version: int
    thread_ts: str | None
    edits: int = 0


@dataclass
class FakeChat:
    """Slack in memory: it accepts, refuses or goes silent as told."""

    posted: list[Posted] = field(default_factory=list)
    calls: int = 0
    refuse: list[ChatError] = field(default_factory=list)  # answers of the next calls
    drop_after_accept: int = 0  # that many posts are accepted, and the answer is lost
    directory_down: bool = False
    history_scope: bool = True
    team_id: str = TEAM
    on_lookup: Callable[[], None] = lambda: None
    files: list[tuple[str, str, str]] = field(default_factory=list)  # (thread ts, filename, content)
    shared: set[str] = field(default_factory=set)  # channels that are shared with another workspace

    async def post(
        self, channel: str, view: Json, *, key: str, version: int, thread_ts: str | None
    ) -> tuple[str, str]:
        self._maybe_refuse()
        message = Posted(
            channel=channel,
            ts=f"{len(self.posted) + 1}.0",
            view=view,
            key=key,
            version=version,
            thread_ts=thread_ts,
        )
        self.posted.append(message)
        if self.drop_after_accept:
            self.drop_after_accept -= 1
            raise ChatError("connection lost", code="", retry_after_s=1.0)
        return f"C{channel}", message.ts

    async def update(self, channel_id: str, ts: str, view: Json, *, key: str, version: int) -> None:
        self._maybe_refuse()
        message = next(one for one in self.posted if one.ts == ts)
        message.view, message.version, message.edits = view, version, message.edits + 1

    async def delete(self, channel_id: str, ts: str) -> None:
        self.posted = [message for message in self.posted if message.ts != ts]

    async def find(
        self, channel: str, key: str, *, since_s: float, thread_ts: str | None
    ) -> list[tuple[str, str]]:
        if not self.history_scope:
            raise ChatError("no history", code="missing_scope")
        return [(f"C{m.channel}", m.ts) for m in self.posted if m.key == key]

    async def members(self, usergroup_id: str) -> frozenset[str]:
        if self.directory_down:
            raise ChatError("fatal_error", code="fatal_error")
        self.on_lookup()
        return MEMBERS.get(usergroup_id, frozenset())

    async def is_person(self, user_id: str, team_id: str) -> bool:
        if self.directory_down:
            raise ChatError("fatal_error", code="fatal_error")
        return user_id in PEOPLE and team_id == TEAM

    async def is_shared(self, channel_id: str) -> bool:
        if self.directory_down:
            raise ChatError("fatal_error", code="fatal_error")
        return channel_id in self.shared

    async def upload(
        self, channel_id: str, thread_ts: str, *, filename: str, title: str, content: str
    ) -> None:
        self._maybe_refuse()
        self.files.append((thread_ts, filename, content))

    def message(self, key: str) -> Posted:
        """The one message of this key."""
        [found] = [message for message in self.posted if message.key == key]
        return found

    def _maybe_refuse(self) -> None:
        self.calls += 1
        if self.refuse:
            raise self.refuse.pop(0)


@dataclass
class FakeMachine:
    """One host with one java process, whose helper obeys; how it fails can be chosen."""

    adj: int = 0
    start_ticks: int = 42420
    boot_id: str = "b" * 32
    down: bool = False
    lose_answer: bool = False  # the run happens, its answer is lost
    lose_request: bool = False  # the run never starts, the link is lost
    fail: str = ""
    works_for: int = 0  # so many steps are done before `fail` or `die` counts
    die: bool = False  # the helper ends in the middle, with the link
    ignore_writes: bool = False
    runs: dict[str, Json] = field(default_factory=dict)
    writes: int = 0
    on_run: Callable[[], None] = lambda: None
    on_read: Callable[[], None] = lambda: None
    answer: Json | None = None  # what the helper says instead of the truth
    readings: int = 0
    twins: bool = False  # a second java runs

    def snapshot(self) -> HostSnapshot:
        """What a reading shows."""
        java = a_process(oom_score_adj=self.adj, start_ticks=self.start_ticks)
        twins = (a_process(4343, "java"),) if self.twins else ()
        processes = (java, *twins, a_process(7, "sshd"))
        return replace(a_snapshot(*processes), boot_id=self.boot_id, has_systemd=True)

    async def now(self, host: str, *, timeout_s: float | None = None, asked: bool = False) -> HostSnapshot:
        """Stand in for Readings.now."""
        self.readings += 1
        self.on_read()
        if self.down:
            raise HostUnreachableError(f"{host} can not be reached")
        return self.snapshot()

    async def seen(self, host: str, remediation: Any, params: Any, *, asked: bool = False) -> HostSnapshot:
        """Stand in for Readings.seen."""
        return await self.now(host, asked=asked)

    async def closer(self, snapshot: HostSnapshot, look: Any, **_: Any) -> HostSnapshot:
        """Stand in for Readings.closer."""
        return snapshot

    async def last(self, host: str) -> HostSnapshot | None:
        """Stand in for Readings.last."""
        return replace(self.snapshot(), taken_s=NOW - 40)

    def kills(self, snapshot: HostSnapshot) -> list[Any]:
        """Stand in for Readings.kills."""
        return []

    async def run(
        self, host: str, command: Command, *, timeout_s: float, asked: bool = False
    ) -> CommandResult:
        """Be the host helper: once only, by request id."""
        if self.down:
            raise HostUnreachableError(f"{host} can not be reached")
        body = wished(command)
        if body["op"] == "result":
            answer = self.runs.setdefault(body["id"], {"status": "absent"})
            return _answer(answer)
        self.on_run()
        if self.lose_request:
            self.lose_request = False
            raise HostUnreachableError("the link was lost")
        if body["id"] not in self.runs:
            self.runs[body["id"]] = self._execute(body)
        if self.lose_answer:
            self.lose_answer = False
            raise HostUnreachableError("the link was lost")
        return _answer(self.answer or self.runs[body["id"]])

    async def renew(self, host: str) -> None:
        """There is no connection here."""

    def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """Nothing to follow here."""
        raise HostError("not here")

    def _execute(self, body: Json) -> Json:
        steps = []
        for number, step in enumerate(body["steps"]):
            if self.die and number >= self.works_for:
                self.lose_answer = True
                return {"status": "unreadable", "steps": steps}
            self.writes += 1
            if self.fail and number >= self.works_for:
                failed = {"argv": step["do"], "exit": 1, "stdout": "", "stderr": self.fail, "untouched": True}
                steps.append(failed)
                return {"status": "failed", "steps": steps}
            if not self.ignore_writes:
                self.adj = int(step["do"][-1])
            steps.append({"argv": step["do"], "exit": 0, "stdout": "", "stderr": ""})
        return {"status": "done", "steps": steps}


def wished(command: Command) -> dict[str, Any]:
    """The JSON request at the end of what is sent to the helper, or all that an installed one is given."""
    if command.forced:
        asked: dict[str, Any] = json.loads(command.stdin)
        return asked
    last = command.stdin.strip().splitlines()[-1]
    literal = last[last.index("main(") + 5 : last.rindex("))")]
    body: dict[str, Any] = json.loads(ast.literal_eval(literal))
    return body


def _answer(body: Json) -> CommandResult:
    return CommandResult(exit_status=0, stdout=json.dumps(body).encode())


class Spawned:
    """Collects background work, so that a test can wait for it."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def __call__(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def done(self) -> None:
        """Wait for everything, also for what that starts."""
        while any(not task.done() for task in self.tasks):
            await asyncio.gather(*self.tasks)

    async def stop(self) -> None:
        """Cancel everything, as a crash would."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
