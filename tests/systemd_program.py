"""A small systemd: what `systemctl` and `systemd-run` do to a tree of files, for tests of what calls them.

Run as `python3 -I -S systemd_program.py BASE PROGRAM ARG…`; tests/systemd.py makes the programs and describes BASE.
It does what was measured on systemd 252 and 257: daemon-reload reads the files and leaves the cgroups alone;
starting, restarting or set-property of a unit sets what systemd holds for every active unit of the same slice, and
a limit below use kills.
"""

import contextlib
import fnmatch
import json
import os
import subprocess
import sys

FOLDERS = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
)
LIMITS = {"MemoryMax": "memory.max", "MemoryHigh": "memory.high", "MemorySwapMax": "memory.swap.max"}
INVERSE = {
    "RequiredBy": "Requires",
    "WantedBy": "Wants",
    "BoundBy": "BindsTo",
    "ConsistsOf": "PartOf",
    "ConflictedBy": "Conflicts",
}
HEADER = (
    '# This is a drop-in unit file extension, created via "systemctl set-property"\n'
    "# or an equivalent operation. Do not edit.\n"
)
DEFAULTS = {
    **dict.fromkeys(LIMITS, "infinity"),
    "Type": "simple",
    "Restart": "no",
    "RestartUSec": "100ms",
    "NRestarts": "0",
    "OOMPolicy": "stop",
    "OOMScoreAdjust": "0",
    "Delegate": "no",
    "StartLimitBurst": "5",
    "StartLimitIntervalUSec": "10s",
    "RefuseManualStart": "no",
    "RefuseManualStop": "no",
    "Transient": "no",
    "PropagatesStopTo": "",
    "MemoryLimit": "infinity",
    "Slice": "system.slice",
    "Following": "",
    "JobType": "",
    **dict.fromkeys(INVERSE.values(), ""),
}
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Base:
    """The tree and what PID 1 remembers of it."""

    def __init__(self, base):
        self.base, self.root = base, os.path.join(base, "root")
        with open(os.path.join(base, "state.json")) as file:
            self.state = json.load(file)
        self.units = self.state["units"]
        self.v1 = self.state["cgroup"] == 1
        self.tree = self.root + ("/sys/fs/cgroup/memory" if self.v1 else "/sys/fs/cgroup")

    def save(self):
        """Remember."""
        with open(os.path.join(self.base, "state.json"), "w") as file:
            json.dump(self.state, file, indent=1)

    def read(self, path):
        """The text of a file of the tree, None where there is none."""
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return None

    # ------------------------------------------------------------------ files

    def files(self, name):
        """The fragment and the drop-ins of a unit, in the order in which they are applied."""
        stem, kind = name.rsplit(".", 1)
        names, prefix, at = [name], *(stem.split("@", 1) if "@" in stem else (stem, None))
        names += [f"{prefix}@.{kind}"] if at else []
        while "-" in prefix.rstrip("-"):
            prefix = prefix.rstrip("-").rsplit("-", 1)[0] + "-"
            names += ([f"{prefix}@{at}.{kind}"] if at else []) + [f"{prefix}.{kind}"]
        fragments = [
            os.path.join(folder, one)
            for one in (name, *([names[1]] if at else []))
            for folder in FOLDERS[2:]
            if os.path.lexists(self.root + os.path.join(folder, one))
        ]
        dropped = {}
        for one in (*names, kind):
            for folder in FOLDERS:
                within = f"{folder}/{one}.d"
                if os.path.isdir(self.root + within):
                    for file in os.listdir(self.root + within):
                        if file.endswith(".conf"):
                            dropped.setdefault(file, f"{within}/{file}")
        return fragments[:1], [dropped[file] for file in sorted(dropped)]

    def texts(self, name):
        """What stands in the files now."""
        fragment, dropped = self.files(name)
        return {path: self.read(self.root + path) for path in (*fragment, *dropped)}

    def load(self, name):
        """Read a unit's files, as daemon-reload does."""
        unit = self.units[name]
        held, texts = dict(unit["given"]), self.texts(name)
        for text in texts.values():
            for line in (text or "").splitlines():
                key, sep, value = line.partition("=")
                if sep and not line.startswith(("#", ";")):
                    self.assign(held, key.strip(), value.strip())
        unit["held"], unit["texts"] = held, texts

    def assign(self, held, key, value):
        """One assignment of a unit file or of set-property; what can not be understood is ignored."""
        if key in (*LIMITS, "MemoryLimit"):
            with contextlib.suppress(ValueError):
                held[key] = self.size(value)
        elif key in ("RestartSec", "StartLimitIntervalSec"):
            held[key[:-3] + "USec"] = value + ("" if value[-1:].isalpha() else "s")
        elif key in INVERSE.values() or key == "PropagatesStopTo":
            held[key] = f"{held.get(key, '')} {value}".strip() if value else ""
        elif key in DEFAULTS:
            held[key] = value or DEFAULTS[key]

    def size(self, value):
        """A size as `show` prints it: bytes, or infinity."""
        if value in ("", "infinity"):
            return "infinity"
        if value.endswith("%"):
            return str(self.state["ram"] * int(value[:-1]) // 100)
        return str(int(float(value[:-1]) * UNITS[value[-1]]) if value[-1] in UNITS else int(value))

    # ------------------------------------------------------------------ properties

    def named(self, name):
        """The unit that an alias leads to."""
        return self.state["aliases"].get(name, name)

    def shown(self, asked):
        """Every property of a unit."""
        name = self.named(asked)
        unit = self.units.get(name)
        if unit is None:
            return {
                "Id": asked,
                "Names": asked,
                "LoadState": "not-found",
                "ActiveState": "inactive",
                "SubState": "dead",
                "Result": "success",
                "FragmentPath": "",
                "DropInPaths": "",
                "NeedDaemonReload": "no",
                "ControlGroup": "",
                "InvocationID": "",
                "MainPID": "0",
                **DEFAULTS,
            }
        fragment, dropped = (
            [path for path in unit["texts"] if within(path)] for within in (is_fragment, is_drop_in)
        )
        masked = bool(fragment) and os.path.realpath(self.root + fragment[0]) == "/dev/null"
        live = unit["active"] in ("active", "activating", "reloading", "deactivating")
        return {
            "Id": name,
            "LoadState": "masked" if masked else "loaded",
            "ActiveState": unit["active"],
            "Names": " ".join([name, *(a for a, n in self.state["aliases"].items() if n == name)]),
            "SubState": unit["sub"],
            "Result": unit["result"],
            "FragmentPath": "".join(fragment),
            "DropInPaths": " ".join(dropped),
            "ControlGroup": unit["path"] if live else "",
            "NeedDaemonReload": "no" if self.texts(name) == unit["texts"] else "yes",
            "InvocationID": unit["invocation"],
            "MainPID": str((unit["pids"] or [0])[0] if live else 0),
            **DEFAULTS,
            **{one: " ".join(self.inverse(name, other)) for one, other in INVERSE.items()},
            **unit["held"],
            "NRestarts": str(unit["restarts"]),
        }

    def inverse(self, name, relation):
        """The units that name this one in a relation."""
        return sorted(
            one for one, unit in self.units.items() if name in unit["held"].get(relation, "").split()
        )

    # ------------------------------------------------------------------ cgroups and processes

    def arm(self, slice_name):
        """Set what is held for every active unit of a slice, and for the slice; a limit below use kills."""
        for name, unit in self.units.items():
            mine = unit["held"].get("Slice", DEFAULTS["Slice"]) == slice_name or name == slice_name
            if mine and unit["active"] == "active" and os.path.isdir(self.tree + unit["path"]):
                self.realize(name, unit)

    def realize(self, name, unit):
        """Write one unit's limits to its cgroup."""
        for setting, file in LIMITS.items():
            held = unit["held"].get(setting, "infinity")
            path = self.tree + unit["path"] + "/" + ("memory.limit_in_bytes" if self.v1 else file)
            if os.path.exists(path) and not (self.v1 and setting != "MemoryMax"):
                none = str((1 << 63) - 4096) if self.v1 else "max"
                self.put(path, none if held == "infinity" else str(int(held) // 4096 * 4096))
        limit = self.read(f"{self.tree}{unit['path']}/memory.max") or "max"
        stat = dict(
            line.split() for line in (self.read(f"{self.tree}{unit['path']}/memory.stat") or "").splitlines()
        )
        used = int(self.read(f"{self.tree}{unit['path']}/memory.current") or 0)
        if limit.strip() != "max" and used - int(stat.get("inactive_file", 0)) > int(limit):
            unit.update(active="failed", sub="failed", result="oom-kill")
            self.end(unit)

    def put(self, path, text):
        """Write a file of the kernel's."""
        with open(path, "w") as file:
            file.write(text + "\n")

    def end(self, unit):
        """Take the processes of a unit away."""
        for pid in unit["pids"]:
            subprocess.run(["rm", "-rf", f"{self.root}/proc/{pid}"], check=True)
        unit["pids"] = []
        self.put(self.tree + unit["path"] + "/cgroup.procs", "")

    def begin(self, name, unit):
        """Start a unit: a new invocation, a new process, its slice armed."""
        self.state["next"] += 1
        pid, adj = self.state["next"], unit["held"].get("OOMScoreAdjust", "0")
        unit["starts"] += 1
        if unit["starts"] > int(unit["held"].get("StartLimitBurst", "5")):
            unit.update(active="failed", sub="failed", result="start-limit-hit")
            return f"Job for {name} failed because start of the service was attempted too often."
        unit.update(active="active", sub="running", result="success", invocation=f"{pid:032x}")
        if unit["start_fails"]:
            unit.update(active="failed", sub="failed", result="exit-code")
            return f"Job for {name} failed because the control process exited with error code."
        folder = f"{self.root}/proc/{pid}"
        os.makedirs(folder, exist_ok=True)
        for file, text in process(pid, name.split(".")[0], int(adj), unit["path"], self.v1).items():
            self.put(f"{folder}/{file}", text)
        unit["pids"] = [pid]
        self.put(self.tree + unit["path"] + "/cgroup.procs", str(pid))
        self.realize(name, unit)
        self.arm(unit["held"].get("Slice", DEFAULTS["Slice"]))
        return ""


def is_drop_in(path):
    """Whether a path is one of a drop-in."""
    return path.endswith(".conf")


def is_fragment(path):
    """Whether a path is that of a unit file."""
    return not path.endswith(".conf")


def process(pid, comm, adj, path, v1=False, start=None, flags=0, threads=1, uid=0):
    """The files of /proc/PID that are read, by name."""
    fields = [str(pid), f"({comm})", "S", "1", str(pid), str(pid), "0", "-1", str(flags)] + ["0"] * 10
    fields += [str(threads), "0", str(start or 1000 + pid)] + ["0"] * 20
    named = f"2:memory:{path}\n1:name=systemd:{path}" if v1 else f"0::{path}"
    status = f"Name:\t{comm}\nTgid:\t{pid}\nPPid:\t1\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nThreads:\t{threads}"
    return {
        "stat": " ".join(fields),
        "comm": comm,
        "oom_score_adj": str(adj),
        "cgroup": named,
        "status": status,
        "oom_score": str(max(0, 666 + adj)),
        "cmdline": f"/usr/bin/{comm}\0",
    }


# ---------------------------------------------------------------------- systemctl


def show(base, options, names):
    """Blocks of properties; a pattern stands for the units of that name that are not inactive."""
    found = []
    for name in names:
        if set(name) & set("*?["):
            found += [
                one
                for one in sorted(base.units)
                if fnmatch.fnmatchcase(one, name) and base.units[one]["active"] != "inactive"
            ]
        else:
            found.append(name)
    asked = [one for words in options.get("-p", []) for one in words.split(",")]
    if not names:
        said = {
            "Version": str(base.state["version"]),
            "Virtualization": base.state["virtualization"],
            "UnitPath": " ".join(FOLDERS),
        }
        print("\n".join(f"{key}={value}" for key, value in said.items() if key in asked or not asked))
        return 0
    blocks = [
        "\n".join(
            value if "--value" in options else f"{key}={value}"
            for key, value in base.shown(name).items()
            if key in asked or not asked
        )
        for name in found
    ]
    print("\n\n".join(blocks))
    return 0


def set_property(base, options, words):
    """Write a file of system.control, hold the value, set it in the cgroup at once."""
    name, unit = base.named(words[0]), base.units.get(base.named(words[0]))
    if unit is None:
        return fail(f"Failed to set unit properties on {words[0]}: Unit {words[0]} not found.", 1)
    folder = f"{'/run' if '--runtime' in options else '/etc'}/systemd/system.control/{name}.d"
    if unit["held"].get("Transient") == "yes":
        folder = f"/run/systemd/transient/{name}.d"
    os.makedirs(base.root + folder, 0o755, exist_ok=True)
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key not in LIMITS:
            return fail(
                f"Failed to set unit properties on {name}: Cannot set property {key}, or unknown property.", 1
            )
        text = f"{HEADER}[{name.rsplit('.', 1)[1].capitalize()}]\n{key}={base.size(value)}\n"
        path = f"{folder}/50-{key}.conf"
        base.put(base.root + path, text[:-1])
        unit["held"][key] = base.size(value)
        unit["texts"] = {**unit["texts"], path: text}
    unit["texts"] = {path: unit["texts"].get(path) for path in base.texts(name)}
    if unit["active"] == "active":
        base.realize(name, unit)
        base.arm(unit["held"].get("Slice", DEFAULTS["Slice"]))
    return 0


def reload(base, options, words):
    """Read all files; on cgroup v1 limits are set at once."""
    for name, unit in base.units.items():
        base.load(name)
        if base.v1 and unit["active"] == "active":
            base.realize(name, unit)
    return 0


def restart(base, options, words):
    """Restart units, and those that are bound to them."""
    status = 0
    for asked in words:
        name, unit = base.named(asked), base.units.get(base.named(asked))
        shown = base.shown(asked)
        if unit is None:
            return fail(f"Failed to restart {asked}: Unit {asked} not found.", 5)
        if shown["LoadState"] == "masked":
            return fail(f"Failed to restart {asked}: Unit {asked} is masked.", 1)
        if shown["RefuseManualStart"] == "yes":
            return fail(
                f"Failed to restart {asked}: Operation refused, unit {asked} may be requested by dependency only.",
                4,
            )
        bound = {one for key in ("BoundBy", "RequiredBy", "ConsistsOf") for one in shown[key].split()}
        for one in (name, *(other for other in sorted(bound) if base.units[other]["active"] == "active")):
            base.end(base.units[one])
            said = base.begin(one, base.units[one])
            status = fail(said, 1) if said and "--no-block" not in options else status
    return status


def stop(base, options, words):
    """Stop units."""
    for asked in words:
        unit = base.units[base.named(asked)]
        base.end(unit)
        unit.update(active="inactive", sub="dead")
    return 0


def reset_failed(base, options, words):
    """Forget failures, and how often a unit was started."""
    for asked in words:
        unit = base.units.get(base.named(asked))
        if unit is None:
            return fail(f"Failed to reset failed state of unit {asked}: Unit {asked} not loaded.", 1)
        unit["starts"], unit["restarts"] = 0, 0
        if unit["active"] == "failed":
            unit.update(active="inactive", sub="dead", result="success")
    return 0


def is_active(base, options, words):
    """Print the state."""
    print(base.shown(words[0])["ActiveState"])
    return 0 if base.shown(words[0])["ActiveState"] == "active" else 3


VERBS = {
    "show": show,
    "set-property": set_property,
    "daemon-reload": reload,
    "restart": restart,
    "start": restart,
    "stop": stop,
    "reset-failed": reset_failed,
    "is-active": is_active,
}


def fail(said, status):
    """Say why, as systemctl does."""
    sys.stderr.write(said + "\n")
    return status


def split(argv):
    """Options and words of a command line; `-p X` is collected."""
    options, words, rest = {}, [], list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return options, words + rest
        if word in ("-p", "-P", "--property"):
            options.setdefault("-p", []).append(rest.pop(0))
            options.update({"--value": []} if word == "-P" else {})
        elif word.startswith("--property="):
            options.setdefault("-p", []).append(word.split("=", 1)[1])
        elif word.startswith("-"):
            options[word.split("=")[0]] = [word.partition("=")[2]]
        else:
            words.append(word)
    return options, words


def systemctl(base, argv):
    """One call of systemctl."""
    if "--version" in argv:
        print(f"systemd {base.state['version']} ({base.state['version']}-1)")
        return 0
    options, words = split(argv)
    verb = words[0] if words else "show"
    for at, (failing, said, status) in enumerate(base.state["fails"]):
        if failing == verb:
            del base.state["fails"][at]
            return fail(said, status)
    if verb not in VERBS:
        return fail(f"Unknown command verb '{verb}'.", 1)
    return VERBS[verb](base, options, words[1:])


def systemd_run(base, argv):
    """A transient unit: its slice is armed; a timer's files are left, anything else is run to its end."""
    at = next((n for n, word in enumerate(argv) if not word.startswith("-")), len(argv))
    options = dict(word.partition("=")[::2] for word in argv[:at])
    base.arm(options.get("--slice", "system.slice"))
    if any(option.startswith("--on-") for option in options):
        folder = base.root + "/run/systemd/transient"
        os.makedirs(folder, exist_ok=True)
        name = options["--unit"].rsplit(".", 1)[0]
        base.put(f"{folder}/{name}.timer", "[Timer]\nOnActiveSec=" + options.get("--on-active", ""))
        base.put(f"{folder}/{name}.service", "[Service]\nExecStart=" + " ".join(argv[at:]))
        return 0
    base.save()
    return subprocess.run(argv[at:], check=False).returncode


def main():
    """One call."""
    base, program, argv = Base(sys.argv[1]), sys.argv[2], sys.argv[3:]
    with open(os.path.join(base.base, "calls.jsonl"), "a") as file:
        file.write(json.dumps([program, *argv]) + "\n")
    if program == "systemd-detect-virt":
        print(base.state["container"] or "none")
        return 0 if base.state["container"] else 1
    status = systemctl(base, argv) if program == "systemctl" else systemd_run(base, argv)
    if program == "systemctl":
        base.save()
    return status


if __name__ == "__main__":
    raise SystemExit(main())
