"""What every part of the engine is given: the three ports, the declarations, and the seams for time and chance."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from oombot.config import Settings
from oombot.detectors.shape import Detector
from oombot.ports import Chat, Hosts, Store
from oombot.remediations.shape import Remediation
from oombot.views import Views


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Settings, ports and seams; `wake` is set when the outbox has something to send."""

    settings: Settings
    hosts: Hosts
    chat: Chat
    store: Store
    views: Views
    detectors: Mapping[str, Detector]
    remediations: Mapping[str, Remediation]
    helper_source: str
    look_source: str
    clock: Callable[[], float]
    new_id: Callable[[], str]
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    flag: Callable[[], str] = lambda: ""  # the path of the file that freezes all changes, where it is there
    replica: str = (
        "oombot"  # this bot among others on the same store, and its version: both go into the audit
    )
    version: str = ""
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def log(self, **bound: Any) -> Any:
        """A structured logger with these values bound."""
        return structlog.get_logger("oombot").bind(**bound)
