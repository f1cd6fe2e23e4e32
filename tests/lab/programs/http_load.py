"""Many short HTTP connections: COUNT requests, CONCURRENCY at a time. Prints what came of them as JSON."""

import asyncio
import collections
import json
import os
import sys

import uvloop

REQUEST = b"GET /?close=1 HTTP/1.1\r\nHost: lab\r\n\r\n"


async def one_request(host: str, port: int) -> dict[str, str]:
    """One connection, one request, one answer, closed by the server."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(REQUEST)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(f"answer {head[:60]!r}")
    parsed: dict[str, str] = json.loads(body)
    return parsed


async def main(count: int, concurrency: int) -> dict[str, object]:
    """All requests; an error is counted under its words."""
    host, port = os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])
    real_servers: collections.Counter[str] = collections.Counter()
    peers: collections.Counter[str] = collections.Counter()
    errors: collections.Counter[str] = collections.Counter()
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            try:
                answer = await one_request(host, port)
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                errors[repr(error)] += 1
            else:
                real_servers[answer["real_server"]] += 1
                peers[answer["peer"].split(":")[0]] += 1

    await asyncio.gather(*(client() for _ in range(concurrency)))
    return {"ok": real_servers.total(), "real_servers": real_servers, "peers": peers, "errors": errors}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))))
