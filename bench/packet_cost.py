"""How long a shard takes for one packet of an established session, without a kernel and a queue.

First the same packet over and over, a bare ACK and a full segment in both directions, beside the cost of the same loop with an
empty `handle`. Then streams, in which the numbers of the packets move on: the shard as it is, and in turns with it the same
function without the statements that judge and note those numbers (RFC 5961). Prints microseconds per packet.
"""

import ast
import gc
import inspect
import statistics
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from appliance.model.verdict import Verdict
from appliance.model.verdicts import TO_CLIENT, TO_REAL_SERVER
from appliance.shard import shard as shard_module
from appliance.shard.shard import Shard
from bench.rig.conversation import Conversation, handled, new_shard

PACKETS_PER_ROUND = 600
ROUNDS = 300
"""A round takes a millisecond or two: on a busy machine many of them are not interrupted."""

FULL = bytes(1460)
NUMBERS = frozenset(("acked", "tells"))
"""Names in the statements of `Shard.handle` that judge and note sequence and acknowledgement numbers, and in no others."""

Handle = Callable[[bytes, float], object]
Stream = Callable[[Conversation], Iterator[bytes]]
"""The next packets of a connection."""


def microseconds_per_packet(handle: Handle, packets: Sequence[bytes]) -> float:
    """For one round."""
    start = time.perf_counter()
    for raw in packets:
        handle(raw, 1.0)
    return (time.perf_counter() - start) / len(packets) * 1e6


def without_judgement() -> Callable[[Shard, bytes, float], Verdict]:
    """`Shard.handle` without the statements that judge and note numbers. Raises AssertionError when they are not what they were:
    two assignments, and what depends on them."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(Shard.handle)))
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    kept = [statement for statement in function.body if not names_in(statement) & NUMBERS]
    kinds = [type(statement) for statement in function.body if statement not in kept]
    if kinds != [ast.Assign, ast.Assign, ast.If]:
        raise AssertionError(f"other statements judge numbers than was thought: {kinds}")
    function.body = kept
    found: dict[str, Callable[[Shard, bytes, float], Verdict]] = {}
    exec(compile(tree, "without_judgement", "exec"), dict(vars(shard_module)), found)
    return found["handle"]


def names_in(statement: ast.stmt) -> set[str]:
    """The names that a statement uses."""
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}


def download(connection: Conversation) -> Iterator[bytes]:
    """Two full segments of the real server, then an acknowledgement."""
    yield connection.server(payload=FULL)
    yield connection.server(payload=FULL)
    yield connection.client()


def upload(connection: Conversation) -> Iterator[bytes]:
    """Two full segments of the client, then an acknowledgement."""
    yield connection.client(payload=FULL)
    yield connection.client(payload=FULL)
    yield connection.server()


def requests(connection: Conversation) -> Iterator[bytes]:
    """A hundred bytes, answered by a hundred bytes."""
    yield connection.client(payload=bytes(100))
    yield connection.server(payload=bytes(100))


STREAMS = (download, upload, requests)


def packets_of(stream: Stream, at_least: int) -> list[bytes]:
    """Packets of an established connection. They are right for each new shard in which connection 0 has been opened."""
    shard = new_shard()
    connection = Conversation().opened(shard)
    packets: list[bytes] = []
    while len(packets) < at_least:
        packets += stream(connection)
    for raw in packets:
        verdict = shard.handle(raw, 1.0)
        if verdict not in (TO_CLIENT, TO_REAL_SERVER):
            raise AssertionError(f"a packet was {verdict}")
    return packets


def opened_shard() -> Shard:
    """A shard in which connection 0 is established."""
    shard = new_shard()
    Conversation().opened(shard)
    return shard


def report(label: str, figures: Sequence[float]) -> None:
    """Print one line."""
    print(f"{label:40} median {statistics.median(figures):5.2f} us   best {min(figures):5.2f} us")


def main() -> None:
    """Measure and print. Raises AssertionError when a packet that was to be measured was not translated."""
    gc.disable()
    report("the loop itself, empty handle", _rounds(lambda _raw, _now: None, b""))
    _same_packet()
    for stream in STREAMS:
        _stream(stream)


def _rounds(handle: Handle, raw: bytes) -> list[float]:
    packets = [raw] * PACKETS_PER_ROUND
    return [microseconds_per_packet(handle, packets) for _ in range(ROUNDS)]


def _same_packet() -> None:
    shard = new_shard()
    connection = Conversation().opened(shard)
    for label, sends, expected in (
        ("client to real server", connection.client, TO_REAL_SERVER),
        ("real server to client", connection.server, TO_CLIENT),
    ):
        for payload in (b"", FULL):
            raw = sends(payload=payload)
            handled(shard, raw, expected, 1.0)
            report(f"{label}, {len(payload)} bytes", _rounds(shard.handle, raw))


def _stream(stream: Stream) -> None:
    packets, cut = packets_of(stream, PACKETS_PER_ROUND), without_judgement()
    whole, rest = [], []
    for _ in range(ROUNDS):
        whole.append(microseconds_per_packet(opened_shard().handle, packets))
        rest.append(microseconds_per_packet(partial(cut, opened_shard()), packets))
    report(f"{stream.__name__}", whole)
    report(f"{stream.__name__}, numbers not judged", rest)
    share = statistics.median(one / other for one, other in zip(whole, rest, strict=True)) - 1
    print(f"{'':40} judging them adds {share:.0%}")


if __name__ == "__main__":
    main()
