"""Sends what the store says must stand in Slack: in order, once, at the pace that Slack allows."""

import asyncio

from oombot.engine.context import Context
from oombot.errors import ChatError
from oombot.model import Draft, Json, Message

PACE_S = 1.0  # Slack: one message per second and channel
IDLE_S = 1.0
LONGEST_WAIT_S = 300.0
GONE = ("message_not_found", "cant_update_message", "edit_window_closed")
NEWS = ("digest:", "outage:")  # what is added to these by edits stands nowhere else
HISTORY_SLACK_S = 120.0  # clocks of Slack and ours may differ


class Outbox:
    """The only caller of chat.post and chat.update."""

    def __init__(self, context: Context) -> None:
        """Start with no channel in debt."""
        self._ctx = context
        self._next_s: dict[str, float] = {}
        self._flushed_s = 0.0

    async def run(self) -> None:
        """Send for ever; whatever goes wrong with one message never ends the loop."""
        while True:
            try:
                await self.flush()
            except Exception as error:
                self._ctx.log().error("outbox_failed", error=repr(error))
            self._ctx.wake.clear()
            try:
                async with asyncio.timeout(await self._wait_s()):
                    await self._ctx.wake.wait()
            except TimeoutError:
                continue

    async def flush(self) -> None:
        """Send everything that is due and allowed right now."""
        await self._resolve_half_posted()
        while True:
            now = self._ctx.clock()
            if now < self._flushed_s:
                self._next_s.clear()  # the clock was set back: what was to wait a second would wait as long as that
            self._flushed_s = now
            due = [
                m for m in await self._ctx.store.due_messages(now) if self._next_s.get(m.channel, 0.0) <= now
            ]
            if not due:
                return
            for message in due:
                await self._send(message)

    async def settled(self, key: str, *, within_s: float) -> bool:
        """Wait until the newest version of a message stands in Slack; false when it does not in time."""
        deadline = self._ctx.clock() + within_s
        while self._ctx.clock() < deadline:
            message = await self._ctx.store.message(key)
            if message is None or message.sent_version >= message.version:
                return message is not None
            self._ctx.wake.set()
            await asyncio.sleep(0.05)
        return False

    async def _wait_s(self) -> float:
        debts = [at - self._ctx.clock() for at in self._next_s.values()]
        return max(0.05, min([IDLE_S, *[debt for debt in debts if debt > 0]]))

    async def _send(self, message: Message) -> None:
        self._next_s[message.channel] = self._ctx.clock() + PACE_S
        try:
            if message.ts is not None and message.channel_id is not None:
                await self._edit(message, message.channel_id, message.ts)
            else:
                await self._post(message)
        except ChatError as error:
            await self._failed(message, error)

    async def _edit(self, message: Message, channel_id: str, ts: str) -> None:
        """Edit; a message that somebody has deleted in Slack stays deleted, unless more is to be told by it."""
        try:
            await self._ctx.chat.update(
                channel_id, ts, message.view, key=message.key, version=message.version
            )
        except ChatError as error:
            if error.code not in GONE:
                raise
            self._ctx.log(key=message.key).warning("message_gone", code=error.code)
            if message.key.startswith(NEWS):
                await self._ctx.store.message_gone(message.key)
                return
        await self._ctx.store.message_sent(message.key, message.version, channel_id, ts)

    async def _post(self, message: Message) -> None:
        thread_ts, channel = await self._thread(message)
        await self._ctx.store.message_posting(message.key, self._ctx.clock())
        channel_id, ts = await self._ctx.chat.post(
            channel, message.view, key=message.key, version=message.version, thread_ts=thread_ts
        )
        await self._ctx.store.message_sent(message.key, message.version, channel_id, ts)

    async def _thread(self, message: Message) -> tuple[str | None, str]:
        if message.thread_key is None:
            return None, message.channel
        parent = await self._ctx.store.message(message.thread_key)
        if parent is None or parent.ts is None:
            return None, message.channel
        return parent.ts, parent.channel_id or message.channel

    async def _failed(self, message: Message, error: ChatError) -> None:
        """An answer of Slack is certain; silence is not, so the message is looked for before it is tried again."""
        wait = error.retry_after_s if error.retry_after_s is not None else 0.0
        wait = max(wait, min(LONGEST_WAIT_S, 2.0 ** min(message.attempts, 8)))
        self._ctx.log(key=message.key, channel=message.channel).warning(
            "message_not_sent", error=str(error), code=error.code, fix=error.fix, again_in_s=wait
        )
        await self._ctx.store.message_failed(
            message.key,
            str(error),
            not_before_s=self._ctx.clock() + wait,
            clear_posting=bool(error.code),
        )
        if error.code == "ratelimited":
            self._next_s[message.channel] = self._ctx.clock() + wait

    async def _resolve_half_posted(self) -> None:
        """After a cut between Slack's acceptance and our commit: find the copy, keep one, remove the rest."""
        for message in await self._ctx.store.half_posted():
            if message.not_before_s > self._ctx.clock():
                continue
            try:
                await self._resolve(message)
            except ChatError as error:
                await self._unresolved(message, error)

    async def _resolve(self, message: Message) -> None:
        thread_ts, channel = await self._thread(message)
        since = (message.posting_s or 0.0) - HISTORY_SLACK_S
        copies = await self._ctx.chat.find(channel, message.key, since_s=since, thread_ts=thread_ts)
        if not copies:
            await self._ctx.store.message_failed(
                message.key, "not found", not_before_s=0.0, clear_posting=True
            )
            return
        first, *others = copies
        for channel_id, ts in others:
            await self._ctx.chat.delete(channel_id, ts)
        # version 0: what stands there may be an older view, so it is edited once
        await self._ctx.store.message_sent(message.key, 0, *first)
        self._ctx.log(key=message.key).info("copy_found", removed=len(others))

    async def _unresolved(self, message: Message, error: ChatError) -> None:
        if error.code != "missing_scope":
            await self._failed(message, error)
            return
        await self._ctx.store.message_failed(message.key, str(error), not_before_s=0.0, clear_posting=True)
        marked = _possibly_a_repeat(message.view)
        fresh = await self._ctx.store.message(message.key)
        if fresh is not None and fresh.posting_s is None:
            draft = Draft(key=fresh.key, channel=fresh.channel, view=marked, thread_key=fresh.thread_key)
            await self._ctx.store.put_messages([draft])


def _possibly_a_repeat(view: Json) -> Json:
    note = {
        "type": "context",
        "elements": [
            {"type": "mrkdwn", "text": "_Possibly a repeat_: oombot may not look back here", "verbatim": True}
        ],
    }
    return {**view, "text": f"(possibly a repeat) {view['text']}", "blocks": [*view["blocks"], note]}
