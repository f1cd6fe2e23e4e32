"""A batch of a trace with an item of each kind, for tests of what shows it."""

from appliance.ipc.traced import CLIENT as FROM_CLIENT
from appliance.ipc.traced import Snap, TraceBatch, Traced, TraceRow
from tests.support.addresses import CLIENT, VIP
from tests.support.segments import tcp

ACK = tcp(CLIENT, VIP, "A", seq=1, ack=2)
DROPPED = Traced(0.0, FROM_CLIENT, "no_session", Snap(ACK, 40), None, (Snap(b"\xff", 1),))
BATCH = TraceBatch(
    [
        TraceRow(1, 1_800_000_000.25, DROPPED),
        TraceRow(0, 1_800_000_000.5, DROPPED._replace(reason="to_real_server", after=Snap(b"\1\2", 99))),
        TraceRow(None, 1_800_000_001.0, DROPPED._replace(reason="defence_tcp_drop")),
    ],
    7,
    ["packets of shard 3 are missing"],
)
