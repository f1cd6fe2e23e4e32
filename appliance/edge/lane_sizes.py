"""How large the maps of the lane are, and what its program goes by: `ipc.lane_layout` says what it means."""

from collections.abc import Callable
from typing import NamedTuple

from appliance.ipc.admission_layout import LINES_OF_POOL, pools_of
from appliance.ipc.lane_layout import CHANGED_PAGE_BYTES, SETTINGS_FIELDS
from appliance.model.tunables import ACK_STORM_INTERVAL_S

_NS_PER_S, _GENERATIONS = 10**9, 1 << 32


class Sizes(NamedTuple):
    """How large the maps are."""

    entries: int
    """Sessions, see `lane_layout`."""
    slots: int
    """Places for real servers in the shared counters."""

    @property
    def of_maps(self) -> dict[str, int]:
        """How many values each map has whose size is not fixed."""
        return {
            "sessions": self.entries,
            "flows": 2 * self.entries,
            "changed": self.entries // CHANGED_PAGE_BYTES,
            "homes": self.entries,
            "lines": pools_of(self.entries) * LINES_OF_POOL,
            "real_servers": self.slots,
            "traffic": 2 * self.slots,
        }


class Settings(NamedTuple):
    """The fields of `lane_layout.SETTINGS`, in their order."""

    version: int
    entries: int
    layout_hash: bytes
    is_open: int = 0
    toa: int = 0
    toa_kind: int = 0
    mss_adjust: int = 0
    storm_threshold: int = 0
    storm_interval_ns: int = 0
    generation: int = 0
    timestamp_remove: int = 0
    reserved: bytes = b""

    def with_tunables(self, tunable: Callable[[str], int], generation: int) -> "Settings":
        """The same by the tunables of a generation; `tunable` gives the value of each."""
        return self._replace(
            toa=tunable("fullnat_toa_entry"),
            toa_kind=tunable("fullnat_toa_kind"),
            mss_adjust=tunable("fullnat_mss_adjust_entry"),
            storm_threshold=tunable("synproxy_ack_storm_thresh"),
            storm_interval_ns=int(ACK_STORM_INTERVAL_S * _NS_PER_S),
            generation=generation % _GENERATIONS,
            timestamp_remove=tunable("fullnat_timestamp_remove_entry"),
        )


assert Settings._fields[:-1] == tuple(name for name, _ in SETTINGS_FIELDS)[:-1]
