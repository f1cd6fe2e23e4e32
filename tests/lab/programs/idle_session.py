"""Hold COUNT sessions: make one request on each, print "idle", then print as JSON how each ended.

Ends when every session was ended by the other side, or when standard input closes. When a line with a number comes from there, it
ends as soon as so many sessions have.
"""

import asyncio
import json
import os
import sys

PATIENCE_S = 60.0
"""For the ends that were announced."""
REQUEST = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"


async def session(host: str, port: int, ready: asyncio.Semaphore) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    """Open a connection and make one request. Returns its streams, and its own address and port."""
    async with ready:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
        await reader.readexactly(length)
    return reader, writer, "{}:{}".format(*writer.get_extra_info("sockname"))


async def ending(reader: asyncio.StreamReader) -> str:
    """Wait for the end of the session, and say how it ended."""
    try:
        data = await reader.read(1)
    except ConnectionResetError:
        return "reset"
    return "closed" if not data else "data"


async def wait_for(endings: list[asyncio.Task[str]], count: int) -> None:
    """Wait until so many have ended."""
    waiting, deadline = set(endings), asyncio.get_running_loop().time() + PATIENCE_S
    while len(endings) - len(waiting) < count and (left_s := deadline - asyncio.get_running_loop().time()) > 0:
        _, waiting = await asyncio.wait(waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)


async def main(count: int) -> dict[str, str]:
    """Open all sessions, and say how each ended."""
    host, port = os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])
    ready = asyncio.Semaphore(50)
    sessions = await asyncio.gather(*(session(host, port, ready) for _ in range(count)))
    print("idle", flush=True)
    endings = {name: asyncio.ensure_future(ending(reader)) for reader, _, name in sessions}
    told_to_go = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, told_to_go.set)
    over = (asyncio.gather(*endings.values()), asyncio.ensure_future(told_to_go.wait()))
    await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
    if told_to_go.is_set():
        await wait_for(list(endings.values()), int(sys.stdin.readline() or 0))
    return {name: task.result() if task.done() else "alive" for name, task in endings.items()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1])))))
