"""Reading many hosts, cold and warm, beside clush, pdsh, parallel-ssh and Ansible ad-hoc on the same sshd."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, missing
from benchmarks.peers import SIGN, Peer, peers
from benchmarks.sshd import Sshd, running_sshd

HOSTS, ROUNDS, WARM = 200, 3, 5
NAME = "reading many hosts"


def run(n: int | None) -> list[Figure]:
    """Rounds of every tool in turn; `n` is the number of hosts, for a quick look."""
    hosts, rounds = n or HOSTS, 1 if n else ROUNDS
    with (
        tempfile.TemporaryDirectory(prefix="oombot-bench-") as name,
        running_sshd(Path(name) / "sshd") as sshd,
    ):
        all_peers = peers(sshd, hosts, Path(name))
        there = [peer for peer in all_peers if not peer.missing]
        times = Times(
            mine=[],
            cold={peer.name: [] for peer in there},
            again={peer.name: [] for peer in there if peer.keeps},
        )
        for _ in range(rounds):
            times.mine.append(_oombot(sshd, hosts, "same"))
            for peer in there:
                times.cold[peer.name].append(_peer(peer, hosts))
                if peer.keeps:
                    times.again[peer.name].append(_peer(peer, hosts))
                    peer.forget()
        whole = _oombot(sshd, hosts, "reading")
        server_ms = _server_cost(sshd, min(hosts, 50))
    return _figures(hosts, times, all_peers, whole, server_ms)


@dataclass(frozen=True, kw_only=True)
class Mine:
    """One process of oombot: `cold_s` counts from the start of the interpreter to the last answer."""

    cold_s: float
    connect_s: float
    cpu_ms: float  # of the cold round, a host
    warm_s: list[float]


@dataclass(frozen=True, kw_only=True)
class Times:
    """What was measured, by tool."""

    mine: list[Mine]
    cold: dict[str, list[float]]
    again: dict[str, list[float]]


def _oombot(sshd: Sshd, hosts: int, kind: str) -> Mine:
    words = (str(sshd.port), sshd.user, str(sshd.key), str(sshd.known_hosts), str(hosts), str(1 + WARM), kind)
    began = time.perf_counter()
    argv = [sys.executable, "-m", "benchmarks.reader", *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first: dict[str, Any] = json.loads(process.stdout.readline())
        cold_s = time.perf_counter() - began
        rounds = [json.loads(line) for line in process.stdout]
    if any(found["answers"] != hosts for found in [first, *rounds]):
        raise RuntimeError(f"oombot got {first['answers']} of {hosts} answers")
    warm_s = [found["wall_s"] for found in rounds]
    cpu_ms = 1000 * first["cpu_s"] / hosts
    return Mine(cold_s=cold_s, connect_s=first["wall_s"], cpu_ms=cpu_ms, warm_s=warm_s)


def _peer(peer: Peer, hosts: int) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        peer.argv,
        env=dict(peer.environment) or None,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # one that ends its process group ends itself alone
    )
    wall = time.perf_counter() - began
    answers = done.stdout.count(SIGN)
    if answers != hosts:
        raise RuntimeError(f"{peer.name} got {answers} of {hosts} answers: {done.stderr[-500:]}")
    return wall


def _server_cost(sshd: Sshd, logins: int) -> float:
    """Milliseconds of the processor that sshd itself takes for one login and command, whoever logs in."""
    before = sshd.cpu_s()
    argv = ["ssh", "-F", str(sshd.key.parent.parent / "ssh_config"), "h000", "true"]
    for _ in range(logins):
        subprocess.run(argv, check=True)
    time.sleep(1.0)  # until the last child has been waited for
    return 1000 * (sshd.cpu_s() - before) / logins


def _figures(hosts: int, times: Times, all_peers: list[Peer], whole: Mine, server_ms: float) -> list[Figure]:
    cold = [one.cold_s for one in times.mine]
    middle, limit_s = sorted(cold)[len(cold) // 2], server_ms * hosts / 1000 / 2
    found = _ours(hosts, times, cold)
    for peer in all_peers:
        if peer.missing:
            found.append(missing(peer.name, peer.missing))
            continue
        found.append(Figure(what=peer.name, unit="s", values=times.cold[peer.name], note=peer.note))
        if peer.keeps:
            what, note = f"{peer.name}, again", "on the connections that it keeps for a minute"
            found.append(Figure(what=what, unit="s", values=times.again[peer.name], note=note))
    return [
        *found,
        Figure(
            what="the limit: sshd's own work for these logins on both cores",
            unit="s",
            values=[limit_s],
            note=f"{server_ms:.1f} ms of CPU a login on the side of the host; "
            f"oombot takes {middle / limit_s:.1f} times that",
        ),
        Figure(
            what="oombot, whole reading (process table, units, kernel log), cold",
            unit="s",
            values=[whole.cold_s],
            note="all hosts are this one machine, so their work is done here too",
        ),
        Figure(what="oombot, whole reading, warm", unit="s", values=whole.warm_s),
    ]


def _ours(hosts: int, times: Times, cold: list[float]) -> list[Figure]:
    warm = [wall for one in times.mine for wall in one.warm_s]
    first = times.mine[0]
    ahead = statistics.median(cold) < min(map(statistics.median, times.cold.values()), default=0.0)
    others = [*times.cold.values(), *times.again.values()]  # without kept connections each run is a cold one
    faster = statistics.median(warm) * 5 <= min(map(statistics.median, others), default=0.0)
    return [
        Figure(
            what=f"oombot, cold, `cat /proc/meminfo` on {hosts} hosts",
            unit="s",
            values=cold,
            aim="ahead of all",
            met=ahead if times.cold else None,
            note=f"with the start of Python; logins and answers alone {first.connect_s:.2f} s; "
            f"{first.cpu_ms:.1f} ms of our CPU a host",
        ),
        Figure(
            what="oombot, warm",
            unit="s",
            values=warm,
            aim="5 times the best of the others",
            met=faster if times.cold else None,
            note="on kept connections; the best of the others logs in each time, and starts a process",
        ),
    ]
