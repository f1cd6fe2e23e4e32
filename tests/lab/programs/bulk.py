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


def post(conn: http.client.HTTPConnection, head: bytes, body: Iterator[bytes]) -> bytes:
    """The answer. The head goes out with what follows it, so that full segments are on their way before one is acknowledged."""
    conn.connect()
    conn.sock.sendall(head + next(body))
    for chunk in body:
        conn.sock.sendall(chunk)
    answer = http.client.HTTPResponse(conn.sock, method="POST")
    answer.begin()
    return answer.read()


def main(direction: str, count: int) -> dict[str, str]:
    """The transfer."""
    conn = http.client.HTTPConnection(os.environ["LAB_VIP"], int(os.environ["LAB_PORT"]))
    if direction == "download":
        conn.request("GET", f"/bytes/{count}")
        answer = conn.getresponse()
        got = digest(iter(lambda: answer.read(CHUNK_BYTES), b""))
    else:
        head = f"POST /sha256 HTTP/1.1\r\nHost: {conn.host}\r\nContent-Length: {count}\r\n\r\n".encode()
        got = json.loads(post(conn, head, pattern(count)))["sha256"]
    return {"got": got, "expected": digest(pattern(count))}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
