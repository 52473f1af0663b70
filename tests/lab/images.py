"""Debian machines, built once: a disk image a suite, and the memory of each machine just after its boot.

`python -m tests.lab.images` builds what is missing, so that the tests find it. All of it is in
`$XDG_CACHE_HOME/oombot-lab/KEY`, where KEY is a hash of everything that the result depends on.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.qemu import HARDWARE, Qemu, QemuError, overlay
from tests.lab.shell import Shell, ShellError, free_port

MIRROR = os.environ.get("OOMBOT_LAB_MIRROR", "http://deb.debian.org/debian")
PROGRAMS = ("qemu-system-x86_64", "qemu-img", "debootstrap", "mke2fs", "ssh", "ssh-keygen", "setpriv")
PACKAGES = ("qemu-system-x86", "qemu-utils", "debootstrap", "e2fsprogs", "openssh-client", "util-linux")
INSIDE = (
    "systemd,systemd-sysv,openssh-server,dbus,sudo,python3,procps,linux-image-cloud-amd64,udev,kmod,iproute2,"
    "e2fsprogs,xfsprogs,btrfs-progs"
)
WATCHER, NOBODY = (
    "oombot",
    "plain",
)  # logins with the lab's key: may read the journal; may read nothing special
# no timer may fire when a restored machine's clock jumps; consoles are nobody's here
MASKED = (
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer man-db.timer"
    " systemd-tmpfiles-clean.timer serial-getty@ttyS0.service getty@tty1.service systemd-timesyncd.service"
)
CUSTOMIZE = f"""
useradd -m -s /bin/sh -G adm,systemd-journal {WATCHER}
useradd -m -s /bin/sh {NOBODY}
for home in /root /home/{WATCHER} /home/{NOBODY}; do
  install -d -m 700 -o "$(stat -c %u $home)" -g "$(stat -c %g $home)" $home/.ssh
  install -m 600 -o "$(stat -c %u $home)" -g "$(stat -c %g $home)" /lab.pub $home/.ssh/authorized_keys
done
rm /lab.pub
ssh-keygen -A
systemctl enable -q systemd-networkd ssh
systemctl mask -q {MASKED}
mkdir -p /var/log/journal
apt-get clean; rm -rf /var/lib/apt/lists/*
"""
# once booted: wait for the last unit, and have in the page cache what the tests will start
SETTLE = """
systemctl is-system-running --wait >/dev/null || true
python3 -c 'import json, os, subprocess' && journalctl -k -n 1 -o json >/dev/null
systemd-run -q --wait -p MemoryMax=100M tail -c 1 /etc/hostname
systemctl show -p Id ssh.service; ps aux >/dev/null; awk 1 /etc/hostname; date; sync
"""
FILES = {
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "etc/hostname": "lab\n",
    "etc/hosts": "127.0.0.1 localhost lab\n",
    "etc/systemd/network/lab.network": (
        "[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nIPv6AcceptRA=no\n"
    ),
    "etc/ssh/sshd_config.d/lab.conf": "UseDNS no\nMaxStartups 100\nPrintMotd no\n",
    "etc/systemd/system/systemd-networkd-wait-online.service.d/lab.conf": "[Service]\nTimeoutStartSec=5\n",
}
KERNEL_WORDS = "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off quiet"
PENALTIES = "PerSourcePenalties no\n"  # OpenSSH 9.8 and newer: all of the lab comes from one address


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of machine: a Debian suite, and what its kernel is told."""

    name: str
    suite: str
    kernel_words: str = ""


DEBIAN_12 = Kind(name="debian12", suite="bookworm")
DEBIAN_13 = Kind(name="debian13", suite="trixie")
CGROUP_V1 = Kind(name="cgroup1", suite="bookworm", kernel_words="systemd.unified_cgroup_hierarchy=0")
KINDS = {kind.name: kind for kind in (DEBIAN_12, DEBIAN_13, CGROUP_V1)}


@dataclass(frozen=True, kw_only=True)
class Image:
    """What a machine of one kind starts from."""

    kind: Kind
    folder: Path

    @property
    def disk(self) -> Path:
        """The disk as it was when `memory` was saved; machines write to an overlay of it."""
        return self.folder / f"{self.kind.name}.qcow2"

    @property
    def memory(self) -> Path:
        """The machine's memory just after its boot."""
        return self.folder / f"{self.kind.name}.memory"

    @property
    def base(self) -> Path:
        """The disk as it was installed, never booted."""
        return self.folder / f"{self.kind.suite}.qcow2"

    @property
    def boot(self) -> list[str]:
        """QEMU's arguments for kernel, initrd and command line."""
        start = self.folder / self.kind.suite
        return [
            *("-kernel", f"{start}.vmlinuz", "-initrd", f"{start}.initrd"),
            *("-append", f"{KERNEL_WORDS} {self.kind.kernel_words}".strip()),
        ]


def missing() -> str:
    """Why no machine can be run here; empty when one can."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if absent:
        return f"{', '.join(absent)} not found: sudo apt-get install {' '.join(PACKAGES)}"
    if os.geteuid() != 0:
        return "debootstrap and the images' files need root: sudo make test-lab"
    free = shutil.disk_usage(_existing(cache())).free
    if free < 5 * 2**30:
        return f"{cache()} has {free / 2**30:.1f} GiB free, 5 are needed: set XDG_CACHE_HOME to a larger disk"
    return ""


def cache() -> Path:
    """Where this recipe's images are."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kinds = [(kind.name, kind.suite, kind.kernel_words) for kind in KINDS.values()]
    recipe = repr((MIRROR, INSIDE, CUSTOMIZE, FILES, PENALTIES, KERNEL_WORDS, SETTLE, kinds, HARDWARE))
    return home / "oombot-lab" / hashlib.sha256(recipe.encode()).hexdigest()[:12]


def key() -> Path:
    """The private key that every account of every machine accepts."""
    with _locked("key"):
        path = cache() / "id_ed25519"
        if not path.exists():
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", f"{path}.part")
            Path(f"{path}.part.pub").rename(f"{path}.pub")
            Path(f"{path}.part").rename(path)
        return path


def installed(kind: Kind) -> Image:
    """Install the kind's suite on a disk image, unless that was done."""
    image = Image(kind=kind, folder=cache())
    with _locked(kind.suite):
        if not image.base.exists():
            _thrice(f"{kind.suite} was not installed", lambda: _install(image))
    return image


def _install(image: Image) -> None:
    suite, folder = image.kind.suite, image.folder
    root = folder / f"{suite}.root"  # what a killed builder left is not trusted
    shutil.rmtree(root, ignore_errors=True)
    _say(f"installing {suite} (about a minute)")
    _run("debootstrap", "--variant=minbase", f"--include={INSIDE}", suite, str(root), MIRROR)
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if suite != "bookworm":
        with (root / "etc/ssh/sshd_config.d/lab.conf").open("a") as config:
            config.write(PENALTIES)
    shutil.copy(f"{key()}.pub", root / "lab.pub")
    _run("chroot", str(root), "/bin/sh", "-euc", CUSTOMIZE)
    for found, name in (("vmlinuz", "vmlinuz"), ("initrd.img", "initrd")):
        shutil.copy(next((root / "boot").glob(f"{found}-*")), folder / f"{suite}.{name}")
    raw, part = folder / f"{suite}.raw", folder / f"{suite}.part"
    raw.unlink(missing_ok=True)
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(raw), "3G")
    _run("qemu-img", "convert", "-O", "qcow2", str(raw), str(part))
    raw.unlink()
    shutil.rmtree(root)
    part.rename(image.base)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """One builder at a time; the lock ends with its process."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*argv: str) -> None:
    environment = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C"}
    done = subprocess.run(argv, capture_output=True, check=False, env=environment, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")[-2000:]
        raise RuntimeError(f"{shlex.join(argv)[:300]} ended with {done.returncode}:\n{said}")


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _say(line: str) -> None:
    sys.stderr.write(f"lab: {line}\n")


def booted(kind: Kind) -> Image:
    """Boot the kind once and keep its memory, unless that was done."""
    image = installed(kind)
    with _locked(kind.name):
        if not image.memory.exists():
            _thrice(f"{kind.name} did not boot", lambda: _boot_and_save(image))
    return image


def _thrice(failed: str, work: Callable[[], None]) -> None:
    """A mirror or an emulator may have a bad moment; what fails three times is an error."""
    for attempt in (1, 2, 3):
        try:
            work()
        except (QemuError, ShellError, OSError, RuntimeError) as error:
            _say(f"{failed} (try {attempt} of 3): {error}")
            if attempt == 3:
                raise
        else:
            return


def _boot_and_save(image: Image) -> None:
    kind = image.kind
    disk, memory = image.folder / f"{kind.name}.disk.part", image.folder / f"{kind.name}.memory.part"
    _say(f"booting {kind.name} for the first time (half a minute)")
    overlay(disk, image.base)
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        qemu = Qemu(Path(folder), disk=disk, boot=image.boot, port=free_port())
        try:
            qemu.start()
            shell = Shell(port=qemu.port, key=key(), folder=Path(folder))
            shell.until_up(within_s=300)
            shell.run("sh", "-c", SETTLE, timeout_s=180)
            shell.hang_up()
            qemu.save(memory)
        except BaseException:
            _say(f"the console of {kind.name} ends with:\n{qemu.console[-3000:]}")
            raise
        finally:
            qemu.end()
    disk.rename(image.disk)
    memory.rename(image.memory)


def main() -> None:
    """Build all that is missing; where that is impossible say why."""
    reason = missing()
    if reason:
        sys.exit(f"make test-lab: no machine can be run here: {reason}")
    with ThreadPoolExecutor(2) as builders:
        list(builders.map(booted, KINDS.values()))
    _say(f"machines are ready in {cache()}")


if __name__ == "__main__":
    main()
