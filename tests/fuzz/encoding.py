"""Operations of `tests.support.fuzz_operations` with their operands by name, as the bytes that a fuzzer reads.

An operand that is not named is zero, which is the most usual choice.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from tests.support.fuzz_operands import ANSWERS, FLAGS, OPTIONS, PAYLOAD_BYTES
from tests.support.fuzz_operations import CHORUS_FLAGS, CROWDS, LIMITS, OPERATIONS, QUESTIONS, SECONDS
from tests.support.fuzzed_shard import BACKLOGS, DEFERS, LPORT_WIDTHS, SCENE_BYTES, SYNPROXY_MODES, TIME_WAIT_LIMITS, WEIGHTS

Places = Mapping[str, tuple[int, Sequence[Any]]]
"""For each operand its byte and its pool. The byte is the place of the value in the pool."""

CLIENT, REAL_SERVER, SOMEBODY = "client", "real server", "somebody"

ANOTHER_START = 16
"""The place of the last number of `numbers_of`, which is not one of the session."""

_ENDS = (SOMEBODY, SOMEBODY, CLIENT, CLIENT, REAL_SERVER, REAL_SERVER)
_ANY = range(256)

_SCENE: Places = {
    "web": (1, SYNPROXY_MODES),
    "defer": (3, DEFERS),
    "time_wait_limit": (13, TIME_WAIT_LIMITS),
    "backlog": (14, BACKLOGS),
}

_OPERATIONS: Mapping[str, Places] = {
    "segment": {
        "options": (0, OPTIONS),
        "by": (1, _ENDS),
        "of": (2, _ANY),  # which session
        "flags": (5, FLAGS),
        "seq": (6, _ANY),
        "size": (11, PAYLOAD_BYTES),
    },
    "answer": {"to": (0, _ANY), "flags": (1, ANSWERS), "options": (6, OPTIONS)},  # options: of an answer to a bare SYN
    "wait": {"seconds": (0, SECONDS)},
    "expire": {"limit": (0, LIMITS)},
    "datagram": {},
    "icmp_error": {},
    "again": {},
    "crowd": {"count": (0, CROWDS)},
    "chorus": {"by": (0, (CLIENT, REAL_SERVER)), "flags": (1, CHORUS_FLAGS)},
    "ports": {"width": (1, LPORT_WIDTHS)},
    "reload": {"web": (0, WEIGHTS), "api": (1, WEIGHTS), "dns": (2, WEIGHTS)},
    "settle": {},
    "ask": {"question": (0, QUESTIONS)},
    "step": {},
}

_NUMBERS = {operation.act.__name__.strip("_"): number for number, operation in enumerate(OPERATIONS)}
"""Numbers of operations by name; the last one where an operation has two."""


def scene(**operands: Any) -> bytes:
    """The scene of a story."""
    return _placed(_SCENE, operands, SCENE_BYTES)


def encoded(name: str, **operands: Any) -> bytes:
    """One operation. Raises KeyError for an operand that it does not have, ValueError for a value that is in no pool."""
    number = _NUMBERS[name]
    return bytes((number,)) + _placed(_OPERATIONS[name], operands, OPERATIONS[number].operand_bytes)


def _placed(places: Places, operands: Mapping[str, Any], count: int) -> bytes:
    """The operands in so many bytes."""
    placed = bytearray(count)
    for name, value in operands.items():
        place, pool = places[name]
        placed[place] = pool.index(value)
    return bytes(placed)


segment, answer, wait, expire, datagram, icmp_error, again, crowd, chorus, ports, reload, settle, ask, step = (
    partial(encoded, name) for name in _OPERATIONS
)
