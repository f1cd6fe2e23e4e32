"""Open COUNT sessions with the service and hold them until standard input closes. Prints as JSON how many there are."""

import asyncio
import json
import os
import resource
import socket
import sys

_AT_ONCE = 100


async def main(count: int) -> None:
    """Open them, _AT_ONCE at a time."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop, held, room = asyncio.get_running_loop(), list[socket.socket](), asyncio.Semaphore(_AT_ONCE)

    async def connect() -> None:
        async with room:
            sock = socket.socket()
            sock.setblocking(False)
            await loop.sock_connect(sock, (os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
            held.append(sock)

    await asyncio.gather(*(connect() for _ in range(count)))
    print(json.dumps(len(held)), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
