"""The machine and the account that oombot runs on: memory, open files, versions, and who may read its keys."""

from collections.abc import Iterable

from oombot.doctor.gathered import FileFacts, Gathered, MachineFacts
from oombot.doctor.shape import BotCheck, Line, ok, warning, wrong

MEMORY_BYTES = 160 * 1024 * 1024
HOST_BYTES = 64 * 1024
FILES_A_HOST = 4
FILES_BESIDES = 64
_ROLES = {
    "key": "private key",
    "certificate": "certificate",
    "known_hosts": "known_hosts",
    "ssh_config": "ssh_config",
    "token": "token file",
}


def _lines(gathered: Gathered) -> Iterable[Line]:
    machine = gathered.machine
    if machine is None:
        return
    hosts = len(gathered.known.hosts)
    yield _memory(machine, hosts)
    yield _open_files(machine, hosts)
    ssh = f", ssh {machine.openssh}" if machine.openssh else ""
    yield ok("versions", f"Python {machine.python}, asyncssh {machine.asyncssh}{ssh}")
    if machine.root:
        yield warning(
            "account",
            "doctor runs as root",
            "oombot needs no root where it runs: root here makes every fault of it worse, "
            "and what root may read says nothing about the bot's own account",
            "run oombot and its doctor as an account of its own: sudo -u oombot oombot doctor",
        )
    for file in machine.files:
        yield from _file(file)


def _memory(machine: MachineFacts, hosts: int) -> Line:
    free, whole = machine.available_bytes // 1024**2, machine.memory_bytes // 1024**2
    said = f"{free} of {whole} MiB memory available"
    if machine.available_bytes < MEMORY_BYTES + hosts * HOST_BYTES:
        return warning(
            "memory",
            said,
            "an oombot that is itself killed for memory sees nobody else die",
            "end something else here, or run oombot on a machine with more memory",
        )
    return ok("memory", said)


def _open_files(machine: MachineFacts, hosts: int) -> Line:
    wanted = FILES_A_HOST * hosts + FILES_BESIDES
    if machine.files_soft >= wanted:
        return ok("open_files", f"{machine.files_soft} open files allowed, {wanted} wanted")
    fix = f"LimitNOFILE={wanted} in oombot's unit, or before starting it: ulimit -n {wanted}"
    why = (
        f"{hosts} followed hosts want up to {FILES_A_HOST} files each; beyond the limit no host can be asked"
    )
    if machine.files_hard >= wanted:
        return warning("open_files", f"{machine.files_soft} open files allowed, {wanted} wanted", why, fix)
    said = f"at most {machine.files_hard} open files can be allowed, {wanted} wanted"
    return wrong("open_files", said, why, fix)


def _file(file: FileFacts) -> Iterable[Line]:
    what, item = f"{_ROLES[file.role]} {file.path}", file.role
    if not file.exists:
        yield _missing(file, what)
    elif not file.readable:
        yield wrong(
            item,
            f"{what} can not be read by this account",
            "oombot needs it at its start",
            f"run doctor as the account that runs oombot, or: sudo chown OOMBOT_ACCOUNT {file.path}",
        )
    elif file.role in {"key", "token"} and file.mode & 0o077:
        yield wrong(
            item,
            f"{what} may be read by other accounts (mode {file.mode:04o})",
            "who reads it is the bot",
            f"chmod 600 {file.path}",
        )
    elif file.role in {"known_hosts", "ssh_config"} and file.mode & 0o022:
        yield wrong(
            item,
            f"{what} may be written by other accounts (mode {file.mode:04o})",
            "who writes it decides which machine is taken for which host",
            f"chmod go-w {file.path}",
        )
    else:
        entries = "" if file.count is None else f", {file.count} entries"
        yield ok(item, f"{what}, mode {file.mode:04o}{entries}")


def _missing(file: FileFacts, what: str) -> Line:
    if file.role == "known_hosts":
        why = "a host whose key is not known is refused: no host can be asked over SSH"
        return wrong(file.role, f"{what} is not there", why, "oombot hosts trust HOST, for each host")
    fix = "ssh-keygen -t ed25519 -f " + file.path if file.role == "key" else "correct its path"
    return wrong(file.role, f"{what} is not there", "oombot needs it at its start", fix)


CHECK = BotCheck(name="machine", rank=30, lines=_lines)
