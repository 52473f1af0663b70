"""What is installed on a host for two identities without privilege: helpers, accounts, keys, sudoers, policy."""

from oombot.installation.sources import act_program, act_source, expected_versions, read_program

__all__ = ["act_program", "act_source", "expected_versions", "read_program"]
