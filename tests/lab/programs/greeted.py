"""A client that waits for the server to speak first: `greeted.py COUNT WAIT_S`, for so long on each of COUNT connections at once.

Then it sends a line, and reads until the server closes. Prints as JSON, for each connection, the text that came before that line
("unasked") and after it ("asked").
"""

import asyncio
import json
import os
import sys

ENOUGH_BYTES = 1 << 10


async def listen(reader: asyncio.StreamReader, wait_s: float) -> bytes:
    """The data that the server sends first; empty when it sends none in that time."""
    try:
        return await asyncio.wait_for(reader.read(ENOUGH_BYTES), wait_s)
    except TimeoutError:
        return b""


async def conversation(wait_s: float) -> dict[str, str]:
    """Both parts of the conversation on one connection."""
    reader, writer = await asyncio.open_connection(os.environ["LAB_VIP"], int(os.environ["LAB_PORT"]))
    unasked = await listen(reader, wait_s)
    writer.write(b"hello\r\n")
    writer.write_eof()
    asked = await reader.read()
    writer.close()
    return {"unasked": unasked.decode(), "asked": asked.decode()}


async def main(count: int, wait_s: float) -> list[dict[str, str]]:
    """All conversations, at once."""
    return await asyncio.gather(*(conversation(wait_s) for _ in range(count)))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))))
