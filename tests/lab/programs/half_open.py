"""Open COUNT connections to HOST:PORT, send HEX on each (it may be empty), and hold them without reading.

Prints as JSON how many could be opened, then holds them until standard input closes.
"""

import asyncio
import json
import resource
import socket
import sys


async def main(count: int, host: str, port: int, sent: bytes) -> None:
    """Open all of them, and hold them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = asyncio.get_running_loop()
    held = []
    for _ in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(5):
                await loop.sock_connect(sock, (host, port))
                if sent:
                    await loop.sock_sendall(sock, sent)
        except OSError:
            pass
        held.append(sock)
    print(json.dumps(len(held)), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), bytes.fromhex(sys.argv[4])))
