"""The policy that is written for a host: it allows what was asked for, and the documentation tells of every verb."""

import json
from pathlib import Path

import pytest

from oombot import catalog, installation
from oombot.data import oombot_policy
from oombot.data.oombot_verbs import VERBS
from oombot.errors import ConfigError
from oombot.installation.policies import EVERY, TIMER, VERBS_OF

ROOT = Path(__file__).parent.parent.parent


def read(text: str) -> oombot_policy.Policy:
    """The policy as the helper reads it."""
    return oombot_policy._policy(json.loads(text))


def test_every_verb_belongs_to_a_remedy() -> None:
    """Every remedy is known, and every verb of the helper is there for one of them."""
    assert list(VERBS_OF.keys() ^ catalog.remediations().keys()) == []
    assert {verb for verbs in VERBS_OF.values() for verb in verbs} | {*TIMER} == {*VERBS}


@pytest.mark.parametrize("name", sorted(VERBS_OF))
def test_a_remedy_needs_no_other_verb(name: str) -> None:
    """Whatever the remedy's cases expect of steps and ways back is allowed where that remedy is."""
    allowed = read(installation.policy_text([name])).operations
    cases = [
        json.loads(path.read_text()) for path in (ROOT / "tests/remediations" / name).glob("change-*.json")
    ]
    used = {word for case in cases for word in _words(case) if word in VERBS}
    assert cases
    assert used - {*allowed} == set()


def _words(value: object) -> list[str]:
    """The first word of each list of words, wherever it stands."""
    if isinstance(value, dict):
        return [word for one in value.values() for word in _words(one)]
    if not isinstance(value, list):
        return []
    first = [value[0]] if value and all(isinstance(one, str) for one in value) else []
    return first + [word for one in value for word in _words(one)]


def test_only_what_was_asked_for_is_allowed() -> None:
    """The usual policy allows scores for a while; swap files come with their folder and their limit, or not at all."""
    usual, swap = (
        read(installation.policy_text()),
        read(installation.policy_text(["swap_file"], swap_max_mib=64)),
    )
    assert (usual.operations, usual.swap_folders, usual.swap_max_mib) == (("set-adj", *TIMER), (), 0)
    assert ("set-adj" in swap.operations, swap.swap_folders, swap.swap_max_mib) == (False, ("/",), 64)
    assert {*read(installation.policy_text([EVERY])).operations} == {*VERBS}
    with pytest.raises(ConfigError, match="--allow sh: not a remedy"):
        installation.policy_text(["sh"])


def test_every_verb_is_documented() -> None:
    """docs/privilege.md says of each verb what it lets somebody do."""
    text = (ROOT / "docs/privilege.md").read_text()
    assert [verb for verb in VERBS if f"`{verb}`" not in text] == []
