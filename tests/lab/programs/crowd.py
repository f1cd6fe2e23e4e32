"""`crowd.py COUNT`: COUNT clients come at once, and each that is answered keeps its connection until standard input closes.
Prints as JSON how many were answered, when nobody waits any longer.
"""

import asyncio
import json
import os
import socket
import sys

REQUEST = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"


async def is_answered(sock: socket.socket) -> bool:
    """Whether a connection is made, and a request on it is answered."""
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(sock, (os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
        await loop.sock_sendall(sock, REQUEST)
        return (await loop.sock_recv(sock, 1 << 16)).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


async def main(count: int) -> None:
    """Come, count, and stay."""
    clients = [socket.socket() for _ in range(count)]
    for sock in clients:
        sock.setblocking(False)
    answered = await asyncio.gather(*map(is_answered, clients))
    for sock, is_in in zip(clients, answered, strict=True):
        if not is_in:
            sock.close()
    print(json.dumps(sum(answered)), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
