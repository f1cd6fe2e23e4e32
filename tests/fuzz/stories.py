"""What ordinary sessions do, written in the language of the fuzzers. The fuzzer begins with these, so that it does not have to
find a handshake by chance."""

from collections.abc import Mapping

from appliance.ipc.queries import CUT
from tests.fuzz.encoding import (
    ANOTHER_START,
    CLIENT,
    REAL_SERVER,
    again,
    answer,
    ask,
    chorus,
    crowd,
    datagram,
    expire,
    icmp_error,
    ports,
    reload,
    scene,
    segment,
    settle,
    step,
    wait,
)
from tests.support.fuzz_operands import OPTIONS, PAYLOAD_BYTES

_USUAL = scene()

_PROXIED = scene(web="always", defer=0)
"""The first service answers SYNs with cookies, and does not wait for data."""

_FLOODED = scene(web="auto", backlog=16)
"""The first service answers SYNs with cookies while at least sixteen sessions are half open."""

_ONE_IN_TIME_WAIT = scene(time_wait_limit=1)

_LARGEST_SHIFT = OPTIONS[1]
_CLAIM = OPTIONS[8]
"""The client-address option for another address, sent by a client."""

_SYN, _REPLY = segment(), answer()

_HANDSHAKE = (_SYN, _REPLY, _REPLY)
"""The real server answers the SYN, and the client answers the real server."""

_PROOF = (_SYN, _REPLY, _REPLY)
"""With SYNPROXY: the client returns the cookie, and the real server answers the SYN that it gets then."""

_REQUESTS = tuple(segment(by=CLIENT, of=0, flags="PA", size=size) for size in PAYLOAD_BYTES[2:8])
"""Six requests of six sizes."""

_REQUEST = _REQUESTS[0]
_NEW_SYN = segment(by=CLIENT, of=0, flags="S", seq=ANOTHER_START)
_RST = segment(by=CLIENT, of=0, flags="R")
_ALL_CLIENTS_SPEAK, _ALL_CLIENTS_END = chorus(by=CLIENT, flags="A"), chorus(by=CLIENT, flags="FA")
_ALL_REAL_SERVERS_SPEAK, _ALL_REAL_SERVERS_END = chorus(by=REAL_SERVER, flags="A"), chorus(by=REAL_SERVER, flags="FA")
_MANY_OPEN = (crowd(count=5), chorus(by=REAL_SERVER, flags="SA"), _ALL_CLIENTS_SPEAK)
_TWO_SECONDS = (wait(seconds=2), expire())
_ALL_DRAINED, _ALL_REMOVED = (dict.fromkeys(("web", "api", "dns"), weights) for weights in ((0, 0), (None, None)))


def _told(*parts: bytes) -> bytes:
    """A story, made of its scene and its operations."""
    return b"".join(parts)


STORIES: Mapping[str, bytes] = {
    "opened, used, closed": _told(
        _USUAL, *_HANDSHAKE, _REQUEST, _REPLY, _ALL_CLIENTS_END, _ALL_REAL_SERVERS_END, _ALL_CLIENTS_SPEAK, wait(seconds=121),
        expire(),
    ),
    "claiming to be another": _told(
        _USUAL, segment(options=_CLAIM), _REPLY, _REPLY, segment(options=_CLAIM, by=CLIENT, of=0, flags="PA")
    ),
    "challenged": _told(_USUAL, *_HANDSHAKE, _NEW_SYN, _RST, _REPLY),
    "proxied, begun anew": _told(_PROXIED, *_PROOF, _REQUEST, _RST, _NEW_SYN, _REPLY, _REPLY),
    "held": _told(_PROXIED, _SYN, _REPLY, *_REQUESTS, _REPLY, _RST),
    "no answer": _told(_PROXIED, _SYN, _REPLY, *_TWO_SECONDS * 8),
    "refused": _told(_PROXIED, _SYN, _REPLY, answer(flags="RA"), answer(to=1)),
    "drained": _told(_PROXIED, *_PROOF, _REQUEST, _RST, reload(**_ALL_DRAINED), _NEW_SYN, _REPLY),
    "scaled": _told(_PROXIED, segment(options=_LARGEST_SHIFT), _REPLY, answer(options=_LARGEST_SHIFT), again(), _REQUEST),
    "storm": _told(_PROXIED, *_PROOF, segment(by=REAL_SERVER, of=0, flags="A"), *(again(),) * 12),
    "flooded": _told(_FLOODED, crowd(count=17), _SYN, _REPLY, _REPLY, chorus(by=CLIENT, flags="RA"), _SYN),
    "removed and back": _told(
        _USUAL, *_MANY_OPEN, reload(**_ALL_REMOVED), _ALL_CLIENTS_SPEAK, settle(), _ALL_CLIENTS_SPEAK, reload(), settle()
    ),
    "asked and cut": _told(
        _USUAL, ports(width=300), crowd(count=130), ask(question=CUT), step(), _ALL_CLIENTS_SPEAK, step()
    ),
    "many in TIME_WAIT": _told(_ONE_IN_TIME_WAIT, *_MANY_OPEN, _ALL_REAL_SERVERS_END, _ALL_CLIENTS_END, _ALL_REAL_SERVERS_SPEAK),
    "many in the same tick": _told(
        _USUAL, crowd(count=5), wait(seconds=60), wait(seconds=60), expire(limit=1), ask(question=CUT), step(), expire()
    ),
    "datagrams": _told(_USUAL, datagram(), _REPLY, icmp_error()),
}  # fmt: skip
