"""endpoints.py: it finds an endpoint or an entry that is lost or doubled."""

from collections.abc import Callable

import pytest

from appliance.model.tcp_state import TcpState
from appliance.sessions.short_lived import HANDSHAKE_MS, ShortLived
from appliance.state.lane_entry import CELLS, STATE_CELL
from appliance.state.progress import CLIENT_ACKED, CLIENT_NEXT_SEQ, RS_ACKED, RS_NEXT_SEQ
from appliance.wire.flow import pack_endpoint
from appliance.wire.seq import add
from tests.support.addresses import CLIENT_ADDRESS, R0, VIP
from tests.support.endpoints import check_endpoints, last_numbers
from tests.support.lane_maps import FakeMaps
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN
from tests.support.ticket_kernel import TicketKernel
from tests.support.world import World, plan


class Scene:
    """A shard with three sessions that the kernel has opened: two are over, and their endpoints rest; one is young."""

    def __init__(self) -> None:
        self.world = World(plan(), FakeMaps(), prepared_admissions=1)
        self.inside = self.world.inside
        self.short: ShortLived = self.inside.prepared._short
        service = self.inside.service("tcp", VIP)
        assert service is not None
        for _ in range(20):
            self.inside.prepared.miss(service)
        self._look(0)
        kernel = TicketKernel(self.world)
        for number in (1, 2):
            assert kernel.put(tcp(pack_endpoint(CLIENT_ADDRESS, number), VIP, "S", seq=number, options=LINUX_SYN))
        for entry in {value >> 1 for value in self.world.maps.table.values()}:
            words, cells = self.inside.lane.words(entry), self.world.maps.records.cast("I")
            words[CLIENT_ACKED] = words[RS_NEXT_SEQ] = R0 + 2
            words[RS_ACKED] = add(self.world.maps.record(entry).isn, 2)
            words[CLIENT_NEXT_SEQ] += 1
            cells[entry * CELLS + STATE_CELL] = int(TcpState.TIME_WAIT) | 2 << 8
        self._look(HANDSHAKE_MS / 1000)
        self._look(0)
        assert kernel.put(tcp(pack_endpoint(CLIENT_ADDRESS, 3), VIP, "S", options=LINUX_SYN))
        self._look(0)

    def _look(self, later_s: float) -> None:
        self.world.now += later_s
        while self.world.shard.reconcile(1000, self.world.now):
            pass


def rested() -> Scene:
    scene = Scene()
    check_endpoints(scene.inside)
    assert (scene.short.young, scene.short.resting, len(list(last_numbers(scene.inside)))) == (1, 2, 2)
    return scene


def lose_an_endpoint(scene: Scene) -> None:
    scene.short._resting.tickets.popitem()


def double_an_entry(scene: Scene) -> None:
    scene.short._young |= scene.short._resting.tickets


def free_a_port(scene: Scene) -> None:
    session = next(iter(scene.short._resting.tickets.values())).session
    scene.inside.local_ports("tcp").release(session.local_address, session.real_server.endpoint, session.local_port, 0)


def lose_a_flow(scene: Scene) -> None:
    scene.world.maps.table.popitem()


@pytest.mark.parametrize("harm", [lose_an_endpoint, double_an_entry, free_a_port, lose_a_flow])
def test_harm_is_found(harm: Callable[[Scene], None]) -> None:
    scene = rested()
    harm(scene)
    with pytest.raises(AssertionError):
        check_endpoints(scene.inside)
