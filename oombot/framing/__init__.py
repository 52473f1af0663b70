"""The transports of the kernel log: each turns one line of bytes into an Entry; none knows what a report says."""

from oombot.framing.pasted import Framing

__all__ = ["Framing"]
