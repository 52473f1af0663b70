"""Remedies on real machines: proposed, approved, run, proved and undone; then the machine compared with before.

    async def test_remedy_score(debian, product):
        surgery = await surgery_on(product, debian)           # root's login, approvers, mode apply; host "web"
        await debian.sh("systemd-run --unit=eater sleep 1000")
        before = await as_it_is(debian)
        done = await surgery.operate("oom_score_adjust_unit", unit="eater.service", value="400")
        assert (done.state, done.before, done.after) == ("verified", …, …)
        undone = await surgery.undo(done)
        assert undone.state == "verified"
        assert differences(before, await as_it_is(debian)) == []

`unit=` and `pid=` are what it is about, everything else are fields of the remedy's form. A refusal is a `RefusedError`
with the words that people get. By `through="page"` the same goes through the Slack page: Ada fills in the form, Ben
presses the buttons (the bot must be started). Else it is the command line, where root stands for Ada and may
approve what she asks: quick, and under the same policy, engine and helper.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from oombot import installation
from tests.forms import fill_in
from tests.lab.machine import Machine
from tests.lab.product import Product

ADA, BEN = "U0ADA0001", "U0BEN0002"
HOST = "web"
SETTINGS = (
    "mode: apply\nread_timeout_s: 60\n"
    "policy: {{approvers: {{users: [{ada}, {ben}]}}, second_person: never, run_within_s: 600, "
    "accounts: {{root: {ada}}}, drop_caches: true, swap_reserve_mib: 0, "
    "limits: {{max_changes_per_host_per_day: 1000, restarts_per_unit: 50}}{more}}}\n"
)
DECIDED = ("verified", "unverified", "contradicted", "failed", "stale", "expired", "denied")
WITHIN_S = 300.0


class RefusedError(Exception):
    """It was not done; the text is what people are told."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A request as the store holds it."""

    id: str
    state: str
    plan: dict[str, Any] = field(repr=False)
    evidence: dict[str, Any] = field(repr=False)

    @property
    def before(self) -> str:
        """What stood there when it was planned."""
        return str(self.plan["before"])

    @property
    def after(self) -> str:
        """What the host read afterwards; "" where it was not read."""
        return str(self.evidence.get("after", ""))

    @property
    def problems(self) -> list[str]:
        """What is wrong with it."""
        return list(self.evidence.get("problems", ()))

    @property
    def words(self) -> list[list[str]]:
        """The words of each step, as the helper was given them."""
        return [step["do"]["argv"] for step in self.plan["steps"]]


@dataclass(frozen=True, kw_only=True)
class Surgery:
    """A product that treats one machine."""

    product: Product
    machine: Machine
    through: Literal["cli", "page"] = "cli"

    async def propose(
        self, remedy: str, *, unit: str = "", pid: int | None = None, for_: str = "", **values: object
    ) -> Operation:
        """Ask for a remedy; the pending request."""
        known = set(self._ids())
        words = {name: str(value) for name, value in values.items()}
        if self.through == "page":
            target = unit or ("" if pid is None else str(pid))
            line = f"/oom fix {HOST} {target}".strip()
            errors = await fill_in(self.product.workspace, ADA, line, remedy, words, within_s=WITHIN_S)
            if errors:
                raise RefusedError(json.dumps(errors))
        else:
            argv = ["fix", HOST, remedy, *(f"{name}={value}" for name, value in words.items())]
            argv += ["--unit", unit] if unit else []
            argv += ["--pid", str(pid)] if pid is not None else []
            argv += ["--for", for_] if for_ else []
            await self._oombot(*argv)  # nobody is there to say yes: it is only proposed
        await self.product.until(lambda: set(self._ids()) - known, within_s=WITHIN_S, what="the request")
        [made] = set(self._ids()) - known
        return self.request(made)

    async def approve(self, operation: Operation) -> Operation:
        """Approve it and wait for what came of it."""
        if self.through == "page":
            await self._press("approve", operation.id)
        else:
            await self._oombot("approve", operation.id, "--yes", check=False)
        return await self.outcome(operation.id)

    async def operate(self, remedy: str, **values: Any) -> Operation:
        """Propose, approve, wait for the outcome."""
        return await self.approve(await self.propose(remedy, **values))

    async def undo(self, operation: Operation) -> Operation:
        """Undo it and wait for what came of that; where an approval is needed, give it."""
        known = set(self._ids())
        if self.through == "page":
            await self._press("undo", operation.id)
        else:
            status, said, fault = await self.product.oombot("undo", operation.id, "--yes", within_s=WITHIN_S)
            if status and set(self._ids()) == known:
                raise RefusedError(f"{said}\n{fault}")
        await self.product.until(lambda: set(self._ids()) - known, within_s=WITHIN_S, what="the undo")
        [made] = set(self._ids()) - known
        undoing = self.request(made)
        return await (self.approve(undoing) if undoing.state == "pending" else self.outcome(made))

    async def outcome(self, request_id: str) -> Operation:
        """Wait until nothing more will happen to a request."""
        await self.product.until(
            lambda: self.request(request_id).state in DECIDED,
            within_s=WITHIN_S,
            what=f"the outcome of {request_id}",
        )
        return self.request(request_id)

    def request(self, request_id: str) -> Operation:
        """A request as it stands now."""
        sql = "SELECT state, plan, evidence FROM requests WHERE id = ?"
        [(state, plan, evidence)] = self.product.query(sql, request_id)
        return Operation(id=request_id, state=state, plan=json.loads(plan), evidence=json.loads(evidence))

    def _ids(self) -> list[str]:
        return [str(name) for (name,) in self.product.query("SELECT id FROM requests")]

    async def _press(self, button: str, request_id: str) -> None:
        """Ben presses a button of the message about a request."""

        def shown() -> list[dict[str, Any]]:
            found = self.product.messages(request_id)
            return [one for one in found if f'"action_id": "{button}"' in json.dumps(one.get("blocks"))]

        message = (await self.product.until(shown, within_s=WITHIN_S, what=f"a button {button}"))[-1]
        await self.product.workspace.click(BEN, "oncall", message["ts"], button)

    async def _oombot(self, *argv: str, check: bool = True) -> str:
        status, said, fault = await self.product.oombot(*argv, within_s=WITHIN_S)
        if status and check:
            raise RefusedError(f"{said}\n{fault}")
        return said


async def surgery_on(
    product: Product,
    machine: Machine,
    *,
    through: Literal["cli", "page"] = "cli",
    link: Any = None,
    policy: str = "",
    settings: str = "",
) -> Surgery:
    """Configure the product for changes on this machine as host "web"; `policy` is more of `policy:`, in braces' style
    (", swap_folder: /srv"), `settings` more lines of the configuration. The bot runs only for the page."""
    product.settings = SETTINGS.format(ada=ADA, ben=BEN, more=policy) + settings
    await product.add(HOST, machine, link, user="root")
    product.configure()
    if through == "page":
        await product.start()
    return Surgery(product=product, machine=machine, through=through)


async def answers(machine: Machine, *steps: tuple[str, ...]) -> list[dict[str, Any]]:
    """What the act helper, sent along, answers to each of these as a plan of its own, one after the other."""
    plans = [
        {"op": "run", "id": f"lab-plan-{number}", "steps": [{"do": step}]}
        for number, step in enumerate(steps)
    ]
    calls = "".join(f"main({json.dumps(plan)!r})\n" for plan in plans)
    program = f"SOURCE = {installation.act_source()!r}\nexec(SOURCE)\n{calls}"
    said = await machine.run("python3", "-I", "-", stdin=program.encode(), timeout_s=300)
    return [json.loads(line) for line in said.splitlines()]


# ---------------------------------------------------------------------- as before

# what "the machine is as before" is about (docs/lab.md); what changes by itself is left out
STATE = r"""
import glob, hashlib, json, os, re, subprocess

FOLDERS = ("/etc", "/usr/local", "/run/systemd/system", "/run/systemd/system.control", "/run/sysctl.d", "/srv")
PROPERTIES = "Id,Type,LoadState,ActiveState,FragmentPath,DropInPaths,NeedDaemonReload,OOMScoreAdjust,OOMPolicy," \
    "MemoryMin,MemoryLow,MemoryHigh,MemoryMax,MemorySwapMax"
OTHERS = re.compile(r"(oombot-act-|session-|user-|user@|user-runtime|run-|getty|systemd-).*")
KNOBS = ("vm", "kernel/panic", "kernel/panic_on_oops", "kernel/sysrq")
LIMITS = ("memory.max", "memory.high", "memory.swap.max", "memory.low", "memory.min", "memory.limit_in_bytes")

def files():
    found = {}
    tops = [path for path in glob.glob("/*") if os.path.isfile(path)]
    for top in FOLDERS:
        for folder, names, plain in os.walk(top):
            tops += [os.path.join(folder, name) for name in names + plain] + [folder]
    for path in tops:
        seen = os.lstat(path)
        held = os.readlink(path) if os.path.islink(path) else ""
        if os.path.isfile(path) and not held and seen.st_size < 1 << 24:
            held = hashlib.sha256(open(path, "rb").read()).hexdigest()
        size = seen.st_size if os.path.isfile(path) else 0
        found[path] = f"{oct(seen.st_mode)} {seen.st_uid}:{seen.st_gid} {size} {held}"
    return found

def knobs():
    found = {}
    for top in KNOBS:
        path = "/proc/sys/" + top
        names = glob.glob(path + "/*") if os.path.isdir(path) else [path]
        for name in names:
            try:
                found[name] = open(name).read().strip()
            except OSError:
                continue
    return {name: value for name, value in found.items() if "stat_refresh" not in name}

def units():
    text = subprocess.run(["systemctl", "show", "--all", "-p", PROPERTIES, "--", "*.service", "*.slice", "*.scope"],
        capture_output=True, text=True).stdout
    found = {}
    for block in text.split("\n\n"):
        said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if said and not OTHERS.fullmatch(said["Id"]) and said.pop("Type", "") != "oneshot":
            found[said.pop("Id")] = said
    return found

def cgroups():
    found = {}
    for folder, _names, plain in os.walk("/sys/fs/cgroup"):
        if any(OTHERS.fullmatch(part) for part in folder.split("/")):
            continue
        for name in LIMITS:
            if name in plain:
                try:
                    found[folder + "/" + name] = open(folder + "/" + name).read().strip()
                except OSError:
                    continue
    return found

def scores():
    found = {}
    for path in glob.glob("/proc/[0-9]*"):
        try:
            start = open(path + "/stat").read().rpartition(")")[2].split()[19]
            name = path[6:] + " " + start + " " + open(path + "/comm").read().strip()
            found[name] = open(path + "/oom_score_adj").read().strip()
        except (OSError, IndexError):
            continue
    return found

swaps = {row.split()[0]: row.split()[2] for row in open("/proc/swaps").read().splitlines()[1:]}
timers = subprocess.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "oombot-*"],
    capture_output=True, text=True).stdout.split("\n")
print(json.dumps({"files": files(), "sysctl": knobs(), "units": units(), "cgroups": cgroups(), "scores": scores(),
    "swaps": swaps, "ours": {line.split()[0]: "" for line in timers if line.strip() and "oombot-act-" not in line}}))
"""


async def as_it_is(machine: Machine) -> dict[str, dict[str, Any]]:
    """The machine's files, sysctls, units, cgroups, swaps and scores, to be compared by `differences`."""
    found: dict[str, dict[str, Any]] = json.loads(
        await machine.run("python3", "-I", "-", stdin=STATE.encode(), timeout_s=180)
    )
    return found


def differences(before: Mapping[str, dict[str, Any]], after: Mapping[str, dict[str, Any]]) -> list[str]:
    """What is not as before, in words. A process counts while it lives; so does a cgroup."""
    found = []
    for kind, was in before.items():
        now = after[kind]
        comes_and_goes = kind in {"scores", "cgroups", "units"}
        names = {*was} & {*now} if comes_and_goes else {*was, *now}
        found += [
            f"{kind} {name}: {was.get(name, 'was not there')} → {now.get(name, 'gone')}"
            for name in sorted(names)
            if was.get(name) != now.get(name)
        ]
    return found
