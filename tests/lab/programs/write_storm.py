"""Write other values of a tunable to the API at HOST:PORT over 20 connections, COUNT on each, as fast as it answers.

Prints as JSON the number of answers, and how many there were of each status.
"""

import asyncio
import json
import sys
from collections import Counter


async def writer(host: str, port: int, count: int, statuses: Counter[str], start: int) -> None:
    """One connection: one write after the other."""
    reader, out = await asyncio.open_connection(host, port)
    value = start
    for _ in range(count):
        value += 20
        body = str(5000 + value % 1000)
        out.write(f"PUT /sysctl/fullnat_lport_min HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r")[0]))
        statuses[head.split()[1]] += 1
    out.close()


async def main(host: str, port: int, count: int) -> None:
    """Run all connections."""
    statuses = Counter[str]()
    await asyncio.gather(*(writer(host, port, count, statuses, start) for start in range(20)))
    print(json.dumps({"answers": statuses.total(), "statuses": statuses}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
