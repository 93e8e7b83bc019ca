"""`kentongan-mcc serve`: the site's process, from its settings to its end.

It refuses to start where passwords would go over a wire in the clear, where sessions could not be
signed, and on a database that `setup` has not made. SIGTERM ends it within two seconds, open
streams or not.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from mcc.site import configure
from process.log import begin, log
from process.notify import Notifier

if TYPE_CHECKING:
    from mcc.console.hub import Hub
    from mcc.settings import MccFile

# Streams are told to end at once; what else is being answered gets this long.
STOP_S = 1
WATCH_S = 2.0
# The watchdog is fed while the hub has come round so lately: a database that refuses is said on the
# page, one that hangs holds up the hub.
TURNED_S = 15.0
SECRET_BYTES_MIN = 32
BACKLOG = 512
# Requests at once; a control room has some consoles with a stream and a few requests each.
REQUESTS_MAX = 512


class CannotServe(RuntimeError):
    """Why the site does not start, and what to do."""


def serve(config: Path) -> None:
    """Serve until SIGTERM or Ctrl-C. Call from the main thread.

    Raises:
        SettingsError: the file cannot be used.
        CannotServe: the site cannot start on it.
    """
    configure(config)
    from django.conf import settings

    mcc: MccFile = settings.MCC
    begin("site", mcc.log.format)
    _require_secret(mcc.secret_file)
    _require_database()
    _require_map(mcc)
    listener = _listen(mcc)
    _serve(mcc, listener)


def _require_secret(path: Path) -> None:
    try:
        secret = path.read_text(encoding="ascii").strip()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise CannotServe(
            f"{path}: the secret that signs sessions cannot be read: {error};"
            " `kentongan-mcc setup` makes it"
        ) from None
    if len(secret) < SECRET_BYTES_MIN:
        raise CannotServe(f"{path}: too short for a secret; remove it and run kentongan-mcc setup")
    if mode & 0o077:
        raise CannotServe(f"{path}: others can read the secret: chmod 600 {path}")


def _require_database() -> None:
    from django.db import Error, connection
    from django.db.migrations.executor import MigrationExecutor

    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error as error:
        raise CannotServe(f"the database cannot be read: {error}") from None
    finally:
        connection.close()
    if missing:
        raise CannotServe("the database is not set up for this version: run kentongan-mcc setup")


def _require_map(mcc: MccFile) -> None:
    from mcc.console.tiles import TilesUnusable, tiles_of

    try:
        if mcc.map.pmtiles is not None:
            tiles_of(Path(mcc.map.pmtiles))
    except TilesUnusable as error:
        raise CannotServe(f"[map] pmtiles: {error}") from None
    if mcc.map.borders is not None and not Path(mcc.map.borders).is_file():
        raise CannotServe(f"[map] borders: {mcc.map.borders} is no file")


def _listen(mcc: MccFile) -> socket.socket:
    host = mcc.site.listen.strip("[]")
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, mcc.site.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        where = f"{mcc.site.listen}:{mcc.site.port}"
        raise CannotServe(f"[site] listen: cannot listen on {where}: {error}") from None
    return listener


def _serve(mcc: MccFile, listener: socket.socket) -> None:
    import uvicorn

    from mcc.console.stream import hub
    from mcc.site.asgi import application

    class Server(uvicorn.Server):
        """Ends the streams before it waits for them to end."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """Take the signal, on the main thread."""
            self._loop.call_soon_threadsafe(hub.end)
            notifier.stopping()
            # uvicorn would raise the signal once more at the end; this process ends by itself.
            self.force_exit, self.should_exit = self.should_exit, True

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """Say that it serves, once it does."""
            self._loop = asyncio.get_running_loop()
            await super().startup(sockets)
            if self.started:
                log("serving", address=address_of(mcc))
                notifier.ready("serving")
                self._fed = asyncio.create_task(_feed(hub, notifier))

    notifier = Notifier.from_environment()
    server = Server(
        uvicorn.Config(
            application,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            # X-Forwarded-For is believed only from a web server on this machine.
            proxy_headers=mcc.site.behind_proxy,
            forwarded_allow_ips="127.0.0.1,::1",
            ssl_certfile=mcc.site.certificate,
            ssl_keyfile=mcc.site.key or mcc.site.certificate,
            timeout_graceful_shutdown=STOP_S,
            timeout_keep_alive=30,
            backlog=BACKLOG,
            limit_concurrency=REQUESTS_MAX,
            h11_max_incomplete_event_size=64 * 1024,
        )
    )
    server.run(sockets=[listener])
    log("stopped")
    notifier.close()
    _end_in_time()


def address_of(mcc: MccFile) -> str:
    """Where browsers find it."""
    scheme = "https" if mcc.site.certificate else "http"
    return f"{scheme}://{mcc.site.listen}:{mcc.site.port}/"


async def _feed(hub: Hub, notifier: Notifier) -> None:
    """Feed the watchdog while the loop turns and the hub with it."""

    def wrong() -> str | None:
        return "the hub hangs" if time.monotonic() - hub.turned_s > TURNED_S else None

    watch = notifier.feeding(wrong)
    while True:
        watch()
        await asyncio.sleep(WATCH_S)


def _end_in_time() -> None:
    """A thread that hangs in the database must not hold up the end of the process."""
    timer = threading.Timer(STOP_S, os._exit, args=(0,))
    timer.daemon = True
    timer.start()
