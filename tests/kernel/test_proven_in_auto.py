"""Clients that return cookies to a service in "auto", in the real program: while it is engaged, they alone get admissions."""

from collections.abc import Iterator

import pytest

from appliance.ipc.front_door import FrontDoor
from appliance.ipc.stray_rule import StrayRule
from appliance.model.syn_offer import AnswerTerms
from appliance.wire.flow import pack_endpoint
from tests.kernel.lane import DROPPED, UP, Lane
from tests.kernel.proxied_gateway import DATA, ProxiedGateway
from tests.kernel.proxied_gateway import clear_again as clear_again
from tests.support.addresses import C0, CLIENT, CLIENT_ADDRESS, VIP
from tests.support.endpoints import check_endpoints
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN

OTHER = pack_endpoint(CLIENT_ADDRESS + 77, 54321)
SYN = tcp(OTHER, VIP, "S", seq=C0, options=LINUX_SYN)


@pytest.fixture(autouse=True)
def closed_again(lane: Lane) -> Iterator[None]:
    yield
    lane.latches[:] = bytes(len(lane.latches))
    lane.set_front_door(VIP, None)


class AutoGateway(ProxiedGateway):
    """One whose service is in "auto", with a latch, and engaged."""

    SYNPROXY = "auto"

    def __init__(self, lane: Lane, *, defers: bool = False) -> None:
        super().__init__(lane, defers=defers)
        lane.set_admissions(VIP, 0)
        rule = StrayRule(cookies=False, defers=defers, drops=False, reserved=0, allowance=0, first_latch=0)
        lane.set_stray_rule(VIP, rule)
        lane.set_front_door(VIP, FrontDoor.of(AnswerTerms.of(self.world.shared.tunable), 1460, 0))
        service = self.world.inside.service("tcp", VIP)
        assert service is not None
        self.service = service
        self.engage(is_engaged=True)
        self.prepare(20)

    def engage(self, *, is_engaged: bool) -> None:
        """Have the service answer SYNs with cookies, or stop to."""
        self.service.is_engaged = is_engaged
        self.world.inside.latches.tell(self.service)
        self.world.inside.prepared.look(self.world.now)

    @property
    def ready(self) -> int:
        return self.world.inside.prepared.ready


def test_who_returns_a_cookie_gets_an_admission_and_is_counted_at_the_latch(lane: Lane) -> None:
    gateway = AutoGateway(lane)
    assert gateway.ready > 0
    assert gateway.put(SYN).counted == {"cookie_sent": 1}
    assert lane.cookies_at(0) == 1
    judged = gateway.put(gateway.proof(DATA))
    assert (judged.verdict, judged.counted) == (UP, {"carried": 1, "proven": 1, "option_added": 1})
    assert lane.latch(0)["cookies"] == 0, "one has come back"
    gateway.world.inside.prepared.take_in_all()
    assert gateway.session().client_isn == C0
    check_endpoints(gateway.world.inside)


def test_more_that_come_back_than_the_kernel_has_sent_are_no_flood(lane: Lane) -> None:
    """The shard has sent some."""
    gateway = AutoGateway(lane)
    assert gateway.put(gateway.proof(DATA)).counted["proven"] == 1
    assert gateway.service.latch is not None
    gateway.service.latch.look(100, 1.0, gateway.world.now)
    assert gateway.service.latch.unproven == 0


def test_a_syn_takes_nothing_meanwhile_also_when_its_door_is_closed(lane: Lane) -> None:
    """As while some sessions are outside of the lane."""
    gateway = AutoGateway(lane)
    ready = gateway.ready
    lane.outside[63] = 1
    assert gateway.put(SYN).counted == {"up_empty": 1}
    assert gateway.ready == ready
    lane.outside[63] = 0
    gateway.engage(is_engaged=False)
    assert gateway.put(SYN).counted["opened"] == 1


def test_afterwards_late_cookies_and_syns_share_what_is_ready(lane: Lane) -> None:
    gateway = AutoGateway(lane)
    proof = gateway.proof(DATA)
    assert gateway.put(SYN).counted == {"cookie_sent": 1}
    gateway.engage(is_engaged=False)
    gateway.prepare(20)
    assert gateway.put(proof).counted["proven"] == 1, "cookies are good for some time"
    assert gateway.put(tcp(pack_endpoint(CLIENT_ADDRESS + 9, 9), VIP, "S", seq=1, options=LINUX_SYN)).counted["opened"] == 1


def test_a_wrong_cookie_is_for_the_shard(lane: Lane) -> None:
    """Unless all strays of its service end in the kernel."""
    gateway = AutoGateway(lane)
    wrong = tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=12345)
    assert gateway.put(wrong).counted == {"up_no_session": 1}
    rule = StrayRule(cookies=False, defers=False, drops=True, reserved=0, allowance=0, first_latch=0)
    lane.set_stray_rule(VIP, rule)
    assert gateway.put(wrong).counted == {"bad_cookie": 1}


@pytest.mark.parametrize("defers", [False, True])
def test_a_right_cookie_without_the_data_that_is_awaited_ends_here(lane: Lane, defers: bool) -> None:
    gateway = AutoGateway(lane, defers=defers)
    judged = gateway.put(gateway.proof())
    if defers:
        assert (judged.verdict, judged.counted) == (DROPPED, {"null_cookie_ack": 1})
    else:
        assert judged.counted["proven"] == 1


def test_while_nobody_can_have_a_cookie_all_strays_are_for_the_shard(lane: Lane) -> None:
    gateway = AutoGateway(lane)
    proof = gateway.proof(DATA)
    gateway.engage(is_engaged=False)
    lane.set_latch(0, is_open=False, is_kept=True)
    assert gateway.put(proof).counted == {"up_no_session": 1}
