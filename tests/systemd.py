"""A machine of files with a small systemd, for tests of verbs and looks: `Systemd(tmp_path)`.

    machine = Systemd(tmp_path)                       # cgroup=1 for the old hierarchy, systemd=252, ram_b=…
    machine.unit("web.service", "[Service]\nMemoryMax=1G\n", current_b=300 << 20)   # active, one process
    assert verb.act(None, machine.site, unit="web.service", …) == (before, after)
    assert machine.cgroup_file("web.service", "memory.max") == "536870912"
    assert machine.calls("set-property") == [["systemctl", "set-property", …]]

What it does is told in systemd_program.py. `machine.site` is what every verb and look takes.
"""

import json
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

from oombot.data.oombot_site import Site
from tests import systemd_program
from tests.systemd_program import DEFAULTS, FOLDERS, process

MIB = 1 << 20
PROGRAMS = ("systemctl", "systemd-run", "systemd-detect-virt")


class Systemd:
    """One machine. Everything that stands in it is a plain file below `root`."""

    def __init__(
        self, folder: Path, *, cgroup: int = 2, systemd: int = 257, ram_b: int = 1 << 30, container: str = ""
    ) -> None:
        self.base = folder / "machine"
        self.root, self.bin, self.version = self.base / "root", self.base / "bin", cgroup
        for path in (*FOLDERS, "/proc/sys/vm", "/run/systemd", "/sys/fs/cgroup"):
            (self.root / path.strip("/")).mkdir(parents=True, exist_ok=True, mode=0o755)
        self.bin.mkdir()
        for name in PROGRAMS:
            words = f'exec "{sys.executable}" -I -S "{systemd_program.__file__}" "{self.base}" {name} "$@"'
            self.program(name, f"#!/bin/sh\n{words}\n")
        self._save(
            {
                "version": systemd,
                "cgroup": cgroup,
                "ram": ram_b,
                "container": container,
                "next": 9000,
                "virtualization": container or "kvm",
                "units": {},
                "aliases": {},
                "fails": [],
            }
        )
        self.file("/proc/meminfo", f"MemTotal: {ram_b >> 10} kB\nMemFree: {ram_b >> 11} kB\n")
        mounts = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n" if cgroup == 1 else ""
        mounts += "cgroup2 /sys/fs/cgroup" + ("/unified" if cgroup == 1 else "") + " cgroup2 rw 0 0\n"
        self.file("/proc/mounts", "proc /proc proc rw 0 0\n" + mounts)
        self.tree = self.root / ("sys/fs/cgroup/memory" if cgroup == 1 else "sys/fs/cgroup")
        self.tree.mkdir(exist_ok=True)
        self.file("/sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n")
        self.unit("-.slice", state="active", path="/", pids=())
        self.unit("system.slice", state="active", path="/system.slice", slice_="-.slice", pids=())

    @property
    def site(self) -> Site:
        """The machine as verbs and looks take it."""
        return Site(root=str(self.root), programs=f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin")

    # ------------------------------------------------------------------ building

    def program(self, name: str, text: str) -> None:
        """Put a program there, before those of this host."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def file(self, path: str, text: str | bytes, mode: int = 0o644) -> Path:
        """Write a file of the machine, its folders with it. Units see it with the next `reload`, as on a real one."""
        where = self.root / path.lstrip("/")
        where.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        where.write_bytes(text if isinstance(text, bytes) else text.encode())
        where.chmod(mode)
        return where

    def text(self, path: str) -> str | None:
        """What stands in a file; None where there is none."""
        where = self.root / path.lstrip("/")
        return where.read_text(errors="surrogateescape") if where.is_file() else None

    def unit(
        self,
        name: str,
        text: str | None = "[Service]\nExecStart=/usr/bin/true\n",
        *,
        state: str = "active",
        slice_: str = "system.slice",
        path: str = "",
        pids: tuple[int, ...] | None = None,
        adj: int = 0,
        folder: str = "/etc/systemd/system",
        alias: str = "",
        start_fails: bool = False,
        properties: dict[str, str] | None = None,
        **memory: int,
    ) -> None:
        """A loaded unit with its file, its cgroup (see `cgroup`) and its processes: one, unless told.

        `properties` are those that no file of it says; `text` None: it has no file (a scope, a built-in slice).
        """
        assert set(properties or {}) <= {*DEFAULTS, "NRestarts"}, "no property that this systemd knows"
        if text is not None and not (self.root / f"{folder}/{name}".lstrip("/")).exists():
            self.file(f"{folder}/{name}", text)
        path = path or (f"/{name}" if slice_ == "-.slice" else f"/{slice_}/{name}")
        running = pids if pids is not None else ((self._next(),) if state == "active" else ())
        with self.state() as known:
            known["units"][name] = {
                "given": {"Slice": slice_, **(properties or {})},
                "held": {},
                "texts": {},
                "path": path,
                "active": state,
                "sub": {"active": "running", "inactive": "dead"}.get(state, state),
                "pids": list(running),
                "restarts": int((properties or {}).get("NRestarts", "0")),
                "invocation": f"{len(known['units']):032x}",
                "start_fails": start_fails,
                "starts": 0,
                "result": "exit-code" if state == "failed" else "success",
            }
            if alias:
                known["aliases"][alias] = name
        base = systemd_program.Base(str(self.base))
        base.load(name)
        base.save()
        self.cgroup(path, pids=running, **memory)
        for pid in running:
            self.process(pid, name.split(".", maxsplit=1)[0], adj=adj, path=path)
        if state == "active" and path != "/":
            base.realize(name, base.units[name])

    def cgroup(self, path: str, *, pids: tuple[int, ...] = (), **values: int) -> Path:
        """A cgroup's files; `values`: current_b, inactive_file_b, peak_b, max_b, high_b, swap_max_b, swap_current_b."""
        where = self.tree / path.strip("/")
        where.mkdir(parents=True, exist_ok=True, mode=0o755)
        limit = {one: str(values.get(one, "max")) for one in ("max_b", "high_b", "swap_max_b")}
        current, inactive = values.get("current_b", 10 * MIB), values.get("inactive_file_b", 0)
        (where / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        if self.version == 1:
            files = {
                "memory.usage_in_bytes": current,
                "memory.max_usage_in_bytes": values.get("peak_b", current),
                "memory.limit_in_bytes": values.get("max_b", (1 << 63) - 4096),
                "memory.failcnt": 0,
                "memory.stat": f"cache {inactive}\ntotal_inactive_file {inactive}\ntotal_swap 0",
                "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0",
            }
        else:
            files = {
                "cgroup.controllers": "memory pids",
                "memory.current": current,
                "memory.peak": values.get("peak_b", current),
                "memory.max": limit["max_b"],
                "memory.high": limit["high_b"],
                "memory.swap.max": limit["swap_max_b"],
                "memory.swap.current": values.get("swap_current_b", 0),
                "memory.stat": f"anon {current - inactive}\nfile {inactive}\ninactive_file {inactive}",
                "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0",
                "memory.oom.group": 0,
                "memory.reclaim": "",
            }
        for name, value in files.items():
            if path != "/" or name.startswith("memory.stat"):  # the root has no limits
                (where / name).write_text(f"{value}\n")
        return where

    def process(self, pid: int, comm: str, *, adj: int = 0, path: str = "/", **more: Any) -> None:
        """A process in /proc; `start`, `flags`, `threads`, `uid` as in systemd_program.process."""
        for name, text in process(pid, comm, adj, path, self.version == 1, **more).items():
            self.file(f"/proc/{pid}/{name}", f"{text}\n")

    def fails(self, verb: str, said: str = "Failed: no.", status: int = 1) -> None:
        """Let the next `systemctl VERB` fail with these words, having done nothing."""
        with self.state() as known:
            known["fails"].append([verb, said, status])

    # ------------------------------------------------------------------ looking

    def cgroup_file(self, unit: str, name: str) -> str:
        """What stands in a file of a unit's cgroup (or of a cgroup given by its path)."""
        path = unit if unit.startswith("/") else self.known(unit)["path"]
        return (self.tree / path.strip("/") / name).read_text().strip()

    def known(self, unit: str) -> dict[str, Any]:
        """All that systemd remembers of a unit: held, active, result, pids, invocation, restarts, …"""
        found: dict[str, Any] = json.loads((self.base / "state.json").read_text())["units"][unit]
        return found

    def shown(self, unit: str) -> dict[str, str]:
        """Every property as `systemctl show` would have it."""
        return dict(systemd_program.Base(str(self.base)).shown(unit))

    def reload(self) -> None:
        """daemon-reload, by somebody else: no call of ours."""
        base = systemd_program.Base(str(self.base))
        systemd_program.reload(base, {}, [])
        base.save()

    def calls(self, verb: str = "") -> list[list[str]]:
        """The programs of systemd that were called, with their words; only those with this verb."""
        try:
            lines = (self.base / "calls.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [call for call in map(json.loads, lines) if not verb or verb in call]

    def standing(self, *folders: str) -> dict[str, tuple[str, int]]:
        """Every file below these folders ("/etc", "/run" unless told): what stands in it, and its mode."""
        found = {}
        for folder in folders or ("/etc", "/run"):
            for path in sorted((self.root / folder.lstrip("/")).rglob("*")):
                held = str(path.readlink()) if path.is_symlink() else ""
                text = path.read_text(errors="surrogateescape") if path.is_file() and not held else held
                name = f"/{path.relative_to(self.root)}"
                found[name] = (text, stat.S_IMODE(path.lstat().st_mode))
        return found

    def forget(self, unit: str) -> None:
        """The unit vanishes, its files, processes and cgroup with it."""
        with self.state() as known:
            gone = known["units"].pop(unit)
        for path in gone["texts"]:
            (self.root / path.lstrip("/")).unlink(missing_ok=True)
        for pid in gone["pids"]:
            shutil.rmtree(self.root / f"proc/{pid}", ignore_errors=True)
        shutil.rmtree(self.tree / gone["path"].strip("/"), ignore_errors=True)

    # ------------------------------------------------------------------ the state

    def state(self) -> "_State":
        """What the small systemd remembers, to be changed in a `with` block."""
        return _State(self.base / "state.json")

    def _next(self) -> int:
        with self.state() as known:
            known["next"] += 1
            return int(known["next"])

    def _save(self, known: dict[str, Any]) -> None:
        (self.base / "state.json").write_text(json.dumps(known))


class _State:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> dict[str, Any]:
        self._known: dict[str, Any] = json.loads(self._path.read_text())
        return self._known

    def __exit__(self, *_: object) -> None:
        self._path.write_text(json.dumps(self._known))
