"""A world with a busy service, whose sessions the kernel opens, moves and closes."""

from appliance.ipc.plan import Plan
from appliance.ipc.session_record import OFFSETS
from appliance.model.tcp_state import TcpState
from appliance.sessions.lifecycle import Sessions
from appliance.sessions.short_lived import HANDSHAKE_MS, ShortLived
from appliance.state.lane_entry import CELLS, STATE_CELL, each, flows_in, words_of
from appliance.state.progress import CLIENT_ACKED, CLIENT_NEXT_SEQ, RS_ACKED, RS_NEXT_SEQ
from appliance.wire.flow import pack_endpoint
from appliance.wire.seq import add
from tests.support.addresses import CLIENT_ADDRESS, R0, VIP
from tests.support.endpoints import check_endpoints
from tests.support.lane_maps import FakeMaps
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN
from tests.support.ticket_kernel import TicketKernel
from tests.support.world import World, plan

BUSY = 100
SENT_BYTES = 700


class Scene:
    """A world with a busy service, whose sessions are opened by the kernel and move in it."""

    def __init__(self, scene: Plan | None = None, *, entries: int = 64 * 256, **tunables: int) -> None:
        self.world = World(scene or plan(weights=(1, 1)), FakeMaps(entries), prepared_admissions=1, **tunables)
        self.kernel = TicketKernel(self.world)
        self.cells = self.world.maps.records.cast("I")
        self.longs = self.world.maps.records.cast("Q")
        service = self.inside.service("tcp", VIP)
        assert service is not None
        self.service = service
        for _ in range(BUSY):
            self.inside.prepared.miss(service)
        self.look()

    @property
    def inside(self) -> Sessions:
        return self.world.inside

    @property
    def short(self) -> ShortLived:
        return self.inside.prepared._short

    def look(self, later_s: float = 0.0) -> None:
        self.world.now += later_s
        self.inside.by_state.now = self.world.now
        while self.world.shard.reconcile(1000, self.world.now):
            pass
        check_endpoints(self.inside)
        self.world._collect_segments()

    def take_over_and_look(self) -> None:
        """Take over what the kernel has opened, and look at it when its handshakes are old enough."""
        self.look()
        self.look(HANDSHAKE_MS / 1000)

    def opens(self, number: int) -> int:
        """The kernel opens a session; returns its entry."""
        assert self.kernel.put(syn_of(number))
        return self.entry_of(number)

    def entry_of(self, number: int) -> int:
        (entry,) = (value >> 1 for flow, value in self.world.maps.table.items() if not value & 1 and flow[4:6] == port_of(number))
        return entry

    def moves(self, entry: int, state: TcpState, *, acknowledged: bool = True) -> None:
        """The kernel has carried the packets of a session up to this state. In those behind the last FIN, all is acknowledged."""
        at, words = entry * CELLS, words_of(self.longs, entry)
        shift = self.cells[at + OFFSETS["inbound_seq_delta"] // 4]
        is_over = state in (TcpState.TIME_WAIT, TcpState.CLOSE)
        words[CLIENT_NEXT_SEQ] = add(words[CLIENT_NEXT_SEQ], SENT_BYTES + is_over)
        words[RS_NEXT_SEQ] = add(R0, 1 + is_over)
        words[RS_ACKED] = add(words[CLIENT_NEXT_SEQ] - (not acknowledged), shift)
        words[CLIENT_ACKED] = words[RS_NEXT_SEQ]
        self.cells[at + STATE_CELL] = int(state) | 2 << 8

    def is_over(self, *numbers: int) -> None:
        """These are opened, and closed again."""
        for number in numbers:
            self.moves(self.opens(number), TcpState.TIME_WAIT)

    def conns(self) -> int:
        self.world.shard.publish_counts()
        return sum(self.world.destination(slot)["conns"] for slot in (0, 1))

    def local_ends(self) -> set[bytes]:
        """The local endpoints, each with its real server, of the sessions in the kernel."""
        return {each(flows_in(self.world.maps.records, value >> 1))[1] for value in self.world.maps.table.values()}


def port_of(number: int) -> bytes:
    return (1024 + number).to_bytes(2, "big")


def syn_of(number: int) -> bytes:
    return packet_of(number, "S", seq=number, options=LINUX_SYN)


def packet_of(number: int, flags: str, **fields: int | bytes) -> bytes:
    return tcp(pack_endpoint(CLIENT_ADDRESS, 1024 + number), VIP, flags, **fields)  # type: ignore[arg-type]
