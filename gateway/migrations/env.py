"""Where Alembic begins: run what is wanted on the connection that `gateway.journal` has open.

The connection is in a transaction already, so that a power cut leaves the old schema or the new.
"""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
