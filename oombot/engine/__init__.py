"""The engine: watch, ask, propose, decide, apply, verify, undo; each once, for all hosts and remediations."""
