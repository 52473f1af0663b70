"""Verbs of swap files: make one, switch it on and off, remove it.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import mmap
import os
import stat
import struct
import time
from typing import Any

from oombot.data.oombot_fstab import check_swap_folder, plain_swap_path
from oombot.data.oombot_policy import Policy
from oombot.data.oombot_shape import Verb, no_input, options
from oombot.data.oombot_site import (
    MIB,
    RefusedError,
    Site,
    StepError,
    UntouchedError,
    attempt,
    folder_of,
    tell,
)
from oombot.data.oombot_swaps import SWAP_PATH, mount_of, our_areas, swaps_on, why_kept_on

# what a swap file was made on, in tests; zfs, overlay, tmpfs and what comes over a network can not hold one
SWAP_FILESYSTEMS = ("ext3", "ext4", "xfs", "btrfs")
GET_FLAGS, SET_FLAGS, NOCOW = 0x80086601, 0x40086602, 0x00800000  # include/uapi/linux/fs.h
WRITE_S = 200  # a plan's unit lives for 300 s: a file that takes longer is taken away again, and said
MOST_SWAP_MIB = 1 << 22  # 4 TiB: more is a slip of the finger
SWAPOFF_S = 200


def _make_words(words: list[str], stdin: str) -> dict[str, Any]:
    no_input("make-swap", stdin)
    forms = {"--path": SWAP_PATH, "--mib": r"[1-9][0-9]{0,6}", "--leave": r"0|[1-9][0-9]{0,8}"}
    found = options("make-swap", words, forms)
    if int(found["mib"]) > MOST_SWAP_MIB:
        raise RefusedError(f"make-swap: --mib is at most {MOST_SWAP_MIB}")
    return {
        "path": plain_swap_path(found["path"]),
        "mib": int(found["mib"]),
        "leave": int(found["leave"]),
    }


def _make_allowed(policy: Policy | None, site: Site, path: str, mib: int, **_: object) -> None:
    """Whether folder and size are allowed, with every file of ours that is there, on or off."""
    check_swap_folder(policy, site, path)
    if policy is None:
        return
    try:
        areas = our_areas(
            site, *[folder for folder in policy.swap_folders if os.path.isdir(site.path(folder))]
        )
    except OSError as error:
        raise RefusedError(f"swap files can not be counted here: {error.strerror}") from None
    ours = sum(area["size_b"] for area in areas) // MIB
    if ours + mib > policy.swap_max_mib:
        raise RefusedError(
            f"{mib} MiB besides {ours} MiB of swap files are more than the {policy.swap_max_mib} MiB "
            "that this host's policy allows"
        )


def make_swap(policy: Policy | None, site: Site, path: str, mib: int, leave: int) -> tuple[str, str]:
    """Make a whole swap file, not on yet; what could not be made whole is taken away again."""
    try:
        _make_allowed(policy, site, path, mib)
    except RefusedError as error:
        raise UntouchedError(f"{error}; nothing was changed") from None
    mount = mount_of(site, os.path.dirname(path))
    if mount.get("filesystem") not in SWAP_FILESYSTEMS or mount["read_only"]:
        kind = f"{mount.get('filesystem', 'an unknown file system')}{', read-only' * bool(mount.get('read_only'))}"
        raise UntouchedError(
            f"{path} would be on {kind}, which can not hold a swap file; nothing was changed"
        )
    try:
        with folder_of(site, path) as folder:
            _check_free(folder, path, mib, leave)
            _written_whole(site, folder, path, mib, nocow=mount["filesystem"] == "btrfs")
    except FileNotFoundError:
        raise UntouchedError(f"{os.path.dirname(path)} is not there; nothing was changed") from None
    return "not there", f"{mib} MiB, off"


def _check_free(folder: int, path: str, mib: int, leave: int) -> None:
    found = os.fstatvfs(folder)
    free = found.f_bavail * found.f_frsize // MIB
    if free - mib < leave:
        raise UntouchedError(
            f"{free} MiB are free in {os.path.dirname(path)}: with {mib} MiB of swap less than {leave} MiB "
            "would be left; nothing was changed"
        )


def _written_whole(site: Site, folder: int, path: str, mib: int, *, nocow: bool) -> None:
    """Create, fill and mark the file; whatever fails, it is taken away."""
    name = os.path.basename(path)
    try:
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    except OSError as error:
        raise UntouchedError(f"{path} can not be made: {error.strerror}; nothing was changed") from None
    try:
        try:
            if nocow:
                _no_copy_on_write(handle)
            with _idle(site):
                _fill(handle, mib)
        finally:
            os.close(handle)
        tell(site, "mkswap", site.path(path))
    except (OSError, StepError) as error:
        _take_away(folder, name, path, error)
    os.fsync(folder)


def _take_away(folder: int, name: str, path: str, error: Exception) -> None:
    why = f"{path} could not be made: {(error.strerror if isinstance(error, OSError) else None) or error}"
    try:
        os.unlink(name, dir_fd=folder)
        os.fsync(folder)
    except OSError as fault:
        raise StepError(f"{why}; what there is of it could not be removed: {fault.strerror}") from None
    raise UntouchedError(f"{why}; what there was of it was removed") from None


def _no_copy_on_write(handle: int) -> None:
    """What `chattr +C` does, while the file is empty: btrfs swaps only to what it does not copy."""
    (flags,) = struct.unpack("l", fcntl.ioctl(handle, GET_FLAGS, struct.pack("l", 0)))
    fcntl.ioctl(handle, SET_FLAGS, struct.pack("l", flags | NOCOW))


def _fill(handle: int, mib: int) -> None:
    """Write zeros, MiB by MiB, past the page cache: a host short of memory must not hold them there."""
    zeros = mmap.mmap(-1, MIB)  # aligned to a page, as O_DIRECT wants it
    plain, until = fcntl.fcntl(handle, fcntl.F_GETFL), time.monotonic() + WRITE_S
    direct = True
    with contextlib.suppress(OSError):
        fcntl.fcntl(handle, fcntl.F_SETFL, plain | os.O_DIRECT)
    for at in range(mib):
        try:
            _write_at(handle, zeros, at * MIB)
        except OSError as error:
            if error.errno != errno.EINVAL or not direct:
                raise
            direct = (
                False  # this file system does not take it: then each MiB is dropped once it is on the disk
            )
            fcntl.fcntl(handle, fcntl.F_SETFL, plain)
            _write_at(handle, zeros, at * MIB)
        if not direct:
            os.fdatasync(handle)
            os.posix_fadvise(handle, at * MIB, MIB, os.POSIX_FADV_DONTNEED)
        if time.monotonic() > until:
            raise StepError(f"the disk took only {at + 1} of {mib} MiB within {WRITE_S} s")
    os.fsync(handle)
    found = os.fstat(handle)
    if found.st_size != mib * MIB or found.st_blocks * 512 < found.st_size:
        raise StepError("the file has holes, although it was written")


def _write_at(handle: int, data: mmap.mmap, offset: int) -> None:
    if os.pwrite(handle, data, offset) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def _idle(site: Site) -> Any:
    """Let others come first at the disk, where the host has a program for it."""
    with contextlib.suppress(StepError):
        attempt(site, "ionice", "-c3", "-p", str(os.getpid()))
    try:
        yield
    finally:
        with contextlib.suppress(StepError):
            attempt(site, "ionice", "-c0", "-p", str(os.getpid()))


def _path_words(verb: str, words: list[str], stdin: str) -> dict[str, Any]:
    no_input(verb, stdin)
    return {"path": plain_swap_path(options(verb, words, {"--path": SWAP_PATH})["path"])}


def _our_file(folder: int, path: str) -> os.stat_result:
    """What is known of a swap file of ours; whatever else bears the name is not touched."""
    try:
        found = os.stat(os.path.basename(path), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        raise UntouchedError(f"{path} is not there; nothing was changed") from None
    mine = stat.S_ISREG(found.st_mode) and found.st_uid in (0, os.geteuid()) and found.st_nlink == 1
    if not mine or found.st_mode & 0o077:
        raise UntouchedError(f"{path} is not as oombot makes it (one name, 0600, root's): it is not touched")
    return found


@contextlib.contextmanager
def _swap_folder(site: Site, path: str) -> Any:
    try:
        with folder_of(site, path) as folder:
            yield folder
    except FileNotFoundError:
        raise UntouchedError(f"{os.path.dirname(path)} is not there; nothing was changed") from None


def swap_on(policy: Policy | None, site: Site, path: str) -> tuple[str, str]:
    """Switch it on, below what swap there is already."""
    with _swap_folder(site, path) as folder:
        size = _our_file(folder, path).st_size
        if path in swaps_on(site):
            raise UntouchedError(f"{path} is on already; nothing was changed")
        try:
            tell(site, "swapon", site.path(path))
        except StepError as error:
            if path in swaps_on(site):
                raise
            raise UntouchedError(f"{error}; {path} is off, as it was") from None
    if path not in swaps_on(site):
        raise StepError(f"{path} is not in /proc/swaps after swapon")
    return f"{size // MIB} MiB, off", f"{size // MIB} MiB, on"


def swap_off(policy: Policy | None, site: Site, path: str) -> tuple[str, str]:
    """Switch it off, if memory and every cgroup that holds swap can take back what is in it."""
    area = swaps_on(site).get(path)
    if area is None:
        raise UntouchedError(f"{path} is not on; nothing was changed")
    why = why_kept_on(site, area[1])
    if why:
        raise UntouchedError(f"swapping off could kill: {'; '.join(why)}; {path} is on, as it was")
    try:
        tell(site, "swapoff", site.path(path), seconds=SWAPOFF_S)
    except StepError as error:
        if path in swaps_on(site):
            raise UntouchedError(f"{error}; {path} is on, as it was") from None
        raise
    if path in swaps_on(site):
        raise StepError(f"{path} is still in /proc/swaps after swapoff")
    return f"on, {area[1] // MIB} MiB used", "off"


def _remove_words(words: list[str], stdin: str) -> dict[str, Any]:
    no_input("remove-swap", stdin)
    found = options("remove-swap", words, {"--path": SWAP_PATH, "--bytes": r"0|[1-9][0-9]{0,14}"})
    return {"path": plain_swap_path(found["path"]), "size": int(found["bytes"])}


def remove_swap(policy: Policy | None, site: Site, path: str, size: int) -> tuple[str, str]:
    """Delete the file, which must be off and as large as it was seen."""
    with _swap_folder(site, path) as folder:
        found = _our_file(folder, path)
        if path in swaps_on(site):
            raise UntouchedError(f"{path} is on; it is not removed")
        if found.st_size != size:
            raise UntouchedError(
                f"{path} has {found.st_size} bytes, not {size} as it was seen; it is not removed"
            )
        try:
            os.unlink(os.path.basename(path), dir_fd=folder)
        except OSError as error:
            raise UntouchedError(f"{path} can not be removed: {error.strerror}") from None
        os.fsync(folder)
    return f"{size // MIB} MiB, off", "not there"


SWAP_VERBS = {
    "make-swap": Verb(words=_make_words, allowed=_make_allowed, act=make_swap),
    "swap-on": Verb(words=functools.partial(_path_words, "swap-on"), allowed=check_swap_folder, act=swap_on),
    "swap-off": Verb(
        words=functools.partial(_path_words, "swap-off"), allowed=check_swap_folder, act=swap_off
    ),
    "remove-swap": Verb(words=_remove_words, allowed=check_swap_folder, act=remove_swap),
}
