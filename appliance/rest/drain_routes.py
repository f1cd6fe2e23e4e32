"""The routes of the admin API that are about drains and events, as data."""

from appliance.health.drain import LONGEST_DEADLINE_S, SPREAD_S
from appliance.rest import drain_models
from appliance.rest.operation import BAD_QUERY, UNKNOWN_NAME, Operation, Parameter, Route

EVENTS, EVENTS_MAX = 100, 1000
"""Events in one answer: by default, and at most."""

NUMBER_MAX = 10**18 - 1
"""The greatest number that an event can have."""

WAIT_MAX_S = 60
"""How long an answer may wait for an event."""

LISTENERS = 16
"""Requests that may wait for events at a time, of those who may write, and as many of those who may only read."""

_TEXT = "one line: what the real server is, how many sessions it has, and what becomes of them"
_JSON = (
    "`service`, `real_server`, `draining`, `since_s`, `deadline_s` (seconds until the sessions that are left are ended; null "
    "without a deadline), `sessions` (those of all shards, in any state), `gone` (whether the last one is gone) and `note` (what "
    "becomes of new sessions of the service, when too few other real servers get any)"
)
_NO_REAL_SERVER = UNKNOWN_NAME._replace(
    reason="there is no such service, or it has no such real server; the answer has the nearest"
)

_SINCE = Parameter(
    "since",
    "the number of an event, or 0",
    "0: all that are known; for a stream, only those that are still to come",
    "only events behind this one",
    {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX},
)

DRAIN_ROUTES: tuple[Route, ...] = (
    Route(
        "/services/{name}/real_servers/{endpoint}/drain",
        "the drain of a real server; POST drains it, DELETE takes that back",
        (
            Operation(
                "GET",
                "Answers whether a real server is drained, and how many sessions it still has.",
                _TEXT,
                _JSON,
                refusals=(_NO_REAL_SERVER,),
                answer=drain_models.Drain,
            ),
            Operation(
                "POST",
                "Drains a real server, whatever its weight: when the answer comes, no shard gives it a new session, and its old "
                "ones go on. Behind the deadline, those that are left end one after the other, over "
                f"{SPREAD_S:g} s or more: TCP sessions with a RST to both ends. When it is drained already, it gets the new "
                "deadline, or none. It stays drained until that is taken back, until it is removed, or until the appliance is "
                "stopped for good.",
                _TEXT,
                _JSON,
                query=(
                    Parameter(
                        "deadline_s",
                        f"0..{LONGEST_DEADLINE_S}",
                        "no deadline",
                        "in how many seconds the sessions that are left end",
                        {"type": "integer", "minimum": 0, "maximum": LONGEST_DEADLINE_S},
                    ),
                ),
                refusals=(_NO_REAL_SERVER, BAD_QUERY),
                answer=drain_models.Drain,
            ),
            Operation(
                "DELETE",
                "Takes the drain of a real server back: it gets new sessions again, by its weight and its health, and starts "
                "slowly where `slow_start_s` says so. For one that is not drained, nothing changes.",
                _TEXT,
                _JSON,
                refusals=(_NO_REAL_SERVER,),
                answer=drain_models.Drain,
            ),
        ),
    ),
    Route(
        "/events",
        "what happens to real servers, as a list or as a stream; since, limit, wait_s",
        (
            Operation(
                "GET",
                "Answers events: that a real server is up or down (`up`, `down`), is drained (`drain`), or no more (`undrain`), "
                "that its deadline is over (`drain-deadline`), and that its last session is gone (`drained`). With `Accept: "
                "text/event-stream` it is a stream of server-sent events without end, which goes on behind the `Last-Event-ID` "
                "of the request. Who reads more slowly than events come is disconnected, and can go on where he was.",
                "a head line, and one line for each event: number, time, kind, service, real server, text",
                "`events`: a list of objects with `number`, `at_s` (since the epoch), `kind`, `service`, `real_server` and "
                "`text`; `last`: the number to go on behind; `missing`: whether events in front of these are known no more",
                query=(
                    _SINCE,
                    Parameter(
                        "limit",
                        f"1..{EVENTS_MAX}",
                        str(EVENTS),
                        "the number of events",
                        {"type": "integer", "minimum": 1, "maximum": EVENTS_MAX},
                    ),
                    Parameter(
                        "wait_s",
                        f"0..{WAIT_MAX_S}",
                        "0",
                        "how many seconds to wait while there is none",
                        {"type": "integer", "minimum": 0, "maximum": WAIT_MAX_S},
                    ),
                ),
                refusals=(BAD_QUERY,),
                answer=drain_models.Events,
                may_wait=True,
            ),
        ),
    ),
)
