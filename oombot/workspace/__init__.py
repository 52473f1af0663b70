"""A strict local stand-in for Slack: Web API, Socket Mode and a page, sharing no code with the bot.

It serves the demo and the end-to-end tests on loopback, and refuses what Slack refuses.
"""

from oombot.workspace.errors import NotAllowedError, NotOnScreenError
from oombot.workspace.faults import Faults
from oombot.workspace.page import PageAction
from oombot.workspace.server import Workspace

__all__ = ["Faults", "NotAllowedError", "NotOnScreenError", "PageAction", "Workspace"]
