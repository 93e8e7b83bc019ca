"""A store of thingsboard-gateway as it is, with the settings it ships; run by its own Python.

`PYTHON peer_stores.py memory|file|sqlite DIRECTORY put COUNT` puts so many events, says on stdout
how many the store took, and waits to be killed; `... read 0` says how many of them it still gives.
"""

import importlib
import importlib.util
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

STORES = {
    "memory": ("memory.memory_event_storage", "MemoryEventStorage"),
    "file": ("file.file_event_storage", "FileEventStorage"),
    "sqlite": ("sqlite.sqlite_event_storage", "SQLiteEventStorage"),
}
PAUSE_S = 0.1
TURNS = 30


def _store(kind: str, directory: str) -> Any:
    logger = logging.getLogger("storage")
    # Its own log has a level below debug.
    logger.trace = lambda *_words, **_more: None  # type: ignore[attr-defined]
    ending = threading.Event()
    found = importlib.util.find_spec("thingsboard_gateway")
    package = Path(str(found and found.origin)).parent
    shipped = json.loads((package / "config" / "tb_gateway.json").read_text())["storage"]
    settings = shipped | {"data_folder_path": directory + "/", "data_file_path": directory + "/"}
    module, name = STORES[kind]
    store = getattr(importlib.import_module("thingsboard_gateway.storage." + module), name)
    return store(settings, logger, ending)


def main(kind: str, directory: str, verb: str, count: str) -> None:
    """Put or read."""
    store = _store(kind, directory)
    if verb == "put":
        taken = sum(bool(store.put(f'{{"alarm": {n}}}')) for n in range(int(count)))
        sys.stdout.write(f"{taken}\n")
        sys.stdout.flush()
        time.sleep(60)
        return
    found: set[str] = set()
    for _ in range(TURNS):
        pack = store.get_event_pack()
        found.update(str(event) for event in pack or ())
        if pack:
            store.event_pack_processing_done()
        time.sleep(PAUSE_S)
    sys.stdout.write(f"{len(found)}\n")
    sys.stdout.flush()
    os._exit(0)  # its threads are not ours to end


if __name__ == "__main__":
    main(*sys.argv[1:])
