"""ICMP errors about packets of sessions."""

from appliance.model.verdict import Verdict
from appliance.model.verdicts import HANDSHAKE_PACKET, ICMP_TRANSLATED
from appliance.nat.icmp import refused_session, translate_error
from appliance.proxy.synproxy import SynProxy
from appliance.sessions.lifecycle import Sessions
from appliance.state.output import ShardOutput
from appliance.state.server_errors import note_refusal
from appliance.wire.layout import PROTO_TCP, PROTO_UDP


def judge_error(raw: bytes, sessions: Sessions, proxy: SynProxy, output: ShardOutput, now: float) -> Verdict:
    """Judge a whole ICMP packet: one about a packet of a session goes on to whoever sent that packet."""
    sessions.prepared.take_in_all()
    tunables = sessions.tunables
    tables = {PROTO_TCP: sessions.tcp, PROTO_UDP: sessions.udp}
    translated = translate_error(raw, tables, tunables.toa_kind if tunables.toa else None)
    if isinstance(translated, Verdict):
        return translated
    if (session := refused_session(raw, tables)) is not None:
        note_refusal(session)
        if session.opening is not None and session.opening.handshake is not None:
            proxy.fail(session, now)
            return HANDSHAKE_PACKET
    output.rewritten = translated
    return ICMP_TRANSLATED
