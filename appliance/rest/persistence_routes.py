"""The routes of the admin API that are about persistence, as data."""

from appliance.rest import watch_models
from appliance.rest.operation import BAD_QUERY, Operation, Parameter, Route

CLIENTS, CLIENTS_MAX = 1000, 10_000
"""Lines of ``/persistence``: by default, and at most."""

PERSISTENCE_ROUTES: tuple[Route, ...] = (
    Route(
        "/stats/persistence",
        "how many clients each service with persistence remembers",
        (
            Operation(
                "GET",
                "Answers how many clients each service with persistence remembers, for each of its real servers.",
                "a line with the entries in use and the counters; then one line per service and real server",
                "`entries` (`used` and `total`), `hits` (new sessions that went where their client had been), `displaced` "
                "(clients forgotten before their time, for new ones) and `services`: a list of objects with `service`, "
                "`persistence_s`, `persistence_mask`, `clients` and `real_servers`: an object: address and port -> clients",
                is_costly=True,
                answer=watch_models.Persistence,
            ),
        ),
    ),
    Route(
        "/persistence",
        "clients that services with persistence remember; service, limit",
        (
            Operation(
                "GET",
                "Answers clients that are remembered, each with its real server, in no order.",
                "one line per client: service, client, real server, seconds until it is forgotten",
                "a list of objects with `service`, `client`, `real_server` and `expires_s`",
                query=(
                    Parameter(
                        "service",
                        "the name of a service",
                        "any service",
                        "only clients of this service",
                        {"type": "string", "minLength": 1},
                    ),
                    Parameter(
                        "limit",
                        f"1..{CLIENTS_MAX}",
                        str(CLIENTS),
                        "the number of clients",
                        {"type": "integer", "minimum": 1, "maximum": CLIENTS_MAX},
                    ),
                ),
                refusals=(BAD_QUERY,),
                is_costly=True,
                answer=list[watch_models.RememberedClient],
            ),
        ),
    ),
)
