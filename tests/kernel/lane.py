"""The lane's program as a test uses it: one packet in, and what became of it; with its maps as Python reads and writes them."""

from pathlib import Path
from struct import pack, pack_into
from types import TracebackType
from typing import NamedTuple, Self

from appliance.edge import bpf
from appliance.edge.lane_kernel import OF_WORKERS
from appliance.ipc.admission_layout import LINES_OF_POOL, RING, RING_FIELDS, VOID_TICKET, pools_of
from appliance.ipc.front_door import FrontDoor
from appliance.ipc.lane_layout import (
    CHANGED_PAGE_BYTES,
    COOKIE_KEY,
    COOKIE_KEYS,
    DATAGRAM_RULE,
    LATCH,
    LATCH_FIELDS,
    PROOF_BYTES,
    REAL_SERVER,
    SETTINGS,
    STEERING,
    STRAY_BUDGET,
    TRAFFIC,
    VERSION,
    InterfaceFlags,
    RealServerFlags,
    datagram_place_bits,
    flow,
    front_door_key,
    layout_hash,
    tcp_states,
)
from appliance.ipc.session_record import RECORD_BYTES, SessionRecord, decode, encode
from appliance.ipc.stray_rule import StrayRule
from appliance.model.lane_counters import LANE_COUNTERS
from appliance.model.syn_cookie import key_state
from appliance.wire.flow import destination_of, source_of

CLIENTS, SERVERS = "clients0", "servers0"
"""The interfaces of both sides."""

CARRIED, DROPPED, UP = 7, 2, -1
"""What the program may say: TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC."""

ETHERNET_BYTES = 14
_SKB_BYTES = 192
_IFINDEX, _GSO_SEGS, _GSO_SIZE = 40, 164, 176
"""Places in `struct __sk_buff`."""


class Port(NamedTuple):
    """An interface: its number, and its hardware address."""

    number: int
    hardware: bytes


class Judged(NamedTuple):
    """What became of a packet."""

    verdict: int
    raw: bytes
    """The IP packet afterwards."""
    counted: dict[str, int]
    """By how much each counter moved, when it did."""
    traffic: dict[int, tuple[int, int]]
    """By slot * 2 + direction, packets and bytes that were counted."""


class Lane:
    """The program, loaded; `ports` are the interface of the clients and that of the real servers."""

    def __init__(self, file: Path, ports: tuple[Port, Port], *, entries: int, real_servers: int) -> None:
        sizes = {"sessions": entries, "flows": 2 * entries, "changed": entries // CHANGED_PAGE_BYTES}
        sizes |= {"homes": entries, "lines": pools_of(entries) * LINES_OF_POOL}
        self._loaded = bpf.load(file, sizes | {"real_servers": real_servers, "traffic": 2 * real_servers})
        self._maps = self._loaded.maps
        self.ports = ports
        self.entries, self._real_servers = entries, real_servers
        self.records = memoryview(self._maps["sessions"].mapped())
        self.changed = memoryview(self._maps["changed"].mapped())
        self.rings = memoryview(self._maps["rings"].mapped())
        self.homes, self.lines = memoryview(self._maps["homes"].mapped()), memoryview(self._maps["lines"].mapped())
        self.outside = memoryview(self._maps["outside"].mapped())
        self.remembered = memoryview(self._maps["remembered"].mapped())
        self.lookup_tables = memoryview(self._maps["lookup_tables"].mapped())
        self.latches = memoryview(self._maps["latches"].mapped())
        self._settings = memoryview(self._maps["settings"].mapped())
        self._real_server_memory = memoryview(self._maps["real_servers"].mapped())
        self._maps["tcp_states"].update(pack("<I", 0), tcp_states())
        for port, side in zip(ports, (InterfaceFlags.CLIENTS, InterfaceFlags.REAL_SERVERS), strict=True):
            self._maps["interfaces"].update(pack("<I", port.number), bytes((side,)))
        self.set()
        for slot in range(real_servers):
            self.set_real_server(slot)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loaded.close()

    def set(
        self,
        *,
        is_open: int = 1,
        toa: int = 1,
        toa_kind: int = 254,
        mss_adjust: int = 1,
        storm_threshold: int = 10,
        storm_interval_ns: int = 500_000_000,
        generation: int = 0,
        timestamp_remove: int = 1,
    ) -> None:
        """Write the settings."""
        self._settings[: SETTINGS.size] = SETTINGS.pack(
            VERSION, self.entries, layout_hash(), is_open, toa, toa_kind, mss_adjust, storm_threshold, storm_interval_ns,
            generation, timestamp_remove, b"",
        )  # fmt: skip

    def set_real_server(self, slot: int, mtu: int = 1500, flags: RealServerFlags = RealServerFlags(0)) -> None:  # noqa: B008
        """Write what is known of a real server."""
        start = slot * REAL_SERVER.size
        self._real_server_memory[start : start + REAL_SERVER.size] = REAL_SERVER.pack(mtu, flags)

    def set_front_door(self, vip: bytes, door: FrontDoor | None) -> None:
        """Have SYNs to this endpoint answered in this way, or not answered."""
        self._set_of_service("front_doors", vip, door)

    def set_stray_rule(self, vip: bytes, rule: StrayRule | None) -> None:
        """Have packets of no session to this endpoint judged in this way, or not judged."""
        self._set_of_service("stray_rules", vip, rule)

    def set_datagram_rule(self, vip: bytes, prefix_bits: int | None, shards: int = 1) -> None:
        """Have datagrams to this endpoint dropped whose networks are refused, by prefixes of this length; or none."""
        key = front_door_key(vip[:4], int.from_bytes(vip[4:], "big"))
        if prefix_bits is None:
            self._maps["datagram_rules"].delete(key)
        else:
            mask = (0xFFFFFFFF << 32 - prefix_bits & 0xFFFFFFFF).to_bytes(4, "big")
            self._maps["datagram_rules"].update(key, DATAGRAM_RULE.pack(mask, datagram_place_bits(shards)))

    def refused_sources(self) -> dict[bytes, bytes]:
        """Networks that are refused."""
        return dict(self._maps["refused_sources"].items())

    def forget_refused_sources(self) -> None:
        """Refuse none of them any more."""
        self._maps["refused_sources"].delete_all(list(self.refused_sources()))

    def set_stray_budget(self, window: int, spent: int, spent_on_syns: int) -> None:
        """Have so much gone up in a window, on each CPU."""
        self._maps["stray_budget"].update(bytes(4), STRAY_BUDGET.pack(window, spent, spent_on_syns) * bpf.possible_cpus())

    def stray_budgets(self) -> list[tuple[int, ...]]:
        """Those of all CPUs."""
        value = self._maps["stray_budget"].lookup(bytes(4))
        assert value is not None
        return list(STRAY_BUDGET.iter_unpack(value))

    def _set_of_service(self, name: str, vip: bytes, value: FrontDoor | StrayRule | None) -> None:
        key = front_door_key(vip[:4], int.from_bytes(vip[4:], "big"))
        if value is None:
            self._maps[name].delete(key)
        else:
            self._maps[name].update(key, value.pack())

    def known_clients(self) -> list[bytes]:
        """Clients whose packets go up."""
        return [key for key, _ in self._maps["known_clients"].items()]

    def forget_known_clients(self) -> None:
        """Know none of them any more."""
        self._maps["known_clients"].delete_all(self.known_clients())

    def set_cookie_key(self, secret: bytes, epoch: int) -> None:
        """Write the key of an epoch of a gateway with this secret."""
        self._maps["cookie_keys"].update(pack("<I", epoch % COOKIE_KEYS), COOKIE_KEY.pack(epoch + 1, *key_state(secret, epoch)))

    def forget_cookie_keys(self) -> None:
        """Leave the program without any key."""
        for place in range(COOKIE_KEYS):
            self._maps["cookie_keys"].update(pack("<I", place), bytes(COOKIE_KEY.size))

    def worker_fds(self) -> tuple[int, ...]:
        """The descriptors that a worker gets."""
        return tuple(self._maps[name].fd for name in OF_WORKERS)

    def set_steering(self, hash_seed: int, shard_table: bytes) -> None:
        """Write whose packets are whose."""
        self._maps["steering"].update(pack("<I", 0), STEERING.pack(hash_seed, max(shard_table) + 1, shard_table))

    def set_admissions(self, vip: bytes, first_ring: int | None) -> None:
        """Have SYNs to this endpoint opened by what is in the rings from this one on, or by nothing."""
        key = front_door_key(vip[:4], int.from_bytes(vip[4:], "big"))
        if first_ring is None:
            self._maps["admissions"].delete(key)
        else:
            self._maps["admissions"].update(key, pack("<I", first_ring))

    def set_flow(self, key: bytes, value: int) -> None:
        """Have a flow lead to this entry and direction."""
        self._maps["flows"].update(key, pack("<I", value))

    def set_latch(
        self, number: int, *, is_open: bool, is_kept: bool = False, cookies_until: float = 0.0, last_cookie: float = 0.0
    ) -> None:
        """Write a latch, at which no cookie was counted. Times are in seconds of the monotonic clock."""
        times = (int(1_000_000_000 * cookies_until), int(1_000_000_000 * last_cookie))
        LATCH.pack_into(self.latches, number * LATCH.size, 0, is_open, is_kept, *times, b"")

    def latch(self, number: int) -> dict[str, int]:
        """A latch, by the names of its fields."""
        values = LATCH.unpack_from(self.latches, number * LATCH.size)
        return {name: value for (name, _), value in zip(LATCH_FIELDS, values, strict=True) if isinstance(value, int)}

    def set_proven(self, vip: bytes, first_ring: int | None) -> None:
        """The same for clients that return a right cookie."""
        key = front_door_key(vip[:4], int.from_bytes(vip[4:], "big"))
        if first_ring is None:
            self._maps["proven"].delete(key)
        else:
            self._maps["proven"].update(key, pack("<I", first_ring))

    def proofs(self) -> dict[int, bytes]:
        """By entry: the packets that wait for real servers."""
        return {int.from_bytes(key, "little"): value for key, value in self._maps["proofs"].items()}

    def fill_proofs(self, entries: range) -> None:
        """Have a packet wait for each of these entries."""
        self._maps["proofs"].update_all({pack("<I", entry): bytes(PROOF_BYTES) for entry in entries})

    def offer(self, ring: int, entry: int) -> None:
        """Have just this entry handed out by a ring."""
        fields: dict[str, int | bytes] = {name: 0 if code in "IQ" else b"" for name, code in RING_FIELDS}
        fields |= {"tail": 1, "is_open": 1, "tickets": pack("<I", entry)}
        RING.pack_into(self.rings, ring * RING.size, *fields.values())

    def cookies_at(self, number: int) -> int:
        """How many cookies were counted at a latch since it was written."""
        return int(LATCH.unpack_from(self.latches, number * LATCH.size)[0])

    def offer_void_tickets(self, rings: int) -> None:
        """Have one ticket in each of so many rings, which comes to nothing."""
        for ring in range(rings):
            fields: dict[str, int | bytes] = {name: 0 if code in "IQ" else b"" for name, code in RING_FIELDS}
            fields |= {"tail": 1, "is_open": 1, "tickets": pack("<I", VOID_TICKET)}
            RING.pack_into(self.rings, ring * RING.size, *fields.values())

    def taken(self, ring: int) -> int:
        """How many tickets of a ring were taken since it was written."""
        return int(RING.unpack_from(self.rings, ring * RING.size)[0])

    def put_only(self, raw: bytes) -> int:
        """Let the program judge a client's IP packet, and say no more than its verdict: several threads may do so at once."""
        return self.pass_on(raw, 0)[0]

    def pass_on(self, raw: bytes, direction: int) -> tuple[int, bytes]:
        """Let the program judge an IP packet of this direction: its verdict, and the packet afterwards. Several threads may do so
        at once."""
        context = bytearray(_SKB_BYTES)
        pack_into("<I", context, _IFINDEX, self.ports[direction].number)
        frame = self.ports[direction].hardware + b"\x02\0\0\0\0\x01" + b"\x08\x00" + raw
        verdict, frame_after, _ = self._loaded.program.test_run(frame, bytes(context))
        return verdict, frame_after[ETHERNET_BYTES:]

    def clear(self) -> None:
        """Forget all sessions, those outside as well, what was prepared, what went up of strays in this window of time, and who
        was remembered."""
        self._maps["stray_budget"].update(bytes(4), bytes(STRAY_BUDGET.size * bpf.possible_cpus()))
        self.outside[:] = bytes(len(self.outside))
        for of_admissions in (self.rings, self.homes, self.lines, self.remembered, self.lookup_tables):
            of_admissions[:] = bytes(len(of_admissions))
        self._maps["flows"].delete_all([key for key, _ in self._maps["flows"].items()])
        self.records[:] = bytes(len(self.records))
        self._maps["proofs"].delete_all([pack("<I", entry) for entry in self.proofs()])
        self.changed[:] = bytes(len(self.changed))

    def insert(self, entry: int, record: SessionRecord) -> None:
        """Publish a session: its record, and its flows of both directions."""
        self.write(entry, encode(record))
        client, vip, local, real_server = (
            end.address + end.port.to_bytes(2, "big") for end in (record.client, record.vip, record.local, record.real_server)
        )
        for direction, (source, destination) in enumerate(((client, vip), (real_server, local))):
            key = flow(record.family, record.protocol, source, destination)
            self._maps["flows"].update(key, pack("<I", entry * 2 + direction))

    def write(self, entry: int, data: bytes) -> None:
        """Overwrite a record."""
        self.records[entry * RECORD_BYTES : (entry + 1) * RECORD_BYTES] = data

    def bytes_of(self, entry: int) -> bytes:
        """A record as it is in memory."""
        return bytes(self.records[entry * RECORD_BYTES : (entry + 1) * RECORD_BYTES])

    def record(self, entry: int) -> SessionRecord:
        """A record."""
        return decode(self.bytes_of(entry))

    def put(
        self,
        raw: bytes,
        direction: int,
        *,
        gso_size: int = 0,
        padding: bytes = b"",
        port: Port | None = None,
        mac: bytes = b"",
        repeat: int = 1,
    ) -> Judged:
        """Let the program judge an IP packet that comes in at the interface of the direction's sender, or at `port`.

        `mac` overrides the hardware address that it is sent to; `padding` lies behind it in its frame; with `gso_size` it is
        several segments in one, of so many bytes of data. With `repeat` it comes so often, in one go.
        """
        port = port or self.ports[direction]
        frame = (mac or port.hardware) + b"\x02\0\0\0\0\x01" + b"\x08\x00" + raw + padding
        context = bytearray(_SKB_BYTES)
        pack_into("<I", context, _IFINDEX, port.number)
        pack_into("<I", context, _GSO_SIZE, gso_size)
        before, traffic_before = self.counts(), self.traffic()
        verdict, frame_after, _ = self._loaded.program.test_run(frame, bytes(context), repeat=repeat, room=2048)
        counted = {name: after - before[name] for name, after in self.counts().items() if after != before[name]}
        traffic = {
            key: (packets - traffic_before[key][0], octets - traffic_before[key][1])
            for key, (packets, octets) in enumerate(self.traffic())
            if (packets, octets) != traffic_before[key]
        }
        return Judged(verdict, frame_after[ETHERNET_BYTES:], counted, traffic)

    def counts(self) -> dict[str, int]:
        """All counters."""
        totals = (sum(int.from_bytes(number, "little") for number in numbers) for numbers in self._numbers("counts"))
        return {counter.name: total for counter, total in zip(LANE_COUNTERS, totals, strict=True)}

    def traffic(self) -> list[tuple[int, int]]:
        """Packets and bytes of each slot and direction."""
        pairs = ([TRAFFIC.unpack(value) for value in values] for values in self._numbers("traffic"))
        return [(sum(packets for packets, _ in each), sum(octets for _, octets in each)) for each in pairs]

    def _numbers(self, name: str) -> list[list[bytes]]:
        """The values of all CPUs for each key of a map, in their order."""
        numbers = self._maps[name]
        return [numbers.of_cpus(values) for _, values in numbers.items(numbers.entries)]


def ends_of(key: bytes) -> tuple[bytes, bytes]:
    """Source and destination of a flow, six bytes each."""
    return source_of(key), destination_of(key)


def one_hop_less(raw: bytes) -> bytes:
    """A packet as the kernel forwards it, by the arithmetic of RFC 1624."""
    check = int.from_bytes(raw[10:12], "big") + 0x100
    check = (check & 0xFFFF) + (check >> 16)
    return raw[:8] + bytes((raw[8] - 1, raw[9])) + check.to_bytes(2, "big") + raw[12:]


def with_one_zero(raw: bytes) -> bytes:
    """Both checksums in one form: ones' complement has two of zero, and either is right."""
    for start in (10, 36):
        if raw[start : start + 2] == b"\xff\xff":
            raw = raw[:start] + b"\0\0" + raw[start + 2 :]
    return raw
