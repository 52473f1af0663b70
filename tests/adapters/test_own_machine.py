"""Looking at this machine and the store for doctor: what is there is told, and nothing is made or changed."""

import asyncio
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from oombot.adapters.own_machine import look_at_file, look_at_machine, look_at_store
from oombot.adapters.sql import SqlStore


def url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


async def test_a_store_that_is_not_there_is_not_made(tmp_path):
    """Looking makes no file: neither a database nor a lock."""
    found = await look_at_store(url(tmp_path / "store.sqlite"))
    assert (found.exists, found.schema, found.fault, found.running_pid) == (False, None, None, None)
    assert (found.writable, found.free_bytes > 0) == (True, True)
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_is_not_there(tmp_path):
    """A store in no folder is a fault with the command that makes it."""
    found = await look_at_store(url(tmp_path / "no" / "store.sqlite"))
    assert found.fault.fix == f"mkdir -p -m 700 {tmp_path / 'no'}"


async def test_a_folder_that_the_first_start_makes(tmp_path):
    """The state directory need not be there yet; looking does not make it."""
    found = await look_at_store(url(tmp_path / "state" / "oombot" / "store.sqlite"), folder_is_made=True)
    assert (found.fault, found.exists, found.writable) == (None, False, True)
    assert list(tmp_path.iterdir()) == []


async def test_a_store_in_use(tmp_path):
    """A migrated store is found so, with the process that runs on it, and without disturbing it."""
    path = tmp_path / "store.sqlite"
    async with SqlStore.open(url(path), exclusive=True) as store:
        found = await look_at_store(url(path))
        assert (found.exists, found.known, found.schema == found.newest != "") == (True, True, True)
        assert not found.lock_known or found.running_pid in {os.getpid(), 0}
        assert await store.position("web01") is None
    assert (await look_at_store(url(path))).running_pid is None


async def test_a_store_of_a_newer_oombot(tmp_path):
    """A revision that this oombot does not know is told as that."""
    path = tmp_path / "store.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    connection.close()
    found = await look_at_store(url(path))
    assert (found.schema, found.known, found.fault) == ("9999", False, None)


async def test_somebody_elses_database(tmp_path):
    """A database with other tables is not ours."""
    path = tmp_path / "store.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")
    connection.close()
    assert "not ours" in (await look_at_store(url(path))).fault.said


async def test_a_file_that_is_no_database(tmp_path):
    """A file that is something else is a fault, and stays as it was."""
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"hello " * 300)
    assert "not a database" in (await look_at_store(url(path))).fault.said
    assert path.read_bytes() == b"hello " * 300


async def test_a_url_that_is_none():
    """A store that no driver knows is a fault, not a failure of doctor."""
    assert (await look_at_store("nonsense://x")).fault is not None


async def test_a_server_that_is_not_there_or_has_no_driver():
    """A database server that does not answer is a fault; its password is not told."""
    found = await look_at_store("postgresql://oombot:secret@127.0.0.1:9/oombot")
    assert found.fault is not None
    assert "secret" not in found.fault.said + found.where


async def test_this_machine():
    """Memory, open files and versions are those of this process."""
    found = await look_at_machine([])
    assert 0 < found.available_bytes <= found.memory_bytes
    assert 0 < found.files_soft <= found.files_hard
    assert found.python.startswith("3.")
    assert found.root == (os.geteuid() == 0)


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_and_its_mode(tmp_path, mode):
    """A file is told with its mode."""
    path = tmp_path / "id"
    path.write_text("x")
    path.chmod(mode)
    found = look_at_file("key", str(path))
    assert (found.exists, found.readable, found.mode) == (True, True, mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_entries_of_known_hosts(tmp_path):
    """Comments and empty lines of a known_hosts file are no entries."""
    path = tmp_path / "known_hosts"
    path.write_text("# a comment\n\nweb01 ssh-ed25519 AAAA\n|1|x|y ssh-ed25519 AAAA\n")
    assert look_at_file("known_hosts", str(path)).count == 2
    assert not look_at_file("known_hosts", str(tmp_path / "none")).exists


async def test_looking_twice_at_once(tmp_path):
    """Two doctors at once do not stand in each other's way."""
    path = url(tmp_path / "store.sqlite")
    async with SqlStore.open(path):
        found = await asyncio.gather(look_at_store(path), look_at_store(path))
    assert [one.fault for one in found] == [None, None]
