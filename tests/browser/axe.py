"""What axe-core finds on a page."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page


def serious(page: Page, *rules: str) -> list[tuple[str, list[str]]]:
    """Rule and places of every violation that is serious or worse; `rules`: only of these."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = list(rules)
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"]][:3])
        for one in Axe().run(page, options=options).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
