"""Remediations: one fix, one file."""
