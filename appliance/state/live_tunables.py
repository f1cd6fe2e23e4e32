"""The tunables as a shard uses them. All are read from shared memory when one was written, and are plain values afterwards."""

from collections.abc import Callable

from appliance.ipc.early import ADMISSIONS, COOKIES, STRAYS, is_on_for_shards
from appliance.ipc.shared_layout import SharedState
from appliance.model.syn_offer import AnswerTerms
from appliance.model.tcp_state import CLOSING, STATE_NAMES, TIMEOUT_NAME, UDP_STATE, TcpState
from appliance.model.tunables import INDEX
from appliance.policy.defence import TUNABLE_NAMES, Defence

_NEWBORN_TIMEOUT_S = 2.0
"""The timeout of state NONE, which no tunable covers; a session leaves that state with its first packet."""


class LiveTunables:
    """The values in force. Times are in seconds, switches are bools."""

    __slots__ = (
        "abort", "backlog", "conn_max", "defence", "defer", "early_drop", "expire_nodest", "expire_rst", "in_kernel",
        "lport_range", "lport_tries", "mss_adjust", "prepared", "proxy_reuse", "reserved_percent", "reuse", "source_max",
        "source_prefix_bits", "storm_thresh", "strays_in_kernel", "syn_retries", "syncookies", "terms", "time_wait_max",
        "timeouts_s", "timestamp_remove", "toa", "toa_kind", "udp_unconfirmed_s",
    )  # fmt: skip

    def __init__(self, shared: SharedState) -> None:
        """Those in the shared memory; limits for all shards are shared out evenly."""
        values, shards = shared.tunables, shared.shards

        def value(name: str) -> int:
            return values[INDEX[name]]

        self.timestamp_remove = bool(value("fullnat_timestamp_remove_entry"))
        self.mss_adjust = bool(value("fullnat_mss_adjust_entry"))
        self.reuse = bool(value("fullnat_conn_reused_entry"))
        self.toa = bool(value("fullnat_toa_entry"))
        self.toa_kind = value("fullnat_toa_kind")
        self.expire_rst = bool(value("conn_expire_tcp_rst"))
        self.expire_nodest = bool(value("expire_nodest_conn"))
        self.terms = AnswerTerms.of(value)
        self.syn_retries = value("synproxy_syn_retry")
        self.storm_thresh = value("synproxy_ack_storm_thresh")
        self.defer = bool(value("synproxy_defer"))
        allowed = [state for state in CLOSING if value(f"synproxy_conn_reuse_{state.name.lower()}")]
        self.proxy_reuse = frozenset([*allowed, TcpState.ESTABLISHED] if value("synproxy_conn_reuse") else ())
        """States from which a cookie may restart a session. ESTABLISHED has no switch of its own."""
        self.syncookies = value("tcp_syncookies")
        self.in_kernel = is_on_for_shards(shared, COOKIES)
        self.strays_in_kernel = is_on_for_shards(shared, STRAYS)
        self.prepared = is_on_for_shards(shared, ADMISSIONS)
        self.abort = bool(value("tcp_abort_on_overflow"))
        self.defence = Defence.of({name: value(name) for name in TUNABLE_NAMES})
        self.lport_tries = value("fullnat_lport_tries")
        self.lport_range = (value("fullnat_lport_min"), value("fullnat_lport_max"))
        self.timeouts_s = [
            value(TIMEOUT_NAME[state]) / 1000 if state in TIMEOUT_NAME else _NEWBORN_TIMEOUT_S
            for state in range(len(STATE_NAMES))
        ]
        """How long a session may be idle, in seconds, indexed by state."""
        self.udp_unconfirmed_s = min(value("udp_timeout_unconfirmed") / 1000, self.timeouts_s[UDP_STATE])
        """How long a UDP session may be idle until its client has sent again after an answer, in seconds."""
        self._set_limits(value, shards)

    def _set_limits(self, value: Callable[[str], int], shards: int) -> None:
        """Set how many sessions there may be."""
        self.backlog = -(-value("tcp_max_syn_backlog") // shards)
        """How many half-open sessions a service may have in this shard."""
        self.conn_max = value("conn_max")
        """How many sessions there may be in all shards together; 0 for no limit."""
        self.early_drop = bool(value("conn_early_drop"))
        self.time_wait_max = value("tcp_max_tw_buckets")
        """How many sessions in TIME_WAIT there may be in all shards together."""
        self.reserved_percent = value("conn_reserved")
        """How much of `conn_max` is kept for TCP, and as much for UDP."""
        self.source_max = -(-value("source_conn_max") // shards)
        """How many sessions of one protocol a source network may have in this shard; 0 for no limit."""
        self.source_prefix_bits = value("source_conn_prefix")
