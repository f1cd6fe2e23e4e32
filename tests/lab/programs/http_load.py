"""Many short HTTP connections: `http_load.py COUNT CONCURRENCY [fin]`. Prints the outcomes as JSON.

With "fin", each request goes out in one segment with the FIN. An answer's `client` is "right" when it is the address and port
that the request came from; others are counted under what they are.
"""

import asyncio
import collections
import json
import os
import socket
import sys

import uvloop

from tests.lab.programs.fresh_ports import FreshPorts

REQUEST = b"GET /?close=1 HTTP/1.1\r\nHost: lab\r\n\r\n"


async def one_request(sock: socket.socket, *, with_fin: bool) -> dict[str, str]:
    """One connection, one request, one answer, closed by the server."""
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
    if with_fin:
        sock.send(REQUEST, socket.MSG_MORE)  # the kernel waits for more data, so the FIN goes into the same segment
        sock.shutdown(socket.SHUT_WR)
    else:
        await loop.sock_sendall(sock, REQUEST)
    answer = b""
    while data := await loop.sock_recv(sock, 1 << 16):
        answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(f"answer {head[:60]!r}")
    parsed: dict[str, str] = json.loads(body)
    return parsed


async def main(count: int, concurrency: int, *, with_fin: bool) -> dict[str, object]:
    """Make all requests, and count outcomes. An error is counted under its text."""
    real_servers: collections.Counter[str] = collections.Counter()
    peers: collections.Counter[str] = collections.Counter()
    clients: collections.Counter[str] = collections.Counter()
    errors: collections.Counter[str] = collections.Counter()
    left, ports = iter(range(count)), FreshPorts(count)

    async def client() -> None:
        for _ in left:
            with socket.socket() as sock:
                sock.setblocking(False)
                ports.bind(sock)
                try:
                    answer = await one_request(sock, with_fin=with_fin)
                except (OSError, ValueError) as error:
                    number = getattr(error, "errno", None)
                    errors[os.strerror(number) if number else repr(error)] += 1
                    continue
                host, port = sock.getsockname()
            real_servers[answer["real_server"]] += 1
            peers[answer["peer"].split(":")[0]] += 1
            is_right = answer["client"] == f"{host}:{port}"
            clients["right" if is_right else f"{answer['client']}, not {host}:{port}"] += 1

    await asyncio.gather(*(client() for _ in range(concurrency)))
    return {"ok": real_servers.total(), "real_servers": real_servers, "peers": peers, "clients": clients, "errors": errors}


if __name__ == "__main__":
    result = main(int(sys.argv[1]), int(sys.argv[2]), with_fin="fin" in sys.argv[3:])
    print(json.dumps(uvloop.run(result)))
