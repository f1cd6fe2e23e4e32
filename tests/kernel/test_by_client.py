"""Services that choose by the client's address, in the real program: each client goes where Python would send it."""

import os
import time
from dataclasses import replace
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.edge.lane_maps import KernelLaneMaps
from appliance.ipc.admission_layout import RING, RING_OFFSETS
from appliance.ipc.lane_layout import SLOTS
from appliance.policy.schedulers.maglev_table import USUAL_PLACES
from appliance.policy.steering import HASH_SEED
from appliance.sessions.ring import Ring
from appliance.shard.shard import Shard
from appliance.wire.flow import flow_key, pack_endpoint
from tests.kernel.gateway import clear_again as clear_again
from tests.kernel.lane import Lane
from tests.support.addresses import CLIENT_ADDRESS, VIP
from tests.support.endpoints import check_endpoints
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN
from tests.support.ticket_load import scene
from tests.support.world import World

EXAMPLES = min(40, int(os.environ.get("LANE_LIVES", "400")) // 10)
"""Fewer where the machine is slow: in each, Python makes some tables of thousands of places."""
REAL_SERVERS = 2
PLACES, LARGE = 509, 8191
MISSED = 100


class Gateway:
    """The program, and a shard with a service that chooses by the client."""

    def __init__(self, lane: Lane, scheduler: str, weights: tuple[int, ...], places: int) -> None:
        lane.set_steering(HASH_SEED, bytes(SLOTS))
        lane.set_admissions(VIP, 0)
        self.lane = lane
        self.maps = KernelLaneMaps(lane.worker_fds())
        plan = scene(scheduler, weights)
        (service,) = plan.services
        plan = replace(plan, services=(replace(service, maglev_table=places),))
        self.world = World(plan, prepared_admissions=1, tcp_max_syn_backlog=100_000)
        self.world.maps = self.maps  # type: ignore[assignment]
        self.world.now = time.monotonic()
        self.world.shard = Shard(self.world.plan, self.world.shared, self.world.now, self.maps)
        found = self.world.inside.service("tcp", VIP)
        assert found is not None
        self.service = found

    def prepare(self) -> Ring:
        """Have a schedule in force, and spare endpoints behind it; the ring."""
        inside = self.world.inside
        for _ in range(100):
            for _ in range(MISSED):
                inside.prepared.miss(self.service)
            while inside.maglev_tables.build_some():
                pass
            inside.prepared.look(self.world.now)
            (ring,) = inside.prepared.rings
            if ring.has_schedule:
                return ring
        pytest.fail("there is no schedule")

    def check(self, clients: list[bytes]) -> int:
        """Check that each of these clients that the program opens a session for goes where Python sends it; returns how many."""
        before = set(self.sessions())
        for client in clients:
            self.lane.put(tcp(client, VIP, "S", seq=9, options=LINUX_SYN), 0)
        after = {client: server for client, server in self.sessions().items() if client not in before}
        for client, server in after.items():
            picked = self.service.scheduler.pick(self.service.candidates, flow_key(client, VIP), self.world.now)
            assert picked is not None
            assert server == picked.endpoint
        check_endpoints(self.world.inside)
        return len(after)

    def sessions(self) -> dict[bytes, bytes]:
        """The real server of each client."""
        self.world.inside.prepared.take_in_all()
        return {
            session.client_key[:4] + session.client_key[8:10]: session.real_server.endpoint for session in self.world.sessions()
        }


CLIENTS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(1024, 65535)).map(lambda each: pack_endpoint(CLIENT_ADDRESS + each[0], each[1])),
    min_size=20,
    max_size=40,
    unique_by=lambda client: client,
)
WEIGHTS = st.tuples(*[st.integers(0, 5)] * REAL_SERVERS).filter(any)


@pytest.mark.parametrize(("scheduler", "places"), [("sh", PLACES), ("mh", PLACES), ("mh", LARGE)])
def test_each_client_goes_where_python_sends_it_before_and_after_changes(lane: Lane, scheduler: str, places: int) -> None:
    checked = 0

    @settings(max_examples=EXAMPLES)
    @given(WEIGHTS, WEIGHTS, CLIENTS, st.integers(0, 20))
    def one(weights: tuple[int, ...], later: tuple[int, ...], clients: list[bytes], first: int) -> None:
        nonlocal checked
        lane.clear()
        gateway = Gateway(lane, scheduler, weights, places)
        gateway.prepare()
        checked += gateway.check(clients[:first])
        change_weights(gateway, later)
        assert gateway.check(clients[first:]) == 0, "what was prepared before is not handed out"
        gateway.prepare()
        checked += gateway.check(clients[first:])

    one()
    assert checked > 5 * EXAMPLES


def test_with_the_usual_table_each_client_goes_where_python_sends_it(lane: Lane) -> None:
    lane.clear()
    gateway = Gateway(lane, "mh", (1, 3), USUAL_PLACES)
    gateway.prepare()
    assert gateway.check([pack_endpoint(CLIENT_ADDRESS + number, 1024) for number in range(40)]) >= 4


@pytest.mark.parametrize("wrong", ["length", "number", "place"])
def test_a_table_that_makes_no_sense_sends_clients_up(lane: Lane, wrong: str) -> None:
    """Whatever stands in memory, the program reads nothing beyond a table or a schedule."""
    lane.clear()
    gateway = Gateway(lane, "mh", (1, 3), LARGE)
    ring = gateway.prepare()
    start, rings = ring.number * RING.size, gateway.maps.rings
    if wrong == "place":
        gateway.maps.lookup_tables[:] = pack("<H", REAL_SERVERS) * (len(gateway.maps.lookup_tables) // 2)
        at = start + RING_OFFSETS["schedule"]
        rings[at + 2 * REAL_SERVERS : at + 2 * REAL_SERVERS + 2] = rings[at : at + 2]
    else:
        at = start + RING_OFFSETS[{"length": "lookup_length", "number": "lookup"}[wrong]]
        rings[at : at + 4] = b"\xff" * 4
    assert gateway.check([pack_endpoint(CLIENT_ADDRESS + number, 1024) for number in range(40)]) == 0


def change_weights(gateway: Gateway, weights: tuple[int, ...]) -> None:
    (service,) = gateway.world.plan.services
    servers = tuple(replace(server, weight=weight) for server, weight in zip(service.real_servers, weights, strict=True))
    gateway.world.shard.change_services((replace(service, real_servers=servers),))
