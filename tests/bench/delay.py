"""A TCP proxy that holds all that passes for a while, each way, and lets any amount through."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BLOCK = 65536
Piece = tuple[float, bytes]


@contextmanager
def delayed(port: int, seconds: float) -> Iterator[int]:
    """A port of 127.0.0.1 that leads to another one, so many seconds away."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(_listen(port, seconds))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_end(server))
        loop.close()


async def _listen(port: int, seconds: float) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Before 3.12 asyncio itself stumbles over a connection whose task was cancelled.
        with suppress(asyncio.CancelledError, OSError):
            # To connect takes a way and a way back, before anything else is sent.
            await asyncio.sleep(2 * seconds)
            there, back = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_one_way(reader, back, seconds), _one_way(there, writer, seconds))
            back.close()
        writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0)


async def _one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Read at once, write when it is due: what is under way does not hold up what follows."""
    under_way: asyncio.Queue[Piece] = asyncio.Queue()
    clock = asyncio.get_running_loop().time

    async def receive() -> None:
        piece = b" "
        while piece:
            try:
                piece = await reader.read(BLOCK)
            except OSError:
                piece = b""
            await under_way.put((clock() + seconds, piece))

    async def deliver() -> None:
        while True:
            due, piece = await under_way.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
        writer.write_eof()

    with suppress(OSError):
        await asyncio.gather(receive(), deliver())


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
