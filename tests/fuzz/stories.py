"""Everyday lives of a shard, told in the language of `fuzz_operations`: where the fuzzer begins, so that it need not find out by
itself what a handshake is."""

from collections.abc import Mapping

from tests.support.fuzz_operations import OPERATIONS
from tests.support.fuzzed_shard import SCENE_BYTES

_NUMBERS = {operation.act.__name__.strip("_"): number for number, operation in enumerate(OPERATIONS)}

_PROXIED = b"\0\1\0\1"
"""The scene in which the first service answers SYNs with cookies, and does not wait for data."""

_FLOODED = b"\0\2\0\0\0\0\0\0\0\0\0\0\0\0\1"
"""The scene in which it does so while more than sixteen are half open."""

_ONE_IN_TIME_WAIT = b"\0" * 13 + b"\1"

_CLIENT, _REAL_SERVER = 2, 4
_PA, _R = 2, 5
"""Of `segment`: who sends it, of a session; and its flags."""


def told(scene: bytes, *operations: tuple[str | int, ...]) -> bytes:
    """A story: each operation by its name and its first operands, the others being zero."""
    story = scene.ljust(SCENE_BYTES, b"\0")
    for name, *operands in operations:
        number = _NUMBERS[str(name)]
        story += bytes((number, *map(int, operands))).ljust(1 + OPERATIONS[number].operand_bytes, b"\0")
    return story


_SYN, _REPLY = ("segment",), ("answer",)

_HANDSHAKE = (_SYN, _REPLY, _REPLY)
"""The real server answers the SYN, and the client that."""

_PROOF = (_SYN, _REPLY, _REPLY)
"""With SYNPROXY: the client returns the cookie, and the real server answers the SYN that it gets then."""

_REQUESTS = tuple(("segment", 0, _CLIENT, 0, 0, 0, _PA, 0, 0, 0, 0, 0, size) for size in range(2, 8))
_REQUEST = _REQUESTS[0]
_NEW_SYN = ("segment", 0, _CLIENT, 0, 0, 0, 0, 16)
_RST = ("segment", 0, _CLIENT, 0, 0, 0, _R)
_ALL_CLIENTS_SPEAK, _ALL_CLIENTS_END = ("chorus", 0, 0), ("chorus", 0, 2)
_ALL_REAL_SERVERS_SPEAK, _ALL_REAL_SERVERS_END = ("chorus", 1, 0), ("chorus", 1, 2)
_MANY_OPEN = (("crowd",), ("chorus", 1, 1), _ALL_CLIENTS_SPEAK)
_TWO_SECONDS = (("wait", 8), ("expire",))

STORIES: Mapping[str, bytes] = {
    "opened, used, closed": told(
        b"", *_HANDSHAKE, _REQUEST, _REPLY, _ALL_CLIENTS_END, _ALL_REAL_SERVERS_END, _ALL_CLIENTS_SPEAK, ("wait", 15), ("expire",)
    ),
    "claiming to be another": told(b"", ("segment", 8), _REPLY, _REPLY, ("segment", 8, _CLIENT, 0, 0, 0, _PA)),
    "challenged": told(b"", *_HANDSHAKE, _NEW_SYN, _RST, _REPLY),
    "proxied, begun anew": told(_PROXIED, *_PROOF, _REQUEST, _RST, _NEW_SYN, _REPLY, _REPLY),
    "held": told(_PROXIED, _SYN, _REPLY, *_REQUESTS, ("answer", 0, 0, 0, 0), _RST),
    "no answer": told(_PROXIED, _SYN, _REPLY, *_TWO_SECONDS * 8),
    "refused": told(_PROXIED, _SYN, _REPLY, ("answer", 0, 5), ("answer", 1)),
    "drained": told(_PROXIED, *_PROOF, _REQUEST, _RST, ("reload", 3, 3, 3), _NEW_SYN, _REPLY),
    "scaled": told(_PROXIED, ("segment", 1), _REPLY, ("answer", 0, 0, 0, 0, 0, 0, 1), ("again",), _REQUEST),
    "storm": told(_PROXIED, *_PROOF, ("segment", 0, _REAL_SERVER, 0, 0, 0, 1), *(("again",),) * 12),
    "flooded": told(_FLOODED, ("crowd", 1), _SYN, _REPLY, _REPLY, ("chorus", 0, 3), _SYN),
    "removed and back": told(
        b"", *_MANY_OPEN, ("reload", 6, 6, 6), _ALL_CLIENTS_SPEAK, ("settle",), _ALL_CLIENTS_SPEAK, ("reload",), ("settle",)
    ),
    "asked and cut": told(b"", ("ports", 0, 4), ("crowd", 5), ("ask", 2), ("step",), _ALL_CLIENTS_SPEAK, ("step",)),
    "many in TIME_WAIT": told(_ONE_IN_TIME_WAIT, *_MANY_OPEN, _ALL_REAL_SERVERS_END, _ALL_CLIENTS_END, _ALL_REAL_SERVERS_SPEAK),
    "many in the same tick": told(b"", ("crowd",), ("wait", 13), ("wait", 13), ("expire", 1), ("ask", 2), ("step",), ("expire",)),
    "datagrams": told(b"", ("datagram",), _REPLY, ("icmp_error",)),
}
