"""Run migrations on the connection that the caller hands over in Config.attributes, inside its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
