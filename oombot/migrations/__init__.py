"""Alembic migrations of the store; each file in versions/ is one step of the schema."""
