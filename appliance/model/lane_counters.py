"""Counters of the lane: what the kernel's program did with packets of sessions, and why others went up to Python."""

from typing import NamedTuple


class LaneCounter(NamedTuple):
    """One counter. Its place in LANE_COUNTERS is its key in the kernel's map."""

    name: str
    meaning: str


LANE_COUNTERS: tuple[LaneCounter, ...] = (
    LaneCounter("carried", "packets carried by the lane, with their new headers"),
    LaneCounter("up_no_session", "packets of no session in the lane: new ones, and everything that is not of a service"),
    LaneCounter("up_held", "packets of a session that Python has at this moment"),
    LaneCounter("up_closed", "packets that came while the lane was closed, or of a service that is not carried"),
    LaneCounter("up_side", "packets of a session that came from the wrong side of the gateway"),
    LaneCounter("up_ip", "packets with IP options, fragments, or with a length that does not fit"),
    LaneCounter("up_ttl", "packets whose time to live is used up"),
    LaneCounter("up_flags", "packets with SYN or RST, or with flags that make no sense together"),
    LaneCounter("up_options", "packets with TCP options in an unusual order"),
    LaneCounter("up_numbers", "packets whose sequence or acknowledgement number does not fit the session"),
    LaneCounter("up_checksum", "packets whose checksum is wrong, or was not looked at by anybody, where it matters"),
    LaneCounter("up_answer", "answers to a SYN that are not the usual one"),
    LaneCounter("up_closing", "packets of a session that closes, behind SYN cookies"),
    LaneCounter("up_removed", "packets for a real server that was removed"),
    LaneCounter("up_route", "packets for which the kernel's route says no, or that are too big for it"),
    LaneCounter("up_segments", "packets of several segments that need the client-address option or end a stream, or of UDP"),
    LaneCounter("up_race", "packets that met another one of the same session on another CPU"),
    LaneCounter("up_room", "packets that could not be made longer"),
    LaneCounter("option_added", "packets to which the client-address option was added"),
    LaneCounter("option_no_room", "packets that needed the client-address option and had no room for it"),
    LaneCounter("storm", "acknowledgements of a real server that were dropped because they came again and again"),
    LaneCounter("cookie_sent", "SYNs answered with a SYN cookie by the kernel"),
    LaneCounter("up_key", "SYNs that the kernel would have answered, had it known the key of the SYN cookies of this hour"),
    LaneCounter("opened", "SYNs that opened a session by a prepared admission"),
    LaneCounter("endpoint_reused", "the same with an endpoint that the kernel has used again by itself"),
    LaneCounter("up_empty", "SYNs and returned SYN cookies for which no prepared admission was ready"),
    LaneCounter(
        "up_new_client",
        "SYNs and returned SYN cookies of clients that persistence does not remember, or whose real server gets no new sessions",
    ),
    LaneCounter("up_syn", "SYNs for a service with prepared admissions that are not as hosts send them"),
    LaneCounter("bad_cookie", "packets of no session that return no valid SYN cookie, dropped by the kernel"),
    LaneCounter("null_cookie_ack", "packets of no session without the data for which their service waits, dropped by the kernel"),
    LaneCounter("stray", "packets of no session to a service of TCP that open none, dropped by the kernel"),
    LaneCounter("bad_flags", "the same with flags that no host sends together, dropped by the kernel"),
    LaneCounter(
        "source_limit",
        "datagrams that would open a session, of source networks that have all they may have, dropped by the kernel",
    ),
    LaneCounter("proven", "packets that returned a valid SYN cookie and opened a session by a prepared admission"),
    LaneCounter("joined", "answers of real servers that the kernel joined with a client that had returned a SYN cookie"),
    LaneCounter("up_proof", "packets that returned a valid SYN cookie and are not as hosts send them, or too large to wait"),
    LaneCounter("up_proofs", "packets that returned a valid SYN cookie while too many waited for the answers of real servers"),
    LaneCounter(
        "syn_again",
        "SYNs on half-open sessions that were too many while their clients get SYN cookies, dropped by the kernel",
    ),
    LaneCounter("client_returned", "SYNs of clients whose endpoint from before rested: it goes on resting, without its client"),
)

LANE_COUNTER_PLACE = {counter.name: place for place, counter in enumerate(LANE_COUNTERS)}
"""By name: the key in the kernel's map."""
