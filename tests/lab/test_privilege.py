"""Two identities on real machines: installed, used, robbed, cut off and taken away again."""

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.forms import fill_in, offered
from tests.lab.images import key
from tests.lab.machine import Machine
from tests.lab.product import Product

ADA, BEN = "U0ADA0001", "U0BEN0002"
WATCH, ACT = "oombot-watch", "oombot-act"
SETTINGS = (
    "mode: apply\nhelpers: installed\nread_timeout_s: 60\n"
    "policy: {approvers: {groups: [S0ONCALL1]}, second_person: always, run_within_s: 600}\n"
)
# killed once by its limit, then started anew under its own name and quiet: something to change
LEAKY = "cd /run/lab; if [ -e eat ]; then rm eat; exec ./leaky /dev/zero; fi; exec ./leaky -f /dev/null"


class Site:
    """One machine with both identities, its administrator, and a thief of the bot's keys."""

    def __init__(self, machine: Machine, product: Product) -> None:
        """Make the administrator's key and the acting one; the watching one is the lab's."""
        self.machine, self.product, self.folder = machine, product, product.folder
        product.settings = SETTINGS
        product.ssh = f"  act: {{user: {ACT}, keys: [{self.folder}/act]}}\n"

    async def install(self, *argv: str) -> str:
        """Run `oombot sudoers` as the administrator."""
        ssh = f"ssh -F {self.folder}/ssh_config -i {self.folder}/admin"
        words = ("sudoers", "web", *argv, "--as", "root", "--ssh", ssh, "--yes")
        status, said, fault = await self.product.oombot(*words, within_s=400)
        assert status == 0, said + fault
        return said

    async def prepare(self) -> None:
        """Let the administrator in, and configure the host."""
        for name in ("admin", "act"):
            await _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.folder}/{name}")
        public = Path(f"{self.folder}/admin.pub").read_text()
        await self.machine.run("sh", "-c", "cat >>/root/.ssh/authorized_keys", stdin=public.encode())
        (self.folder / "ssh_config").write_text(
            f"Host *\nUserKnownHostsFile {self.folder}/known_hosts\nStrictHostKeyChecking yes\nIdentitiesOnly yes\n"
            "IdentityAgent none\nBatchMode yes\nConnectTimeout 60\nLogLevel ERROR\n"
        )

    async def steal(self, login: str, *argv: str, stdin: str = "", options: tuple[str, ...] = ()) -> str:
        """Use a key of the bot's with whatever words; what came back on both outputs."""
        file = key() if login == WATCH else self.folder / "act"
        words = ("ssh", "-F", f"{self.folder}/thief_config", "-i", str(file), *options)
        (self.folder / "thief_config").write_text(
            (self.folder / "ssh_config").read_text() + f"Port {self.machine.port}\nSendEnv LC_*\n"
        )
        return await _run(*words, f"{login}@127.0.0.1", *argv, stdin=stdin, check=False)

    async def act(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the act helper by its key."""
        said = await self.steal(ACT, stdin=json.dumps(request))
        answer: dict[str, Any] = json.loads(said)
        return answer

    async def sleeper(self, unit: str) -> dict[str, str]:
        """Start a unit that sleeps; its pid and start time."""
        await self.machine.sh(f"systemd-run -q --unit={unit} sleep 100000")
        said = await self.machine.sh(
            f"pid=$(systemctl show -P MainPID {unit}); read -r line </proc/$pid/stat;"
            f" set -- ${{line##*) }}; echo $pid ${{20}}"
        )
        pid, start = said.split()
        return {"pid": pid, "start": start}

    async def adj(self, pid: str | int) -> int:
        """The score that the machine's kernel shows."""
        return int(await self.machine.sh(f"cat /proc/{pid}/oom_score_adj"))

    async def policy(self, **changed: object) -> None:
        """Write the host's policy as its owner would."""
        wanted = {"operations": ["set-adj"], "units": ["*"], "owners": ["*"], "oom_score_adj": [-500, 1000]}
        text = json.dumps(wanted | {"changes_per_hour": 100} | changed)
        await self.machine.write("/etc/oombot/policy.json", text)


async def _run(*argv: str, stdin: str = "", check: bool = True) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(180):
            out, _ = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert not check or process.returncode == 0, f"{shlex.join(argv)}: {out.decode(errors='replace')}"
    return out.decode(errors="replace")


def change(name: str, process: dict[str, str], value: int) -> dict[str, Any]:
    """A request to set a score."""
    words = ["set-adj", "--pid", process["pid"], "--start", process["start"], "--value", str(value)]
    return {"op": "run", "id": name, "steps": [{"do": words, "stdin": ""}], "approver": "U0ALICE"}


async def test_kill_to_undo_by_two_identities(debian: Machine, product: Product, connect: Any) -> None:
    """Installed by an administrator, the bot follows, shows, changes, proves and undoes through both helpers."""
    site, link = Site(debian, product), await connect(debian)
    await site.prepare()
    await product.add("web", debian, link, user=WATCH)
    said = await site.install("--apply")
    assert "new account oombot-act" in said
    assert "all is in place; nothing was changed" in await site.install("--apply")
    await product.start()

    await debian.sh("mkdir -p /run/lab; ln -sf /usr/bin/tail /run/lab/leaky; touch /run/lab/eat")
    limits = ("-p", "MemoryMax=24M", "-p", "MemorySwapMax=0", "-p", "Restart=always", "-p", "RestartSec=1")
    await debian.run("systemd-run", "-q", "--unit=leaky", *limits, "sh", "-c", LEAKY)
    [kill] = await product.stored(1)
    [logged] = await debian.killed()
    assert (kill.pid, kill.name, kill.rss_kib) == (logged.pid, logged.name, logged.rss_kib)
    pid = (await debian.sh("systemctl show -P MainPID leaky")).strip()

    errors = await fill_in(
        product.workspace,
        ADA,
        f"/oom fix web {pid}",
        "oom_score_adj",
        lambda form: {"process": offered(form, "process")[0], "value": "400"},
        within_s=120,
    )
    assert errors == {}
    plan = (await product.until(lambda: _told(product, "Approval needed"), what="the plan"))[-1]
    assert f"a login of their own, {ACT}" in str(plan)
    await product.workspace.click(BEN, "oncall", plan["ts"], "approve")
    [outcome] = await product.until(lambda: _told(product, "outcome:"), what="the outcome")
    await product.until(lambda: "✅ verified" in str(_told(product, "outcome:")), what="the proof")
    assert await site.adj(pid) == 400
    noted = await debian.sh("journalctl -q -o cat SYSLOG_IDENTIFIER=oombot-helper")
    assert f"approved by {BEN}: done" in noted
    assert ": 0 -> 400" in noted
    assert "oombot-act-" in await debian.sh("journalctl -q -o cat -u 'oombot-act-*' -o verbose | head -50")

    await product.workspace.click(BEN, "oncall", outcome["ts"], "undo")
    await product.until(lambda: len(_told(product, "✅ verified")) == 2, what="the undo's proof")
    assert await site.adj(pid) == 0


@pytest.mark.full
async def test_a_limit_through_both_helpers(debian: Machine, product: Product) -> None:
    """The closer look comes from the read helper, the limit is set by the act helper, and the kernel holds it."""
    site = Site(debian, product)
    await site.prepare()
    await product.add("web", debian, user=WATCH)
    await site.install("--apply", "--allow", "memory_max")
    await product.start()
    await debian.sh("systemd-run -q --unit=leaky sleep 100000")
    limit = {"memory_high": "20M", "lasting": "boot"}
    errors = await fill_in(
        product.workspace, ADA, "/oom fix web leaky.service", "memory_max", limit, within_s=120
    )
    assert errors == {}
    waiting = await product.until(lambda: _told(product, "Approval needed"), what="the plan")
    await product.workspace.click(BEN, "oncall", waiting[-1]["ts"], "approve")
    await product.until(lambda: _told(product, "✅ verified"), what="the proof of the limit")
    held = await debian.sh("cat /sys/fs/cgroup/system.slice/leaky.service/memory.high")
    assert held.strip() == str(20 << 20)
    assert "set-memory" in await debian.sh("journalctl -q -o cat SYSLOG_IDENTIFIER=oombot-helper")


def _told(product: Product, words: str) -> list[dict[str, Any]]:
    return [
        message
        for message in product.workspace.messages("oncall")
        if words in json.dumps(message, ensure_ascii=False)
    ]


async def test_stolen_keys(debian: Machine, product: Product) -> None:
    """With the watching key no shell and no word that is not about OOM; with the acting key the policy, no more."""
    site = Site(debian, product)
    await site.prepare()
    await product.add("web", debian, user=WATCH)
    await site.install("--apply")
    await debian.sh(
        "echo '<4>driver: SECRET1' >/dev/kmsg; logger -t app SECRET2; echo '<12>SECRET3' >/dev/kmsg"
    )
    await debian.out_of_memory("leaker")
    await debian.sh(
        "systemd-run -q --wait -E TOKEN=SECRET4 sh -c 'exec true --password=SECRET5'; journalctl --sync"
    )

    for login in (WATCH, ACT):
        for argv in (("id",), ("sh", "-c", "id"), (";id",), ()):
            assert "uid=" not in await site.steal(login, *argv, stdin="id\n")
        assert "/dev/pts" not in await site.steal(login, "tty", options=("-tt",), stdin="\x04")
        assert "forwarding failed" in await site.steal(login, options=("-W", "127.0.0.1:22"))
    assert "\0" not in await site.steal(WATCH, "sftp", options=("-s",), stdin="\0\0\0\5\1\0\0\0\3")

    read = await site.steal(WATCH, stdin='{"op": "read", "since_s": 0}')
    assert "Killed process" in read
    assert read.endswith("@@end\n")
    follow = {"op": "follow", "detector": "journald", "words": ["", "-30d"]}
    followed = await _until_live(site, json.dumps(follow))
    assert "Killed process" in followed
    for said in (read, followed):
        assert "SECRET" not in said
    whole = await debian.run(
        "journalctl", "-q", "-o", "cat", user="oombot"
    )  # what the group itself could read
    assert "SECRET1" in whole

    first, guarded = await site.sleeper("web-1"), await site.sleeper("db-1")
    await site.policy(units=["web-*.service"], oom_score_adj=[-100, 500])
    assert (await site.act(change("within-bounds", first, 300)))["status"] == "done"
    assert await site.adj(first["pid"]) == 300
    refused = {
        "unit-not-allowed": change("unit-not-allowed", guarded, 300),
        "score-too-high": change("score-too-high", first, 501),
        "pid-of-another": change("pid-of-another", {**first, "pid": guarded["pid"]}, 300),
    }
    for name, request in refused.items():
        assert (await site.act(request))["status"] in {"refused", "failed"}, name
    ssh = await debian.sh("systemctl show -P MainPID ssh")
    assert (await site.act(change("the-way-in", {"pid": ssh.strip(), "start": "1"}, 300)))[
        "status"
    ] == "refused"
    assert (await site.act({"op": "sh", "id": "request-0001"}))["status"] == "refused"
    await debian.sh("touch /etc/oombot/frozen")
    assert (await site.act(change("while-frozen", first, 0)))["status"] == "frozen"
    await debian.sh("rm /etc/oombot/frozen; chmod 666 /etc/oombot/policy.json")
    assert (await site.act(change("open-policy", first, 0)))["status"] == "refused"
    assert (await site.adj(first["pid"]), await site.adj(guarded["pid"])) == (300, 0)
    by_hand = f"su -s /bin/sh {ACT} -c 'sudo -n /usr/local/libexec/oombot-helper x'"
    assert "status" not in await debian.sh(by_hand, check=False)

    said = await site.install("--remove")
    assert "kept /var/lib/oombot-helper" in said
    assert "Permission denied" in await site.steal(WATCH, stdin="{}")
    assert "Permission denied" in await site.steal(ACT, stdin="{}")
    left = await debian.sh(
        "ls /etc/sudoers.d /usr/local/libexec /var/lib/oombot-access 2>/dev/null; getent passwd; visudo -c",
        check=False,
    )
    assert "oombot-" not in left
    assert "parsed OK" in left


async def _until_live(site: Site, request: str) -> str:
    """Follow until the log has come to the present, then hang up; what came until then."""
    words = ("ssh", "-F", f"{site.folder}/thief_config", "-i", str(key()), f"{WATCH}@127.0.0.1")
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20
    )
    assert process.stdin is not None
    assert process.stdout is not None
    found = []
    try:
        process.stdin.write(request.encode())
        process.stdin.close()
        async with asyncio.timeout(180):
            while (line := await process.stdout.readline()) and line != b"@@live\n":
                found.append(line.decode(errors="replace"))
        assert line == b"@@live\n"
    finally:
        process.kill()
        await process.wait()
    return "".join(found)


async def test_a_run_survives_a_cut_link(debian: Machine, product: Product) -> None:
    """The unit goes on when who asked is gone; asked again, its record answers, and nothing runs twice."""
    site = Site(debian, product)
    await site.prepare()
    await product.add("web", debian, user=WATCH)
    await site.install("--apply")
    process = await site.sleeper("web-1")
    await site.policy(changes_per_hour=1000)
    # many steps take a while here: the link is cut as soon as the record says that the run has begun
    steps = [step for value in range(1, 400) for step in change("cut-in-two", process, value)["steps"]]
    request = {"op": "run", "id": "cut-in-two", "steps": steps, "approver": "U0ALICE"}
    words = ("ssh", "-F", f"{site.folder}/thief_config", "-i", f"{site.folder}/act", f"{ACT}@127.0.0.1")
    await site.act({"op": "about"})  # writes the thief's configuration
    running = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    assert running.stdin is not None
    try:
        running.stdin.write(json.dumps(request).encode())
        running.stdin.close()
        await debian.sh("until [ -e /var/lib/oombot-helper/cut-in-two ]; do sleep 0.1; done", timeout_s=180)
    finally:
        running.kill()
        await running.wait()
    await debian.sh(
        f"pkill -KILL -u {ACT}; pkill -KILL -x sudo; true"
    )  # whatever stood between the unit and the link
    answer: dict[str, Any] = {}
    for _ in range(120):
        answer = await site.act({"op": "result", "id": "cut-in-two"})
        if answer["status"] != "running":
            break
        await asyncio.sleep(1)
    assert answer["status"] == "done"
    assert len(answer["steps"]) == 399
    assert await site.adj(process["pid"]) == 399
    assert await site.act(request) == answer
