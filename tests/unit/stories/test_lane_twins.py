"""One story told twice: to a shard alone, and to a shard whose kernel carries any of the packets. Nobody can tell them apart.

Which packets the kernel carries, and when the shard looks at what the kernel has moved, is chosen at random. Every packet that
leaves has to be the same, byte for byte, and in the end every session.
"""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from appliance.state.session import Session
from appliance.wire.flow import destination_of, source_of
from appliance.wire.seq import add
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.lane_maps import FakeMaps, check_lane
from tests.support.segments import tcp, udp
from tests.support.shard_invariants import check_sessions, sessions_of
from tests.support.tcp_options import LINUX_SYN, MSS_1460, SACK_PERMITTED, TIMESTAMP, WSCALE_7, sack
from tests.support.world import World, plan

CLIENTS = 2
FLAGS = ("A", "PA", "FA", "A", "PA", "R", "RA", "S", "SA", "FPA", "UA")
OPTIONS = (b"", b"", b"\1\1" + TIMESTAMP, sack(R0 + 20, R0 + 30), MSS_1460)
OFFSETS = (0, 0, 0, 0, -1, 1, 5, -70_000, 300)


class Step(NamedTuple):
    """One packet, or a while in which none comes."""

    client: int
    by_client: bool
    flags: str
    seq_off: int
    ack_off: int
    data: bytes
    options: bytes
    window: int
    is_carried: bool
    looks: bool
    wait_s: float


STEPS = st.builds(
    Step,
    st.integers(0, CLIENTS - 1),
    st.booleans(),
    st.sampled_from(FLAGS),
    st.sampled_from(OFFSETS),
    st.sampled_from(OFFSETS),
    st.sampled_from((b"", b"x", b"twenty bytes of data", b"odd")),
    st.sampled_from(OPTIONS),
    st.sampled_from((64_240, 501, 0, 65_535)),
    st.booleans(),
    st.booleans(),
    st.sampled_from((0.0, 0.0, 0.0, 0.05, 0.3, 3.1)),
)


class Ends:
    """What a client and its real server have sent, as the client counts (the real server's numbers moved by `isn`)."""

    def __init__(self, number: int) -> None:
        self.address = CLIENT[:4] + (40_000 + number).to_bytes(2, "big")
        self.client_next, self.rs_next = C0 + 1, R0 + 1
        self.rs: bytes = b""
        self.local: bytes = b""
        self.isn = 0
        self.cookie = R0

    def packet(self, step: Step) -> bytes:
        """The packet of a step, which is remembered as sent when it is in order."""
        in_order = step.seq_off == 0 and "R" not in step.flags and "S" not in step.flags
        advance = (len(step.data) + ("F" in step.flags)) * in_order
        rest = {"data": step.data, "options": step.options, "window": step.window}
        if step.by_client:
            seq, ack = self.client_next + step.seq_off, self.rs_next + step.ack_off + self.cookie - R0
            self.client_next += advance
            return tcp(self.address, VIP, step.flags, seq=seq % 2**32, ack=ack % 2**32, **rest)  # type: ignore[arg-type]
        seq, ack = self.rs_next + step.seq_off, self.isn + self.client_next - C0 + step.ack_off
        self.rs_next += advance
        return tcp(self.rs, self.local, step.flags, seq=seq % 2**32, ack=ack % 2**32, **rest)  # type: ignore[arg-type]


class Twins:
    """The two worlds, which get the same packets at the same times."""

    def __init__(self, synproxy: str) -> None:
        scene = plan(weights=(1, 1), with_udp=True, synproxy=synproxy)
        tunables = {
            "synproxy_defer": 0,
            "synproxy_ack_storm_thresh": 0,
            "tcp_timeout_established": 5_000,
            "tcp_timeout_close": 2_000,
        }
        self.alone, self.lane = World(scene, **tunables), World(scene, FakeMaps(1024), **tunables)
        self.is_proxied = synproxy == "always"

    def put(self, raw: bytes, *, is_carried: bool = True) -> list[bytes]:
        """What comes of a packet, which has to be the same in both."""
        self.lane.carries = lambda: is_carried
        verdicts = self.alone.put(raw), self.lane.put(raw)
        told = "\n".join((*self.alone.transcript, "---", *self.lane.transcript))
        assert verdicts[0] is verdicts[1], told
        sent = [list(world._on_the_wire) for world in (self.alone, self.lane)]
        assert sent[0] == sent[1], told
        for world in (self.alone, self.lane):
            world._on_the_wire.clear()
        return sent[0]

    def sleep(self, seconds: float) -> None:
        """Time passes for both."""
        for world in (self.alone, self.lane):
            world.now = round(world.now + seconds, 9)
            world.reconcile()
            while world.shard.on_tick(world.now, 10):
                pass
            world._collect_segments()
        sent = [sorted(world._on_the_wire) for world in (self.alone, self.lane)]
        assert sent[0] == sent[1], "\n".join((*self.alone.transcript, "---", *self.lane.transcript))
        for world in (self.alone, self.lane):
            world._on_the_wire.clear()

    def open(self, ends: Ends) -> None:
        """Begin a connection."""
        raw = self.put(tcp(ends.address, VIP, "S", seq=C0, options=LINUX_SYN))[0]
        if self.is_proxied:
            ends.cookie = int.from_bytes(raw[24:28], "big")
            raw = self.put(tcp(ends.address, VIP, "A", seq=C0 + 1, ack=ends.cookie + 1))[0]
        ends.local, ends.rs = source_of(raw[12:24]), destination_of(raw[12:24])
        ends.isn = int.from_bytes(raw[24:28], "big")

    def answer(self, ends: Ends, *, is_carried: bool) -> None:
        """The real server accepts."""
        options = MSS_1460 + SACK_PERMITTED + WSCALE_7 + b"\1\1\1"
        self.put(tcp(ends.rs, ends.local, "SA", seq=R0, ack=add(ends.isn, 1), options=options), is_carried=is_carried)

    def compare(self) -> None:
        """Every session is the same in both."""
        self.lane.reconcile()
        check_lane(self.lane.inside.lane, self.lane.maps, sessions_of(self.lane.inside))
        check_sessions(self.lane, are_settled=True)
        found = [{session.client_key: known(session) for session in sessions_of(w.inside)} for w in (self.alone, self.lane)]
        assert found[0] == found[1], "\n".join((*self.alone.transcript, "---", *self.lane.transcript))
        assert self.alone.inside.by_state.counts == self.lane.inside.by_state.counts
        option = [world.shared.table(0, "ext").tolist() for world in (self.alone, self.lane)]
        assert option[0] == [mine + carried for mine, carried in zip(option[1], self.lane.kernel.option_counts(), strict=True)]


def known(session: Session) -> tuple[object, ...]:
    """All that is known of a session; deadlines by the microsecond."""
    opening, challenge = session.opening, session.challenge
    return (
        session.records, session.words.tolist(), session.state, session.first_table, session.cookie, session.late_fin,
        opening and (opening.rs_first_seq, opening.syn is None, opening.stale_answers), challenge and challenge.ack,
        round(session.deadline, 6), session.is_unconfirmed,
    )  # fmt: skip


def tell(twins: Twins, steps: list[Step], answered: list[bool]) -> None:
    """Tell a story to both, and compare what they make of it."""
    both = [Ends(number) for number in range(CLIENTS)]
    for ends, is_carried in zip(both, answered, strict=True):
        twins.open(ends)
        twins.answer(ends, is_carried=is_carried)
    for step in steps:
        twins.put(both[step.client].packet(step), is_carried=step.is_carried)
        if step.looks:
            twins.lane.reconcile()
        if step.wait_s:
            twins.sleep(step.wait_s)
    for session in sessions_of(twins.lane.inside):
        twins.lane.inside.lane.refresh(session)
    twins.compare()


ANSWERED = st.lists(st.booleans(), min_size=CLIENTS, max_size=CLIENTS)


@given(st.lists(STEPS, max_size=25), ANSWERED)
def test_a_plain_session_is_the_same_whoever_carries_its_packets(steps: list[Step], answered: list[bool]) -> None:
    tell(Twins("never"), steps, answered)


@given(st.lists(STEPS, max_size=25), ANSWERED)
def test_a_proxied_session_is_the_same_whoever_carries_its_packets(steps: list[Step], answered: list[bool]) -> None:
    tell(Twins("always"), steps, answered)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from((0.0, 0.3, 40.0, 301.0))), max_size=25))
def test_a_udp_session_is_the_same_whoever_carries_its_packets(steps: list[tuple[bool, bool, float]]) -> None:
    twins = Twins("never")
    there = b""
    for by_client, is_carried, wait_s in steps:
        if by_client or not there:
            sent = twins.put(udp(CLIENT, VIP, b"question"), is_carried=is_carried)
            there = sent[0][12:24]
        else:
            twins.put(udp(destination_of(there), source_of(there), b"answer"), is_carried=is_carried)
        if wait_s:
            twins.sleep(wait_s)
    for session in sessions_of(twins.lane.inside):
        twins.lane.inside.lane.refresh(session)
    twins.compare()
