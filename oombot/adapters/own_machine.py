"""This machine and this account, asked for doctor; nothing is created, changed or locked."""

import asyncio
import os
import resource
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import asyncssh
import psutil
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from oombot.adapters.database import file_of, make_engine
from oombot.doctor.gathered import Fault, FileFacts, MachineFacts, Role, StoreFacts
from oombot.errors import ConfigError

_SSH_VERSION_S = 5
_SERVER_S = 10
_QUERY = "SELECT version_num FROM alembic_version"


# ------------------------------------------------------------------ memory, limits, versions, files
async def look_at_machine(files: Sequence[FileFacts]) -> MachineFacts:
    """Memory, open files, versions; `files` come from `look_at_file`."""
    memory = psutil.virtual_memory()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MachineFacts(
        memory_bytes=memory.total,
        available_bytes=memory.available,
        files_soft=_number(soft),
        files_hard=_number(hard),
        python=".".join(str(part) for part in sys.version_info[:3]),
        asyncssh=asyncssh.__version__,
        openssh=await _ssh_version(),
        root=os.geteuid() == 0,
        files=tuple(files),
    )


def look_at_file(role: Role, path: str) -> FileFacts:
    """Whether a file is there, may be read, and by whom else."""
    where = Path(path).expanduser()
    try:
        found = where.stat()
    except OSError:
        return FileFacts(role=role, path=str(where), exists=False)
    readable = os.access(where, os.R_OK)
    count = _entries(where) if role == "known_hosts" and readable else None
    return FileFacts(
        role=role, path=str(where), exists=True, readable=readable, mode=found.st_mode & 0o7777, count=count
    )


def _number(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def _entries(path: Path) -> int | None:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    return sum(bool(line.strip()) and not line.lstrip().startswith(b"#") for line in lines)


async def _ssh_version() -> str:
    """The version of the ssh client beside us; it is only told, never used."""
    program = shutil.which("ssh")
    if program is None:
        return ""
    process = await asyncio.create_subprocess_exec(
        program,
        "-V",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_SSH_VERSION_S):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return said.decode(errors="replace").partition(",")[0].strip()[:60]


# ------------------------------------------------------------------ the store
async def look_at_store(url: str, *, folder_is_made: bool = False) -> StoreFacts:
    """The database as it is: a SQLite file is opened for reading only, a server is asked one question.

    `folder_is_made`: where the file's folder is not there, the first start makes it.
    """
    try:
        engine = make_engine(url)
    except ConfigError as error:
        return StoreFacts(
            where=url.partition("@")[2] or url, exists=False, fault=Fault(said=str(error), fix=error.fix)
        )
    try:
        path = file_of(engine.url)
        if path is not None:
            return await asyncio.to_thread(_look_at_sqlite, path, folder_is_made=folder_is_made)
        return await _look_at_server(engine)
    finally:
        await engine.dispose()


def _look_at_sqlite(path: Path, *, folder_is_made: bool) -> StoreFacts:
    folder = path.parent
    while folder_is_made and not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        fix = f"mkdir -p -m 700 {folder}"
        return StoreFacts(where=str(path), exists=False, fault=Fault(said=f"{folder} is not there", fix=fix))
    exists = path.exists()
    writable = os.access(folder, os.W_OK | os.X_OK) and (not exists or os.access(path, os.R_OK | os.W_OK))
    schema, fault = _sqlite_schema(path) if exists else (None, None)
    newest, known = _revisions()
    lock_known, running_pid = _lock_holder(Path(f"{path}.lock"))
    return StoreFacts(
        where=str(path),
        exists=exists,
        schema=schema,
        newest=newest,
        known=schema is None or schema in known,
        writable=writable,
        free_bytes=shutil.disk_usage(folder).free,
        size_bytes=path.stat().st_size if exists else None,
        running_pid=running_pid,
        lock_known=lock_known,
        fault=fault,
    )


def _sqlite_schema(path: Path) -> tuple[str | None, Fault | None]:
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)
        try:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            if ("alembic_version",) not in tables:
                return None, _foreign(path) if tables else None
            row = connection.execute(_QUERY).fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        fix = "run doctor as the account that runs oombot; if the file is damaged, restore it from a copy"
        return None, Fault(said=f"{path}: {error}", fix=fix)
    return (str(row[0]) if row else None), None


def _foreign(path: Path) -> Fault:
    return Fault(
        said=f"{path}: its tables are not ours", fix="name another file as store: in the configuration"
    )


def _revisions() -> tuple[str, frozenset[str]]:
    config = Config()
    config.set_main_option("script_location", "oombot:migrations")
    script = ScriptDirectory.from_config(config)
    known = frozenset(revision.revision for revision in script.walk_revisions())
    return script.get_current_head() or "", known


def _lock_holder(path: Path) -> tuple[bool, int | None]:
    """Whether that is known, and who holds the lock: /proc/locks is read, since to try the lock ourselves could
    refuse a bot that starts just then."""
    try:
        inode = path.stat().st_ino
    except OSError:
        return True, None
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return False, None
    for line in lines:
        words = line.split()  # 1: FLOCK  ADVISORY  WRITE 708 fd:00:131 0 EOF
        if words[1:4] == ["FLOCK", "ADVISORY", "WRITE"] and words[5].rpartition(":")[2] == str(inode):
            return True, max(0, int(words[4]))
    return True, None


async def _look_at_server(engine: AsyncEngine) -> StoreFacts:
    where = engine.url.render_as_string(hide_password=True)
    newest, known = _revisions()
    try:
        async with asyncio.timeout(_SERVER_S), engine.connect() as connection:
            schema = (await connection.execute(text(_QUERY))).scalar()
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        said = f"{where}: {str(getattr(error, 'orig', None) or error).partition(chr(10))[0] or 'no answer in time'}"
        if "alembic_version" in said:
            return StoreFacts(where=where, exists=True, newest=newest, server=True)
        return StoreFacts(
            where=where, exists=False, server=True, fault=Fault(said=said, fix="start it, or correct store:")
        )
    return StoreFacts(
        where=where, exists=True, schema=schema, newest=newest, known=schema in known, server=True
    )
