"""HTTP connections, opened and closed all the time until the end of the input: `load_until_told.py CONCURRENCY [PAUSE_S]`.

Each client pauses so many seconds after an answer; 0 by default. Says "loading" after the first answer.
Prints how many requests were answered, and the errors, as JSON.
"""

import asyncio
import collections
import json
import os
import sys

import uvloop

REQUEST = b"GET /?close=1 HTTP/1.1\r\nHost: lab\r\n\r\n"


async def ask() -> None:
    """One connection, one request, one answer, closed by the server."""
    reader, writer = await asyncio.open_connection(os.environ["LAB_VIP"], int(os.environ["LAB_PORT"]))
    try:
        writer.write(REQUEST)
        answer = await reader.read(-1)
    finally:
        writer.close()
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(f"answer {answer[:60]!r}")


async def main(concurrency: int, pause_s: float = 0.0) -> dict[str, object]:
    """Make requests until there is no more input. An error is counted under its text."""
    answered, errors, over = 0, collections.Counter[str](), asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)

    async def client() -> None:
        nonlocal answered
        while not over.is_set():
            try:
                await ask()
            except OSError as error:
                errors[os.strerror(error.errno) if error.errno else repr(error)] += 1
                continue
            if not answered:
                print("loading", flush=True)
            answered += 1
            await asyncio.sleep(pause_s)

    await asyncio.gather(*(client() for _ in range(concurrency)))
    return {"answered": answered, "errors": errors}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(int(sys.argv[1]), *map(float, sys.argv[2:])))))
