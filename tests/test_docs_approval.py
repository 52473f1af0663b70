"""The examples of docs/approval.md are configurations that pass the check."""

import re
from pathlib import Path

import pytest

from oombot import catalog, config

TEXT = (Path(__file__).parent.parent / "docs" / "approval.md").read_text()
EXAMPLES = re.findall(r"<!-- example: (.*?) -->\n```yaml\n(.*?)```", TEXT, flags=re.DOTALL)
HOSTS = "hosts: [{name: web1, group: web}, {name: db1, group: db, tags: [prod]}]\n"
AROUND = f"mode: apply\ngroups: {{web: {{}}, db: {{}}}}\n{HOSTS}"


def test_every_block_of_yaml_is_an_example() -> None:
    """No block of YAML in the document goes unchecked."""
    assert len(EXAMPLES) == TEXT.count("```yaml")


@pytest.mark.parametrize("text", [text for _, text in EXAMPLES], ids=[name for name, _ in EXAMPLES])
def test_examples_pass_the_check(text: str) -> None:
    """Each example loads in mode apply, with the remedies that there are."""
    actions = tuple(catalog.remediations())
    assert config.load_noted(AROUND + text, filename="approval.md", actions=actions)[0].policy.all_rules
