"""Many readers of one stream of server-sent events in one process, and the floor beside the site.

Run as `python -m benchmarks.streams read PORT COOKIE STREAMS LEFT`, which reads the site's stream
until SIGTERM and then leaves in LEFT when each change came to each stream, or as `python -m
benchmarks.streams floor PORT BYTES LEFT`: bare sockets that one loop writes to, an event for each
line on stdin. Stamps are uptime in microseconds.
"""

from __future__ import annotations

import asyncio
import json
import signal
import statistics
import sys
from pathlib import Path
from typing import Any

from hardware.clock import uptime_us

DATA = b"data: ["
# The longest line of a stream that is read; an event of the site is some kilobytes.
LINE_BYTES = 1 << 20


async def read(port: int, cookie: str, streams: int, left: Path) -> None:
    """Hold the streams until SIGTERM; each says `open` on stderr once it has its first event."""
    ending = _ending()
    arrived: dict[str, list[int]] = {}
    sizes: list[int] = []
    reading = [
        asyncio.create_task(_read(port, cookie, arrived, sizes, number))
        for number in range(1, streams + 1)
    ]
    ended = asyncio.create_task(ending.wait())
    done, _ = await asyncio.wait([ended, *reading], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {ended}:
        task.result()  # raises what ended it
    left.write_text(json.dumps({"arrived": arrived, "bytes": statistics.median_low(sizes)}))


async def _read(
    port: int, cookie: str, arrived: dict[str, list[int]], sizes: list[int], number: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LINE_BYTES)
    writer.write(
        f"GET /stream?after=0 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Cookie: sessionid={cookie}\r\n\r\n".encode()
    )
    opened = False
    while line := await reader.readline():
        at_us = uptime_us()
        if line.startswith(b"event: ") and not opened:
            opened = True
            sys.stderr.write(f"open {number}\n")
            sys.stderr.flush()
        if line.startswith(DATA):
            sizes.append(len(line))
            for step in json.loads(line.removeprefix(b"data: ")):
                if step["kind"] == "alarm":
                    arrived.setdefault(step["key"], []).append(at_us)
    raise ConnectionError(f"stream {number} has ended")


async def floor(port: int, size: int, left: Path) -> None:
    """Write an event of `size` bytes to every socket for each line on stdin: the change's key."""
    ending = _ending()
    writers: list[asyncio.StreamWriter] = []
    began: dict[str, int] = {}

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"event: pulse\n")
        writers.append(writer)

    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    async with await asyncio.start_server(take, "127.0.0.1", port):
        sys.stderr.write("ready\n")
        sys.stderr.flush()
        while line := await lines.readline():
            key = line.decode().strip()
            bare = json.dumps([{"kind": "alarm", "key": key, "value": ""}])
            filled = bare.replace('""', f'"{"x" * max(0, size - len(bare) - len("data: ") - 1)}"')
            began[key] = uptime_us()
            for writer in writers:
                writer.write(f"data: {filled}\n".encode())
        await ending.wait()
        left.write_text(json.dumps(began))
        for writer in writers:
            writer.transport.abort()


def _ending() -> asyncio.Event:
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    return ending


def main(role: str, *arguments: str) -> None:
    """Be one of the two until SIGTERM."""
    work: Any
    if role == "read":
        port, cookie, streams, left = arguments
        work = read(int(port), cookie, int(streams), Path(left))
    else:
        port, size, left = arguments
        work = floor(int(port), int(size), Path(left))
    asyncio.run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
