"""What an installed act helper says about itself: its version, whether it would act now, and its host's policy."""

import json
from dataclasses import dataclass
from typing import Any

_CLIP = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ActHelper:
    """The answer to `about`. Without `operations` its host has no policy that it believes."""

    status: str  # ready, frozen, refused
    error: str = ""
    version: str = ""
    operations: tuple[str, ...] | None = None
    units: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    oom_score_adj: tuple[int, int] | None = None
    changes_per_hour: int | None = None


def parse(raw: bytes) -> ActHelper | None:
    """Turn the answer into values, without ever raising; None where it is no such answer."""
    try:
        said = json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("status") not in ("ready", "frozen", "refused"):
        return None
    policy = said.get("policy") if isinstance(said.get("policy"), dict) else None
    return ActHelper(
        status=said["status"],
        error=str(said.get("error") or "")[:_CLIP],
        version=str(said.get("version") or "")[:64],
        operations=None if policy is None else _words(policy.get("operations")),
        units=_words((policy or {}).get("units")),
        owners=_words((policy or {}).get("owners")),
        oom_score_adj=_span((policy or {}).get("oom_score_adj")),
        changes_per_hour=_whole((policy or {}).get("changes_per_hour")),
    )


def _words(value: Any) -> tuple[str, ...]:
    return tuple(str(one)[:_CLIP] for one in value) if isinstance(value, list) else ()


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None


def _span(value: Any) -> tuple[int, int] | None:
    if isinstance(value, list) and len(value) == 2 and all(type(one) is int for one in value):
        return value[0], value[1]
    return None
