"""Detectors: one log source, one file."""
