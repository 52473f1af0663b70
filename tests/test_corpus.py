"""Every log of the corpus of real reports, field by field; the corpus itself is no part of this repository."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from oombot.model import OomKill
from oombot.reading import explain

_FOLDER = os.environ.get("OOMBOT_CORPUS")
_EXPECTED: Mapping[str, Mapping[str, Any]] = (
    json.loads((Path(_FOLDER) / "expected.json").read_text()) if _FOLDER else {}
)
_FIELDS = {
    "pid": "pid",
    "comm": "comm",
    "uid": "uid",
    "total_vm_kB": "total_vm_kb",
    "anon_rss_kB": "anon_rss_kb",
    "file_rss_kB": "file_rss_kb",
    "shmem_rss_kB": "shmem_rss_kb",
    "pgtables_kB": "pgtables_kb",
    "oom_score_adj": "oom_score_adj",
    "scope": "scope",
    "memcg": "oom_memcg",
    "task_memcg": "task_memcg",
    "constraint": "constraint",
}
_EVIDENCE = {None: "kill_line", "constraint_line_only": "constraint_line"}
NOT_MET = {
    "collected/k8s-kmsg-4.19vendor-reaper-only-1.log": "the reaper's line alone is no kill: the log has no other",
    "collected/ltp1080-el7-memcg-multi-2.log": "the first kill's scope stands on no line; it is not guessed",
}


def _found(kill: OomKill) -> dict[str, Any]:
    return {ours: getattr(kill, ours) for ours in _FIELDS.values()} | {"evidence": kill.evidence}


def _wanted(kill: Mapping[str, Any]) -> dict[str, Any]:
    evidence = kill.get("evidence")
    return {ours: kill[theirs] for theirs, ours in _FIELDS.items()} | {
        "evidence": _EVIDENCE.get(evidence, evidence)
    }


def _logs() -> list[Any]:
    names = sorted(_EXPECTED)
    return [
        pytest.param(
            name, marks=[pytest.mark.xfail(reason=NOT_MET[name], strict=True)] if name in NOT_MET else []
        )
        for name in names
    ]


@pytest.mark.skipif(not _FOLDER, reason="OOMBOT_CORPUS does not name the folder of the corpus")
@pytest.mark.parametrize("name", _logs())
def test_log(name):
    """Every kill of the log is found with every field, nothing else is, and hidden kills are counted."""
    assert _FOLDER
    explanation = explain((Path(_FOLDER) / name).read_bytes())
    expected = _EXPECTED[name]
    assert [_found(kill) for kill in explanation.kills] == [_wanted(kill) for kill in expected["kills"]]
    assert explanation.hidden_kills == len(expected.get("hidden_kills", ()))
