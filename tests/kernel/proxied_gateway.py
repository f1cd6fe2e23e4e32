"""A gateway whose clients have to return cookies, in the real program, and what Python makes of the same packets."""

import time
from collections.abc import Iterator

import pytest

from appliance.ipc.session_record import SessionRecord, decode
from appliance.ipc.stray_rule import StrayRule
from appliance.model.syn_cookie import epoch_of
from appliance.model.syn_offer import SynOffer
from appliance.model.verdicts import HANDSHAKE_PACKET
from appliance.policy.steering import HASH_SEED, shard_table
from appliance.proxy.cookie import CookieJar
from appliance.shard.shard import Shard
from appliance.state.session import Session
from appliance.wire.segment import Segment
from appliance.wire.seq import MASK, add
from tests.kernel.gateway import Gateway
from tests.kernel.lane import CARRIED, Judged, Lane, with_one_zero
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.segments import tcp
from tests.support.tcp_options import MSS_1460, SACK_PERMITTED, WSCALE_7
from tests.support.world import World, plan

USUAL = SynOffer(1460, 7, sack=True)


DATA = b"GET / HTTP/1.0\r\n\r\n!"
"""An odd number of bytes."""


class ProxiedGateway(Gateway):
    """A gateway whose clients all have to return a cookie; the reference judges all packets without a lane."""

    SYNPROXY = "always"
    """What its service says of cookies."""

    def __init__(self, lane: Lane, *, defers: bool = False, **tunables: int) -> None:
        super().__init__(lane, synproxy_in_kernel=1, **tunables)
        scene = plan(weights=(1, 1), synproxy=self.SYNPROXY)
        self.world = World(scene, prepared_admissions=1, synproxy_in_kernel=1, synproxy_defer=int(defers), **tunables)
        self.world.maps = self.maps  # type: ignore[assignment]
        self.world.now = time.monotonic()
        self.world.shard = Shard(scene, self.world.shared, self.world.now, self.maps)
        self.reference = World(scene, synproxy_defer=int(defers), **tunables)
        self.reference.now = self.world.now
        lane.set_admissions(VIP, None)
        lane.set_proven(VIP, 0)
        lane.set_stray_rule(VIP, StrayRule(cookies=True, defers=defers, drops=False, reserved=0, allowance=0))
        secret = bytes.fromhex(scene.cookie_secret)
        self.jar = CookieJar(secret)
        for epoch in range(max(0, epoch_of(self.world.now) - 1), epoch_of(self.world.now) + 2):
            lane.set_cookie_key(secret, epoch)

    def proof(
        self, data: bytes = b"", client: bytes = CLIENT, offer: SynOffer = USUAL, isn: int = C0, window: int = 64240
    ) -> bytes:
        """The packet by which a client returns the cookie that it got for this offer, at the time at which Python judges it."""
        cookie = self.jar.bake(Segment.parse(tcp(client, VIP, "S", seq=isn)).key, isn, offer, self.world.now)
        return tcp(client, VIP, "PA" if data else "A", seq=add(isn, 1), ack=add(cookie, 1), data=data, window=window)

    @property
    def record(self) -> SessionRecord:
        """The record of the only session."""
        (record,) = self.records()
        return record

    def records(self) -> list[SessionRecord]:
        found = (self.lane.bytes_of(entry) for entry in range(self.lane.entries))
        return [decode(data) for data in found if int.from_bytes(data[:2], "little")]

    def answer(self, options: bytes = MSS_1460 + SACK_PERMITTED + WSCALE_7 + b"\1\1\1", flags: str = "SA", **more: int) -> bytes:
        """What the real server of the only session says to its SYN."""
        record = self.record
        rs, local = record.real_server.packed, record.local.packed
        numbers = {"seq": R0, "ack": add(record.isn, 1)} | more
        return tcp(rs, local, flags, options=options, **numbers)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def clear_again(lane: Lane) -> Iterator[None]:
    lane.clear()
    lane.set()
    lane.forget_known_clients()
    yield
    lane.clear()
    lane.set()
    lane.set_admissions(VIP, None)
    lane.set_proven(VIP, None)
    lane.set_stray_rule(VIP, None)
    lane.forget_cookie_keys()
    lane.forget_known_clients()
    lane.set_steering(HASH_SEED, shard_table(1))
    for slot in (0, 1):
        lane.set_real_server(slot)


def check_like_python(
    gateway: ProxiedGateway, raw: bytes, asked: Judged, record: SessionRecord, answer: bytes, mtu: int
) -> None:  # fmt: skip
    """Let the reference do the same, with a session that has the ends and numbers of the kernel's."""
    reference, inside = gateway.reference, gateway.reference.inside
    service = inside.service("tcp", VIP)
    assert service is not None
    (real_server,) = (each for each in service.all_real_servers if each.endpoint == record.real_server.packed)
    for each in service.all_real_servers:
        each.mtu = mtu
    proof = Segment.parse(raw)
    server_key = record.local.address + record.real_server.address
    server_key += record.local.port.to_bytes(2, "big") + record.real_server.port.to_bytes(2, "big")
    python = Session(service, real_server, proof.key, server_key, record.client_isn, record.isn, record.opened_ms)
    inside.begin(python, inside.sources["tcp"].places(python.client_address))
    offer = gateway.jar.check(proof.key, record.client_isn, add(proof.ack, -1), time.monotonic())
    assert offer is not None
    reference.shard._proxy.ask(python, proof, offer, reference.now)
    assert with_one_zero(asked.raw) == with_one_zero(reference.shard.output.rewritten)
    assert reference.shard.handle(answer, reference.now) is HANDSHAKE_PACKET
    (sent,) = reference.shard.output.segments
    judged = gateway.put(answer, 1)
    assert judged.verdict == CARRIED
    assert with_one_zero(judged.raw) == with_one_zero(sent)
    kernel = gateway.session()
    assert kernel.records == python.records
    assert [word & MASK for word in kernel.words] == [word & MASK for word in python.words]
    assert (kernel.state, kernel.cookie, kernel.first_table) == (python.state, python.cookie, python.first_table)
    assert kernel.opening is not None
    assert python.opening is not None
    assert kernel.opening.rs_first_seq == python.opening.rs_first_seq
