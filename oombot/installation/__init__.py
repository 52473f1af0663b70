"""What is installed on a host for two identities without privilege: helpers, accounts, keys, sudoers, policy."""

from oombot.installation.changes import Present, installing, left_over, present, removing
from oombot.installation.layout import Identity, Layout, layout
from oombot.installation.policies import policy_text
from oombot.installation.shell import install_script, look_script, remove_script
from oombot.installation.sources import act_program, act_source, expected_versions, look_source, read_program

__all__ = [
    "Identity",
    "Layout",
    "Present",
    "act_program",
    "act_source",
    "expected_versions",
    "install_script",
    "installing",
    "layout",
    "left_over",
    "look_script",
    "look_source",
    "policy_text",
    "present",
    "read_program",
    "remove_script",
    "removing",
]
