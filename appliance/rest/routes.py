"""Every route of the admin API, as data: the application, the list at ``/`` and the reference are made from ROUTES."""

from http import HTTPStatus

from appliance.rest import models
from appliance.rest.attack_routes import ATTACK_ROUTES
from appliance.rest.config_routes import CONFIG_ROUTES
from appliance.rest.docs_routes import DOCS_ROUTES
from appliance.rest.doctor_routes import DOCTOR_ROUTES
from appliance.rest.drain_routes import DRAIN_ROUTES
from appliance.rest.health_routes import HEALTH_ROUTES
from appliance.rest.host_routes import HOST_ROUTES
from appliance.rest.lane_models import Lane
from appliance.rest.metrics_routes import METRICS_ROUTES
from appliance.rest.operation import COMMON_QUERY, SHARD_DOWN, UNKNOWN_NAME, Operation, Refusal, Route
from appliance.rest.persistence_routes import PERSISTENCE_ROUTES
from appliance.rest.service_routes import SERVICE_ROUTES
from appliance.rest.session_routes import SESSION_JSON, SESSION_ROUTES, SESSION_TEXT
from appliance.rest.trace_routes import TRACE_ROUTES
from appliance.rest.ui_routes import UI_ROUTES

LONGEST_BODY_BYTES = 4096

_COUNTER_TEXT = "one line per counter, with one column for each shard and one for the total"
_COUNTER_JSON = "an object: counter name -> `total` and `shards`, a list with one number per shard"
_CARRIED_TEXT = "one line per counter, with one column for each shard, one for the lane and one for the total"
_CARRIED_JSON = "an object: counter name -> `total`, `shards` (a list with one number per shard) and `lane`"
_TUNABLE_JSON = "`value` (in force), `default`, `min`, `max`, `unit` and `summary`"

_BODY_TOO_LONG = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "", f"the body is longer than {LONGEST_BODY_BYTES} bytes")


_EXT_TEXT = (
    "one line per counter, with one column for each shard, one for the lane, one for the rest of the kernel and one for the total"
)
_EXT_JSON = "`total`, `shards` (a list with one number per shard), `lane` and `kernel`"


def _ext_counters(path: str, summary: str, answers: str) -> Route:
    json = f"an object: counter name -> {_EXT_JSON}"
    asked = Operation("GET", answers, _EXT_TEXT, json, is_costly=True, answer=dict[str, models.ExtCounter])
    return Route(path, summary, (asked,))


def _ext_counter(path: str, summary: str, answers: str) -> Route:
    asked = Operation("GET", answers, "the total", f"`name`, {_EXT_JSON}", refusals=(UNKNOWN_NAME,), is_costly=True)
    asked = asked._replace(answer=models.NamedExtCounter)
    return Route(path, summary, (asked,))


_AS_IN_LVS = "under the name that the table has in /proc/net of LVS"

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
                answer=list[models.ListedRoute],
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
                "200 if so, and 503 while a worker is down or does nothing, rules or addresses of the appliance are gone, or no "
                "interface of one side is up.",
                "`ok`, or one line for each shard that is down and for each problem of the host; then one line for each service "
                "that is down, and one that begins with `note:` for each interface and real server that cannot be reached. "
                "These do not change the status: another gateway would find the real servers dead as well",
                "`status` (ok, impaired or down); `shards`: a list of objects with `shard`, `up`, `pid`, `starts` and "
                "`silent_s` (seconds for which a worker that is there has done nothing; 0 while it works), `cpu_s` (CPU time of "
                "its process, null without one) and `waiting` (packets in its queue, null without one); "
                "`duties` of the director: a list of objects with `name`, `failures` (how often it failed and began "
                "anew), `last_error`; `problems`: a list of sentences; `missing_addresses`: VIPs and local addresses "
                "that no interface has, while manage_addresses is false; `lane`: an object with `state` (on, impaired or off), "
                "`reason`, `repairs` and `admissions_off` (why the kernel opens no sessions by itself; empty when it does); "
                "`services_down`: an object: service name -> why it is down, and what becomes of new sessions; `notes`: a list "
                "of sentences: interfaces that are down, real servers without a route, or that do not answer ARP",
                answer=models.Health,
                also_answers=(HTTPStatus.SERVICE_UNAVAILABLE,),
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
                answer=dict[str, models.Tunable],
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
                answer=models.NamedTunable,
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
                answer=models.NamedTunable,
                body_model=models.TunableBody,
            ),
        ),
    ),
    _ext_counters("/stats/ext", "extended counters", "Answers all extended counters."),
    _ext_counter(
        "/stats/ext/{name}",
        "the total of one extended counter",
        "Answers one extended counter, by its name here or by its name in the LVS kernels.",
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
                "`persistence_s`, `persistence_mask`, `local_addresses`, `max_conn`, `max_conn_per_client`, `client_mask`, "
                "`when_full`, `refused` (sessions that each limit has kept out), `synproxy`, `engaged` (whether SYNs get cookies "
                "at this moment) and `real_servers`; a real server has `address`, `port`, `forward`, `weight`, its `state` "
                "(up or down), `backup`, `max_conn`, `draining`, and its counters "
                "`in_packets`, `out_packets`, `in_bytes`, `out_bytes`, `conns`, `active_conns`, `inactive_conns`, "
                "`opening_conns` (those of the inactive ones that are half-open), `refused_conns`, `unanswered_conns`, "
                "`open_conns` and `lane_packets` (those of `in_packets` and `out_packets` that the lane carried)",
                answer=models.Services,
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
                answer=models.Traffic,
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
                SESSION_TEXT,
                SESSION_JSON,
                is_costly=True,
                answer=list[models.Session],
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
                answer=dict[str, models.CarriedCounter],
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
                answer=dict[str, models.ShardCounter],
            ),
        ),
    ),
    Route(
        "/stats/lane",
        "the lane: what it carries, and why packets went up to a worker",
        (
            Operation(
                "GET",
                "Answers which share of the packets of sessions the kernel carries, how many sessions it has room for, and how "
                "often which reason sent a packet up to a worker.",
                "the share, the state, the entries; then a table of packets and bytes, one of what is prepared for services, and "
                "one line per counter",
                "`share_percent`, `state` (on, impaired or off), `reason` (why it is not on), `lane` and `workers` (each with "
                "`packets` and `bytes`), `entries` (`used`, `free` and `total`), `prepared` (admissions that are `ready`, "
                "endpoints without a session that are `spare`, and how many were taken back: `returned`; short-lived sessions "
                "that are `young`, local endpoints that are `resting`, and how many sessions were `short`), `services` (for each "
                "service and shard for which something is prepared: whether it `is_open`, admissions that are `ready`; of the "
                "schedule of the kernel the `way`, by turns, by the client's address or by persistence, its `places`, the "
                "`pools` that it leads to, one for each real server, those of them that are empty: `empty_pools`, and endpoints "
                "that stand `in_line` there; without a `way` there is no schedule), `admissions_off` (why there are none), "
                "`repairs` (how often filters or pins were put back) and `counters`: an object: name -> packets",
                is_costly=True,
                answer=Lane,
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
                answer=dict[str, models.Slab],
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
                answer=models.Sockstat,
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
                answer=models.Conntrack,
            ),
        ),
    ),
    *SESSION_ROUTES,
    *PERSISTENCE_ROUTES,
    *METRICS_ROUTES,
    *DOCTOR_ROUTES,
    *HOST_ROUTES,
    _ext_counters("/stats/ip_vs_ext_stats", "the same as /stats/ext", f"Answers all extended counters, {_AS_IN_LVS}."),
    _ext_counter(
        "/stats/ip_vs_ext_stats/{name}", "the same as /stats/ext/{name}", f"Answers one extended counter, {_AS_IN_LVS}."
    ),
    *DOCS_ROUTES,
    *HEALTH_ROUTES,
    *ATTACK_ROUTES,
    *CONFIG_ROUTES,
    *SERVICE_ROUTES,
    *DRAIN_ROUTES,
    *TRACE_ROUTES,
    *UI_ROUTES,
)


def operation(method: str, path: str) -> Operation:
    """One operation. Raises ValueError when ROUTES does not have it."""
    [found] = [found for route in ROUTES if route.path == path for found in route.operations if found.method == method]
    return found


def query_names(asked: Operation) -> tuple[str, ...]:
    """The names of all fields that an operation takes."""
    return tuple(parameter.name for parameter in (*asked.query, *COMMON_QUERY))
