"""At which stage of its way a packet got its verdict: a word for people, beside the reason."""

from typing import Final

KERNEL: Final = "kernel rules"
HEADERS: Final = "headers"
FIRST_PACKET: Final = "first packet"
SESSION: Final = "session"
SYNPROXY: Final = "synproxy"
ICMP: Final = "icmp"

_OF = {
    HEADERS: "truncated bad_header short_header ip_options fragment bad_data_offset bad_flags",
    SESSION: "to_real_server to_client real_server_gone server_down challenged unseen_answer stale_answer reuse_refused",
    SYNPROXY: "cookie_sent null_cookie_ack bad_cookie held hold_overflow handshake_packet ack_storm keepalive_answered "
    "outdated_cookie",
    ICMP: "icmp_translated bad_icmp_checksum",
}

STAGES = {reason: stage for stage, reasons in _OF.items() for reason in reasons.split()}
"""By the name of a verdict. One that is not here is given to packets that belong to no session, or open one."""


def stage_of(reason: str) -> str:
    """The stage at which a shard gives the verdict of this name."""
    return STAGES.get(reason, FIRST_PACKET)
