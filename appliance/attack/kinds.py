"""The kinds of attack: a closed list. Each is a sum of counters, and two rates between which there is neither begin nor end."""

from collections.abc import Mapping
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of attack."""

    name: str
    summary: str
    rules: tuple[str, ...]
    """The counters of packets, or connections, that were dropped as part of it: names of verdicts, of counters of queues, and of
    UNPROVEN and KERNEL. None is of two kinds, and no packet is counted by two."""
    begins_per_s: float
    """The attack begins when all its rules together count so many per second."""

    @property
    def ends_per_s(self) -> float:
        """It is over when they count fewer than this for a while."""
        return self.begins_per_s / 4


UNPROVEN = "syns_without_proof"
"""SYNs that were answered with a cookie, less the cookies that came back."""

KERNEL: Mapping[str, str] = {
    "strangers_tcp": "defence_tcp_drop",
    "strangers_udp": "defence_udp_drop",
    "fragments": "defence_ip_frag_drop",
}
"""Rules of the defence in front of the queues -> the extended counter that the kernel's drops are part of."""

_FLOOD_PER_S = 1000.0
_REFUSALS_PER_S = 100.0
"""Far above what scanners and errors of configuration cause, and far below what an attack has to be to do harm."""

KINDS: tuple[Kind, ...] = (
    Kind(
        "syn_flood",
        "SYNs whose senders do not prove that they exist",
        (UNPROVEN, "syn_backlog_full", "backlog_dropped", "half_open_dropped"),
        _FLOOD_PER_S,
    ),
    Kind(
        "stray_flood",
        "TCP packets to a service without a session, with wrong cookies, or out of nowhere",
        (
            "no_session",
            "unseen_answer",
            "null_cookie_ack",
            "bad_cookie",
            "outdated_cookie",
            "challenged",
            "lost_session",
            "ack_storm",
            "strangers_tcp",
        ),
        _FLOOD_PER_S,
    ),
    Kind(
        "udp_flood",
        "UDP datagrams to nobody, or whose senders do not go on after an answer",
        ("unconfirmed_dropped", "strangers_udp"),
        _FLOOD_PER_S,
    ),
    Kind("fragment_flood", "parts of fragmented packets", ("fragment", "fragments"), _FLOOD_PER_S),
    Kind(
        "forged_flood",
        "packets that no honest host sends: forged sources, wrong checksums, flags or lengths",
        (
            "land",
            "forged_source_drops",
            "direct_access_drops",
            "bad_checksum",
            "bad_icmp_checksum",
            "bad_flags",
            "bad_header",
            "short_header",
            "bad_data_offset",
            "ip_options",
        ),
        _FLOOD_PER_S,
    ),
    Kind(
        "connection_flood",
        "new connections of clients that have all they may have, or for which there is no room",
        ("source_limit", "table_full", "local_ports_exhausted"),
        _REFUSALS_PER_S,
    ),
    Kind(
        "packet_flood",
        "more packets than the workers can take: the kernel drops them in front of the queues",
        ("queue_full_drops", "socket_drops"),
        _REFUSALS_PER_S,
    ),
)
