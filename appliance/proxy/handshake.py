"""The packets of a proxied handshake: the answer to a client's SYN, and the SYN to the real server. LVS behaviour 4.1, 4.3.

A client is answered in the name of the VIP with a cookie for a sequence number (see `proxy.cookie`). Only when it has returned
the cookie does the real server get a SYN, made anew from what the cookie remembers.
"""

from appliance.model.syn_cookie import ADVERTISED_SCALE, DEFAULT_MSS, MOST_SCALE
from appliance.model.syn_offer import AnswerTerms, SynOffer
from appliance.nat.fullnat import shifted
from appliance.proxy.cookie import CookieJar
from appliance.wire import craft
from appliance.wire import layout as at
from appliance.wire.flow import reverse_key
from appliance.wire.options import MSS, NOP, SACK_PERMITTED, WINDOW_SCALE, walk
from appliance.wire.segment import Segment
from appliance.wire.seq import add


def answer_syn(syn: Segment, jar: CookieJar, terms: AnswerTerms, path_mss: int, now: float) -> bytes:
    """The SYN-ACK for the client's SYN. `path_mss` is the size of segment that gets to a real server whole, in bytes.

    Only options that are understood are answered. The MSS is what the client may send (RFC 9293, 3.7.1), which has nothing to do
    with what it can receive. The window is what the session can store until the real server has answered: a client that may send
    more would see it dropped.
    """
    names_mss, offer = read_offer(syn.options, terms)
    mss = _mss(terms, path_mss)
    cookie = jar.bake(syn.key, syn.seq, offer, now)
    scale = None if offer.scale is None else ADVERTISED_SCALE
    reply_options = _options(mss if names_mss else None, scale, offer.sack)
    flags = at.SYN | at.ACK
    window = _window(terms, min(mss, offer.mss))
    return craft.segment(reverse_key(syn.key), cookie, add(syn.seq, 1), flags, window, reply_options, terms.ttl)


def answer_probe(probe: Segment, offer: SynOffer, terms: AnswerTerms, path_mss: int) -> bytes:
    """The answer to a keepalive probe of a client that has sent no data yet. All numbers are in the probe: it asks for the byte
    before its first one (RFC 9293, 3.8.4), which was its SYN."""
    window = _window(terms, min(_mss(terms, path_mss), offer.mss)) >> (0 if offer.scale is None else ADVERTISED_SCALE)
    return craft.segment(reverse_key(probe.key), probe.ack, add(probe.seq, 1), at.ACK, window, ttl=terms.ttl)


def _mss(terms: AnswerTerms, path_mss: int) -> int:
    return min(path_mss, terms.most_mss or path_mss)


def _window(terms: AnswerTerms, mss: int) -> int:
    """How much a client may send before its real server has answered, in bytes."""
    return min(terms.held_packets * mss, at.MOST_WINDOW)


def read_offer(options: bytes, terms: AnswerTerms) -> tuple[bool, SynOffer]:
    """Whether a SYN's options name an MSS, and what to remember of them under these terms."""
    mss: int | None = None
    scale: int | None = None
    sack = False
    for kind, start, length in walk(options):
        if kind == MSS and length == 4:
            mss = int.from_bytes(options[start + 2 : start + 4], "big") or DEFAULT_MSS
            mss = min(mss, terms.most_mss or mss)
        elif kind == WINDOW_SCALE and length == 3 and terms.scale:
            scale = min(options[start + 2], MOST_SCALE)
        elif kind == SACK_PERMITTED and length == 2:
            sack = terms.sack
    return mss is not None, SynOffer(DEFAULT_MSS if mss is None else mss, scale, sack)


def syn_for_real_server(client_key: bytes, client_isn: int, offer: SynOffer, window: int) -> bytes:
    """The SYN that the client would have sent to the real server, still between client and VIP and in its own numbers.

    `window` is the field of the client's ACK; in a SYN it is not scaled, so it is shown as the bytes it stands for.
    """
    options = _options(offer.mss, offer.scale, offer.sack)
    return craft.segment(client_key, client_isn, 0, at.SYN, shifted(window, offer.scale or 0), options)


def scale_of(options: bytes) -> int | None:
    """The window shift in a SYN's or SYN-ACK's options; None when it does not scale."""
    for kind, start, length in walk(options):
        if kind == WINDOW_SCALE and length == 3:
            return min(options[start + 2], MOST_SCALE)
    return None


def _options(mss: int | None, scale: int | None, sack: bool) -> bytes:
    options = b"" if mss is None else bytes((MSS, 4)) + mss.to_bytes(2, "big")
    if sack:
        options += bytes((NOP, NOP, SACK_PERMITTED, 2))
    if scale is not None:
        options += bytes((NOP, WINDOW_SCALE, 3, scale))
    return options
