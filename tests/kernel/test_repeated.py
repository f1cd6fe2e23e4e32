"""SYNs on half-open sessions: while their clients get cookies, those beyond a number end in the real program."""

import time
from collections.abc import Iterator

import pytest

from appliance.ipc.front_door import FrontDoor
from appliance.ipc.lane_layout import NO_LATCH, STRAY_WINDOW_BITS, SYNS_AGAIN_ALLOWED
from appliance.model.syn_offer import AnswerTerms
from appliance.state.lane_entry import flow_of_segment
from appliance.wire.flow import destination_of, source_of
from appliance.wire.segment import Segment
from appliance.wire.seq import add
from tests.kernel.gateway import Gateway, rest_of_one_connection
from tests.kernel.gateway import clear_again as clear_again
from tests.kernel.lane import CARRIED, DROPPED, Judged, Lane
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN, MSS_1460

SYN = tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN)
AGAIN = (SYN, tcp(CLIENT, VIP, "S", seq=C0 + 5), tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN, data=b"x"))


@pytest.fixture(autouse=True)
def closed_again(lane: Lane) -> Iterator[None]:
    yield
    lane.latches[:] = bytes(len(lane.latches))
    lane.set_front_door(VIP, None)


def flooded(gateway: Gateway, *, first_latch: int = 0, is_open: bool = True) -> None:
    """The service of a gateway answers with cookies from now on."""
    terms = AnswerTerms.of(gateway.world.shared.tunable)
    gateway.lane.set_front_door(VIP, FrontDoor.of(terms, 1460, first_latch))
    gateway.lane.set_latch(0, is_open=is_open)


def half_open(lane: Lane) -> tuple[Gateway, Segment, int]:
    """A gateway with a half-open session, its SYN as the real server gets it, and its entry."""
    gateway = Gateway(lane)
    gateway.prepare()
    opened = Segment.parse(gateway.put(SYN).raw)
    session = gateway.session()
    assert session.entry is not None
    return gateway, opened, session.entry


def judged_when_spent(gateway: Gateway, syn: bytes, spent: int) -> Judged:
    """What becomes of a SYN when so many have gone up in this window of time."""
    while True:
        window = time.monotonic_ns() >> STRAY_WINDOW_BITS
        gateway.lane.set_stray_budget(window, 0, spent)
        judged = gateway.put(syn)
        if time.monotonic_ns() >> STRAY_WINDOW_BITS == window:
            return judged


@pytest.mark.parametrize("first_latch", [0, NO_LATCH])
@pytest.mark.parametrize("syn", AGAIN, ids=["same", "other_number", "with_data"])
def test_those_beyond_a_number_are_dropped_while_clients_get_cookies(lane: Lane, syn: bytes, first_latch: int) -> None:
    gateway, _, entry = half_open(lane)
    flooded(gateway, first_latch=first_latch)
    before = lane.bytes_of(entry)
    assert set(judged_when_spent(gateway, syn, SYNS_AGAIN_ALLOWED - 1).counted) == {"up_flags"}
    judged = judged_when_spent(gateway, syn, SYNS_AGAIN_ALLOWED)
    assert (judged.verdict, judged.counted) == (DROPPED, {"syn_again": 1})
    assert lane.bytes_of(entry) == before
    lane.set_stray_budget(1, 0, SYNS_AGAIN_ALLOWED)
    assert set(gateway.put(syn).counted) == {"up_flags"}, "that was another window"


def test_each_that_goes_up_counts(lane: Lane) -> None:
    gateway, _, _ = half_open(lane)
    flooded(gateway)
    lane.set_stray_budget(1, 7, 7)
    gateway.put(SYN)
    (there,) = set(lane.stray_budgets()) - {(1, 7, 7)}
    assert there[1:] == (0, 1), "of a new window"


def test_also_when_the_real_server_has_answered(lane: Lane) -> None:
    gateway, opened, _ = half_open(lane)
    flooded(gateway)
    answer = tcp(destination_of(opened.key), source_of(opened.key), "SA", seq=R0, ack=add(opened.seq, 1), options=MSS_1460)
    assert lane.pass_on(answer, 1)[0] == CARRIED
    assert judged_when_spent(gateway, SYN, SYNS_AGAIN_ALLOWED).counted == {"syn_again": 1}


@pytest.mark.parametrize("what", ["no_door", "closed_latch", "latch_of_nobody"])
def test_without_cookies_it_goes_up(lane: Lane, what: str) -> None:
    gateway, _, _ = half_open(lane)
    if what != "no_door":
        flooded(gateway, first_latch=0 if what == "closed_latch" else 1 << 20, is_open=what != "closed_latch")
    assert set(judged_when_spent(gateway, SYN, SYNS_AGAIN_ALLOWED).counted) == {"up_flags"}


def test_the_packet_that_ends_the_handshake_is_carried_and_then_a_syn_goes_up(lane: Lane) -> None:
    gateway, opened, _ = half_open(lane)
    flooded(gateway)
    answer = tcp(destination_of(opened.key), source_of(opened.key), "SA", seq=R0, ack=add(opened.seq, 1), options=MSS_1460)
    assert lane.pass_on(answer, 1)[0] == CARRIED
    assert gateway.put(tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=R0 + 1)).verdict == CARRIED
    assert set(judged_when_spent(gateway, SYN, SYNS_AGAIN_ALLOWED).counted) == {"up_flags"}, "it is challenged by the shard"


@pytest.mark.parametrize("flags", ["R", "F", "SA", ""])
def test_other_packets_of_a_half_open_session_are_judged_as_ever(lane: Lane, flags: str) -> None:
    gateway, _, _ = half_open(lane)
    packet = tcp(CLIENT, VIP, flags, seq=C0 + 1, ack=1)
    without = set(gateway.put(packet).counted)
    flooded(gateway)
    assert set(judged_when_spent(gateway, packet, SYNS_AGAIN_ALLOWED).counted) == without


def test_a_client_whose_endpoint_rests_is_asked_by_its_shard(lane: Lane) -> None:
    """It gets no session by the kernel while all clients of its service get cookies."""
    gateway = Gateway(lane)
    rest_of_one_connection(gateway)
    flooded(gateway)
    assert set(gateway.put(tcp(CLIENT, VIP, "S", seq=C0 + 9, options=LINUX_SYN)).counted) == {"up_held"}
    flooded(gateway, is_open=False)
    assert "client_returned" in gateway.put(tcp(CLIENT, VIP, "S", seq=C0 + 9, options=LINUX_SYN)).counted


@pytest.mark.parametrize("syn", AGAIN, ids=["same", "other_number", "with_data"])
def test_those_of_a_client_whose_session_the_shard_opens_are_such_as_well(lane: Lane, syn: bytes) -> None:
    gateway = Gateway(lane)
    flow = flow_of_segment(Segment.parse(SYN).key)
    assert gateway.world.inside.lane.reserve(flow)
    assert set(judged_when_spent(gateway, syn, SYNS_AGAIN_ALLOWED).counted) == {"up_no_session"}, "no client gets a cookie"
    flooded(gateway)
    assert set(judged_when_spent(gateway, syn, SYNS_AGAIN_ALLOWED - 1).counted) == {"up_no_session"}
    assert judged_when_spent(gateway, syn, SYNS_AGAIN_ALLOWED).counted == {"syn_again": 1}
    proof = tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=R0 + 1)
    assert set(judged_when_spent(gateway, proof, SYNS_AGAIN_ALLOWED).counted) == {"up_no_session"}
