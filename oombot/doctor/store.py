"""The store: opens, is migrated, can be written, has room, and whose it is right now."""

from collections.abc import Iterable

from oombot.doctor.gathered import Gathered, StoreFacts
from oombot.doctor.shape import BotCheck, Line, ok, unknown, warning, wrong

ROOM_BYTES = 256 * 1024 * 1024
LITTLE_ROOM_BYTES = 32 * 1024 * 1024
_WHY = "kills, approvals and what stands in Slack must outlive a crash; without a store oombot does not start"


def _lines(gathered: Gathered) -> Iterable[Line]:
    store = gathered.store
    if store is None:
        return
    if store.fault is not None:
        yield wrong("opens", store.fault.said, _WHY, store.fault.fix)
        return
    yield _schema(store)
    if store.writable is False:
        yield wrong(
            "writable",
            f"{store.where} can not be written by this account",
            _WHY,
            "run doctor as the account that runs oombot, or give that account the file and its directory",
        )
    elif store.writable:
        yield ok("writable", "this account may write it")
    yield from _room(store)
    if not store.server:
        yield _running(store)


def _schema(store: StoreFacts) -> Line:
    if not store.known:
        return wrong(
            "schema",
            f"{store.where} was written by a newer oombot (schema {store.schema})",
            "this version does not know its tables and does not start on them",
            "install the newer version again, or name another store in the configuration",
        )
    if not store.exists:
        return ok("schema", f"{store.where} is not there yet; the first start makes it")
    if store.schema is None:
        return ok("schema", f"{store.where} holds no tables yet; the first start makes them")
    if store.schema != store.newest:
        return ok("schema", f"{store.where} opens; the next start brings it to schema {store.newest}")
    return ok("schema", f"{store.where} opens, schema {store.schema}")


def _room(store: StoreFacts) -> Iterable[Line]:
    free = store.free_bytes
    if free is None:
        return
    said = f"{free // 1024**2} MiB free on the disk of the store"
    why = "what can not be written is not recorded: a full disk stops the watch"
    if free < LITTLE_ROOM_BYTES:
        yield wrong(
            "room", said, why, "free some space there, or move the store (store: in the configuration)"
        )
    elif free < ROOM_BYTES:
        yield warning(
            "room", said, why, "free some space there, or move the store (store: in the configuration)"
        )
    else:
        yield ok("room", said)


def _running(store: StoreFacts) -> Line:
    if not store.lock_known:
        said = "whether an oombot runs on it is not known: /proc/locks can not be read here"
        return unknown(
            "running", said, "a second one would be refused at its start", f"fuser -v {store.where}.lock"
        )
    if store.running_pid is None:
        return ok("running", "no oombot runs on it now")
    pid = f" (pid {store.running_pid})" if store.running_pid else ""
    return ok("running", f"an oombot runs on it{pid}; a second one would be refused")


CHECK = BotCheck(name="store", rank=20, lines=_lines)
