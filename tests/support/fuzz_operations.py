"""Any bytes, read as what happens to a shard: the first few choose its scene, the others are operations, one after the other.

Both fuzzers write this language. An operation has a fixed number of operand bytes, so that one can be removed or inserted and
those after it keep their meaning. Sessions are chosen in the order of their keys, not in that of a table. One thing is not
decided by the bytes: the order of hashes, in which sessions due in the same tick end, and in which a walk lists sessions.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from appliance.ipc.queries import CUT, GROUPS, ROWS, SLABS, TALLY, Query, read_filter
from appliance.model.tcp_state import STATE_NAMES
from appliance.model.tunables import TUNABLES
from appliance.state.session import Session
from appliance.wire.flow import Direction, destination_of, source_of
from appliance.wire.layout import PROTO_TCP, PROTO_UDP
from tests.support.addresses import CLIENT_ADDRESS
from tests.support.fuzz_operands import (
    ADDRESSES,
    DESTINATIONS,
    FIRST_CLIENT_PORT,
    FIRST_NUMBERS,
    FLAGS,
    ODD_ENDS,
    OPTIONS,
    WINDOWS,
    Operands,
    answer,
    changed,
    flawed,
    numbers_of,
    with_right_checksums,
)
from tests.support.fuzzed_shard import SCENE_BYTES, FuzzedShard, lport_range
from tests.support.lane_maps import FakeMaps
from tests.support.segments import fragments, icmp_error, tcp, udp
from tests.support.shard_invariants import check_published

SECONDS = (
    0, 0.001, 0.05, 0.1, 0.3, 0.5, 1, 1.1, 2, 3.5, 10, 20, 31, 60, 61, 121, 241, 301, 901, 1801, 4000, 36_000, 1_000_000,
)  # fmt: skip

CROWDS = (5, 17, 2, 40, 3, 130, 8, 220)
"""How many clients come at once; for the largest number, a walk that cuts or lists sessions takes more than one step."""

CHORUS_FLAGS = ("A", "SA", "FA", "RA", "S", "PA")

LIMITS = (0, 1, 2, 3, 20, 100)
"""How many sessions a look at the timers may end; 0 for looks until nothing is due."""

QUESTIONS = (ROWS, TALLY, CUT, SLABS)

_FILTERS = {
    "client": ("", "", "198.51.100.2", "198.51.100.2:40000", "198.51.100.0/24", "0.0.0.0/0"),
    "service": ("", "", "web", "api", "dns"),
    "real_server": ("", "", "192.0.2.101", "192.0.2.102:8080"),
    "state": ("", "", *STATE_NAMES),
}


def play(data: bytes, maps: FakeMaps | None = None, carries: Callable[[], bool] = lambda: True) -> FuzzedShard:
    """Do everything the bytes say, and end all sessions. Raises an AssertionError for a broken rule, or whatever the shard
    raised, with the transcript as a note. With `maps` there is a lane, and `carries` says whether it gets the next packet."""
    story = Operands(data)
    shard = FuzzedShard(Operands(story.take(SCENE_BYTES)), maps)
    shard.world.carries = carries
    try:
        while not story.are_spent:
            operation = story.of(OPERATIONS)
            shard.world._note(f"{operation.act.__name__}:")
            operation.act(shard, Operands(story.take(operation.operand_bytes)))
            shard.check()
        shard.finish()
    except Exception as error:
        error.add_note("\n".join(shard.world.transcript))
        raise
    return shard


def _segment(shard: FuzzedShard, operands: Operands) -> None:
    """A TCP packet between any two ends."""
    shard.put(_any_segment(shard, operands, operands.of(OPTIONS)))


def _odd_options(shard: FuzzedShard, operands: Operands) -> None:
    """A TCP packet with any bytes as options."""
    shard.put(_any_segment(shard, operands, operands.take(40)[: operands.byte() % 11 * 4]))


def _any_segment(shard: FuzzedShard, operands: Operands, options: bytes) -> bytes:
    """A TCP packet between any two ends. Reads thirteen bytes."""
    source, destination, session = _ends(shard, operands)
    flags = operands.of(FLAGS)
    known = numbers_of(session) if session else FIRST_NUMBERS
    known = known[2:] if session and source == destination_of(session.leaving_key(Direction.INBOUND)) else known
    seq, ack = operands.number(known), operands.number(known[1:])
    window, data = operands.of(WINDOWS), operands.payload()
    return flawed(tcp(source, destination, flags, seq=seq, ack=ack, data=data, window=window, options=options), operands)


def _datagram(shard: FuzzedShard, operands: Operands) -> None:
    """A UDP packet between any two ends, with or without a checksum."""
    source, destination, _ = _ends(shard, operands)
    shard.put(flawed(udp(source, destination, operands.payload(), with_checksum=not operands.flag()), operands))


def _ends(shard: FuzzedShard, operands: Operands) -> tuple[bytes, bytes, Session | None]:
    """Source, destination, and their session when they are the ends of one. Reads four bytes."""
    who, which, first, second = operands.take(4)
    if who % 8 in (2, 3, 4, 5) and (sessions := shard.sessions()):
        session = sessions[which % len(sessions)]
        key = session.client_key if who % 8 < 4 else session.server_key
        return source_of(key), destination_of(key), session
    if who % 8 < 6:
        return Operands(bytes((first, second))).client(), DESTINATIONS[which % len(DESTINATIONS)], None
    return ODD_ENDS[which % len(ODD_ENDS)], ODD_ENDS[first % len(ODD_ENDS)], None


def _answer(shard: FuzzedShard, operands: Operands) -> None:
    """The receiver of a packet that the shard let through or sent answers it."""
    raw = _one_of(shard.received, operands)
    if raw[9:10] == bytes((PROTO_TCP,)):
        shard.put(answer(raw, operands))
    elif raw[9:10] == bytes((PROTO_UDP,)):
        shard.put(flawed(udp(raw[16:20] + raw[22:24], raw[12:16] + raw[20:22], operands.payload()), operands))


def _icmp_error(shard: FuzzedShard, operands: Operands) -> None:
    """An ICMP error about a packet that the shard sent or got, of which it quotes a part."""
    quoted = _one_of(operands.of((shard.received, shard.received, shard.received, shard.sent)), operands)
    if len(quoted) < 20:
        return
    kind, code = operands.of((3, 3, 11, 12, 4, 5, 0, 8)), operands.of((4, 3, 0, 1, 13, 255))
    room = operands.of((548, 28, 40, 8, 0, 1400, 27, 48)) + operands.byte() % 16
    mtu, words = operands.of((1400, 0, 68, 552, 65_535)), operands.of((0, 0, 7, 10, 32, 255))
    extensions = operands.of((b"", b"", b"\x20\0\xff\xff" * 3, b"\x20"))
    raw = icmp_error(
        operands.of(ADDRESSES), quoted[12:16], quoted[:room], kind=kind, code=code, mtu=mtu, quote_words=words,
        extensions=extensions,
    )  # fmt: skip
    shard.put(flawed(raw, operands))


def _again(shard: FuzzedShard, operands: Operands) -> None:
    """A packet that came before, unchanged or changed in up to four places, cut short, or as one of its fragments."""
    raw = _one_of(shard.sent, operands)
    for _ in range(4):
        raw = changed(raw, operands.byte(), operands.byte())
    raw = raw[: max(0, len(raw) - operands.of((0, 0, 1, 8, 20, 1000)))]
    how, size = operands.byte() % 8, operands.byte()
    if how in (1, 2, 3):
        raw = with_right_checksums(raw)
    elif how == 4 and len(raw) > 20:
        raw = operands.of(fragments(raw, 8 * (1 + size)))
    shard.put(raw)


def _raw(shard: FuzzedShard, operands: Operands) -> None:
    """Any bytes, or any bytes with a right IP header."""
    how, count, protocol = operands.byte() % 4, operands.byte() % 61, operands.of((b"\6", b"\x11", b"\1"))
    raw = operands.take(count)
    if how == 1:
        raw = with_right_checksums(b"\x45" + raw[1:])
    elif how == 2:
        raw = with_right_checksums(b"\x45" + raw[1:6] + b"\0\0" + raw[8:9] + protocol + raw[10:])
    shard.put(raw)


def _crowd(shard: FuzzedShard, operands: Operands) -> None:
    """The first packets of many clients to a service."""
    count, destination, is_udp = operands.of(CROWDS), operands.of(DESTINATIONS), operands.byte() % 4 == 3
    first = FIRST_CLIENT_PORT + operands.byte()
    for port in range(first, first + count):
        client = CLIENT_ADDRESS.packed + port.to_bytes(2, "big")
        shard.put(udp(client, destination, b"q") if is_udp else tcp(client, destination, "S", seq=1_000, options=OPTIONS[1]))


def _chorus(shard: FuzzedShard, operands: Operands) -> None:
    """A packet in each session, all from the clients or all from the real servers."""
    is_client, flags = operands.byte() % 2 == 0, operands.of(CHORUS_FLAGS)
    for session in shard.sessions():
        key, numbers = session.client_key if is_client else session.server_key, numbers_of(session)
        seq, ack = numbers[:2] if is_client else numbers[2:4]
        shard.put(tcp(source_of(key), destination_of(key), flags, seq=seq % 2**32, ack=ack % 2**32))


def _wait(shard: FuzzedShard, operands: Operands) -> None:
    """Time passes, and the timers are not looked at."""
    shard.world.now = round(shard.world.now + operands.of(SECONDS) * (1 + operands.byte() % 4), 9)


def _expire(shard: FuzzedShard, operands: Operands) -> None:
    """The timers are looked at, until nothing is due, or once for a few sessions."""
    if limit := operands.of(LIMITS):
        shard.expire(limit)
    else:
        shard.expire_all()


def _tunable(shard: FuzzedShard, operands: Operands) -> None:
    """An operator writes a tunable."""
    tunable, how = operands.of(tuple(TUNABLES.values())), operands.byte()
    near = tunable.min + how % (tunable.max - tunable.min + 1)
    shard.write({tunable.name: (tunable.min, tunable.max, tunable.default, near)[how % 4]})


def _ports(shard: FuzzedShard, operands: Operands) -> None:
    """An operator moves the range of local ports."""
    shard.write(lport_range(operands))


def _route(shard: FuzzedShard, operands: Operands) -> None:
    """The MTU of the route to a real server changes."""
    slot = operands.byte() % shard.plan.destinations
    shard.world.shared.set_mtus({slot: operands.of((0, 1500, 68, 576, 1280, 9000, 65_536))})


def _reload(shard: FuzzedShard, operands: Operands) -> None:
    shard.reload(list(operands.take(len(shard.plan.services))))


def _settle(shard: FuzzedShard, _: Operands) -> None:
    shard.settle()


def _publish(shard: FuzzedShard, _: Operands) -> None:
    """Counters are published, as at the end of a worker's turn."""
    shard.world.shard.publish_counts()
    check_published(shard.world)


def _neighbour(shard: FuzzedShard, operands: Operands) -> None:
    shard.tell_of_the_other_shard(operands.byte(), operands.byte())


def _ask(shard: FuzzedShard, operands: Operands) -> None:
    """An operator asks about sessions. The answer is made later, step by step."""
    kind, by, limit = operands.of(QUESTIONS), operands.of(GROUPS), operands.of((0, 1, 2, 200))
    fields = {field: operands.of(texts) for field, texts in _FILTERS.items()}
    said = {field: text for field, text in fields.items() if text}
    wanted = read_filter(said, [service.name for service in shard.plan.services])
    shard.ask(Query(kind, wanted, by, limit if kind == ROWS else 0))


def _step(shard: FuzzedShard, operands: Operands) -> None:
    """The next piece of an answer to such a question is made."""
    if shard.walks:
        shard.step(operands.of(shard.walks))


def _one_of(packets: Sequence[bytes], operands: Operands) -> bytes:
    """One of the packets; empty when there is none."""
    return operands.of(packets) if packets else b""


class Operation(NamedTuple):
    """One thing that may happen, and how many operand bytes it has."""

    act: Callable[[FuzzedShard, Operands], None]
    operand_bytes: int


OPERATIONS = (
    Operation(_segment, 14),
    Operation(_answer, 9),
    Operation(_answer, 9),
    Operation(_wait, 2),
    Operation(_expire, 1),
    Operation(_datagram, 8),
    Operation(_icmp_error, 12),
    Operation(_again, 13),
    Operation(_raw, 63),
    Operation(_crowd, 4),
    Operation(_chorus, 2),
    Operation(_tunable, 2),
    Operation(_ports, 2),
    Operation(_route, 2),
    Operation(_reload, 3),
    Operation(_settle, 0),
    Operation(_publish, 0),
    Operation(_neighbour, 2),
    Operation(_ask, 7),
    Operation(_step, 1),
    Operation(_odd_options, 54),
)
"""A byte chooses one, modulo their number. A new one goes to the end, because inputs in the corpus name these by number."""


def split(data: bytes) -> list[bytes]:
    """The operations of a story, each with its operands; the last one may lack some."""
    story, operations = Operands(data[SCENE_BYTES:]), list[bytes]()
    while not story.are_spent:
        number = story.byte()
        operations.append(bytes((number,)) + story.take(OPERATIONS[number % len(OPERATIONS)].operand_bytes))
    return operations
