"""Many connections that are held, from wherever this runs: sent to a Python there as it stands.

First line of standard input: a job as JSON {"host", "address", "port", "count", "kind", "head": a request, "ca"}. kind:
`hello` sends six bytes of a TLS handshake; `header` a request without its end; `pull` a whole one, whose answer is
not read any further than its first line. Prints one line of JSON when all are there: {"connected", "statuses":
{status: how many}}; holds them until standard input ends, then says how many were still there.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections import Counter
from typing import Any

Job = dict[str, Any]
HELLO = bytes.fromhex("160301020001")
CONNECTING = 64


async def hold(job: Job, held: list[asyncio.StreamWriter], room: asyncio.Semaphore) -> str:
    try:
        async with room:
            tls = None
            if job["kind"] != "hello":
                tls = ssl.create_default_context(cafile=job.get("ca"))
            # A little of an answer is taken in, the rest waits on the other side.
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(
                    job["address"], job["port"], ssl=tls, server_hostname=job["host"] if tls else None, limit=4096
                ),
                60,
            )
            held.append(writer)
            writer.write(HELLO if job["kind"] == "hello" else job["head"].encode())
            await writer.drain()
            if job["kind"] != "pull":
                return "held"
            line = await asyncio.wait_for(reader.readline(), 60)
            return line.split(b" ")[1].decode() if b" " in line else "closed"
    except (OSError, asyncio.TimeoutError, ssl.SSLError) as error:
        return type(error).__name__


async def main() -> None:
    job: Job = json.loads(sys.stdin.readline())
    held: list[asyncio.StreamWriter] = []
    room = asyncio.Semaphore(CONNECTING)
    statuses = await asyncio.gather(*(hold(job, held, room) for _ in range(job["count"])))
    print(json.dumps({"connected": len(held), "statuses": Counter(statuses)}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for writer in held:
        writer.transport.abort()


asyncio.run(main())
