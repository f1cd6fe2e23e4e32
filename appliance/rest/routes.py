"""Every route of the admin API, as data: the application, the list at ``/`` and the reference are made from ROUTES."""

from http import HTTPStatus

from appliance.ipc.queries import GROUPS, LIMIT_MAX, SessionFilter
from appliance.model.tcp_state import STATE_NAMES
from appliance.rest.operation import (
    BAD_QUERY,
    COMMON_QUERY,
    SHARD_DOWN,
    UNKNOWN_NAME,
    Operation,
    Parameter,
    Refusal,
    Route,
)

LONGEST_BODY_BYTES = 4096

PAGE_SESSIONS, PAGE_SESSIONS_MAX = 1000, LIMIT_MAX
"""Sessions on one page of ``/conns``: by default, and at most."""

TOP_LINES, TOP_LINES_MAX = 10, 1000
"""Lines of ``/conns/top``: by default, and at most."""

_ENDPOINT = "an IPv4 ADDRESS, ADDRESS:PORT or NETWORK/BITS"
_FILTER = (
    Parameter("client", _ENDPOINT, "any client", "only sessions of these clients"),
    Parameter("service", "the name of a service", "any service", "only sessions of this service"),
    Parameter("real_server", _ENDPOINT, "any real server", "only sessions with these real servers"),
    Parameter("state", f"{', '.join(STATE_NAMES)}; case does not matter", "any state", "only sessions in this state"),
)
_FILTER_NAMES = ", ".join(SessionFilter._fields)

_SESSION_TEXT = "two header lines, then one line per session in the columns of `ipvsadm -lnc`, with the local address added"
_SESSION_JSON = (
    "a list of objects with `protocol`, `expires_s`, `state`, `source`, `virtual`, `local`, `destination` and `service`"
)
_COUNTER_TEXT = "one line per counter, with one column for each shard and one for the total"
_COUNTER_JSON = "an object: counter name -> `total` and `shards`, a list with one number per shard"
_CARRIED_TEXT = "one line per counter, with one column for each shard, one for the lane and one for the total"
_CARRIED_JSON = "an object: counter name -> `total`, `shards` (a list with one number per shard) and `lane`"
_TUNABLE_JSON = "`value` (in force), `default`, `min`, `max`, `unit` and `summary`"

_BODY_TOO_LONG = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "", f"the body is longer than {LONGEST_BODY_BYTES} bytes")

ROUTES: tuple[Route, ...] = (
    Route(
        "/",
        "this list",
        (
            Operation(
                "GET",
                "Answers the list of all routes.",
                "one line per route: path, methods, summary",
                "a list of objects with `path`, `methods` and `summary`",
            ),
        ),
    ),
    Route(
        "/healthz",
        "200 while every shard is up and steering is as it should be, else 503",
        (
            Operation(
                "GET",
                "Answers whether every worker takes packets and the host is as the appliance has made it: the status is "
                "200 if so, and 503 while a worker is down or does nothing, or rules or addresses of the appliance are "
                "gone.",
                "`ok`, or one line for each shard that is down and for each problem of the host",
                "`status` (ok, impaired or down); `shards`: a list of objects with `shard`, `up`, `pid`, `starts` and "
                "`silent_s` (seconds for which a worker that is there has done nothing; 0 while it works); "
                "`duties` of the director: a list of objects with `name`, `failures` (how often it failed and began "
                "anew), `last_error`; `problems`: a list of sentences; `missing_addresses`: VIPs and local addresses "
                "that no interface has, while manage_addresses is false",
            ),
        ),
    ),
    Route(
        "/sysctl",
        "all tunables with default, range, unit and meaning",
        (
            Operation(
                "GET",
                "Answers all tunables with the values in force.",
                "one line per tunable: name, value, default, range, unit, summary",
                f"an object: tunable name -> {_TUNABLE_JSON}",
            ),
        ),
    ),
    Route(
        "/sysctl/{name}",
        "one tunable; PUT changes its value",
        (
            Operation(
                "GET",
                "Answers one tunable.",
                "the value in force",
                f"`name`, {_TUNABLE_JSON}",
                refusals=(UNKNOWN_NAME,),
            ),
            Operation(
                "PUT",
                "Puts a value in force in every shard, until a reload changes it or the appliance stops. Answers the tunable.",
                "the value in force",
                f"`name`, {_TUNABLE_JSON}",
                body=(
                    "the value as decimal digits; or JSON: an integer, or an object whose member `value` is an integer; "
                    f"at most {LONGEST_BODY_BYTES} bytes"
                ),
                refusals=(
                    Refusal(HTTPStatus.BAD_REQUEST, "", "the body is not valid JSON, or its compression is broken"),
                    UNKNOWN_NAME,
                    _BODY_TOO_LONG,
                    Refusal(
                        HTTPStatus.UNPROCESSABLE_ENTITY,
                        "value-refused",
                        "the value is not an integer, is out of range, or does not fit another tunable; the value in force "
                        "stays, and the answer has it with the range",
                    ),
                ),
            ),
        ),
    ),
    Route(
        "/stats/ext",
        "extended counters",
        (
            Operation(
                "GET",
                "Answers all extended counters.",
                "one line per counter, with one column for each shard, one for the lane, one for the rest of the kernel "
                "and one for the total",
                "an object: counter name -> `total`, `shards` (a list with one number per shard), `lane` and `kernel`",
                is_costly=True,
            ),
        ),
    ),
    Route(
        "/stats/ext/{name}",
        "the total of one extended counter",
        (
            Operation(
                "GET",
                "Answers one extended counter, by its name here or by its name in the LVS kernels.",
                "the total",
                "`name`, `total`, `shards` (a list with one number per shard), `lane` and `kernel`",
                refusals=(UNKNOWN_NAME,),
                is_costly=True,
            ),
        ),
    ),
    Route(
        "/stats/ip_vs",
        "services and real servers",
        (
            Operation(
                "GET",
                "Answers all services with their real servers, weights and counters.",
                "the form of `ipvsadm -ln`",
                "`version` and `services`: a list of objects with `name`, `protocol`, `vip`, `port`, `scheduler`, "
                "`local_addresses` and `real_servers`; a real server has `address`, `port`, `forward`, `weight` and its counters "
                "`in_packets`, `out_packets`, `in_bytes`, `out_bytes`, `conns`, `active_conns` and `inactive_conns`",
            ),
        ),
    ),
    Route(
        "/stats/ip_vs_stats",
        "traffic: totals and rates",
        (
            Operation(
                "GET",
                "Answers sessions, packets and bytes in both directions: since the start, and per second.",
                "two tables with one column for each shard, one for the lane and one for the total: totals, rates per second",
                "`totals` and `per_second`: each an object with `conns`, `in_packets`, `out_packets`, `in_bytes` and "
                "`out_bytes`, which have `total`, `shards` (a list with one number per shard) and `lane`",
            ),
        ),
    ),
    Route(
        "/stats/ip_vs_conn",
        "all sessions",
        (
            Operation(
                "GET",
                "Answers all sessions as a stream. The answer breaks off when a worker goes down meanwhile.",
                _SESSION_TEXT,
                _SESSION_JSON,
                is_costly=True,
            ),
        ),
    ),
    Route(
        "/stats/drops",
        "packets not translated, by reason",
        (
            Operation(
                "GET",
                "Answers how many packets were not translated and sent on, by reason.",
                _CARRIED_TEXT,
                _CARRIED_JSON,
            ),
        ),
    ),
    Route(
        "/stats/queues",
        "counters of queues, workers and session ends",
        (
            Operation(
                "GET",
                "Answers the counters of queues, of workers and of sessions that ended.",
                _COUNTER_TEXT,
                _COUNTER_JSON,
            ),
        ),
    ),
    Route(
        "/stats/slabinfo",
        "tables and pools of sessions: objects, their size, pages",
        (
            Operation(
                "GET",
                "Answers each table and pool of sessions, all shards together.",
                "one line per table or pool, with the columns of `/proc/slabinfo`",
                "an object: name -> `active_objs`, `num_objs`, `objsize` (bytes), `objperpage` and `pages`",
                refusals=(SHARD_DOWN,),
                is_costly=True,
            ),
        ),
    ),
    Route(
        "/stats/sockstat",
        "sessions counted as sockets, beside the sockets of the host",
        (
            Operation(
                "GET",
                "Answers the sessions counted as `/proc/net/sockstat` counts sockets, and the host's own sockets.",
                "the lines of `/proc/net/sockstat`, once for the appliance and once for the host",
                "`appliance` and `host`: each an object with one object per line, such as `TCP` and `UDP`",
                refusals=(SHARD_DOWN,),
                is_costly=True,
            ),
        ),
    ),
    Route(
        "/stats/conntrack",
        "the table of sessions beside the connection tracking of the host",
        (
            Operation(
                "GET",
                "Answers size and losses of the table of sessions, beside those of the host's connection tracking.",
                "one line per figure, with one column for the appliance and one for the host",
                "`appliance` (`count`, `max`, `drop` and `early_drop`) and `host`, which is null when the host tracks nothing",
            ),
        ),
    ),
    Route(
        "/conns",
        f"sessions; filter: {_FILTER_NAMES}; pages: limit, after; DELETE ends them",
        (
            Operation(
                "GET",
                "Answers the sessions that match the filter: all of them as a stream, which breaks off when a worker goes down "
                "meanwhile; or one page, when `limit` or `after` is given. A Link header names the next page (RFC 8288).",
                _SESSION_TEXT,
                _SESSION_JSON,
                query=(
                    *_FILTER,
                    Parameter(
                        "limit",
                        f"1..{PAGE_SESSIONS_MAX}",
                        f"{PAGE_SESSIONS} when `after` is given, else all sessions",
                        "the number of sessions on one page",
                    ),
                    Parameter(
                        "after", "a place that a Link header named", "the beginning", "the place that the page begins behind"
                    ),
                ),
                refusals=(BAD_QUERY, SHARD_DOWN._replace(reason=f"one page was asked for, and {SHARD_DOWN.reason}")),
                is_costly=True,
            ),
            Operation(
                "DELETE",
                "Ends the sessions that match the filter, TCP sessions with a RST to both ends, and answers their number.",
                "the number of sessions that were ended",
                "`cut`: the number of sessions that were ended",
                query=(
                    *_FILTER,
                    Parameter("all", "1", "a filter is required", "every session is meant, when there is no filter"),
                ),
                refusals=(BAD_QUERY._replace(reason=f"{BAD_QUERY.reason}, or there is neither a filter nor `all`"),),
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
                    Parameter("by", ", ".join(GROUPS), GROUPS[0], "what sessions are counted by"),
                    Parameter("n", f"1..{TOP_LINES_MAX}", str(TOP_LINES), "the number of lines"),
                ),
                refusals=(BAD_QUERY, SHARD_DOWN),
                is_costly=True,
            ),
        ),
    ),
)


def operation(method: str, path: str) -> Operation:
    """One operation. Raises ValueError when ROUTES does not have it."""
    [found] = [found for route in ROUTES if route.path == path for found in route.operations if found.method == method]
    return found


def query_names(asked: Operation) -> tuple[str, ...]:
    """The names of all fields that an operation takes."""
    return tuple(parameter.name for parameter in (*asked.query, *COMMON_QUERY))
