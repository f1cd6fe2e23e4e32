"""The route of the admin API that shows packets, as data."""

from appliance.ipc.queries import SNAP_MAX, SNAP_MIN
from appliance.rest.operation import BAD_QUERY, Operation, Parameter, Route
from appliance.rest.session_routes import ENDPOINT, ENDPOINT_FORM
from appliance.rest.trace_models import InForce, LeftOut, Note, TracedPacket

TRACES = 4
"""Traces at a time."""

COUNT_MAX = 1_000_000
SECONDS, SECONDS_MAX = 600, 86_400
"""How long a trace lasts: by default, and at most."""

TRACE_ROUTES: tuple[Route, ...] = (
    Route(
        "/trace",
        "POST shows the packets of some clients, and why each was dropped; client, service, port",
        (
            Operation(
                "POST",
                "Answers a stream: one item for each packet of these clients from now on, in both directions, with the stage "
                "that judged it, the verdict and the reason; and for each packet of theirs that a rule of nftables dropped. "
                "Packets that the lane carries are not shown: it drops only ACK storms. It needs the right to write, because it "
                f"takes time of workers, and a table of nftables marks the packets meanwhile; there are at most {TRACES} traces "
                "at a time. With `Accept: text/event-stream` "
                "items are server-sent events.",
                "one line per packet: time (UTC), sender, verdict, reason, stage, packet; other lines begin with `#`",
                "a list, one item a line; each has its `kind`: packet (`at_s`, `shard`, `sender`, `stage`, `verdict`, `reason`, "
                "`packet`, `packet_bytes`, and, when snap_bytes is given, its bytes, those that went on, and those of packets of "
                "the appliance's own, in Base64), left-out (`packets`, too many to show each), note (`text`: why some may be "
                "missing) or, when snap_bytes is given, in-force (`at_s`, `what`: what shards go by from then on)",
                query=(
                    Parameter("client", ENDPOINT, "the request is refused", "the clients", ENDPOINT_FORM, is_required=True),
                    Parameter(
                        "service", "the name of a service", "any", "only to this service", {"type": "string", "minLength": 1}
                    ),
                    Parameter(
                        "port", "1..65535", "any", "only this port of a VIP", {"type": "integer", "minimum": 1, "maximum": 65535}
                    ),
                    Parameter(
                        "count",
                        f"1..{COUNT_MAX}",
                        "no end",
                        "the stream ends behind so many packets",
                        {"type": "integer", "minimum": 1, "maximum": COUNT_MAX},
                    ),
                    Parameter(
                        "seconds",
                        f"1..{SECONDS_MAX}",
                        str(SECONDS),
                        "the stream ends after this time",
                        {"type": "integer", "minimum": 1, "maximum": SECONDS_MAX},
                    ),
                    Parameter(
                        "snap_bytes",
                        f"{SNAP_MIN}..{SNAP_MAX}",
                        "none",
                        "how much of each packet is in the answer",
                        {"type": "integer", "minimum": SNAP_MIN, "maximum": SNAP_MAX},
                    ),
                ),
                refusals=(BAD_QUERY,),
                answer=list[TracedPacket | LeftOut | InForce | Note],
                media=("application/json", "text/plain", "text/event-stream"),
                may_wait=True,
            ),
        ),
    ),
)
