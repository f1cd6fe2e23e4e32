"""What the traffic of a session says against its real server: it refuses the session, or does not answer its SYN.

One session counts once. Only what the real server does counts, or does not do: a client that is never heard of again, as a forged
one is, says nothing. A client can have its SYN thrown away between here and the real server's socket, by its TTL, its size or its
options, and no real server is to blame for the silence that follows; so a SYN that is not as hosts send it says nothing either.
"""

from appliance.model.counters import REFUSED_CONNS, UNANSWERED_CONNS
from appliance.state.by_state import HALF_OPEN, ORDER_OF_STATE
from appliance.state.session import Session
from appliance.wire.layout import SYN, TIME_TO_LIVE
from appliance.wire.options import MSS, SACK_PERMITTED, TIMESTAMP, WINDOW_SCALE, walk
from appliance.wire.segment import Segment

SILENCE_S = 0.9
"""How long a SYN must have been without an answer when its client sends it again: hosts do that after a second."""

_LEAST_TTL = 32
"""Hosts begin with 64 or more, and a real server is only a few hops away."""

_USUAL_OPTIONS = frozenset((MSS, WINDOW_SCALE, SACK_PERMITTED, TIMESTAMP))
_RESERVED_BITS = 0x0F00


def note_refusal(session: Session) -> None:
    """The real server has refused the session: by RST to its SYN, or by an ICMP error."""
    opening = session.opening
    if opening is None or not opening.is_held_against:
        session.counts[REFUSED_CONNS] += 1
        if opening is not None:
            opening.is_held_against = True


def note_silence(session: Session, now: float) -> None:
    """The time for an answer to the SYN of the session is over, or its client asks again: count it, if there was none."""
    opening = session.opening
    if opening is None or opening.syn is None or opening.stale_answers or opening.is_held_against:
        return
    is_half_open = ORDER_OF_STATE[session.state] == HALF_OPEN
    if is_half_open and now - session.since >= SILENCE_S and _is_usual(opening.syn, opening.client_option):
        session.counts[UNANSWERED_CONNS] += 1
        opening.is_held_against = True


def _is_usual(syn: bytes, client_option: bytes) -> bool:
    """Whether a SYN, as its real server was sent it, is as hosts send it. `client_option` is the one of ours."""
    segment = Segment.parse(syn)
    if segment.flags != SYN or segment.offset_flags & _RESERVED_BITS or segment.payload_bytes or syn[TIME_TO_LIVE] < _LEAST_TTL:
        return False
    usual = {*_USUAL_OPTIONS, *client_option[:1]}
    return all(kind in usual for kind, _, _ in walk(segment.options))
