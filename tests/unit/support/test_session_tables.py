"""Tables with one session in them."""

import pytest

from appliance.wire.flow import Direction, flow_key, reverse_key
from appliance.wire.layout import PROTO_TCP, PROTO_UDP
from tests.support.addresses import CLIENT, LIP1, RS1, VIP
from tests.support.session_tables import tables_with

LOCAL = LIP1.packed + (5000).to_bytes(2, "big")
CLIENT_KEY, SERVER_KEY = flow_key(CLIENT, VIP), flow_key(LOCAL, RS1)


@pytest.mark.parametrize(("protocol", "other"), [(PROTO_TCP, PROTO_UDP), (PROTO_UDP, PROTO_TCP)])
def test_the_session_is_found_from_both_sides_and_by_its_own_protocol_only(protocol: int, other: int) -> None:
    tables = tables_with(CLIENT_KEY, SERVER_KEY, protocol=protocol)
    session, direction = tables[protocol].find(CLIENT_KEY)
    assert session
    assert direction == Direction.INBOUND
    assert tables[protocol].find(reverse_key(SERVER_KEY)) == (session, Direction.OUTBOUND)
    assert len(tables[other]) == 0


def test_the_shift_is_from_the_clients_numbers_to_the_real_servers() -> None:
    session, _ = tables_with(CLIENT_KEY, SERVER_KEY, shift=7)[PROTO_TCP].find(CLIENT_KEY)
    assert session
    assert session.record(Direction.INBOUND).seq_delta == 7
