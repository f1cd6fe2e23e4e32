"""Send back all data on every connection: `echo_server.py PORT`. Prints "ready"; ends when standard input closes.

Several processes may share a port. So one real server can have more connections than a process may have open files.
"""

import asyncio
import resource
import socket
import sys
from typing import cast

import uvloop

BACKLOG = 4096


class Echo(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has a class of its own with the same methods

    def data_received(self, data: bytes) -> None:
        """Send the data back."""
        self._transport.write(data)


async def main(port: int) -> None:
    """Serve until standard input closes."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    listener = socket.create_server(("", port), backlog=BACKLOG, reuse_port=True)
    loop = asyncio.get_running_loop()
    told_to_go = asyncio.Event()
    loop.add_reader(sys.stdin, told_to_go.set)
    async with await loop.create_server(Echo, sock=listener, backlog=BACKLOG):
        print("ready", flush=True)
        await told_to_go.wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
