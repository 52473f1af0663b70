"""The ground of both helpers: files and programs of a host, reached so that nobody else leads them astray."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot.data.oombot_site import (
    Site,
    StepError,
    UntouchedError,
    attempt,
    glance,
    read_file,
    remove_empty_folder,
    remove_file,
    tell,
    write_file,
)


@pytest.fixture
def site(tmp_path):
    """A host's tree with /etc in it."""
    (tmp_path / "etc").mkdir(mode=0o755)
    return Site(root=str(tmp_path), programs=f"{tmp_path}/bin:/usr/bin:/bin")


def standing(tmp_path):
    """Every name below the tree."""
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))


def test_a_file_is_written_whole_and_read_back(site, tmp_path):
    """A new one gets the mode that is asked for and its folders; nothing else is left behind."""
    write_file(site, "/etc/a/b/c.conf", b"text\n", mode=0o600, make=True)
    assert read_file(site, "/etc/a/b/c.conf") == b"text\n"
    assert stat.S_IMODE((tmp_path / "etc/a/b/c.conf").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "etc/a").stat().st_mode) == 0o755
    assert standing(tmp_path / "etc/a") == ["b", "b/c.conf"]


def test_a_file_that_was_there_keeps_its_mode_and_owner(site, tmp_path, need):
    """What replaces it looks like it to everybody else."""
    need(os.geteuid() == 0, "only root gives files away")
    old = tmp_path / "etc/fstab"
    old.write_text("old")
    old.chmod(0o640)
    os.chown(old, 4321, 1234)
    write_file(site, "/etc/fstab", b"new")
    found = old.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, 4321, 1234)


def test_what_is_not_there_is_none_and_is_gone_well(site):
    """Neither a missing file nor a missing folder is an error to read or to take away."""
    assert read_file(site, "/etc/no/such") is None
    assert glance(site, "/etc/no/such") is None
    remove_file(site, "/etc/no/such")
    remove_empty_folder(site, "/etc/no")
    with pytest.raises(UntouchedError, match="can not be written"):
        write_file(site, "/etc/no/such", b"")


def test_handles_are_given_back(site):
    """However a walk ends, no descriptor stays open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("/etc/x", "/etc/no/such", "/no/such/at/all"):
        read_file(site, path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("act", ["read", "write", "remove"])
def test_no_link_in_the_way_is_followed(site, tmp_path, act):
    """A folder that is a link is refused, and what it leads to is as it was."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_text("mine")
    (tmp_path / "etc/link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UntouchedError, match="no plain directory"):
        _act(site, act, "/etc/link/file")
    assert (tmp_path / "elsewhere/file").read_text() == "mine"


@pytest.mark.parametrize("act", ["read", "write"])
def test_no_link_in_its_place_is_followed(site, tmp_path, act):
    """Nor one that is the file itself."""
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "etc/file").symlink_to(tmp_path / "secret")
    with pytest.raises(UntouchedError):
        _act(site, act, "/etc/file")
    assert (tmp_path / "secret").read_text() == "mine"


@pytest.mark.parametrize("act", ["read", "write", "remove"])
def test_a_folder_that_others_can_write_to_is_not_used(site, tmp_path, act):
    """They could put anything there meanwhile; a sticky one, like /tmp, they could not."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(UntouchedError, match="can be written by others"):
        _act(site, act, "/open/file")
    (tmp_path / "open").chmod(0o1777)
    write_file(site, "/open/file", b"well")
    assert read_file(site, "/open/file") == b"well"


def _act(site, act, path):
    if act == "read":
        read_file(site, path)
    elif act == "write":
        write_file(site, path, b"theirs")
    else:
        remove_file(site, path)


@given(st.lists(st.sampled_from(["..", ".", "etc", "a", ""]), min_size=1, max_size=6))
def test_no_path_leads_out_of_the_tree(tmp_path_factory, parts):
    """Whatever dots stand in it."""
    root = tmp_path_factory.mktemp("tree") / "root"
    (root / "etc").mkdir(parents=True)
    path = "/" + "/".join([*parts, "file"])
    try:
        write_file(Site(root=str(root)), path, b"x", make=True)
    except (StepError, FileNotFoundError):
        assert {"..", "."} & set(parts)
    assert [one.name for one in root.parent.iterdir()] == ["root"]


def test_what_is_no_plain_file_is_not_read(site, tmp_path):
    """A pipe would hold the helper for ever, a device has no end; a long file is not swallowed."""
    os.mkfifo(tmp_path / "etc/pipe")
    (tmp_path / "etc/long").write_bytes(b"x" * 11)
    for name in ("pipe", "long"):
        with pytest.raises(UntouchedError, match="no regular file of less than"):
            read_file(site, f"/etc/{name}", limit=10)
        with pytest.raises(StepError, match=r"is no regular file|is longer than"):
            glance(site, f"/etc/{name}", limit=10)
    with pytest.raises(StepError, match="/dev/null is no regular file"):
        glance(Site(), "/dev/null")


def test_a_glance_follows_links_and_takes_any_bytes(site, tmp_path):
    """For what is only shown: files of the kernel, and links that an administrator made."""
    (tmp_path / "etc/real").write_bytes(b"\xff\n")
    (tmp_path / "etc/link").symlink_to("real")
    assert glance(site, "/etc/link") == "\ufffd\n"
    assert glance(Site(), "/proc/self/comm") == (glance(Site(), f"/proc/{os.getpid()}/comm"))


def test_programs_are_those_of_the_site_with_a_clean_environment(site, tmp_path):
    """The first folder's program runs, by its whole path, and sees nothing of our environment."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/printenv").write_text("#!/bin/sh\n/usr/bin/env; cat\n")
    (tmp_path / "bin/printenv").chmod(0o755)
    os.environ["OOMBOT_SECRET"] = "x"
    try:
        said = tell(site, "printenv", stdin=b"asked")
    finally:
        del os.environ["OOMBOT_SECRET"]
    assert "SECRET" not in said
    assert "LC_ALL=C\n" in said
    assert said.endswith("asked")


def test_words_of_a_program_are_words(site, tmp_path):
    """No shell is between: what would be a command elsewhere is text."""
    assert tell(site, "printf", "%s", "$(touch x); `id` \n*") == "$(touch x); `id` \n*"
    assert not (tmp_path / "x").exists()


def test_a_program_that_fails_is_quoted(site):
    """Its own words, its exit status, or that it is not there or does not end."""
    with pytest.raises(StepError, match=r"^ls -d /no/such failed \(exit 2\): .*No such file"):
        tell(site, "ls", "-d", "/no/such")
    assert attempt(site, "false").returncode == 1
    with pytest.raises(StepError, match="mkswap-of-nobody is not installed on this host"):
        tell(site, "mkswap-of-nobody")
    with pytest.raises(StepError, match="did not end within 0 s"):
        tell(site, "sleep", "30", seconds=0.2)
