"""What the maps of prepared admissions hold (`ipc.lane_layout`): rings of tickets, and pools of endpoints that go round."""

from struct import Struct

from appliance.ipc.fields import offsets

RINGS = 1024
"""Rings of prepared admissions, for all services and shards together."""

RING_PLACES = 512
"""Tickets of a ring, at most: those of some twenty milliseconds of a busy service."""

SCHEDULE_PLACES = 4096
"""Places of a schedule, at most: as many as `sh` has buckets."""

LOOKUP_TABLES = 64
"""Tables by which clients find their place in a schedule, for all services and shards together."""

LOOKUP_PLACES = 65_544
"""Places of such a table, at most: room for the usual one of `mh`."""

MOST_TURNS = 256
"""Places of one that is gone through by turns, at most. It begins again behind its last one."""

STEPS = 512
"""Steps that are there at once: so many turns may be taken between two looks of a shard, at most."""

STEP_BITS = 30
"""Of a step: how far the number of the next connection lies beyond the last one. The two bits above them choose a line."""

RING_FIELDS: tuple[tuple[str, str], ...] = (
    ("head", "Q"),
    ("busy", "I"),
    ("head_reserved", "52s"),
    ("tail", "Q"),
    ("is_open", "I"),
    ("generation", "I"),
    ("first_slot", "I"),
    ("lookup", "I"),
    ("lookup_length", "I"),
    ("tail_reserved", "36s"),
    ("turn", "Q"),
    ("turn_reserved", "56s"),
    ("turn_limit", "Q"),
    ("schedule_length", "I"),
    ("by_client", "I"),
    ("hash_state", "32s"),
    ("for_proofs", "I"),
    ("client_service", "I"),
    ("client_mask", "I"),
    ("client_lasts_ms", "I"),
    ("tickets", f"{4 * RING_PLACES}s"),
    ("schedule", f"{2 * SCHEDULE_PLACES}s"),
    ("steps", f"{4 * STEPS}s"),
)
"""A ring of prepared admissions of one service in one shard. The ticket with the number n is an entry, four bytes, at the place n
modulo RING_PLACES; the record there has version 0 still. Those from `head` up to `tail` are ready. The kernel takes the one at
`head` by compare-and-swap, so each is taken once, and makes the record that of a session, or writes VOID_TICKET at its place.

`busy` counts the programs that are between the two. A program that finds `is_open` 0 afterwards takes nothing. So whoever has
written 0 there and then sees `busy` 0 knows that no ticket is taken any more, and what became of each that was. Nor is one taken
while `generation` is behind that of the settings: tunables have changed, and the shard has not prepared anything by them yet.

Before the kernel takes a ticket it looks for an endpoint that it can use again by itself, see LINE_FIELDS. Whose turn it is, the
schedule says: a pool for each of `schedule_length` places, two bytes each; 0 places are none. The turn with the number n has the
place n modulo that length, and the step n modulo STEPS. A turn is taken by compare-and-swap, and only below `turn_limit`.

While `for_proofs` is not 0, all that is here is for clients that return a SYN cookie, and no SYN takes anything.

With `by_client` the place is that of the client, whoever's turn it is. BY_ADDRESS: the hash of the address, 8 bytes of BLAKE2s as
a number in network order, modulo the length. `hash_state` is the state of that hash before the address (`model.blake2s`).
BY_LOOKUP: the place stands in the LOOKUP with the number `lookup`, where that hash modulo `lookup_length` leads.
BY_PERSISTENCE: the slot of the real server that is remembered for the client, less `first_slot`; where nobody there may get new
sessions, NO_POOL stands. `ipc.persistence_table` says where clients are remembered, and `hash_state` is that of its buckets.
`client_service` is the number of the service there, `client_mask` cuts the network from an address, and with each new session the
client is remembered for `client_lasts_ms` from then on. A client that is not remembered, or whose real server has no place, goes
up."""

BY_ADDRESS, BY_PERSISTENCE, BY_LOOKUP = 1, 2, 3

NO_POOL = 0xFFFF

RING = Struct("<" + "".join(code for _, code in RING_FIELDS))

RING_OFFSETS = offsets(RING_FIELDS)

LOOKUP_FIELDS: tuple[tuple[str, str], ...] = (("places", f"{2 * LOOKUP_PLACES}s"),)
LOOKUP = Struct("<" + "".join(code for _, code in LOOKUP_FIELDS))
"""By the hash of a client: its place in the schedule of a ring, two bytes each. A shard writes in its own tables, and in that of
a ring only while the ring is closed."""

VOID_TICKET = 0xFFFFFFFF
"""In the place of a ticket that was taken and came to nothing."""

LINES_OF_POOL = 4
"""A pool is for one real server of one service in one shard. Which of its lines is next, nobody can tell who does not know the
steps."""

LINE_PLACES = 2048

LINE_FIELDS: tuple[tuple[str, str], ...] = (
    ("head", "Q"),
    ("head_reserved", "56s"),
    ("tail", "Q"),
    ("tail_reserved", "56s"),
    ("places", f"{8 * LINE_PLACES}s"),
)
"""Endpoints whose sessions are over, and that rest until their turn comes. The one with the number n is at the place n modulo
LINE_PLACES: eight bytes, an entry and above it the low 32 bits of n, so a place that is not written yet is known. Who carries the
last packet of a session puts its endpoint behind the others, and holds its record. Who opens a session takes the first one, when
its session was seen last REST_NS ago or longer. A shard that takes one out writes GONE in the place of the entry. It does that,
and puts endpoints there itself, only while the ring is closed."""

LINE = Struct("<" + "".join(code for _, code in LINE_FIELDS))

LINE_OFFSETS = offsets(LINE_FIELDS)

GONE = 0xFFFFFFFF

REST_NS = 250_000_000
"""How long an endpoint rests at least: longer than packets are late, as a rule. It is held meanwhile, so no program is at work
any more on a packet of its session when the next one gets its record: that takes microseconds, unless the host is stopped."""

HOME_FIELDS: tuple[tuple[str, str], ...] = (("pool", "H"), ("ring", "H"), ("place", "I"))
HOME = Struct("<HHI")
"""Of an entry: the pool in which its endpoint gets in line when its session is over, counted from 1, or 0 for none; the ring of
that pool; and where it stands: number of the line * LINE_PLACES + place, or one of the following."""

PLACE_TAKEN, PLACE_VOID = 0xFFFFFFFF, 0xFFFFFFFE
"""In the place of a place: the endpoint was taken and has a session; or it was taken and came to nothing."""

PLACE_OUT, PLACE_LET_GO = 0xFFFFFFFD, 0xFFFFFFFC
"""In the place of a place, for a moment in which programs are busy: the endpoint was taken, and what comes of it is known in a
moment; or it rests, and its client is let go.

The client of a session that is over may open a new one while the endpoint rests. Then the record gets version 0, and the flow of
the client goes; the endpoint keeps its place. Who does that writes PLACE_LET_GO by compare-and-swap before, and the place again
behind it, in the same way. Who takes an endpoint out of a line exchanges its place for PLACE_OUT. When PLACE_LET_GO was there, it
leaves the endpoint alone; and the other one, which does not find its mark any more, makes it void."""

ENTRIES_OF_POOL = 512
"""There is a pool for so many entries."""


def pools_of(entries: int) -> int:
    """How many pools there are."""
    return entries // ENTRIES_OF_POOL
