"""HTTP connections, opened and closed all the time until the end of the input: `load_until_told.py CONCURRENCY`.

Says "loading" after the first answer. Prints how many requests were answered, and the errors, as JSON.
"""

import asyncio
import collections
import json
import os
import socket
import sys

import uvloop
from http_load import one_request


async def main(concurrency: int) -> dict[str, object]:
    """Make requests until there is no more input. An error is counted under its text."""
    answered, errors, over = 0, collections.Counter[str](), asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)

    async def client() -> None:
        nonlocal answered
        while not over.is_set():
            with socket.socket() as sock:
                sock.setblocking(False)
                try:
                    await one_request(sock, with_fin=False)
                except (OSError, ValueError) as error:
                    number = getattr(error, "errno", None)
                    errors[os.strerror(number) if number else repr(error)] += 1
                    continue
            if not answered:
                print("loading", flush=True)
            answered += 1

    await asyncio.gather(*(client() for _ in range(concurrency)))
    return {"answered": answered, "errors": errors}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(int(sys.argv[1])))))
