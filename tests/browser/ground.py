"""The whole chain for a browser: broker, gateway, mock post, ingest, site, and pages on it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

from demo.stage import Stage, until
from protocol.messages import Location, MccAlarm, Raised, Step
from protocol.values import timestamp
from tests.broker import Mosquitto, free_port
from tests.browser.furnish import POSTS
from tests.mcc.centre import Centre
from tests.mcc.gateway_double import GatewayDouble
from tests.mcc.rig import document
from tests.mcc.rig import post as post_document

REPOSITORY = Path(__file__).parents[2]
POST = POSTS[0][0]
SIZE = ViewportSize(width=1360, height=800)
WAIT_MS = 15_000
ATTEMPTS = 3  # with a wrong password, before an account is locked


class Ground:
    """`with Ground(directory) as ground:` is the city; `page` opens a console in it."""

    def __init__(self, directory: Path, browser: Browser) -> None:
        """Start nothing yet."""
        self.directory = directory
        self.browser = browser
        self.broker = Mosquitto()
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._contexts: list[BrowserContext] = []

    def __enter__(self) -> Ground:
        self.broker.start()
        self.stage = Stage(self.directory, self.broker.url)
        more = f"[site]\nport = {self.port}\n[people]\nattempts = {ATTEMPTS}\n"
        self.centre = Centre(self.directory, self.broker.url, more=more)
        self.centre.set_up()
        (self.directory / "mcc.secret").chmod(0o600)
        done = subprocess.run(
            [sys.executable, "-m", "tests.browser.furnish", str(self.centre.config)],
            capture_output=True,
            check=True,
            cwd=REPOSITORY,
        )
        self.sessions: dict[str, str] = json.loads(done.stdout)
        self.stage.start_gateway()
        self.centre.start("ingest")
        self.start_site()
        self.stage.start_post()
        self.stage.until_lamp("armed", timeout_s=30)
        self.double = GatewayDouble(self.broker.port)
        self.double.__enter__()
        for post, name, *_ in POSTS[1:]:
            self.double.say(post_document(post=post, name=name, at=now()))
        return self

    def __exit__(self, *_: object) -> None:
        self.forget_pages()
        self.double.__exit__(None, None, None)
        self.stage.close()
        self.centre.__exit__()
        self.broker.__exit__(None, None, None)

    def start_site(self) -> None:
        """Start the site and wait until it answers."""
        self.centre.start("serve")
        until("the site serves", self.site_answers, timeout_s=30)

    def site_answers(self) -> bool:
        """Whether the site serves and reaches its database."""
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    # --- pages -----------------------------------------------------------------------------

    def context(self, account: str | None = "sari", **options: Any) -> BrowserContext:
        """A browser of its own in which somebody has logged in; None: nobody has."""
        context = self.browser.new_context(viewport=SIZE, **options)
        context.set_default_timeout(WAIT_MS)
        if account is not None:
            cookie = {"name": "sessionid", "value": self.sessions[account], "url": self.address}
            context.add_cookies([cookie])  # type: ignore[list-item]
        self._contexts.append(context)
        return context

    def page(
        self, account: str = "sari", path: str = "/", language: str = "en", **options: Any
    ) -> Page:
        """A page in a browser of its own; ready when it has its picture."""
        context = self.context(account, **options)
        chosen = {"name": "django_language", "value": language, "url": self.address}
        context.add_cookies([chosen])  # type: ignore[list-item]
        return self.open(context, path)

    def open(self, context: BrowserContext, path: str = "/") -> Page:
        """One page more in the same browser."""
        page = context.new_page()
        page.goto(self.address + path)
        page.wait_for_selector("#quiet:not([hidden]), #alarms > li")
        return page

    def forget_pages(self) -> None:
        """Close every browser that was opened."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()

    # --- alarms ----------------------------------------------------------------------------

    def press(self) -> None:
        """Three presses at the post."""
        self.stage.panel("press3")

    def alarm(self, post: str = POSTS[2][0], **fields: Any) -> MccAlarm:
        """An alarm of another gateway, raised now; said to the broker."""
        _, _, _, lat, lon = next(one for one in POSTS if one[0] == post)
        at = now()
        usual: dict[str, Any] = {
            "alarm_id": str(uuid.uuid4()),
            "raised": Raised(at=at, known="computed"),
            "reached": {"received": Step(at=at)},
            "location": Location(lat=lat, lon=lon, source="surveyed"),
        }
        said = document(post=post, **(usual | fields))
        self.double.say(said)
        return said

    def end_alarms(self) -> None:
        """Resolve whatever the other gateway holds open, and wait until the site knows."""
        for said in list(self.double.documents.values()):
            if said.state != "resolved":
                self.double._put(said, state="resolved", outcome="test")
        until("no alarm is open", lambda: not self._open_alarms(), timeout_s=30)

    def _open_alarms(self) -> list[str]:
        cookie = {"Cookie": f"sessionid={self.sessions['sari']}"}
        asked = urllib.request.Request(f"{self.address}/picture", headers=cookie)
        with urllib.request.urlopen(asked, timeout=5) as answer:
            picture = json.load(answer)
        return [one["alarm_id"] for one in picture["alarms"] if one["is_open"]]


def now() -> str:
    """This moment as the contract writes it."""
    return timestamp(time.time_ns() // 1_000_000)


__all__ = ["POST", "POSTS", "Ground", "now"]
