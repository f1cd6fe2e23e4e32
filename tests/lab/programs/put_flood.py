"""Ask HOST:PORT for RATE writes of a tunable a second, for SECONDS, over CONNECTIONS, whether it answers or not.

Prints "connected", and in the end as JSON how many writes were asked for, how many answers came, and their statuses.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter

_TURN_S = 0.02


async def read_answers(reader: asyncio.StreamReader, statuses: Counter[str]) -> None:
    """Count answers until the connection ends."""
    while data := await reader.read(1 << 16):
        statuses.update(found.decode() for found in re.findall(rb"HTTP/1\.1 (\d{3})", data))


async def main(host: str, port: int, rate: int, seconds: float, connections: int) -> None:
    """Run all connections, and send in turns."""
    statuses = Counter[str]()
    streams = [await asyncio.open_connection(host, port) for _ in range(connections)]
    readers = [asyncio.ensure_future(read_answers(reader, statuses)) for reader, _ in streams]
    print("connected", flush=True)
    asked, begun = 0, time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        while asked < rate * passed:
            body = str(60_000 + asked % 1000)
            head = f"PUT /sysctl/udp_timeout HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
            streams[asked % connections][1].write(f"{head}{body}".encode())
            asked += 1
        await asyncio.sleep(_TURN_S)
    for _, writer in streams:
        writer.transport.abort()
    await asyncio.gather(*readers, return_exceptions=True)
    print(json.dumps({"asked": asked, "statuses": statuses, "seconds": time.monotonic() - begun}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
