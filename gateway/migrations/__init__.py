"""The journal's schema, version by version; Alembic runs the files in `versions/` in their order.

A version that was ever shipped is never changed: a journal out there was made by it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    import sqlalchemy as sa


def config() -> Config:
    """Alembic's settings: there is no file of them, the scripts lie beside this one."""
    settings = Config()
    # Its settings know %-substitution, a path need not.
    settings.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return settings


def bring_up(connection: sa.Connection, version: str | None) -> bool:
    """Run every step after `version` (None: all) in the connection's transaction.

    False when no such version is known: it was made by a newer program, and nothing was touched.
    """
    settings = config()
    known = {each.revision for each in ScriptDirectory.from_config(settings).walk_revisions()}
    if version is not None and version not in known:
        return False
    settings.attributes["connection"] = connection
    if version is not None:
        command.stamp(settings, version)
    command.upgrade(settings, "head")
    return True
