"""A gateway in the real program: it, a shard that prepares admissions for it, and what becomes of their endpoints."""

import time
from collections.abc import Iterator

import pytest

from appliance.edge.lane_maps import KernelLaneMaps
from appliance.ipc.admission_layout import REST_NS
from appliance.ipc.lane_layout import SLOTS
from appliance.policy.steering import HASH_SEED
from appliance.sessions.short_lived import HANDSHAKE_MS
from appliance.shard.shard import Shard
from appliance.state.lane_entry import LAST_SEEN_WORD, LONGS
from appliance.state.session import Session
from appliance.wire.flow import destination_of, source_of
from appliance.wire.segment import Segment
from appliance.wire.seq import add
from tests.kernel.lane import CARRIED, Judged, Lane
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.endpoints import check_endpoints
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN, MSS_1460
from tests.support.world import World, plan


class Gateway:
    """The program, and a shard that prepares admissions for it; and a second shard, without a lane, that judges the same."""

    def __init__(self, lane: Lane, **tunables: int) -> None:
        lane.set(
            toa=tunables.get("fullnat_toa_entry", 1),
            mss_adjust=tunables.get("fullnat_mss_adjust_entry", 1),
            timestamp_remove=tunables.get("fullnat_timestamp_remove_entry", 1),
        )
        lane.set_steering(HASH_SEED, bytes(SLOTS))
        lane.set_admissions(VIP, 0)
        self.lane = lane
        self.maps = KernelLaneMaps(lane.worker_fds())
        self.world = World(plan(weights=(1, 1)), prepared_admissions=1, **tunables)
        self.world.maps = self.maps  # type: ignore[assignment]
        self.world.now = time.monotonic()
        self.world.shard = Shard(self.world.plan, self.world.shared, self.world.now, self.maps)
        self.reference = World(plan(weights=(1, 1)), **tunables)

    @property
    def shard(self) -> Shard:
        return self.world.shard

    def prepare(self, missed: int = 1) -> None:
        """Have some ready, as after so many SYNs that came up."""
        inside = self.world.inside
        for _ in range(missed):
            inside.prepared.miss(inside.service("tcp", VIP))  # type: ignore[arg-type]
        inside.prepared.look(self.world.now)

    def put(self, raw: bytes, direction: int = 0) -> Judged:
        return self.lane.put(raw, direction)

    def session(self) -> Session:
        """The only one."""
        self.shard.reconcile(100, self.world.now)
        (session,) = self.world.sessions()
        return session


@pytest.fixture(autouse=True)
def clear_again(lane: Lane) -> Iterator[None]:
    """Nothing is in the lane before and behind a test."""
    lane.clear()
    yield
    lane.clear()
    lane.set()
    lane.set_admissions(VIP, None)
    lane.set_steering(HASH_SEED, bytes(SLOTS))
    for slot in (0, 1):
        lane.set_real_server(slot)


def connect_and_close(lane: Lane, client: bytes) -> Segment | None:
    """The packets of a whole connection: its SYN as the real server gets it; None when it was not opened by the program."""
    syn = tcp(client, VIP, "S", seq=C0, options=LINUX_SYN)
    raw = lane.pass_on(syn, 0)[1]
    if raw == syn:
        return None
    opened = Segment.parse(raw)
    close(lane, client, opened)
    return opened


def close(lane: Lane, client: bytes, opened: Segment) -> None:
    """The packets of a connection behind its SYN, which is given as the real server gets it."""
    local, rs = source_of(opened.key), destination_of(opened.key)
    for packet, direction in (
        (tcp(rs, local, "SA", seq=R0, ack=add(opened.seq, 1), options=MSS_1460), 1),
        (tcp(client, VIP, "A", seq=C0 + 1, ack=R0 + 1), 0),
        (tcp(rs, local, "FA", seq=R0 + 1, ack=add(opened.seq, 1)), 1),
        (tcp(client, VIP, "FA", seq=C0 + 1, ack=R0 + 2), 0),
        (tcp(rs, local, "A", seq=R0 + 2, ack=add(opened.seq, 2)), 1),
    ):
        assert lane.pass_on(packet, direction)[0] == CARRIED


def later(gateway: Gateway, by_s: float) -> None:
    """The shard looks at a later moment than that of the program."""
    world = gateway.world
    world.now = max(world.now, time.monotonic()) + by_s
    world.inside.by_state.now = world.now
    gateway.shard.reconcile(1000, world.now)
    check_endpoints(world.inside)


def rest(gateway: Gateway) -> None:
    """All that rest have rested for long enough."""
    longs = gateway.maps.records.cast("Q")
    for entry in gateway.world.inside.prepared._short._resting.tickets:
        longs[entry * LONGS + LAST_SEEN_WORD] -= REST_NS


def ready_again(gateway: Gateway, entry: int) -> None:
    """Have nothing ready but the endpoint of this entry, which rests: it is used at each turn."""
    inside = gateway.world.inside
    inside.prepared.take_back()
    inside.prepared.take_over()
    rest(gateway)
    short = inside.prepared._short
    pool = short._resting.pool_of(short._resting.tickets[entry])
    pool.ring.put_schedule([pool.number])
    pool.ring.allow(1, inside.prepared.generation, inside.prepared._admission.steps)


def rest_of_one_connection(gateway: Gateway) -> int:
    """A connection of CLIENT is opened and closed by the program, and its endpoint has rested; returns its entry."""
    gateway.prepare(20)
    assert connect_and_close(gateway.lane, CLIENT)
    gateway.shard.reconcile(100, gateway.world.now)
    later(gateway, HANDSHAKE_MS / 1000)
    (entry,) = gateway.world.inside.prepared._short._resting.tickets
    return entry
