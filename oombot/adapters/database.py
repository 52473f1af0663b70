"""Opens the store's database: its URL, its engine, its migrations, and what is wrong with it in one sentence.

One writer at a time. On SQLite every write begins with BEGIN IMMEDIATE: a transaction that reads first and
then wants to write can not wait for another writer and would fail with "database is locked" at once.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, false, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from oombot.adapters.tables import POSITIONS
from oombot.errors import ConfigError, OombotError, StoreTakenError

BUSY_TIMEOUT_S = 30.0
WRITE = "oombot_write"
"""The execution option that makes a transaction a writing one."""

_WRITER_LOCK = 7666  # among all clients of a PostgreSQL server's database
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    # NORMAL would lose the last commits when the power fails: a kill that was recorded, or worse, an approval
    # that was already acted upon
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)


class _Connection(sqlite3.Connection):
    """Ends its transaction when it is closed.

    A cancelled caller leaves a cursor behind; SQLite keeps a closed connection's locks until the last one is gone,
    and until then, for want of a garbage collection perhaps for an hour, nothing could be written.
    """

    def close(self) -> None:
        """Roll back, then close."""
        with contextlib.suppress(sqlite3.Error):
            self.rollback()
        super().close()


def make_engine(url: str) -> AsyncEngine:
    """Make the engine for a database URL, or for the path of a SQLite file."""
    try:
        return _build(_parse(url))
    except (ArgumentError, ImportError) as fault:
        raise ConfigError([_sentence(url.partition(":")[0], fault)]) from fault


async def migrate(engine: AsyncEngine) -> None:
    """Create or bring up the tables; a ConfigError says what is wrong with the database and what mends it."""
    where = engine.url.render_as_string(hide_password=True)
    try:
        async with engine.connect() as connection:
            await connection.execution_options(**{WRITE: True})
            async with connection.begin():
                await connection.run_sync(_migrate, where)
    except (SQLAlchemyError, sqlite3.Error, OSError) as fault:
        raise ConfigError([_sentence(where, fault)]) from fault


def make_private(url: URL) -> None:
    """Create a SQLite file for its owner alone; SQLite gives its -wal and -shm the same mode.

    One that is there is not opened: closing it would end the locks that this process holds on it.
    """
    path = file_of(url)
    if path is not None and url.query.get("mode", "rwc") == "rwc":
        with contextlib.suppress(OSError):  # what is wrong will be said by SQLite
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


@contextmanager
def claimed(url: URL) -> Iterator[None]:
    """Hold the lock beside a SQLite file; a ConfigError where another process holds it.

    The lock ends with its process, however that ends; the file of the lock stays.
    """
    path = file_of(url)
    if path is None:
        yield
        return
    try:
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as fault:
        fix = "create its directory, and let the account that runs oombot write there"
        raise ConfigError([f"{path}.lock: {fault.strerror}; {fix}"]) from fault
    try:
        _lock(handle, path)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        fix = f"end that one first (`fuser -v {path}.lock` names it), or name another store in the configuration"
        raise StoreTakenError([f"another oombot runs on this store ({path}); {fix}"]) from fault
    except OSError as fault:
        raise ConfigError([f"{path}.lock: {fault.strerror}; put the store on a local disk"]) from fault


def file_of(url: URL) -> Path | None:
    """The SQLite file behind a URL, links followed; None for memory and for other databases."""
    name = url.database or ""
    if url.get_backend_name() != "sqlite" or url.query.get("mode") == "memory":
        return None
    if name.startswith("file:") and url.query.get("uri"):
        name = unquote(urlsplit(name).path)
    return None if name in {"", ":memory:"} else Path(name).resolve()


def _parse(url: str) -> URL:
    """Read a database URL, or the path of a SQLite file, and choose the asynchronous driver."""
    if "://" not in url:
        return URL.create("sqlite+aiosqlite", database=url)
    try:
        parsed = make_url(url)
    except ArgumentError as fault:
        raise ConfigError([f"{url!r} is no database URL; write sqlite:///PATH or postgresql://…"]) from fault
    return parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))


def _build(url: URL) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        # isolation_level None: the driver begins nothing by itself, the listener below does
        engine = create_async_engine(
            url,
            connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None, "factory": _Connection},
            poolclass=AsyncAdaptedQueuePool,
            pool_size=1,
            max_overflow=0,
        )
        event.listen(engine.sync_engine, "connect", _set_pragmas)
    else:
        engine = create_async_engine(url, pool_pre_ping=True)
    event.listen(engine.sync_engine, "begin", _begin_writing)
    return engine


def _set_pragmas(connection: Any, _record: object) -> None:
    try:
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        cursor.close()
    except BaseException:
        connection.close()  # the pool does not know it yet: its thread would never end
        raise


def _begin_writing(connection: Connection) -> None:
    """Begin the transaction; a write waits here for its turn among all processes."""
    write = connection.get_execution_options().get(WRITE, False)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
    elif write:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")


def _migrate(connection: Connection, where: str) -> None:
    """Bring the tables to the newest revision, inside the caller's transaction."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "oombot:migrations")
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    known = {revision.revision for revision in script.walk_revisions()}
    if current is not None and current not in known:
        problem = (
            f"{where}: this database was written by a newer oombot (schema {current}); install that version"
        )
        raise ConfigError([problem])
    if current != script.get_current_head():
        command.upgrade(config, "head")
    # BEGIN IMMEDIATE is content with a file that may not be written; this is not
    connection.execute(update(POSITIONS).where(false()).values(detector=""))


def _sentence(where: str, fault: Exception) -> str:
    """Say what is wrong with the database, and the fix."""
    said = str(getattr(fault, "orig", None) or fault).partition("\n")[0]
    fixes = {
        "unable to open": "create its directory, and let the account that runs oombot write there",
        "readonly": "let the account that runs oombot write the file and its directory",
        "not a database": "this file is something else: name another file in the configuration",
        "already exists": "its tables are not ours: name another database in the configuration",
        "locked": "another process holds it: end that one first",
        "No module named": "install the driver of this database",
    }
    fix = next((fix for sign, fix in fixes.items() if sign in said), "see what the database says")
    return f"{where}: {said}; {fix}"


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the database refuses into one sentence; a broken rule of the schema stays a fault of ours."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as fault:
        raise OombotError(
            f"The store failed: {fault.orig}. Nothing was stored.",
            fix="check the disk and the rights of the database file",
        ) from fault
