"""The site: Django's settings made from mcc.toml, its URLs, and the server that carries it."""

from __future__ import annotations

import os
from pathlib import Path

CONFIG_VARIABLE = "KENTONGAN_MCC_CONFIG"


def configure(config: Path) -> None:
    """Make Django ready with the settings file at `config`; once in a process, before any model.

    Raises:
        SettingsError: the file cannot be used.
    """
    os.environ[CONFIG_VARIABLE] = str(config.absolute())
    os.environ["DJANGO_SETTINGS_MODULE"] = "mcc.site.settings"
    import django

    django.setup()
