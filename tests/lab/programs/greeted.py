"""A client that waits to be spoken to: `greeted.py COUNT PATIENCE_S`, for as long on each of COUNT connections at once.

Then it speaks itself, and listens until the server has closed. Prints as JSON, for each connection, what came "unasked" and
what came "asked".
"""

import asyncio
import json
import os
import sys

ENOUGH_BYTES = 1 << 10


async def listen(reader: asyncio.StreamReader, patience_s: float) -> bytes:
    """What the server says in that time of its own accord."""
    try:
        return await asyncio.wait_for(reader.read(ENOUGH_BYTES), patience_s)
    except TimeoutError:
        return b""


async def conversation(patience_s: float) -> dict[str, str]:
    """One connection."""
    reader, writer = await asyncio.open_connection(os.environ["LAB_VIP"], int(os.environ["LAB_PORT"]))
    unasked = await listen(reader, patience_s)
    writer.write(b"hello\r\n")
    writer.write_eof()
    asked = await reader.read()
    writer.close()
    return {"unasked": unasked.decode(), "asked": asked.decode()}


async def main(count: int, patience_s: float) -> list[dict[str, str]]:
    """All of them."""
    return await asyncio.gather(*(conversation(patience_s) for _ in range(count)))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))))
