"""How long a shard takes for a whole connection of seven packets, without a kernel and a queue.

A SYN with the options of Linux, its answer, the acknowledgement, a request, a response with FIN, the client's FIN, the last
acknowledgement. Between the connections the timers are looked at as a worker does, and as many sessions end as begin. Prints
microseconds per connection, and for each of its packets.
"""

import gc
import statistics
import time
from typing import NamedTuple

from appliance.model.verdicts import TO_CLIENT, TO_REAL_SERVER
from appliance.queue_worker import EXPIRIES_PER_TURN
from appliance.shard.shard import Shard
from appliance.wire.layout import ACK, FIN, PSH
from bench.rig.conversation import Conversation, new_shard

PER_S = 100
"""Connections a second of the simulated time. A session rests for two minutes at its end, so there are some ten thousand."""

WARM_UP = 13_000
ROUNDS, CONNECTIONS_PER_ROUND = 300, 20
"""A round takes a millisecond or two: on a busy machine many of them are not interrupted."""

PACKETS = ("SYN", "SYN-ACK", "ACK", "request", "response and FIN", "FIN", "last ACK")
VERDICTS = (TO_REAL_SERVER, TO_CLIENT, TO_REAL_SERVER, TO_REAL_SERVER, TO_CLIENT, TO_REAL_SERVER, TO_CLIENT)


class Round(NamedTuple):
    """Microseconds for each of PACKETS and for the timers, of one connection on the average."""

    packets: tuple[float, ...]
    timers: float

    @property
    def whole(self) -> float:
        """All of a connection."""
        return sum(self.packets) + self.timers


class Connections:
    """Connections through one shard, one after the other, on a simulated clock."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._number = 0
        self._now = 0.0

    def run(self, count: int) -> Round:
        """So many. Raises AssertionError when a packet was not translated."""
        packets_s, timers_s = [0.0] * len(PACKETS), 0.0
        for _ in range(count):
            self._now += 1 / PER_S
            for place, took_s in enumerate(self._connection()):
                packets_s[place] += took_s
            start = time.perf_counter()
            self._shard.on_tick(self._now, EXPIRIES_PER_TURN)
            timers_s += time.perf_counter() - start
            self._shard.output.segments.clear()
        return Round(tuple(took_s / count * 1e6 for took_s in packets_s), timers_s / count * 1e6)

    def _connection(self) -> list[float]:
        """The next one; the seconds that each packet took."""
        connection = Conversation(self._number)
        self._number += 1
        took = [self._handle(connection.syn(), 0)]
        rest = (
            connection.answers(self._shard.output.rewritten),
            connection.client(),
            connection.client(PSH | ACK, bytes(100)),
            connection.server(PSH | ACK | FIN, bytes(300)),
            connection.client(FIN | ACK),
            connection.server(),
        )
        return took + [self._handle(raw, place) for place, raw in enumerate(rest, start=1)]

    def _handle(self, raw: bytes, place: int) -> float:
        start = time.perf_counter()
        verdict = self._shard.handle(raw, self._now)
        took_s = time.perf_counter() - start
        if verdict is not VERDICTS[place]:
            raise AssertionError(f"{PACKETS[place]}: {verdict}")
        return took_s


def main() -> None:
    """Measure and print. Raises AssertionError when a packet that was to be measured was not translated."""
    gc.disable()
    connections = Connections(new_shard())
    connections.run(WARM_UP)
    rounds = [connections.run(CONNECTIONS_PER_ROUND) for _ in range(ROUNDS)]
    _report("whole connection", [one.whole for one in rounds])
    for place, name in enumerate(PACKETS):
        _report(f"  {name}", [one.packets[place] for one in rounds])
    _report("  timers", [one.timers for one in rounds])


def _report(label: str, figures: list[float]) -> None:
    print(f"{label:34} median {statistics.median(figures):5.1f} us   best {min(figures):5.1f} us")


if __name__ == "__main__":
    main()
