"""The real program opens no session for a client whose flow a shard has reserved, and a shard reserves none that the program
has."""

import pytest

from appliance.model.verdicts import TO_REAL_SERVER
from appliance.state.lane_entry import flow_of_segment
from appliance.wire.segment import Segment
from tests.kernel.gateway import Gateway
from tests.kernel.gateway import clear_again as clear_again
from tests.kernel.lane import UP, Lane
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.endpoints import check_endpoints
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN

SYN = tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN)
FLOW = flow_of_segment(Segment.parse(SYN).key)


@pytest.fixture
def gateway(lane: Lane) -> Gateway:
    """The program may open sessions, and the shard publishes flows when it is told to."""
    gateway = Gateway(lane)
    gateway.shard.gather_flows()
    gateway.prepare(20)
    return gateway


@pytest.mark.parametrize("packet", [SYN, tcp(CLIENT, VIP, "S", seq=C0 + 9), tcp(CLIENT, VIP, "PA", seq=C0 + 1, ack=R0 + 1)])
def test_packets_of_a_client_whose_session_the_shard_opens_go_up(gateway: Gateway, packet: bytes) -> None:
    ready = gateway.world.inside.prepared.ready
    assert gateway.shard.handle(SYN, gateway.world.now) is TO_REAL_SERVER
    assert dict(gateway.maps.flows()) == {FLOW: 2 * gateway.world.inside.lane.flows.reservation}
    judged = gateway.put(packet)
    assert (judged.verdict, judged.raw, judged.counted) == (UP, packet, {"up_no_session": 1})
    gateway.shard.publish_flows()
    assert gateway.maps.value_of(FLOW) == 2 * (gateway.session().entry or 0)
    assert gateway.world.inside.prepared.ready == ready
    check_endpoints(gateway.world.inside)


def test_the_shard_goes_on_with_the_session_of_the_program(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program judges one copy of the SYN while the shard is at another one."""
    add_flow, opened = gateway.maps.add_flow, list[bytes]()

    def late(flow: bytes, value: int) -> bool:
        opened.extend(() if opened else (gateway.put(SYN).raw,))
        return add_flow(flow, value)

    monkeypatch.setattr(gateway.maps, "add_flow", late)
    assert gateway.shard.handle(SYN, gateway.world.now) is TO_REAL_SERVER
    assert [gateway.shard.output.rewritten] == opened, "the same SYN to the same real server"
    gateway.session()
    check_endpoints(gateway.world.inside)


def test_a_flow_is_added_once(lane: Lane) -> None:
    maps = Gateway(lane).maps
    assert maps.add_flow(FLOW, 14)
    assert not maps.add_flow(FLOW, 16)
    assert dict(maps.flows()) == {FLOW: 14}
