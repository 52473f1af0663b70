"""One QEMU process in software emulation (no KVM is needed): its command line, its monitor, its end."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROMPT = b"(qemu) "
# however pytest ends, no process of the lab outlives it
END_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
HARDWARE = (
    *("-nodefaults", "-no-user-config", "-display", "none"),
    # a larger CPU model boots four times slower; with cx16 kernel 6.12 panics under QEMU 7.2
    *("-accel", "tcg,tb-size=256", "-cpu", "Nehalem,-cx16", "-m", "512", "-smp", "1"),
    *("-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"),
)


class QemuError(Exception):
    """The emulator did not do what it should."""


class Qemu:
    """A machine as QEMU sees it: a disk, a port for its sshd, and perhaps the memory to go on from."""

    def __init__(self, folder: Path, *, disk: Path, boot: list[str], port: int) -> None:
        """Prepare; `folder` takes the monitor's socket and the console, so keep its path short."""
        self.folder, self.port = folder, port
        self._disk, self._boot = disk, boot
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, memory: Path | None = None) -> None:
        """Boot, or go on from `memory`; returns once the machine runs."""
        command = [
            *(*END_WITH_PARENT, "qemu-system-x86_64", *HARDWARE),
            *("-drive", f"file={self._disk},format=qcow2,if=virtio,cache=unsafe"),
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22"),
            *("-chardev", f"file,id=console,path={self.folder / 'console'},append=on"),
            *("-serial", "chardev:console", "-monitor", f"unix:{self.folder / 'monitor'},server=on,wait=off"),
            *self._boot,
            *(("-incoming", f"exec:cat {memory}") if memory else ()),
        ]
        (self.folder / "monitor").unlink(missing_ok=True)
        with (self.folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._until_running(within_s=120)

    def monitor(self, line: str, *, within_s: float = 120) -> str:
        """Say one line to QEMU's monitor and return its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(within_s)
            connection.connect(str(self.folder / "monitor"))
            _until_prompt(connection)
            connection.sendall(line.encode() + b"\n")
            return _until_prompt(connection)

    def save(self, memory: Path) -> None:
        """Write the machine's memory to a file and end; its disk goes with it."""
        self.monitor("migrate_set_parameter max-bandwidth 10G")
        self.monitor(f'migrate "exec:cat > {memory}"', within_s=300)
        status = self.monitor("info migrate")
        if "completed" not in status:
            raise QemuError(f"the memory was not saved: {status}")
        self.quit()

    def quit(self) -> None:
        """Take its power away; what it wrote to its disk stays."""
        with contextlib.suppress(OSError, QemuError):
            self.monitor("quit", within_s=10)
        if self._process is not None:
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(60)

    def end(self) -> None:
        """Kill it, if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)

    @property
    def console(self) -> str:
        """What the machine printed on its serial line, over all its boots."""
        path = self.folder / "console"
        return path.read_bytes().decode(errors="replace") if path.exists() else ""

    def _until_running(self, *, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        status = ""
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                log = (self.folder / "qemu.log").read_bytes().decode(errors="replace")
                raise QemuError(f"QEMU ended with {self._process.returncode}: {log[-1000:]}")
            with contextlib.suppress(OSError, QemuError):
                status = self.monitor("info status", within_s=20)
                if "running" in status:
                    return
            time.sleep(0.1)
        raise QemuError(f"QEMU does not run the machine after {within_s:.0f} s: {status}")


def _until_prompt(connection: socket.socket) -> str:
    said = b""
    while not said.endswith(PROMPT):
        more = connection.recv(65536)
        if not more:
            raise QemuError(f"QEMU's monitor closed: {said.decode(errors='replace')}")
        said += more
    return said.removesuffix(PROMPT).decode(errors="replace")


def overlay(disk: Path, base: Path) -> None:
    """Make a disk that starts as `base` and keeps its own writes."""
    program = shutil.which("qemu-img", path=os.environ.get("PATH"))
    assert program is not None
    subprocess.run(
        [program, "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(disk)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
