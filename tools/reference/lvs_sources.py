"""Where each tunable comes from: a section of docs/lvs.md, or the Linux tunable that it is named after."""

from collections.abc import Mapping

_REUSE_STATES = ("close", "time_wait", "fin_wait", "close_wait", "last_ack")
_TIMEOUT_STATES = (
    *("established", "syn_sent", "syn_recv", "fin_wait", "time_wait"),
    *("close", "close_wait", "last_ack", "listen", "synack"),
)

LVS_SECTIONS: Mapping[str, str] = {
    "fullnat_timestamp_remove_entry": "3.7",
    "fullnat_mss_adjust_entry": "3.7",
    "fullnat_conn_reused_entry": "3.5",
    "fullnat_toa_entry": "3.6",
    "fullnat_toa_kind": "3.6",
    "synproxy_init_mss": "4.1",
    "synproxy_sack": "4.1",
    "synproxy_wscale": "4.1",
    "synproxy_synack_ttl": "4.1",
    "synproxy_defer": "4.2",
    "synproxy_syn_retry": "4.3",
    "synproxy_ack_skb_store_thresh": "4.4",
    "synproxy_conn_reuse": "4.6",
    **{f"synproxy_conn_reuse_{state}": "4.6" for state in _REUSE_STATES},
    "synproxy_ack_storm_thresh": "4.7",
    "defence_tcp_drop": "5",
    "defence_udp_drop": "5",
    "defence_frag_drop": "5",
    **{f"tcp_timeout_{state}": "6.2" for state in _TIMEOUT_STATES},
    "conn_expire_tcp_rst": "3.8",
    "expire_nodest_conn": "2.3",
    "udp_timeout": "3.11",
}
"""Tunable -> number of the section of docs/lvs.md that says what LVS does with it."""

OTHER_SOURCES: Mapping[str, str] = {
    "fullnat_lport_max": "LVS: `fullnat_lport_max`",
    "fullnat_lport_min": "LVS: `fullnat_lport_min`",
    "fullnat_lport_tries": "LVS: `fullnat_lport_tries`",
    "tcp_syncookies": "Linux: `net.ipv4.tcp_syncookies`",
    "tcp_max_syn_backlog": "Linux: `net.ipv4.tcp_max_syn_backlog`",
    "tcp_abort_on_overflow": "Linux: `net.ipv4.tcp_abort_on_overflow`",
    "tcp_max_tw_buckets": "Linux: `net.ipv4.tcp_max_tw_buckets`",
    "conn_max": "Linux: `net.netfilter.nf_conntrack_max`",
    "udp_timeout_unconfirmed": "Linux: `net.netfilter.nf_conntrack_udp_timeout`",
    "conn_reserved": "none: LVS has one table for both protocols",
    "source_conn_max": "Linux: `connlimit` of iptables, `--connlimit-above`",
    "source_conn_prefix": "Linux: `connlimit` of iptables, `--connlimit-mask`",
    "conn_early_drop": "Linux: early drop of connection tracking, which is always on there",
    "synproxy_in_kernel": "none: the kernel module of LVS has no other place for it",
    "prepared_admissions": "none: the kernel module of LVS decides where packets come in",
    "strays_in_kernel": "none: the kernel module of LVS has no other place for it",
}
"""Tunable -> what it is named after, for those that no section of docs/lvs.md describes."""


def source_of(tunable: str) -> str:
    """Where a tunable comes from, in Markdown. Raises KeyError for one that has no source."""
    if section := LVS_SECTIONS.get(tunable):
        return f"[LVS behaviour {section}](../lvs.md#lvs-{section.replace('.', '-')})"
    return OTHER_SOURCES[tunable]
