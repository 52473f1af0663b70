"""Adapters: the only modules that talk to hosts, Slack and the database."""
