"""HTTP connections from many addresses of one host, opened and closed all the time until the end of the input:
`load_by_source.py FIRST COUNT CONCURRENCY`.

FIRST is the first of COUNT addresses, which the host has to have. Says "loading" after the first answer. Prints who has answered
each address, and the errors, as JSON.
"""

import asyncio
import collections
import json
import os
import socket
import sys
from ipaddress import IPv4Address

import uvloop

REQUEST = b"GET /?close=1 HTTP/1.1\r\nHost: lab\r\n\r\n"
_BIND_ADDRESS_NO_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT: the kernel takes a port when it connects, and those go on from the last one."""


async def ask(source: str) -> str:
    """One connection from this address, one request, one answer, closed by the server; the name of who answered."""
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
        await loop.sock_sendall(sock, REQUEST)
        answer = b""
        while data := await loop.sock_recv(sock, 1 << 16):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(f"answer {head[:60]!r}")
    name: str = json.loads(body)["real_server"]
    return name


async def main(sources: list[str], concurrency: int) -> dict[str, object]:
    """Make requests until there is no more input. An error is counted under its text."""
    answered, errors = {source: collections.Counter[str]() for source in sources}, collections.Counter[str]()
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)

    async def client(number: int) -> None:
        while not over.is_set():
            source = sources[number % len(sources)]
            number += concurrency
            try:
                name = await ask(source)
            except (OSError, ValueError) as error:
                errors[repr(error)] += 1
                continue
            if not any(answered.values()):
                print("loading", flush=True)
            answered[source][name] += 1

    await asyncio.gather(*(client(number) for number in range(concurrency)))
    return {"answered": answered, "errors": errors}


if __name__ == "__main__":
    first, count = IPv4Address(sys.argv[1]), int(sys.argv[2])
    print(json.dumps(uvloop.run(main([str(first + number) for number in range(count)], int(sys.argv[3])))))
