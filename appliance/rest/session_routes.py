"""The routes of the admin API that are about single sessions, as data."""

from appliance.ipc.queries import GROUPS, LIMIT_MAX, PLACE_PATTERN, SessionFilter
from appliance.model.tcp_state import STATE_NAMES
from appliance.rest import models
from appliance.rest.consistency_models import Consistency
from appliance.rest.operation import BAD_QUERY, SHARD_DOWN, Operation, Parameter, Route

PAGE_SESSIONS, PAGE_SESSIONS_MAX = 1000, LIMIT_MAX
"""Sessions on one page of ``/conns``: by default, and at most."""

TOP_LINES, TOP_LINES_MAX = 10, 1000
"""Lines of ``/conns/top``: by default, and at most."""

ENDPOINT = "an IPv4 ADDRESS, ADDRESS:PORT or NETWORK/BITS"
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_PORT = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{1,3}|[1-9])"
ENDPOINT_FORM = {"type": "string", "pattern": rf"^({_OCTET}\.){{3}}{_OCTET}(:{_PORT}|/([12]?[0-9]|3[0-2]))?$"}
"""The form of an endpoint; of a network, it does not say that the bits beyond its prefix are zero."""

_NOT_EMPTY = {"type": "string", "minLength": 1}
_PLACE_FORM = {"type": "string", "pattern": f"^({PLACE_PATTERN})?$"}

_FILTER = (
    Parameter("client", ENDPOINT, "any client", "only sessions of these clients", ENDPOINT_FORM),
    Parameter("service", "the name of a service", "any service", "only sessions of this service", _NOT_EMPTY),
    Parameter("real_server", ENDPOINT, "any real server", "only sessions with these real servers", ENDPOINT_FORM),
    Parameter(
        "state",
        f"{', '.join(STATE_NAMES)}; case does not matter",
        "any state",
        "only sessions in this state",
        {"type": "string", "enum": list(STATE_NAMES)},
    ),
)
_FILTER_NAMES = ", ".join(SessionFilter._fields)

SESSION_TEXT = (
    "two header lines, then one line per session in the columns of `ipvsadm -lnc`, with the local address, the age and how the "
    "real server was chosen added"
)
SESSION_JSON = (
    "a list of objects with `protocol`, `expires_s`, `state`, `source`, `virtual`, `local`, `destination`, `service`, `lane` "
    "(whether the lane may carry its packets), `chosen_by` (how its real server was chosen: the name of a scheduler or "
    "persistence, with ', backup' or ', fail open' behind it; empty for a session that an earlier worker has opened), and "
    "`age_s` (seconds since it was opened)"
)
SESSION_ROUTES: tuple[Route, ...] = (
    Route(
        "/conns",
        f"sessions; filter: {_FILTER_NAMES}; pages: limit, after; DELETE ends them",
        (
            Operation(
                "GET",
                "Answers the sessions that match the filter: all of them as a stream, which breaks off when a worker goes down "
                "meanwhile; or one page, when `limit` or `after` is given. A Link header names the next page (RFC 8288).",
                SESSION_TEXT,
                SESSION_JSON,
                query=(
                    *_FILTER,
                    Parameter(
                        "limit",
                        f"1..{PAGE_SESSIONS_MAX}",
                        f"{PAGE_SESSIONS} when `after` is given, else all sessions",
                        "the number of sessions on one page",
                        {"type": "integer", "minimum": 1, "maximum": PAGE_SESSIONS_MAX},
                    ),
                    Parameter(
                        "after",
                        "a place that a Link header named",
                        "the beginning",
                        "the place that the page begins behind",
                        _PLACE_FORM,
                    ),
                ),
                refusals=(BAD_QUERY, SHARD_DOWN._replace(reason=f"one page was asked for, and {SHARD_DOWN.reason}")),
                is_costly=True,
                answer=list[models.Session],
            ),
            Operation(
                "DELETE",
                "Ends the sessions that match the filter, TCP sessions with a RST to both ends, and answers their number.",
                "the number of sessions that were ended",
                "`cut`: the number of sessions that were ended",
                query=(
                    *_FILTER,
                    Parameter(
                        "all",
                        "1",
                        "a filter is required",
                        "every session is meant, when there is no filter",
                        {"type": "string", "enum": ["1"]},
                    ),
                ),
                refusals=(BAD_QUERY._replace(reason=f"{BAD_QUERY.reason}, or there is neither a filter nor `all`"),),
                answer=models.Cut,
            ),
        ),
    ),
    Route(
        "/conns/top",
        f"clients, services or real servers with most sessions; by, n; filter: {_FILTER_NAMES}",
        (
            Operation(
                "GET",
                "Answers which clients, services or real servers have most of the sessions that match the filter.",
                "one line each, most sessions first: the number of sessions, the name",
                "`by`, `conns` (sessions in all), `different` (names in all) and `top`: a list of objects with the name, "
                "under the value of `by`, and `conns`",
                query=(
                    *_FILTER,
                    Parameter(
                        "by",
                        ", ".join(GROUPS),
                        GROUPS[0],
                        "what sessions are counted by",
                        {"type": "string", "enum": list(GROUPS)},
                    ),
                    Parameter(
                        "n",
                        f"1..{TOP_LINES_MAX}",
                        str(TOP_LINES),
                        "the number of lines",
                        {"type": "integer", "minimum": 1, "maximum": TOP_LINES_MAX},
                    ),
                ),
                refusals=(BAD_QUERY, SHARD_DOWN),
                is_costly=True,
                answer=models.Top,
            ),
        ),
    ),
    Route(
        "/stats/consistency",
        "whether tables and pools of sessions agree with each other and with the lane",
        (
            Operation(
                "GET",
                "Looks whether each local endpoint and each entry of the lane has one holder or is free, and whether flows and "
                "figures agree with that. Traffic may go on meanwhile.",
                "what was found, then how many local endpoints of each real server each kind of holder has",
                "`wrong` (how much does not agree), `problems` (the first of it, each in a sentence), `entries` (`used`, "
                "`without_client` and `free`), `flows` in the lane, `free` (local endpoints that nobody has) and "
                "`real_servers`: an object: endpoint -> how many of its local endpoints are `in_use`, `ready`, `young` and "
                "`resting`",
                refusals=(SHARD_DOWN,),
                is_costly=True,
                answer=Consistency,
            ),
        ),
    ),
)
