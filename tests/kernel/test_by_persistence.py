"""Services with persistence in the real program: a client that is remembered goes where Python would send it, and no other is
let in."""

import os
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.edge.lane_maps import KernelLaneMaps
from appliance.ipc.lane_layout import SLOTS
from appliance.ipc.persistence_table import BUCKETS, WORDS, PersistenceTable, client_number, service_number
from appliance.model.blake2s import compressed
from appliance.model.counters import PERSISTENCE_HITS
from appliance.model.verdicts import TO_REAL_SERVER
from appliance.policy.steering import HASH_SEED
from appliance.sessions.ring import Ring
from appliance.sessions.short_lived import HANDSHAKE_MS
from appliance.shard.shard import Shard
from appliance.state.session import Session
from appliance.wire.flow import pack_endpoint, source_of
from tests.kernel.gateway import clear_again as clear_again
from tests.kernel.gateway import connect_and_close
from tests.kernel.lane import UP, Judged, Lane
from tests.support.addresses import CLIENT, CLIENT_ADDRESS, VIP, VIP_ADDRESS
from tests.support.endpoints import check_endpoints
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN
from tests.support.ticket_load import scene
from tests.support.world import World

EXAMPLES = min(40, int(os.environ.get("LANE_LIVES", "400")) // 10)
"""Fewer where the machine is slow."""
MISSED = 100
LASTS_S = 60


def client(number: int = 0, port: int = 3000) -> bytes:
    return pack_endpoint(CLIENT_ADDRESS + number, port)


class Gateway:
    """The program, and a shard with a service that remembers clients for LASTS_S."""

    def __init__(self, lane: Lane, weights: tuple[int, ...] = (1, 1), scheduler: str = "rr", mask: int = 32) -> None:
        lane.set_steering(HASH_SEED, bytes(SLOTS))
        lane.set_admissions(VIP, 0)
        self.lane, self.mask = lane, mask
        self.maps = KernelLaneMaps(lane.worker_fds())
        plan = scene(scheduler, weights)
        (service,) = plan.services
        plan = replace(plan, services=(replace(service, persistence_s=LASTS_S, persistence_mask=mask),))
        self.world = World(plan, prepared_admissions=1, tcp_max_syn_backlog=100_000)
        self.world.maps = self.maps  # type: ignore[assignment]
        self.world.now = time.monotonic()
        self.world.shard = Shard(self.world.plan, self.world.shared, self.world.now, self.maps)
        self.table = PersistenceTable(self.maps.remembered.cast("Q"), bytes.fromhex(plan.isn_secret))
        self.service_number = service_number("tcp", str(VIP_ADDRESS), 80, mask)
        found = self.world.inside.service("tcp", VIP)
        assert found is not None
        self.service = found

    def prepare(self) -> Ring:
        """Have a schedule in force, and spare endpoints for each real server; the ring."""
        inside = self.world.inside
        takers = [real_server for real_server in self.service.candidates if real_server.weight]
        for _ in range(100):
            for _ in range(MISSED):
                inside.prepared.miss(self.service)
            inside.prepared.look(self.world.now)
            (ring,) = inside.prepared.rings
            if ring.has_schedule and all(map(inside.prepared.short.spares.number, takers)):
                return ring
        pytest.fail("there is no schedule")

    def look(self) -> None:
        self.world.now = max(self.world.now, time.monotonic())
        self.world.inside.by_state.now = self.world.now
        self.world.shard.reconcile(1000, self.world.now)

    def key(self, number: int) -> int:
        return client_number(self.service_number, client(number)[:4], self.mask)

    def remember(self, number: int, slot: int, for_s: float = LASTS_S, key: int | None = None) -> None:
        """Have a client remembered as Python does it."""
        key, now_ms = self.key(number) if key is None else key, int(time.monotonic() * 1000)
        self.table.put(self.table.bucket(key), key, slot, now_ms + int(for_s * 1000), now_ms)

    def until_ms(self, number: int) -> int:
        """Until when a client is remembered."""
        found = self.table.find(self.table.bucket(self.key(number)), self.key(number), 0)
        assert found is not None
        return int(self.maps.remembered.cast("Q")[found[0] + 2])

    def syn(self, number: int = 0, port: int = 3000, seq: int = 9) -> bytes:
        return tcp(client(number, port), VIP, "S", seq=seq, options=LINUX_SYN)

    def put(self, number: int = 0, port: int = 3000) -> Judged:
        return self.lane.put(self.syn(number, port), 0)

    def sessions(self) -> dict[bytes, Session]:
        """By the client."""
        self.world.inside.prepared.take_in_all()
        return {source_of(session.client_key): session for session in self.world.sessions()}

    def slots(self) -> dict[bytes, int]:
        """The slot of the real server of each client."""
        return {key: session.real_server.slot for key, session in self.sessions().items()}

    def change_weights(self, *weights: int) -> None:
        (service,) = self.world.plan.services
        servers = tuple(replace(server, weight=weight) for server, weight in zip(service.real_servers, weights, strict=True))
        self.world.shard.change_services((replace(service, real_servers=servers),))


@pytest.mark.parametrize("scheduler", ["rr", "wlc", "sh", "mh"])
def test_a_client_goes_to_the_real_server_that_python_has_chosen_for_it(lane: Lane, scheduler: str) -> None:
    gateway = Gateway(lane, scheduler=scheduler)
    gateway.prepare()
    judged = gateway.put(port=3000)
    assert (judged.verdict, judged.raw, judged.counted) == (UP, gateway.syn(port=3000), {"up_new_client": 1})
    assert gateway.world.shard.handle(gateway.syn(port=3000), gateway.world.now) is TO_REAL_SERVER
    gateway.prepare()
    for port in (3001, 3002, 3003):
        assert gateway.put(port=port).counted == {"carried": 1, "opened": 1, "option_added": 1, "endpoint_reused": 1}
    assert len(set(gateway.slots().values())) == 1
    assert len(gateway.slots()) == 4
    check_endpoints(gateway.world.inside)


@pytest.mark.parametrize("slot", [0, 1])
def test_it_is_the_real_server_in_the_slot_that_is_remembered(lane: Lane, slot: int) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    gateway.remember(0, slot)
    gateway.remember(1, 1 - slot)
    assert "opened" in gateway.put(0).counted
    assert "opened" in gateway.put(1).counted
    assert gateway.slots() == {client(0): slot, client(1): 1 - slot}
    assert gateway.world.shared.table(0, "queue")[PERSISTENCE_HITS] == 2
    assert {row.chosen for row in gateway.world.rows()} == {"persistence"}


def test_each_session_lets_a_client_be_remembered_for_longer(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    gateway.remember(0, 0, for_s=5)
    gateway.remember(1, 0, for_s=5)
    others = gateway.until_ms(1)
    before = int(time.monotonic() * 1000)
    assert "opened" in gateway.put().counted
    assert before + LASTS_S * 1000 <= gateway.until_ms(0) <= int(time.monotonic() * 1000) + LASTS_S * 1000
    assert gateway.until_ms(1) == others


def test_what_opens_no_session_lets_no_client_be_remembered_for_longer(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    gateway.remember(0, 0, for_s=5)
    before = gateway.until_ms(0)
    assert "up_syn" in lane.put(tcp(client(), VIP, "S", seq=9, options=LINUX_SYN, data=b"data"), 0).counted
    gateway.world.inside.prepared.take_back()
    assert "up_empty" in gateway.put().counted
    assert gateway.until_ms(0) == before


def test_whose_time_is_over_goes_up(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    gateway.remember(0, 0, for_s=-0.001)
    assert gateway.put().counted == {"up_new_client": 1}
    gateway.remember(0, 0, for_s=5)
    assert "opened" in gateway.put().counted


def test_one_that_is_remembered_for_another_service_goes_up(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    gateway.remember(0, 0, key=client_number(gateway.service_number ^ 1, client()[:4], 32))
    assert gateway.put().counted == {"up_new_client": 1}


def test_clients_of_one_bucket_are_told_from_each_other(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    bucket = gateway.table.bucket(gateway.key(2))
    other = next(number for number in range(3, 1 << 20) if gateway.table.bucket(gateway.key(number)) == bucket)
    gateway.remember(other, 0, for_s=5)
    before = gateway.until_ms(other)
    assert gateway.put(2).counted == {"up_new_client": 1}
    gateway.remember(2, 1, for_s=5)
    assert "opened" in gateway.put(2).counted
    assert gateway.slots() == {client(2): 1}
    assert gateway.until_ms(2) > before + 1000
    assert gateway.until_ms(other) == before


@pytest.mark.parametrize(("mask", "goes"), [(32, set()), (31, {65}), (24, {65, 100})])
def test_clients_of_a_network_are_one(lane: Lane, mask: int, goes: set[int]) -> None:
    gateway = Gateway(lane, mask=mask)
    gateway.prepare()
    base = -(int(CLIENT_ADDRESS) % 256)  # the first address of its network
    gateway.remember(base + 64, 1)
    opened = {number for number in (65, 100, 256) if "opened" in gateway.put(base + number).counted}
    assert opened == goes
    assert set(gateway.slots().values()) <= {1}


def test_a_real_server_that_gets_no_new_sessions_gets_none_of_those_it_had_before(lane: Lane) -> None:
    gateway = Gateway(lane)
    gateway.prepare()
    for number, slot in enumerate((0, 1)):
        gateway.remember(number, slot)
    gateway.change_weights(0, 1)
    assert gateway.put(0).counted == gateway.put(1).counted == {"up_empty": 1}, "what was prepared before is not handed out"
    gateway.prepare()
    assert gateway.put(0).counted == {"up_new_client": 1}
    assert "opened" in gateway.put(1).counted
    assert gateway.world.shard.handle(gateway.syn(), gateway.world.now) is TO_REAL_SERVER
    assert set(gateway.slots().values()) == {1}


def test_a_slot_between_two_others_has_nobody(lane: Lane) -> None:
    gateway = Gateway(lane, weights=(1, 1, 1))
    gateway.change_weights(1, 0, 1)
    gateway.prepare()
    for number, slot in enumerate((0, 1, 2, 3, 2**31)):
        gateway.remember(number, slot)
    assert [set(gateway.put(number).counted) & {"opened", "up_new_client"} for number in range(5)] == [
        {"opened"}, {"up_new_client"}, {"opened"}, {"up_new_client"}, {"up_new_client"},
    ]  # fmt: skip
    assert gateway.slots() == {client(0): 0, client(2): 2}


def test_slots_begin_anywhere(lane: Lane) -> None:
    gateway = Gateway(lane, weights=(1, 1, 1, 1))
    gateway.change_weights(0, 0, 1, 1)
    gateway.prepare()
    for number in range(4):
        gateway.remember(number, number)
    assert ["opened" in gateway.put(number).counted for number in range(4)] == [False, False, True, True]
    assert gateway.slots() == {client(2): 2, client(3): 3}


def rest_of_one_connection(gateway: Gateway) -> None:
    """A connection is opened and closed by the program, and its endpoint rests."""
    gateway.prepare()
    gateway.remember(0, 0)
    assert connect_and_close(gateway.lane, client())
    gateway.look()
    gateway.world.now = max(gateway.world.now, time.monotonic()) + HANDSHAKE_MS / 1000
    gateway.world.shard.reconcile(1000, gateway.world.now)
    gateway.prepare()


def test_one_who_comes_again_while_its_endpoint_rests_goes_on(lane: Lane) -> None:
    gateway = Gateway(lane)
    rest_of_one_connection(gateway)
    again = lane.put(gateway.syn(seq=12345), 0)
    assert (again.counted["opened"], again.counted["client_returned"]) == (1, 1)
    check_endpoints(gateway.world.inside)


def test_one_who_comes_again_and_is_forgotten_goes_up_and_gets_a_session_there(lane: Lane) -> None:
    gateway = Gateway(lane)
    rest_of_one_connection(gateway)
    gateway.maps.remembered[:] = bytes(8 * WORDS)
    assert lane.put(gateway.syn(seq=12345), 0).counted == {"up_new_client": 1}
    assert gateway.world.shard.handle(gateway.syn(seq=12345), gateway.world.now) is TO_REAL_SERVER
    assert gateway.sessions()[client()].client_isn == 12345
    check_endpoints(gateway.world.inside)


CLIENTS = st.lists(st.tuples(st.integers(0, 200), st.integers(1024, 65535)), min_size=20, max_size=40, unique=True)
WEIGHTS = st.tuples(*[st.integers(0, 2)] * 3).filter(any)


def test_each_client_goes_where_python_sends_it(lane: Lane) -> None:
    """The first connection of each client comes up; who opens later ones, nobody can tell by where they go."""
    opened = 0

    @settings(max_examples=EXAMPLES)
    @given(WEIGHTS, WEIGHTS, CLIENTS, st.sampled_from((8, 24, 27, 32)), st.sampled_from(("rr", "wrr", "wlc")))
    def one(weights: tuple[int, ...], later: tuple[int, ...], clients: list[tuple[int, int]], mask: int, scheduler: str) -> None:
        nonlocal opened
        lane.clear()
        gateway = Gateway(lane, weights, scheduler, mask)
        homes = dict[int, int]()
        for turn, (number, port) in enumerate(clients):
            if turn == len(clients) // 2:
                gateway.change_weights(*later)
                homes = {key: slot for key, slot in homes.items() if later[slot]}
            gateway.prepare()
            judged = gateway.put(number, port)
            opened += judged.counted.get("opened", 0)
            assert judged.counted.get("opened", 0) <= (gateway.key(number) in homes), "only who is remembered"
            if judged.verdict == UP and "opened" not in judged.counted:
                assert gateway.world.shard.handle(gateway.syn(number, port), gateway.world.now) is TO_REAL_SERVER
            slot = gateway.slots()[client(number, port)]
            assert slot == homes.setdefault(gateway.key(number), slot)
        check_endpoints(gateway.world.inside)

    one()
    assert opened > 5 * EXAMPLES


@given(st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=32))
@settings(max_examples=200)
def test_the_state_of_the_hash_leads_to_the_same_bucket(key: int, secret: bytes) -> None:
    table = PersistenceTable(memoryview(bytearray()).cast("Q"), secret)
    hashed = compressed(table.hash_state, key.to_bytes(8, "big").ljust(64, b"\0"), 64 + 8, is_last=True)
    digest = b"".join(word.to_bytes(4, "little") for word in hashed[:2])
    assert int.from_bytes(digest, "big") % BUCKETS == table.bucket(key)


def test_the_kernel_s_clients_are_those_of_the_shard(lane: Lane) -> None:
    gateway = Gateway(lane)
    assert gateway.world.shard.handle(gateway.syn(), gateway.world.now) is TO_REAL_SERVER
    assert next(gateway.table.clients(int(time.monotonic() * 1000))).address == int.from_bytes(CLIENT[:4], "big")
