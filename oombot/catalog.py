"""Finds every detector, remediation and check of doctor by its file: no registration, no list to keep."""

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from oombot import detectors as _detectors
from oombot import doctor as _doctor
from oombot import remediations as _remediations
from oombot.detectors.shape import Detector
from oombot.doctor.shape import BotCheck, HostCheck
from oombot.remediations.shape import Remediation

_NOT_ONE = ("shape", "gathered")


def detectors() -> Mapping[str, Detector]:
    """Every detector by name."""
    return _collect(_detectors, "DETECTOR")


def remediations() -> Mapping[str, Remediation]:
    """Every remediation by name."""
    return _collect(_remediations, "REMEDIATION")


def checks() -> Mapping[str, BotCheck | HostCheck]:
    """Every check of doctor by name."""
    return _collect(_doctor, "CHECK")


def _collect(package: ModuleType, attribute: str) -> dict[str, Any]:
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name in _NOT_ONE:
            continue
        instance = getattr(importlib.import_module(f"{package.__name__}.{info.name}"), attribute)
        if instance.name != info.name:
            raise ImportError(f"{info.name}.py calls itself {instance.name}: name and file must be equal")
        found[info.name] = instance
    return found
