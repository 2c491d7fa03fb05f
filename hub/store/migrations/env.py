# SPDX-License-Identifier: Apache-2.0
"""Alembic's entry: run the revisions on the connection that was handed in."""

from alembic import context

from hub.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
# The caller's transaction is the transaction: all revisions or none.
context.run_migrations()
