"""A slow line: a forwarder on 127.0.0.1 that delays every byte, because not every kernel has netem."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = "127.0.0.1"
CHUNK = 65536


@contextlib.contextmanager
def slow_line(port: int, round_trip_s: float) -> Iterator[int]:
    """Yield a port of 127.0.0.1 that forwards to ``port``, with a delay of half of ``round_trip_s`` in each direction."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(lambda r, w: _forward(r, w, port, round_trip_s / 2), LOCAL, 0)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    """Accept no more connections, and close existing ones."""
    server.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, delay_s: float) -> None:
    # A connection takes a round trip before data can be sent.
    await asyncio.sleep(2 * delay_s)
    far_reader, far_writer = await asyncio.open_connection(LOCAL, port)
    for side in (writer, far_writer):
        side.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        # Cancellation is the normal end, not an error that asyncio should print.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(_delayed(reader, far_writer, delay_s), _delayed(far_reader, writer, delay_s))
    finally:
        writer.close()
        far_writer.close()


async def _delayed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Forward data, each piece ``delay_s`` after its arrival, with any number of pieces in transit."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(CHUNK):
            loop.call_later(delay_s, writer.write, piece)
    await asyncio.sleep(delay_s)
    writer.close()
