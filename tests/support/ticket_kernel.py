"""What the lane's program does with a SYN for which admissions are prepared, and with a session that is over, as a reference: by
the rules of RING_FIELDS and LINE_FIELDS."""

from struct import pack, pack_into

from appliance.ipc.admission_layout import (
    BY_ADDRESS,
    BY_LOOKUP,
    GONE,
    HOME,
    LINE,
    LINE_OFFSETS,
    LINE_PLACES,
    LINES_OF_POOL,
    LOOKUP_PLACES,
    NO_POOL,
    PLACE_TAKEN,
    PLACE_VOID,
    REST_NS,
    RING,
    RING_OFFSETS,
    RING_PLACES,
    STEP_BITS,
    STEPS,
    VOID_TICKET,
)
from appliance.ipc.lane_layout import FIRST_RESERVATION
from appliance.ipc.session_record import OFFSETS, RECORD_BYTES, VERSION, Flags
from appliance.ipc.syn_options import SYN_OPTIONS_BYTES
from appliance.model.blake2s import compressed
from appliance.model.tcp_state import TcpState
from appliance.nat.opening import to_real_server
from appliance.state.lane_entry import (
    CELLS,
    HELD_CELL,
    LAST_SEEN_WORD,
    LONGS,
    each,
    flow_of_segment,
    flows_in,
    flows_of,
    rebuilt,
    words_of,
)
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
        self._longs, self._cells, self._halves = own.cast("Q"), own.cast("I"), own.cast("H")
        self._record_cells = self.maps.records.cast("I")
        self._record_longs = self.maps.records.cast("Q")
        self.is_void = False
        """Whether what it takes comes to nothing."""

    def _word(self, name: str) -> int:
        return RING_OFFSETS[name] // 4

    @property
    def is_open(self) -> bool:
        """Whether a ticket could be taken for a SYN, if there is one."""
        is_new = self._cells[self._word("generation")] >= self.world.shared.generation[0]
        return bool(self._cells[self._word("is_open")]) and is_new and not self._cells[self._word("for_proofs")]

    @property
    def ready(self) -> int:
        """How many tickets there are."""
        return int(self._longs[RING_OFFSETS["tail"] // 8] - self._longs[RING_OFFSETS["head"] // 8])

    def put(self, syn: bytes) -> bool:
        """Open a session for a SYN; False when the SYN goes up."""
        if not self.is_open or len(Segment.parse(syn).options) > SYN_OPTIONS_BYTES:
            return False
        flow = flow_of_segment(Segment.parse(syn).key)
        if self.maps.table.get(flow, 0) >> 1 >= FIRST_RESERVATION:
            return False
        self._let_client_go(Segment.parse(syn).key)
        if flow in self.maps.table:
            return False
        entry = self._take_endpoint(syn[12:16])
        if entry is not None:
            self._put_home(entry, PLACE_VOID if self.is_void else PLACE_TAKEN)
            if not self.is_void:
                self._open(entry, Segment.parse(syn))
            return not self.is_void
        head_at = RING_OFFSETS["head"] // 8
        if not self.ready:
            return False
        place = self._word("tickets") + self._longs[head_at] % RING_PLACES
        self._longs[head_at] += 1
        entry = self._cells[place]
        if self.is_void:
            self._cells[place] = VOID_TICKET
            return False
        self._open(entry, Segment.parse(syn))
        return True

    def _let_client_go(self, key: bytes) -> None:
        """A client whose endpoint rests opens a new connection."""
        value = self.maps.table.get(flow_of_segment(key), 1)
        _, _, place = HOME.unpack_from(self.maps.homes, (value >> 1) * HOME.size)
        if not value & 1 and place < LINES_OF_POOL * LINE_PLACES and self._record_cells[(value >> 1) * CELLS + HELD_CELL]:
            pack_into("<H", self.maps.records, (value >> 1) * RECORD_BYTES, 0)
            del self.maps.table[flow_of_segment(key)]

    def _place(self, turn: int, client_address: bytes) -> int | None:
        """The place in the schedule: that of the turn, or that of the client; None for a client that has none."""
        length, by_client = self._cells[self._word("schedule_length")], self._cells[self._word("by_client")]
        if by_client == BY_ADDRESS:
            return self._hash(client_address, len(client_address)) % length
        if by_client == BY_LOOKUP:
            number, places = (self._cells[self._word(name)] for name in ("lookup", "lookup_length"))
            place = self._hash(client_address, len(client_address)) % places
            return self.maps.lookup_tables.cast("H")[number * LOOKUP_PLACES + place]
        return self._remembered_place(client_address) if by_client else turn % length

    def _hash(self, message: bytes, total: int) -> int:
        at = self._word("hash_state")
        hashed = compressed(tuple(self._cells[at : at + 8]), message.ljust(64, b"\0"), total, is_last=True)
        return int.from_bytes(pack("<2I", *hashed[:2]), "big")

    def _remembered_place(self, client_address: bytes) -> int | None:
        """That of a client that persistence remembers, for longer from now on."""
        service, mask, lasts_ms = (self._cells[self._word("client_service") + more] for more in range(3))
        client = service << 32 | int.from_bytes(client_address, "big") & mask
        words, now_ms = self.maps.remembered.cast("Q"), int(self.world.now * 1000)
        first = 24 * (self._hash(pack(">Q", client), 64 + 8) % (len(words) // 24))
        for at in range(first, first + 24, 3):
            key, slot_and_one, until_ms = words[at : at + 3]
            place = slot_and_one - 1 - self._cells[self._word("first_slot")]
            if key == client and slot_and_one and until_ms > now_ms and 0 <= place < self._cells[self._word("schedule_length")]:
                if self._halves[RING_OFFSETS["schedule"] // 2 + place] == NO_POOL:
                    return None
                words[at + 2] = now_ms + lasts_ms
                return place
        return None

    def _take_endpoint(self, client_address: bytes) -> int | None:
        """The endpoint whose turn it is, made ready; None when there is none that has rested."""
        turn_at, limit_at = RING_OFFSETS["turn"] // 8, RING_OFFSETS["turn_limit"] // 8
        turn, length = self._longs[turn_at], self._cells[self._word("schedule_length")]
        if not length or turn >= self._longs[limit_at]:
            return None
        place = self._place(turn, client_address)
        if place is None:
            return None
        pool = self._halves[RING_OFFSETS["schedule"] // 2 + place]
        step = self._cells[self._word("steps") + turn % STEPS]
        for number in range(LINES_OF_POOL):
            line = self._line(pool, (step >> STEP_BITS) + number)
            entry = self._rested(line)
            if entry is not None:
                line[LINE_OFFSETS["head"] // 8] += 1
                self._longs[turn_at] += 1
                isn = words_of(self._record_longs, entry)[RS_ACKED] + (step & (1 << STEP_BITS) - 1)
                pack_into("<I", self.maps.records, entry * RECORD_BYTES + OFFSETS["isn"], isn % 2**32)
                pack_into("<H", self.maps.records, entry * RECORD_BYTES, 0)
                return entry
        return None

    def _line(self, pool: int, number: int) -> memoryview:
        at = (pool * LINES_OF_POOL + number % LINES_OF_POOL) * LINE.size
        return self.maps.lines[at : at + LINE.size].cast("Q")

    def _rested(self, line: memoryview) -> int | None:
        head_at, tail_at, places = (LINE_OFFSETS[name] // 8 for name in ("head", "tail", "places"))
        while line[head_at] < line[tail_at]:
            place = line[places + line[head_at] % LINE_PLACES]
            assert place >> 32 == line[head_at]
            entry = place & 0xFFFFFFFF
            if entry == GONE:
                line[head_at] += 1
                continue
            assert self._record_cells[entry * CELLS + HELD_CELL]
            seen_ns = self._record_longs[entry * LONGS + LAST_SEEN_WORD]
            return entry if seen_ns + REST_NS <= round(self.world.now * 1e9) else None
        return None

    def _put_home(self, entry: int, place: int) -> None:
        pack_into("<I", self.maps.homes, (entry + 1) * HOME.size - 4, place)

    def is_over(self, entry: int) -> None:
        """The last packet of a session was carried."""
        pool, _, _ = HOME.unpack_from(self.maps.homes, entry * HOME.size)
        if not pool or not self._cells[self._word("is_open")]:
            return
        self._record_cells[entry * CELLS + HELD_CELL] = 1
        number = entry % LINES_OF_POOL
        line, tail_at = self._line(pool - 1, number), LINE_OFFSETS["tail"] // 8
        tail = line[tail_at]
        line[LINE_OFFSETS["places"] // 8 + tail % LINE_PLACES] = tail << 32 | entry
        self._put_home(entry, number * LINE_PLACES + tail % LINE_PLACES)
        line[tail_at] += 1

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
