"""A server that speaks first: `greeting_server.py PORT`. Greets each client, then answers its lines.

Prints "ready"; ends when standard input closes.
"""

import asyncio
import sys

GREETING = b"220 speak\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one client until it closes its side."""
    writer.write(GREETING)
    try:
        async for line in reader:
            writer.write(b"250 " + line)
            await writer.drain()
    except ConnectionError:
        pass  # the client reset the connection
    writer.close()


async def main(port: int) -> None:
    """Serve until standard input closes."""
    told_to_go = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, told_to_go.set)
    await asyncio.start_server(serve, "", port)
    print("ready", flush=True)
    await told_to_go.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
