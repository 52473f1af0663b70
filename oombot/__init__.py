"""oombot: OOM-killer triage and approved remedies for the on-call channel."""

__version__ = "0.1.0"
