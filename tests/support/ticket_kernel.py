"""What the lane's program does with a SYN for which admissions are prepared, as a reference: by the rules of RING_FIELDS."""

from struct import pack_into

from appliance.ipc.lane_layout import RING, RING_OFFSETS, RING_PLACES, VOID_TICKET
from appliance.ipc.session_record import OFFSETS, RECORD_BYTES, VERSION, Flags
from appliance.ipc.syn_options import SYN_OPTIONS_BYTES
from appliance.model.tcp_state import TcpState
from appliance.nat.opening import to_real_server
from appliance.state.lane_entry import LAST_SEEN_WORD, LONGS, each, flows_in, flows_of, rebuilt, words_of
from appliance.state.progress import CLIENT_NEXT_SEQ, RS_ACKED
from appliance.state.rewrite_record import parts_in, rewrite_records
from appliance.wire.flow import flow_key
from appliance.wire.segment import Segment
from tests.support.lane_maps import FakeMaps
from tests.support.world import World


class TicketKernel:
    """The program, for the shard of a world. Its packets come out on the wire of that world."""

    def __init__(self, world: World, ring: int = 0) -> None:
        self.world = world
        self.maps: FakeMaps = world.maps
        own = self.maps.rings[ring * RING.size : (ring + 1) * RING.size]
        self._longs, self._cells = own.cast("Q"), own.cast("I")
        self._record_longs = self.maps.records.cast("Q")
        self.is_void = False
        """Whether what it takes comes to nothing."""

    def _word(self, name: str) -> int:
        return RING_OFFSETS[name] // 4

    @property
    def is_open(self) -> bool:
        """Whether a ticket could be taken, if there is one."""
        is_new = self._cells[self._word("generation")] >= self.world.shared.generation[0]
        return bool(self._cells[self._word("is_open")]) and is_new

    @property
    def ready(self) -> int:
        """How many tickets there are."""
        return int(self._longs[RING_OFFSETS["tail"] // 8] - self._longs[RING_OFFSETS["head"] // 8])

    def put(self, syn: bytes) -> bool:
        """Open a session for a SYN; False when the SYN goes up."""
        head_at = RING_OFFSETS["head"] // 8
        if not self.is_open or not self.ready or len(Segment.parse(syn).options) > SYN_OPTIONS_BYTES:
            return False
        place = self._word("tickets") + self._longs[head_at] % RING_PLACES
        self._longs[head_at] += 1
        entry = self._cells[place]
        if self.is_void:
            self._cells[place] = VOID_TICKET
            return False
        self._open(entry, Segment.parse(syn))
        return True

    def _forget(self, entry: int) -> None:
        """What an earlier session has left in a record, but for its ends, and the flow of its client."""
        maps, at = self.maps, entry * RECORD_BYTES
        client_flow, _ = each(flows_in(maps.records, entry))
        if maps.table.get(client_flow) == 2 * entry:
            del maps.table[client_flow]
        for name, code, value in (
            ("state", "<B", int(TcpState.SYN_RECV)),
            ("flags", "<B", int(Flags.IS_OPENING | Flags.IN_FIRST_TABLE)),
            ("held", "<I", 0),
            ("rs_first_seq", "<I", 0),
        ):
            pack_into(code, maps.records, at + OFFSETS[name], value)
        words = words_of(self._record_longs, entry)
        words[:] = memoryview(bytes(words.nbytes)).cast("Q")

    def _open(self, entry: int, syn: Segment) -> None:
        maps, world, at = self.maps, self.world, entry * RECORD_BYTES
        assert not maps.version(entry), "what is handed out is no session"
        pack_into("<H", maps.records, at, VERSION)
        self._forget(entry)
        prepared = maps.record(entry)
        client, vip = syn.key[:4] + syn.key[8:10], syn.key[4:8] + syn.key[10:12]
        assert prepared.vip.packed == vip
        leaving = flow_key(prepared.local.packed, prepared.real_server.packed)
        records = rewrite_records(flow_key(client, vip), leaving, syn.seq, prepared.isn)
        _, _, _, _, ip_in, transport_in, seq_in, *_ = parts_in(records)
        for name, code, value in (
            ("client_isn", "<I", syn.seq),
            ("inbound_seq_delta", "<I", seq_in),
            ("outbound_ack_delta", "<I", -seq_in % 2**32),
            ("inbound_ip_delta", "<H", ip_in),
            ("inbound_transport_delta", "<H", transport_in),
            ("outbound_ip_delta", "<H", -ip_in % 65535),
            ("outbound_transport_delta", "<H", -transport_in % 65535),
            ("opened_low", "<I", int(world.now * 1000)),
            ("storm_reserved", "<I", len(syn.options)),
        ):
            pack_into(code, maps.records, at + OFFSETS[name], value)
        maps.records[at + OFFSETS["client_address"] :][:4] = client[:4]
        maps.records[at + OFFSETS["client_port"] :][:2] = client[4:]
        maps.records[at + OFFSETS["storm_ns"] :][: len(syn.options)] = syn.options
        words = words_of(self._record_longs, entry)
        words[CLIENT_NEXT_SEQ], words[RS_ACKED] = syn.seq + 1, prepared.isn
        words[3], words[4] = 1, len(syn.raw)
        self._record_longs[entry * LONGS + LAST_SEEN_WORD] = round(world.now * 1_000_000_000)
        service = world.inside.service("tcp", vip)
        assert service is not None
        session = rebuilt(maps.record(entry), service, service.real_server_of_adopted(prepared.real_server.packed))
        client_flow, server_flow = each(flows_of(session))
        assert maps.table.get(server_flow) in (None, 2 * entry + 1), "its local endpoint is nobody else's"
        maps.table |= {client_flow: 2 * entry, server_flow: 2 * entry + 1}
        session.opening.syn = None  # type: ignore[union-attr]
        world._on_the_wire.append(to_real_server(syn, session, world.inside.tunables, memoryview(bytearray(2048)).cast("Q")))
