"""A running machine: commands on it, its own kernel's word on who was killed, and the faults of hardware."""

import asyncio
import contextlib
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.images import Image, Kind, booted, key
from tests.lab.qemu import Qemu, QemuError, overlay
from tests.lab.shell import Shell, ShellError, free_port

# the test's own reading of the kernel's line; the bot's parser has no part in it
KILLED = re.compile(
    r"Killed process (?P<pid>\d+) \((?P<name>.*)\),? total-vm:\d+kB,"
    r" anon-rss:(?P<anon>\d+)kB, file-rss:(?P<file>\d+)kB, shmem-rss:(?P<shmem>\d+)kB"
)


@dataclass(frozen=True, order=True, kw_only=True)
class Killed:
    """A kill as the machine's kernel logged it."""

    boot: str
    pid: int
    name: str
    rss_kib: tuple[int, int, int]  # anonymous, file, shared
    memcg: bool = field(compare=False)


class Machine:
    """One Debian machine; make it with `machine()`."""

    def __init__(self, image: Image, folder: Path) -> None:
        """Prepare a machine that writes to `folder`."""
        self.image, self.folder = image, folder
        self.key = key()
        self._disk = folder / "disk.qcow2"
        self._start()

    @property
    def kind(self) -> str:
        """debian12, debian13 or cgroup1."""
        return self.image.kind.name

    @property
    def port(self) -> int:
        """Its sshd's port on 127.0.0.1."""
        return self._qemu.port

    @property
    def console(self) -> str:
        """What it printed on its serial line; the kernel's errors are there."""
        return self._qemu.console

    # -------------------------------------------------------------- commands

    async def run(
        self, *argv: str, stdin: bytes = b"", timeout_s: float = 90, check: bool = True, user: str = "root"
    ) -> str:
        """Run a command on the machine, as root unless told, and return what it printed."""
        shell = self.shell(user)
        return await asyncio.to_thread(shell.run, *argv, stdin=stdin, timeout_s=timeout_s, check=check)

    async def sh(self, script: str, *, timeout_s: float = 90, check: bool = True) -> str:
        """Run a shell script on the machine, as root."""
        return await self.run("sh", "-c", script, timeout_s=timeout_s, check=check)

    async def write(self, path: str, text: str | bytes, mode: str = "644") -> None:
        """Make a file on the machine, with its folder."""
        content = text.encode() if isinstance(text, str) else text
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"'
        await self.run("sh", "-c", script, "sh", path, mode, stdin=content)

    async def boot_id(self) -> str:
        """The id of the boot it runs, as the journal writes it."""
        return (await self.run("cat", "/proc/sys/kernel/random/boot_id")).strip().replace("-", "")

    async def up(self, *, within_s: float = 300) -> None:
        """Wait until its sshd lets root in."""
        await asyncio.to_thread(self.shell().until_up, within_s=within_s)

    def shell(self, user: str = "root") -> Shell:
        """The tests' own way in."""
        return Shell(port=self.port, key=self.key, folder=self.folder, user=user)

    async def host_key(self) -> str:
        """Its public host key: kind and blob."""
        line = await self.run("cat", "/etc/ssh/ssh_host_ed25519_key.pub")
        return " ".join(line.split()[:2])

    # -------------------------------------------------------------- kills

    async def out_of_memory(
        self, *names: str, unit: str = "leaky", limit: str = "24M", timeout_s: float = 180
    ) -> None:
        """Let one unit run a program of each name, one after the other, that the memory cgroup kills.

        It returns when all are dead. Programs are `tail /dev/zero` under the name; the unit outlives its children.
        """
        await self._eaters(names)
        script = "".join(f"/run/lab/{name} /dev/zero; " for name in names) + "true"
        limits = ("-p", f"MemoryMax={limit}", "-p", "OOMPolicy=continue", "-p", "MemorySwapMax=0")
        if self.kind == "cgroup1":
            limits = limits[:-2]  # v1 has no such limit
        await self.run(
            *("systemd-run", "-q", "--wait", "--collect", f"--unit={unit}", *limits, "sh", "-c", script),
            timeout_s=timeout_s,
        )

    async def out_of_all_memory(self, name: str, *, timeout_s: float = 400) -> None:
        """Let a unit's program eat the machine's memory until its kernel kills it; returns when it is dead.

        A machine short of memory may lose our connection, so the unit runs by itself and is asked after.
        """
        await self._eaters([name])
        before = await self.oom_kills()
        # the score makes sure that it is this one, also where others are large
        unit = ("--unit=hungry", "-p", "OOMScoreAdjust=900", f"/run/lab/{name}", "/dev/zero")
        await self.run("systemd-run", "-q", "--collect", *unit)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with contextlib.suppress(ShellError):
                if await self.oom_kills() > before:
                    return
            await asyncio.sleep(0.5)
        raise ShellError(f"{self.kind} killed nobody within {timeout_s:.0f} s")

    async def _eaters(self, names: tuple[str, ...] | list[str]) -> None:
        links = " ".join(names)
        await self.sh(f"mkdir -p /run/lab; cd /run/lab; for n in {links}; do ln -sf /usr/bin/tail $n; done")

    async def killed(self) -> list[Killed]:
        """All kills in the machine's own journal, of all its boots."""
        out = await self.run(
            *(
                "journalctl",
                "-q",
                "--no-pager",
                "-o",
                "json",
                "--output-fields=MESSAGE",
                "--grep=Killed process",
            ),
            "_TRANSPORT=kernel",
            check=False,  # 1 says that nothing was found
        )
        return [kill for line in out.splitlines() if (kill := _killed(json.loads(line)))]

    async def oom_kills(self) -> int:
        """The kernel's own count of kills since this boot."""
        return int((await self.sh("awk '$1==\"oom_kill\"{print $2}' /proc/vmstat")).strip())

    # -------------------------------------------------------------- faults

    def freeze(self) -> None:
        """Stop its processor: it is there, and answers nothing."""
        self._qemu.monitor("stop")

    def thaw(self) -> None:
        """Let it go on; its clock has stood still."""
        self._qemu.monitor("cont")

    def reset(self) -> None:
        """Press the reset button: nothing is written, it boots."""
        self.shell().hang_up()
        self._qemu.monitor("system_reset")

    def power_off(self) -> None:
        """Pull the plug."""
        self.shell().hang_up()
        self._qemu.quit()

    def power_on(self) -> None:
        """Boot it from its disk, on its port; `up()` waits for its sshd. The thread that calls this must live on."""
        self._qemu.start()

    async def reboot(self) -> None:
        """Let it reboot in an orderly way; returns when it is down, `up()` waits for the rest."""
        before = await self.boot_id()
        await self.sh("systemctl --no-block reboot", check=False)
        self.shell().hang_up()
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            try:
                if await self.run("true", timeout_s=30) == "" and await self.boot_id() != before:
                    return
            except ShellError:
                pass
            await asyncio.sleep(1)
        raise ShellError(f"{self.kind} did not reboot within 300 s")

    # -------------------------------------------------------------- its life

    def _start(self) -> None:
        """Go on from the saved memory, with the right time; a start that fails is tried twice more."""
        for attempt in (1, 2, 3):
            self._disk.unlink(missing_ok=True)
            overlay(self._disk, self.image.disk)
            self._qemu = Qemu(self.folder, disk=self._disk, boot=self.image.boot, port=free_port())
            try:
                self._qemu.start(self.image.memory)
                self.shell().until_up(within_s=90)
                self.shell().run("date", "-s", f"@{time.time():.3f}")
            except (QemuError, ShellError, OSError) as error:
                self._qemu.end()
                sys.stderr.write(f"lab: {self.kind} did not start (try {attempt} of 3): {error}\n")
                if attempt == 3:
                    raise
            else:
                return

    def end(self) -> None:
        """End it, with all it wrote."""
        self.shell().hang_up()
        self._qemu.end()


@contextmanager
def machine(kind: Kind) -> Iterator[Machine]:
    """Run a machine of this kind, as it was after its boot."""
    image = booted(kind)
    folder = Path(tempfile.mkdtemp(prefix="lab-"))  # short: it holds sockets
    try:
        started = Machine(image, folder)
        try:
            yield started
        finally:
            started.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _killed(record: dict[str, str]) -> Killed | None:
    match = KILLED.search(record["MESSAGE"])
    if match is None:
        return None
    return Killed(
        boot=record["_BOOT_ID"],
        pid=int(match["pid"]),
        name=match["name"],
        rss_kib=(int(match["anon"]), int(match["file"]), int(match["shmem"])),
        memcg="emory cgroup" in record["MESSAGE"],
    )
