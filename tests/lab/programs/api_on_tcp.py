"""A port on the loopback address of this namespace, from which connections go on to a Unix socket: `api_on_tcp.py PATH`.

It is what `ssh -L PORT:PATH` makes. It says its port, and ends at the end of the input.
"""

import asyncio
import sys
from functools import partial

from appliance.lab.api_relay import relay_streams


async def connect(path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection."""
    await relay_streams(reader, writer, *await asyncio.open_unix_connection(path))


async def main(path: str) -> None:
    """Relay until there is no more input."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)
    async with await asyncio.start_server(partial(connect, path), "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await over.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
