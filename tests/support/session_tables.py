"""The session tables of a shard, made without a shard."""

from array import array

from appliance.ipc.plan import Plan, RealServerPlan, ServicePlan
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model.counters import DESTINATION_FIELDS
from appliance.state.by_state import ByState
from appliance.state.services import VirtualService
from appliance.state.session import Session
from appliance.state.session_table import SessionTable
from appliance.state.shard_facts import ShardFacts
from appliance.wire.layout import PROTO_TCP, PROTO_UDP
from tests.support.addresses import LIP1, RS1_ADDRESS, VIP_ADDRESS

ALONE = ShardFacts.of(
    Plan(0, 1, 0, 1, (), "00", "00"), SharedState.create(memoryview(bytearray(size_bytes(1, 1))), 1, 1), memoryview(b"")
)
"""A shard without others."""


def tables_with(client_key: bytes, server_key: bytes, *, protocol: int = PROTO_TCP, shift: int = 0) -> dict[int, SessionTable]:
    """The tables of TCP and UDP, by protocol, with one session in that of `protocol`.

    `client_key` and `server_key` are the flows client to VIP and local address to real server; `shift` is what is added to a
    sequence number of the client's before the real server sees it.
    """
    counters = memoryview(array("Q", [0] * len(DESTINATION_FIELDS)))
    real_server = RealServerPlan(str(RS1_ADDRESS), 8080, 100, 0)
    plan = ServicePlan("web", str(VIP_ADDRESS), 80, "rr", (str(LIP1),), (real_server,))
    service = VirtualService[Session](plan, lambda _slot: counters, ByState(0.0), ALONE)
    session = Session(service, service.real_servers[0], client_key, server_key, 0, shift)
    tables = {PROTO_TCP: SessionTable(), PROTO_UDP: SessionTable()}
    tables[protocol].insert(session)
    return tables
