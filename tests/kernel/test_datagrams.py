"""Datagrams that would open a session and get none: those of networks at their limit end in the kernel, as Python decides."""

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from appliance.edge.lane_maps import KernelLaneMaps
from appliance.ipc.lane_layout import REFUSED_SOURCE, REFUSED_SOURCE_KEY
from appliance.model.end_reasons import EndReason
from appliance.model.verdict import Verdict
from appliance.model.verdicts import BAD_HEADER, LAND, SOURCE_LIMIT, TO_REAL_SERVER
from appliance.policy.steering import HASH_SEED, shard_table
from appliance.sessions.datagrams import REFUSED_S
from appliance.shard.shard import Shard
from appliance.wire.flow import pack_endpoint
from tests.kernel.lane import DROPPED, UP, Judged, Lane
from tests.support.addresses import CLIENT_ADDRESS, VIP, VIP_ADDRESS
from tests.support.segments import udp
from tests.support.world import World, plan

EXAMPLES = int(os.environ.get("LANE_LIVES", "900")) // 30
"""Fewer where the machine is slow."""

MOST = 4
"""Sessions that a network may have."""


class Scene:
    """A shard with its maps in the kernel, and the kernel's rule for its service of UDP."""

    def __init__(self, lane: Lane, generation: int = 0, **tunables: int) -> None:
        self.lane = lane
        values = {"source_conn_max": MOST, "source_conn_prefix": 24, "strays_in_kernel": 1} | tunables
        scene = plan(with_udp=True)
        self.world = World(scene, **values)
        self.world.shared.generation[0] = generation
        self.world.now = time.monotonic()
        self.world.shard = Shard(scene, self.world.shared, self.world.now, KernelLaneMaps(lane.worker_fds()))
        lane.set(generation=generation)
        lane.set_datagram_rule(VIP, values["source_conn_prefix"])

    def python(self, raw: bytes) -> Verdict:
        verdict = self.world.shard.handle(raw, time.monotonic())
        self.world.shard.publish_flows()
        return verdict

    def kernel(self, raw: bytes) -> Judged:
        judged = self.lane.put(raw, 0)
        assert judged.raw == raw
        return judged

    def fill(self) -> None:
        """The network of the clients gets all it may have, and one is refused."""
        for port in range(1000, 1000 + MOST):
            assert self.python(datagram(port)) is TO_REAL_SERVER
        assert self.python(datagram(2000)) is SOURCE_LIMIT


def datagram(port: int, host: int = 0, data: bytes = b"query") -> bytes:
    return udp(pack_endpoint(CLIENT_ADDRESS + host, port), VIP, data)


@pytest.fixture(autouse=True)
def closed_again(lane: Lane) -> Iterator[None]:
    lane.set()
    lane.clear()
    lane.forget_refused_sources()
    lane.set_steering(HASH_SEED, shard_table(1))
    yield
    lane.set()
    lane.clear()
    lane.set_datagram_rule(VIP, None)
    lane.forget_refused_sources()


def test_what_a_shard_refuses_the_kernel_refuses_after_it(lane: Lane) -> None:
    """Other clients of the same network, and no other network."""
    scene = Scene(lane)
    assert scene.kernel(datagram(2000)).verdict == UP
    scene.fill()
    judged = scene.kernel(datagram(2001, host=1))
    assert (judged.verdict, judged.counted) == (DROPPED, {"source_limit": 1})
    assert scene.python(datagram(2001, host=1)) is SOURCE_LIMIT
    other = udp(pack_endpoint(CLIENT_ADDRESS + 256, 2000), VIP, b"query")
    assert scene.kernel(other).verdict == UP


def test_a_client_that_has_a_session_goes_on(lane: Lane) -> None:
    """Also while it is not in the lane: its real server has not answered."""
    scene = Scene(lane)
    scene.fill()
    assert [scene.kernel(datagram(port)).counted for port in range(1000, 1000 + MOST)] == MOST * [{"up_no_session": 1}]
    session, _ = scene.world.shard.sessions.udp.find(datagram(1000)[12:24])
    assert session is not None
    scene.world.shard.sessions.end(session, EndReason.EXPIRED)
    assert scene.kernel(datagram(1000)).verdict == DROPPED, "until its shard decides again"
    assert scene.kernel(datagram(1001)).verdict == UP


def test_it_ends_by_time(lane: Lane) -> None:
    """Whatever becomes of the shard."""
    scene = Scene(lane)
    scene.fill()
    ((key, value),) = lane.refused_sources().items()
    until_ns, generation, _ = REFUSED_SOURCE.unpack(value)
    assert 0 < until_ns - time.monotonic_ns() <= REFUSED_S * 1e9
    refuse(lane, key, time.monotonic_ns() - 1, generation)
    assert scene.kernel(datagram(2001)).verdict == UP
    refuse(lane, key, time.monotonic_ns() + 10**10, generation)
    assert scene.kernel(datagram(2001)).verdict == DROPPED


def test_it_ends_when_a_tunable_changes(lane: Lane) -> None:
    """The limit may be another one, or there is none any more."""
    scene = Scene(lane, generation=6)
    scene.fill()
    assert scene.kernel(datagram(2001)).verdict == DROPPED
    lane.set(generation=7)
    assert scene.kernel(datagram(2001)).verdict == UP
    scene.world.shared.generation[0] = 7
    assert scene.python(datagram(2001)) is SOURCE_LIMIT
    assert scene.kernel(datagram(2001)).verdict == DROPPED


def test_what_python_would_not_count_so_goes_up(lane: Lane) -> None:
    scene = Scene(lane)
    scene.fill()
    longer = datagram(2001)
    longer = longer[:24] + (len(longer) - 19).to_bytes(2, "big") + longer[26:]
    shorter = longer[:24] + (7).to_bytes(2, "big") + longer[26:]
    for raw in (longer, shorter):
        assert scene.kernel(raw).verdict == UP
        assert scene.python(raw) is BAD_HEADER
    raw = udp(VIP, VIP, b"query")
    assert scene.kernel(raw).verdict == UP
    assert scene.python(raw) is LAND
    elsewhere = udp(pack_endpoint(CLIENT_ADDRESS, 2001), pack_endpoint(VIP_ADDRESS, 81), b"query")
    assert scene.kernel(elsewhere).verdict == UP
    assert lane.put(datagram(2001), 1).counted == {"up_side": 1}, "from the side of the real servers"
    lane.set_datagram_rule(VIP, None)
    assert scene.kernel(datagram(2001)).verdict == UP


def test_each_shard_decides_for_its_own_clients(lane: Lane) -> None:
    scene = Scene(lane)
    lane.set_datagram_rule(VIP, 24, shards=2)
    lane.set_steering(HASH_SEED, shard_table(2))
    network = CLIENT_ADDRESS.packed[:3] + b"\0"
    refuse(lane, REFUSED_SOURCE_KEY.pack(network, 1), time.monotonic_ns() + 10**11, 0)
    verdicts = [scene.kernel(datagram(port)).verdict for port in range(3000, 3100)]
    assert 20 < verdicts.count(DROPPED) < 80


def test_no_client_is_refused_that_has_a_session(lane: Lane) -> None:
    """Whatever comes: what the kernel drops, Python would drop for the same reason."""
    dropped = 0

    @settings(max_examples=EXAMPLES, phases=[Phase.explicit, Phase.reuse, Phase.generate])
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), max_size=60), st.sampled_from((8, 24, 31, 32)))
    @example([(0, port) for port in range(1, 13)] * 3, 24)
    def one(clients: list[tuple[int, int]], prefix: int) -> None:
        nonlocal dropped
        lane.clear()
        lane.forget_refused_sources()
        scene = Scene(lane, source_conn_prefix=prefix)
        for host, port in clients:
            raw = datagram(4000 + port, host=host)
            judged, verdict = scene.kernel(raw), scene.python(raw)
            if judged.verdict == DROPPED:
                assert (judged.counted, verdict) == ({"source_limit": 1}, SOURCE_LIMIT)
                dropped += 1

    one()
    assert dropped


def refuse(lane: Lane, key: bytes, until_ns: int, generation: int) -> None:
    KernelLaneMaps(lane.worker_fds()).refuse_source(key, REFUSED_SOURCE.pack(until_ns, generation, 0))
