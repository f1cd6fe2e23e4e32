"""Proxied sessions that the kernel has opened, and whose real servers have not answered: how Python goes on with one.

The kernel has asked the real server, and joins both ends when the usual answer comes (`bpf/join.h`). The packet by which the
client has returned its cookie waits for that in the map `proofs`, and whoever takes it out goes on with the session. Python does
so when it has to know of the session: when anything else comes of it, when the answer takes long, or when a worker is new. From
then on it is as one whose real server Python has asked itself (`proxy.synproxy`), but that it keeps its entry, and what comes
finds it there.
"""

from typing import Protocol

from appliance.ipc.syn_options import syn_options_in
from appliance.model.syn_offer import SynOffer
from appliance.model.tcp_state import TcpState
from appliance.nat.fullnat import shifted
from appliance.nat.opening import syn_of_kernel
from appliance.sessions.lane import Lane
from appliance.sessions.lane_maps import LaneMaps
from appliance.state.lane_entry import CELLS, HELD_CELL, state_in, write_record
from appliance.state.live_tunables import LiveTunables
from appliance.state.session import MS_PER_S, Session
from appliance.state.session_phases import Handshake
from appliance.wire.options import MSS, SACK_PERMITTED, WINDOW_SCALE, walk
from appliance.wire.segment import Segment

_SYN_SENT = int(TcpState.SYN_SENT)


class Owner(Protocol):
    """What is needed of the sessions of a shard."""

    lane: Lane
    tunables: LiveTunables

    def wait(self, session: Session, until: float) -> None:
        """Set the deadline of a session."""


def claim(maps: LaneMaps, entry: int, *, waits: bool = True) -> bytes | None:
    """The packet that waits for the real server of the session of an entry: Python goes on with it. None for all other sessions,
    and for one that the kernel has just joined; with `waits` it has done so when this returns."""
    cells = maps.records.cast("I")
    if state_in(cells, entry) != _SYN_SENT:
        return None
    proof = maps.take_proof(entry)
    if proof is None and waits:
        maps.wait_until(lambda: state_in(cells, entry) != _SYN_SENT)
    return proof


def await_answer(session: Session, proof: bytes, owner: Owner) -> None:
    """Wait for the answer of the real server of a session that has an entry and is in its table; `proof` is what `claim` gave."""
    lane, tunables = owner.lane, owner.tunables
    if session.entry is not None:
        lane.maps.records.cast("I")[session.entry * CELLS + HELD_CELL] = 1  # all its packets come up
    if session.state != _SYN_SENT:
        session.enter(_SYN_SENT)
    opening, options = session.opening, syn_options_in(lane.maps.records, session.entry or 0)
    if opening is None:
        return
    handshake = opening.handshake = Handshake(_offer_in(options))
    handshake.held.append(proof)
    opening.syn = syn_of_kernel(session, options, tunables, shifted(Segment.parse(proof).window, handshake.offer.scale or 0))
    session.settle()
    owner.wait(session, session.opened_ms / MS_PER_S + wait_for_answer_s(handshake, tunables))


def carry_on(session: Session, lane: Lane) -> None:
    """Let the kernel go on with a session that was joined; with one that has an entry, from the next `release_held` on."""
    if session.entry is None:
        lane.open(session)
    else:
        write_record(session, lane.maps.records, session.entry, is_held=True, last_seen_ns=0)


def wait_for_answer_s(handshake: Handshake, tunables: LiveTunables) -> float:
    """How long to wait for an answer to the last SYN: without any retransmission, for as long as the state may last."""
    longest_s = tunables.timeouts_s[_SYN_SENT]
    return min(handshake.wait_s, longest_s) if tunables.syn_retries else longest_s


def _offer_in(options: bytes) -> SynOffer:
    """What a client offered, by the SYN that the kernel made of it."""
    found = {kind: int.from_bytes(options[start + 2 : start + length], "big") for kind, start, length in walk(options)}
    return SynOffer(found.get(MSS, 0), found.get(WINDOW_SCALE), SACK_PERMITTED in found)
