"""The three doors to the world: Hosts, Chat, Store. Each has an adapter, and one contract test for all of them."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from oombot.following import Digest, NewKill, Outage, Position, Reckoning, StormRule
from oombot.model import Command, CommandResult, Draft, Incident, Json, Message
from oombot.proposals import Audit, Begun, Freeze, Lease, Request, TrailLine, Vote


class Hosts(Protocol):
    """Runs commands on configured hosts. Every failure is a HostError; foreign errors never leave an adapter."""

    async def run(
        self, host: str, command: Command, *, timeout_s: float, asked: bool = False
    ) -> CommandResult:
        """Run to the end and return everything; a non-zero exit is a result, not an error.

        `asked`: a person waits, so a host that failed of late is tried now and not when its backoff is over.

        `timeout_s` covers connecting, opening the channel and running; the host kills the command by itself too.
        Waiting for other commands of the bot on the same host comes before it.
        """
        ...

    async def renew(self, host: str) -> None:
        """Take a new connection for what comes next: groups, keys and policies count from a login on."""
        ...

    def follow(self, host: str, command: Command) -> AsyncIterator[bytes]:
        """Yield the command's output line by line (without the newline) until it ends; then the iterator ends.

        A last line without its newline is not yielded: it may be cut.

        Closing the iterator ends the command. A lost link raises HostUnreachableError.
        """
        ...


class Chat(Protocol):
    """Says things in Slack and asks about people. Every failure is a ChatError."""

    @property
    def team_id(self) -> str:
        """Our own workspace."""
        ...

    async def post(
        self, channel: str, view: Json, *, key: str, version: int, thread_ts: str | None
    ) -> tuple[str, str]:
        """Post a message marked with `key` and `version` as metadata; return (channel id, ts)."""
        ...

    async def update(self, channel_id: str, ts: str, view: Json, *, key: str, version: int) -> None:
        """Replace a message of ours."""
        ...

    async def delete(self, channel_id: str, ts: str) -> None:
        """Remove a message of ours."""
        ...

    async def find(
        self, channel: str, key: str, *, since_s: float, thread_ts: str | None
    ) -> list[tuple[str, str]]:
        """Find own messages that carry `key` in their metadata: [(channel id, ts)], oldest first."""
        ...

    async def members(self, usergroup_id: str) -> frozenset[str]:
        """User ids in a user group, asked now."""
        ...

    async def is_person(self, user_id: str, team_id: str) -> bool:
        """Whether the user is an active full member of our own workspace (no bot, guest or stranger)."""
        ...

    async def is_shared(self, channel_id: str) -> bool:
        """Whether people of other workspaces are in the channel (Slack Connect)."""
        ...

    async def upload(
        self, channel_id: str, thread_ts: str, *, filename: str, title: str, content: str
    ) -> None:
        """Put a text file into a thread."""
        ...


class Store(Protocol):
    """Everything that must outlive a crash. Each method is one transaction."""

    # -- hosts
    async def position(self, host: str) -> Position | None:
        """How far the host's log has been read; None for a host never seen."""
        ...

    async def positions(self) -> list[Position]:
        """How far every host was read."""
        ...

    async def save_position(self, position: Position) -> None:
        """Replace the host's position."""
        ...

    async def save_snapshot(self, host: str, taken_s: float, raw: bytes) -> None:
        """Keep the last raw reading of a host."""
        ...

    async def snapshot(self, host: str) -> tuple[float, bytes] | None:
        """The last raw reading: (taken_s, raw)."""
        ...

    async def save_positions(self, positions: Sequence[Position]) -> None:
        """Replace the positions of many hosts at once."""
        ...

    async def reckoning(self, host: str) -> Reckoning | None:
        """What is settled of the host's counter; None where it was never counted."""
        ...

    async def save_reckoning(self, reckoning: Reckoning, drafts: Sequence[Draft] = ()) -> None:
        """Replace what is settled, and queue what is to be said about it."""
        ...

    async def outages(self) -> list[Outage]:
        """Outages that have not ended, oldest first."""
        ...

    async def save_outage(self, outage: Outage, drafts: Sequence[Draft] = ()) -> None:
        """Replace an outage with the message that tells it; it has ended when none of its hosts is away."""
        ...

    # -- kills
    async def record_kills(
        self,
        position: Position,
        kills: Sequence[NewKill],
        *,
        digest: Callable[[Digest], Draft],
        rule: StormRule,
    ) -> list[Incident]:
        """Store kills, the messages that name them and the position at once; return those that were new.

        A kill that `sameness.same_kill` finds stored already is not stored again and its message is not queued;
        what only the second print knows is added to the stored one. A new kill with a card gets it, or, by `rule`,
        goes into a digest of its channel, which `digest` draws; its `message_key` says which.
        """
        ...

    async def shown(self, host: str, boot_id: str, booted_s: float | None) -> int:
        """How many kill lines of this boot are stored; logs that name no boot count from `booted_s` on."""
        ...

    async def incident(self, incident_id: str) -> Incident | None:
        """One stored kill."""
        ...

    async def incidents(
        self, host: str | None = None, *, since_s: float = 0.0, limit: int = 1000
    ) -> list[Incident]:
        """Stored kills, newest first."""
        ...

    # -- messages
    async def put_messages(self, drafts: Sequence[Draft]) -> None:
        """Queue messages, or replace the wanted view of those that exist (version + 1 when it differs)."""
        ...

    async def due_messages(self, now_s: float) -> list[Message]:
        """What must be posted or edited now: per channel the oldest due one, new posts before edits of others.

        A reply waits while its thread's parent is still to be posted; without a parent it goes into the channel.
        Edits of plan cards come first: their buttons must vanish before a run.
        """
        ...

    async def message(self, key: str) -> Message | None:
        """One message by its key."""
        ...

    async def messages(self, prefix: str, *, limit: int = 200) -> list[Message]:
        """The newest messages whose keys begin so."""
        ...

    async def message_posting(self, key: str, at_s: float) -> None:
        """Say that the first post is about to be tried (before it is)."""
        ...

    async def message_sent(self, key: str, version: int, channel_id: str, ts: str) -> None:
        """Say that `version` stands in Slack."""
        ...

    async def message_failed(self, key: str, error: str, *, not_before_s: float, clear_posting: bool) -> None:
        """Say that the try failed; `clear_posting` when it is sure that nothing was posted."""
        ...

    async def message_gone(self, key: str) -> None:
        """Say that what stands in Slack, if it does, can be edited no more: the newest version is posted anew."""
        ...

    async def half_posted(self) -> list[Message]:
        """Messages whose post was begun and never confirmed."""
        ...

    # -- requests
    async def add_request(self, request: Request, audit: Audit, drafts: Sequence[Draft] = ()) -> bool:
        """Store a new request with its audit line and its messages; false when its original has an undo already."""
        ...

    async def replace_stale(
        self,
        request_id: str,
        *,
        audit: Audit,
        drafts: Sequence[Draft],
        fresh: Request,
        fresh_audit: Audit,
        fresh_drafts: Sequence[Draft],
    ) -> bool:
        """Move a request as `transition` does and, only when it moved, store the one that takes its place."""
        ...

    async def request(self, request_id: str) -> Request | None:
        """One request."""
        ...

    async def requests(self, states: Sequence[str], host: str | None = None) -> list[Request]:
        """Requests in any of these states, oldest first."""
        ...

    async def transition(
        self,
        request_id: str,
        *,
        audit: Audit,
        approver: str | None = None,
        evidence: Json | None = None,
        drafts: Sequence[Draft] = (),
        not_after_s: float | None = None,
        fence: int | None = None,
    ) -> bool:
        """Move from audit.state_from to audit.state_to with one conditional UPDATE; false = somebody was faster.

        With `not_after_s` it moves only a request that has not expired by then; with `fence` only where the
        newest lease of the request has this number. A move to an end gives the host free.

        Messages and the audit line are written only when the move was made.
        """
        ...

    async def vote(
        self,
        request_id: str,
        voter: str,
        *,
        needed: int,
        counted: Audit,
        complete: Audit,
        drafts: Callable[[Request], Sequence[Draft]],
    ) -> Vote:
        """Count one person's approval, once; the one that makes `needed` of them moves the request by `complete`.

        Else `counted` is its audit line. `drafts` draws the messages of the request as it stands then.
        """
        ...

    async def undo_requests(self, request_id: str) -> list[Request]:
        """Requests that undo this one, oldest first."""
        ...

    async def history(self, host: str | None = None, *, limit: int = 50) -> list[Request]:
        """The newest requests, of one host or of all, newest first."""
        ...

    async def busy(self, host: str) -> Request | None:
        """A request that is approved, running or being read back on this host right now."""
        ...

    async def ran(self, since_s: float) -> list[tuple[float, Request]]:
        """Every run that was begun since then, with its time, oldest first."""
        ...

    # -- one run a host at a time
    async def begin_run(
        self,
        request_id: str,
        *,
        audit: Audit,
        evidence: Json,
        drafts: Sequence[Draft] = (),
        owner: str,
        ttl_s: float,
        limit: Callable[[Sequence[tuple[float, Request]]], str],
        ran_since_s: float,
    ) -> Begun:
        """Move to running with the host's lease in the same transaction; not while another change has the host.

        `limit` is given every run that was begun since `ran_since_s` and names the limit that this one would cross.
        """
        ...

    async def take_over(
        self, request_id: str, host: str, *, owner: str, now_s: float, ttl_s: float
    ) -> Lease | None:
        """The lease of a run whose owner is this one or has let it run out; None while another one has it."""
        ...

    async def lease(self, host: str) -> Lease | None:
        """Who changes this host right now."""
        ...

    # -- freezes
    async def freeze(self, freeze: Freeze, audit: Audit) -> bool:
        """Store that nothing is to be changed anywhere; false where that is so already."""
        ...

    async def unfreeze(self, audit: Audit) -> bool:
        """Store that changes may go on; false where they were not frozen."""
        ...

    async def frozen(self) -> Freeze | None:
        """Who froze all changes, when and why; None where they are not frozen."""
        ...

    async def held_back(self, since_s: float) -> list[Request]:
        """Requests that a freeze has held back since then."""
        ...

    # -- the audit trail
    async def add_audit(self, audit: Audit) -> None:
        """Write an audit line that moves nothing (a refused press)."""
        ...

    async def audit(self, request_id: str) -> list[Audit]:
        """The audit trail of a request, oldest first."""
        ...

    async def trail(
        self, *, after: int = 0, limit: int = 1000, request_id: str | None = None
    ) -> list[TrailLine]:
        """Lines of the audit trail with their places in the chain, oldest first: of a request, or of everything."""
        ...

    async def trail_head(self) -> tuple[int, str] | None:
        """The number and the hash of the newest line, as they are kept apart from the lines."""
        ...
