"""The ground that both helpers stand on: paths, files and programs of this host, opened so that no link leads astray.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
Every path is absolute; in tests `root` puts another tree, and `programs` other programs, in the place of the host's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
from typing import Any, NamedTuple

PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
MAX_FILE = 262_144
MIB = 1 << 20
PROGRAM_S = 90
GONE = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ESRCH,
    errno.ENODEV,
)  # the last of a cgroup that was removed meanwhile


class RefusedError(Exception):
    """The request must not be run; nothing was."""


class StepError(Exception):
    """A step could not be done; what it says is shown to people."""


class UntouchedError(StepError):
    """A step could not be done, and it is sure that it changed nothing: what stood there stands there still."""


class Site(NamedTuple):
    """This host."""

    root: str = ""  # stands before every path
    programs: str = PROGRAMS  # PATH, and nothing else of the environment

    def path(self, name: str) -> str:
        """Where a path of the host is."""
        return self.root + name


def tell(site: Site, *argv: str, stdin: bytes = b"", check: bool = True, seconds: float = PROGRAM_S) -> str:
    """What a program of this host prints; StepError with its own words where it fails. Never a shell."""
    done = attempt(site, *argv, stdin=stdin, seconds=seconds)
    if check and done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-400:]
        raise StepError(f"{' '.join(argv[:4])} failed (exit {done.returncode}): {said or 'no word'}")
    return done.stdout.decode("utf-8", "replace")


def attempt(
    site: Site, *argv: str, stdin: bytes = b"", seconds: float = PROGRAM_S
) -> subprocess.CompletedProcess[bytes]:
    """Run a program of this host to its end; StepError where it is not there or does not end in time."""
    clean = {"PATH": site.programs, "LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
    try:
        return subprocess.run(
            _found(site, argv),
            input=stdin,
            capture_output=True,
            env=clean,
            cwd="/",
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise StepError(f"{argv[0]} is not installed on this host") from None
    except subprocess.TimeoutExpired:
        raise StepError(f"{argv[0]} did not end within {seconds:.0f} s") from None
    except OSError as error:
        raise StepError(f"{argv[0]} could not be started: {error.strerror}") from None


def _found(site: Site, argv: tuple[str, ...]) -> list[str]:
    """argv with the program's whole path: the PATH of our own environment must not choose it."""
    for folder in site.programs.split(":"):
        path = os.path.join(folder, argv[0])
        if os.access(path, os.X_OK):
            return [path, *argv[1:]]
    raise FileNotFoundError(argv[0])


@contextlib.contextmanager
def folder_of(site: Site, path: str, *, make: bool = False) -> Any:
    """The opened directory of a path, walked to part by part: no link in it is followed.

    Each part must belong to root (or to this account) and not be writable by others, a sticky one apart; with
    `make` what is missing is made, 0755. FileNotFoundError where it is not there.
    """
    parts = [part for part in os.path.dirname(path).split("/") if part]
    if any(part in (".", "..") for part in parts) or not path.startswith("/"):
        raise StepError(f"{path} is no plain absolute path; nothing was changed")
    handle = os.open(site.root or "/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts:
            within = _into(handle, part, path, make=make)
            os.close(handle)
            handle = within
        yield handle
    finally:
        os.close(handle)


def _into(handle: int, part: str, path: str, *, make: bool) -> int:
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, 0o755, dir_fd=handle)
    try:
        within = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UntouchedError(f"{part} in {path} is no plain directory: {error.strerror}") from None
    found = os.fstat(within)
    if found.st_uid not in (0, os.geteuid()) or (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX):
        os.close(within)
        raise UntouchedError(f"{part} in {path} can be written by others: it is not used")
    return within


def read_file(site: Site, path: str, *, limit: int = MAX_FILE) -> bytes | None:
    """A small regular file; None where there is none. No link is followed."""
    try:
        with folder_of(site, path) as folder:
            handle = os.open(
                os.path.basename(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder
            )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UntouchedError(f"{path} can not be read: {error.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            raise UntouchedError(f"{path} is no regular file of less than {limit} bytes")
        return file.read(limit + 1)


def glance(site: Site, path: str, *, limit: int = MAX_FILE) -> str | None:
    """What stands in a file that is only looked at, a kernel's or one that a link leads to; None where there is none.

    StepError where there is one that can not be read, that is no regular file, or that is longer than `limit`.
    """
    try:
        handle = os.open(site.path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise StepError(f"{path} is no regular file")
            data = file.read(limit + 1)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise StepError(f"{path} can not be read: {error.strerror}") from None
    if len(data) > limit:
        raise StepError(f"{path} is longer than {limit} bytes")
    return data.decode("utf-8", "replace")


def write_file(site: Site, path: str, data: bytes, *, mode: int = 0o644, make: bool = False) -> None:
    """Put a file there, whole at every moment: a new one is written, synced and renamed. Owner and mode of one
    that was there are kept; UntouchedError where it can not be done."""
    name, temporary = os.path.basename(path), f".{os.path.basename(path)}.oombot"
    try:
        with folder_of(site, path, make=make) as folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            handle = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder
            )
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    _like_before(folder, name, file.fileno(), mode)
                    os.fsync(file.fileno())
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                os.unlink(temporary, dir_fd=folder)
                raise
            _settle(folder, path)
    except OSError as error:
        raise UntouchedError(f"{path} can not be written: {error.strerror}; it is as it was") from None


def _settle(folder: int, path: str) -> None:
    """Have the disk keep what was changed in a directory; that it may not is no lack of a change."""
    try:
        os.fsync(folder)
    except OSError as error:
        raise StepError(f"{path} was changed, but the disk did not confirm it: {error.strerror}") from None


def _like_before(folder: int, name: str, handle: int, mode: int) -> None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        os.fchmod(handle, mode)
        return
    if not stat.S_ISREG(found.st_mode):
        raise OSError(22, "it is no regular file")
    os.fchmod(handle, stat.S_IMODE(found.st_mode))
    os.fchown(handle, found.st_uid, found.st_gid)


def remove_file(site: Site, path: str) -> None:
    """Take a file away; what is gone already is well. UntouchedError where it can not be done."""
    try:
        with folder_of(site, path) as folder:
            os.unlink(os.path.basename(path), dir_fd=folder)
            _settle(folder, path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UntouchedError(f"{path} can not be removed: {error.strerror}") from None


def remove_empty_folder(site: Site, path: str) -> None:
    """Take a directory away if it is empty; one that is not, or is gone, is well."""
    with contextlib.suppress(OSError, StepError), folder_of(site, path) as folder:
        os.rmdir(os.path.basename(path), dir_fd=folder)
