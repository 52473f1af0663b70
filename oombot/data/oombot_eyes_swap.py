"""A part of the look: swap, its file system, and who holds it.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
"""

from __future__ import annotations

import os
from typing import Any

from oombot.data.oombot_site import Site, StepError, tell
from oombot.data.oombot_swaps import (
    free_of,
    fstab_lines,
    has_links,
    mount_of,
    our_areas,
    swap_holders,
)

SWAP_PROGRAMS = ("mkswap", "swapon", "swapoff")
KUBELET_SIGNS = ("/var/lib/kubelet", "/etc/kubernetes/kubelet.conf", "/var/lib/rancher/k3s/agent")


def look_swap(site: Site, names: dict[str, str]) -> Any:
    """Swap, in the shape of SwapDetails; `folder` of the question is where a file would be put, "" = /."""
    folder = "/" + "/".join(part for part in names.get("folder", "").split("/") if part not in ("", "."))
    links = has_links(site, folder)
    said = {"folder": folder, "filesystem": "", **mount_of(site, folder), "links": links}
    if not links:
        said["size_b"], said["free_b"] = free_of(site, folder)
    return {
        **said,
        "rotational": _rotational(site, str(said.get("source", ""))),
        "areas": our_areas(site, *([] if links else [folder])),
        "holders": swap_holders(site),
        "fstab_wrong": _fstab_wrong(site),
        "kubelet": any(os.path.lexists(site.path(sign)) for sign in KUBELET_SIGNS),
        "missing": [name for name in SWAP_PROGRAMS if not _program_there(site, name)],
        "shown": _swapon_shown(site),
    }


def _rotational(site: Site, source: str) -> bool | None:
    """Whether the device, or the disk of the partition, turns; None where the kernel does not say."""
    if not source.startswith("/dev/"):
        return None
    device = site.path(f"/sys/class/block/{os.path.basename(os.path.realpath(site.path(source)))}")
    for folder in (device, os.path.dirname(os.path.realpath(device))):
        try:
            with open(os.path.join(folder, "queue/rotational"), encoding="ascii") as file:
                return file.read().strip() == "1"
        except OSError:
            continue
    return None


def _fstab_wrong(site: Site) -> str:
    try:
        fstab_lines(site)
    except StepError as error:
        return str(error)
    return ""


def _program_there(site: Site, name: str) -> bool:
    return any(os.access(os.path.join(folder, name), os.X_OK) for folder in site.programs.split(":"))


def _swapon_shown(site: Site) -> str:
    try:
        return tell(site, "swapon", "--show", check=False)[:4000].rstrip()
    except StepError as error:
        return str(error)
