"""The tunables as a shard uses them: read from shared memory at once, when one of them was written, and plain values after."""

from collections.abc import Sequence

from appliance.tcp_state import STATE_NAMES, TIMEOUT_NAME
from appliance.tunables import INDEX

_NEWBORN_TIMEOUT_S = 2.0
"""For state NONE, which no tunable covers; a session leaves it with its first packet."""


class Settings:
    """Values in force. Times in seconds; switches as bools."""

    __slots__ = (
        "expire_nodest", "expire_rst", "lport_range", "lport_tries", "mss_adjust", "reuse", "timeouts_s", "timestamp_remove",
        "toa", "toa_kind",
    )  # fmt: skip

    def __init__(self, values: Sequence[int]) -> None:
        """`values` are all tunables, in the order of `tunables.INDEX`."""

        def value(name: str) -> int:
            return values[INDEX[name]]

        self.timestamp_remove = bool(value("fullnat_timestamp_remove_entry"))
        self.mss_adjust = bool(value("fullnat_mss_adjust_entry"))
        self.reuse = bool(value("fullnat_conn_reused_entry"))
        self.toa = bool(value("fullnat_toa_entry"))
        self.toa_kind = value("fullnat_toa_kind")
        self.expire_rst = bool(value("conn_expire_tcp_rst"))
        self.expire_nodest = bool(value("expire_nodest_conn"))
        self.lport_tries = value("fullnat_lport_tries")
        self.lport_range = (value("fullnat_lport_min"), value("fullnat_lport_max"))
        self.timeouts_s = [
            value(TIMEOUT_NAME[state]) / 1000 if state in TIMEOUT_NAME else _NEWBORN_TIMEOUT_S
            for state in range(len(STATE_NAMES))
        ]
        """Indexed by state."""
