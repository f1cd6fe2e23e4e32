"""`weight_storm.py API SERVICE REAL_SERVER CHANGES`, in the gateway: take a real server's weight to 0 and back, again and again,
and look which new connections leave for it meanwhile.

A SYN that leaves later than LATE_S behind the answer of the API counts as late, unless it is one that was sent again. Prints
JSON: the changes, the SYNs to this real server and to others while its weight was 0, and those of the first that were late.
"""

import http.client
import json
import socket
import struct
import sys
import time
from collections.abc import Iterator
from ctypes import addressof, create_string_buffer
from urllib.parse import urlsplit

INTERFACE = "server0"
LATE_S = 0.01
"""A SYN has left a few microseconds after it got its real server. The machine may stop in between."""
ENOUGH = 100
"""SYNs to others that are waited for before the weight comes back, and to this one before it goes again."""
PATIENCE_S = 60.0

_ALL_PROTOCOLS = 0x0003
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 26, 35, 33
_BUFFER_BYTES = 1 << 24
_LOAD_HALF, _LOAD_BYTE, _AND, _JUMP_EQUAL, _RETURN = 0x28, 0x30, 0x54, 0x15, 0x06
_ONLY_SYNS = (
    (_LOAD_HALF, 0, 0, 12), (_JUMP_EQUAL, 0, 6, 0x0800), (_LOAD_BYTE, 0, 0, 23), (_JUMP_EQUAL, 0, 4, 6), (_LOAD_BYTE, 0, 0, 47),
    (_AND, 0, 0, 0x12), (_JUMP_EQUAL, 0, 1, 0x02), (_RETURN, 0, 0, 0xFFFF), (_RETURN, 0, 0, 0),
)  # fmt: skip


class Capture:
    """SYNs that leave, each once: when, in seconds of the wall clock, and to which endpoint."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        program = create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in _ONLY_SYNS))
        said = struct.pack("HxxxxxxP", len(_ONLY_SYNS), addressof(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, said)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.bind((INTERFACE, _ALL_PROTOCOLS))
        self._seen = set[bytes]()

    def read(self, within_s: float) -> Iterator[tuple[float, str]]:
        """Those that are there, after waiting so long for the first one."""
        self._socket.settimeout(within_s)
        while True:
            try:
                frame, ancillary, _, _ = self._socket.recvmsg(128, 64)
            except (TimeoutError, BlockingIOError):
                return
            self._socket.settimeout(0.0)
            packet = frame[14:]
            which = packet[12:28]  # addresses, ports, and the sequence number
            if which in self._seen:
                continue
            self._seen.add(which)
            ((_, _, stamp),) = ancillary
            seconds, nanoseconds = struct.unpack("qq", stamp)
            yield seconds + nanoseconds / 1e9, f"{socket.inet_ntoa(packet[16:20])}:{int.from_bytes(packet[22:24], 'big')}"


def wall_s() -> float:
    """The clock that stamps captured packets."""
    return time.clock_gettime(time.CLOCK_REALTIME)


def until_enough(capture: Capture, begun: float, real_server: str, *, is_meant: bool) -> list[tuple[float, str]]:
    """Captured SYNs, until there are ENOUGH since `begun` to this real server, or to others."""
    found, deadline = list[tuple[float, str]](), time.monotonic() + PATIENCE_S
    while sum(at > begun and (to == real_server) == is_meant for at, to in found) < ENOUGH:
        if time.monotonic() > deadline:
            sys.exit(f"waited in vain for {ENOUGH} SYNs, {found[-3:]}")
        found += capture.read(0.1)
    return found


def main() -> None:
    """Change it, look, and change it back."""
    api, service, real_server, changes = urlsplit(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    connection = http.client.HTTPConnection(api.hostname or "", api.port)

    def set_weight(weight: int) -> float:
        """Returns when the answer was there."""
        body, headers = json.dumps({"weight": weight}), {"Content-Type": "application/json"}
        connection.request("PATCH", f"/services/{service}/real_servers/{real_server}", body, headers)
        answer = connection.getresponse()
        now = wall_s()
        said = answer.read()
        if answer.status != http.client.OK:
            sys.exit(f"{answer.status}: {said!r}")
        return now

    capture, begun = Capture(), wall_s()
    to_it = to_others = late = 0
    for _ in range(changes):
        until_enough(capture, begun, real_server, is_meant=True)
        answered = set_weight(0)
        found = until_enough(capture, answered, real_server, is_meant=False)
        found += capture.read(0.0)
        begun = wall_s()
        set_weight(1)
        during = [(at, to) for at, to in found if answered < at < begun]
        to_it += sum(to == real_server for _, to in during)
        to_others += sum(to != real_server for _, to in during)
        late += sum(to == real_server and at > answered + LATE_S for at, to in during)
    print(json.dumps({"changes": changes, "to_it": to_it, "to_others": to_others, "late": late}))


if __name__ == "__main__":
    main()
