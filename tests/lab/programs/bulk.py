"""One big transfer. `bulk.py download BYTES` or `bulk.py upload BYTES`; prints both digests as JSON."""

import hashlib
import http.client
import json
import os
import sys
from collections.abc import Iterator

from appliance.lab.http_server import PATTERN

CHUNK_BYTES = 1 << 20


def pattern(count: int) -> Iterator[bytes]:
    """The bytes that /bytes/N streams."""
    whole, rest = divmod(count, len(PATTERN))
    for _ in range(whole):
        yield PATTERN
    yield PATTERN[:rest]


def digest(chunks: Iterator[bytes]) -> str:
    """SHA-256 of all of it."""
    sha = hashlib.sha256()
    for chunk in chunks:
        sha.update(chunk)
    return sha.hexdigest()


def main(direction: str, count: int) -> dict[str, str]:
    """The transfer."""
    conn = http.client.HTTPConnection(os.environ["LAB_VIP"], int(os.environ["LAB_PORT"]))
    if direction == "download":
        conn.request("GET", f"/bytes/{count}")
        answer = conn.getresponse()
        got = digest(iter(lambda: answer.read(CHUNK_BYTES), b""))
    else:
        conn.request("POST", "/sha256", body=pattern(count), headers={"Content-Length": str(count)})
        got = json.loads(conn.getresponse().read())["sha256"]
    return {"got": got, "expected": digest(pattern(count))}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
