"""What the files of units say about memory limits, read as systemd would read them at the next daemon-reload.

Standard library of Python 3.9+ only; joined with its siblings into one program (oombot/installation/sources.py).
The rules are those of systemd.unit(5): of files of one name that in the first folder counts, then drop-ins are
applied in the order of their names, wherever they are; the last assignment wins, and an empty one takes the limit off.
"""

from __future__ import annotations

import os
import re
from fractions import Fraction
from typing import NamedTuple

from oombot.data.oombot_site import Site, StepError, glance

UNIT_FOLDERS = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)
MEMORY_SETTINGS = ("MemoryMax", "MemoryHigh", "MemorySwapMax")
SECTIONS = {"service": "[Service]", "slice": "[Slice]", "scope": "[Scope]"}
MAX_UNIT_FILE = 65_536
SIZE_UNITS = {letter: 1 << 10 * power for power, letter in enumerate("BKMGTPE")}


class Written(NamedTuple):
    """What the files give to one setting: bytes, None for no limit; `unknown` is a value that is not understood."""

    size_b: int | None
    unknown: str = ""


class UnitFiles:
    """The files of units of this host. Each folder and each file is read at most once."""

    def __init__(self, site: Site, instead: dict[str, str | None] | None = None) -> None:
        """List the folders of units. `instead`: texts of files as they are to become, None = it is to go."""
        self._site, self._instead = site, instead or {}
        self._names = {folder: {*self._listed(folder), *self._coming(folder)} for folder in UNIT_FOLDERS}
        self._folders: dict[str, list[str]] = {}
        self._texts: dict[str, str | None] = {}

    def limits(self, name: str, aliases: list[str], fragment: str) -> dict[str, Written]:
        """What is assigned to the memory limits of a unit; a setting that no file names is not there.

        `fragment` is the path of the file that systemd has read, for one that is linked from elsewhere.
        """
        found: dict[str, Written] = {}
        try:
            for path in [*self._fragment(name, fragment), *self.drop_ins(name, aliases)]:
                for setting, value in assignments(self._text(path), SECTIONS[name.rpartition(".")[2]]):
                    found[setting] = size_of(self._site, value)
        except StepError as error:
            return {setting: Written(None, str(error)) for setting in MEMORY_SETTINGS}
        return found

    def drop_ins(self, name: str, aliases: list[str]) -> list[str]:
        """The drop-ins of a unit, in the order in which they are applied."""
        folders = [
            f"{folder}/{one}.d"
            for unit in dict.fromkeys([name, *aliases])
            for folder in UNIT_FOLDERS
            for one in drop_in_names(unit)
            if f"{one}.d" in self._names[folder]
        ]
        kind = name.rpartition(".")[2]
        folders += [f"{folder}/{kind}.d" for folder in UNIT_FOLDERS if f"{kind}.d" in self._names[folder]]
        found: dict[str, str] = {}
        for folder in folders:
            if folder not in self._folders:
                files = {one for one in self._listed(folder) if f"{folder}/{one}" not in self._instead}
                self._folders[folder] = [one for one in files | self._coming(folder) if one.endswith(".conf")]
            for file in self._folders[folder]:
                found.setdefault(file, f"{folder}/{file}")
        return [found[file] for file in sorted(found)]

    def _fragment(self, name: str, known: str) -> list[str]:
        for one in (name, template_of(name)):
            for folder in UNIT_FOLDERS:
                if one and one in self._names[folder]:
                    return [f"{folder}/{one}"]
        return [known] if known else []

    def _listed(self, folder: str) -> list[str]:
        try:
            return os.listdir(self._site.path(folder))
        except OSError:
            return []

    def _coming(self, folder: str) -> set[str]:
        """What stands in a folder, or in one below it, by its first name there, once `instead` has come true."""
        paths = [path for path, text in self._instead.items() if text is not None]
        return {path[len(folder) + 1 :].split("/")[0] for path in paths if path.startswith(f"{folder}/")}

    def _text(self, path: str) -> str:
        if path in self._instead:
            return self._instead[path] or ""
        if path not in self._texts:
            masked = os.path.realpath(self._site.path(path)) == "/dev/null"
            self._texts[path] = "" if masked else glance(self._site, path, limit=MAX_UNIT_FILE)
        return self._texts[path] or ""


def template_of(name: str) -> str:
    """The template of an instance: foo@.service of foo@bar.service; "" for what is none."""
    prefix, at, rest = name.partition("@")
    instance, _, kind = rest.rpartition(".")
    return f"{prefix}@.{kind}" if at and instance else ""


def drop_in_names(name: str) -> list[str]:
    """The unit itself, its template, and its prefixes up to each dash: those whose drop-ins are its own."""
    found, stem, kind = [name], *name.rpartition(".")[::2]
    prefix, at, instance = stem.partition("@")
    if template_of(name):
        found += drop_in_names(template_of(name))
    cut = prefix[:-1].rfind("-") if prefix.endswith("-") else prefix.rfind("-")
    if cut > 0:
        found += drop_in_names(f"{prefix[: cut + 1]}{at}{instance}.{kind}")
    return list(dict.fromkeys(found))


def assignments(text: str, section: str) -> list[tuple[str, str]]:
    """The assignments to memory limits in one section of a unit file, in their order."""
    found, within, rest = [], "", ""
    for line in text.splitlines():
        plain = line.strip()
        if plain.startswith(("#", ";")):
            continue  # also within a line that goes on
        if plain.endswith("\\"):
            rest += plain[:-1] + " "
            continue
        plain, rest = (rest + plain).strip(), ""
        if plain.startswith("["):
            within = plain
            continue
        key, sep, value = plain.partition("=")
        if sep and within == section and key.strip() in MEMORY_SETTINGS:
            found.append((key.strip(), value.strip()))
    return found


def size_of(site: Site, value: str) -> Written:
    """A limit as a unit file has it: bytes with K, M, G, T, a share of RAM in percent, infinity, or nothing."""
    if value in ("", "infinity"):
        return Written(None)
    share = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,2})?)%", value)
    if share is not None and float(share[1]) <= 100:
        page = os.sysconf("SC_PAGE_SIZE")
        return Written(int(Fraction(share[1]) * (_ram(site) // page) / 100) * page)
    plain = re.fullmatch(r"([0-9]{1,20}(?:\.[0-9]{1,9})?) ?([BKMGTPE]?)", value)
    if plain is None or not Fraction(plain[1]):
        return Written(0) if value in ("0", "0B") else Written(None, value[:64])
    return Written(int(Fraction(plain[1]) * SIZE_UNITS[plain[2] or "B"]))


def _ram(site: Site) -> int:
    found = re.search(r"^MemTotal: +([0-9]+) kB$", glance(site, "/proc/meminfo") or "", re.MULTILINE)
    if found is None:
        raise StepError("/proc/meminfo does not say how much memory there is")
    return int(found[1]) << 10
