"""The options of the SYN by which the kernel has opened a session: its shard finds them in the session's record.

They are where the record of a proxied session has what the rule of ACK storms remembers, which is for no other session: the bytes
from `storm_ns` on, and their number in `storm_reserved`. A record that Python has written has zeros there.
"""

from appliance.ipc.session_record import OFFSETS, RECORD_BYTES

_AT, _SIZE_AT = OFFSETS["storm_ns"], OFFSETS["storm_reserved"]

SYN_OPTIONS_BYTES = _SIZE_AT - _AT
"""So many a SYN may have by which the kernel opens a session: 28. Hosts send 24 or fewer."""


def syn_options_in(records: memoryview, entry: int) -> bytes:
    """Those of the session of an entry; none when Python has written its record."""
    start = entry * RECORD_BYTES
    size = int.from_bytes(records[start + _SIZE_AT : start + RECORD_BYTES], "little")
    return bytes(records[start + _AT : start + _AT + min(size, SYN_OPTIONS_BYTES)])
