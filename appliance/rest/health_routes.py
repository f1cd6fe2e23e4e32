"""The routes of the admin API that are about the health of real servers, as data."""

from appliance.rest.health_models import RealServersHealth
from appliance.rest.operation import Operation, Route

HEALTH_ROUTES: tuple[Route, ...] = (
    Route(
        "/health",
        "which real servers are up, and why",
        (
            Operation(
                "GET",
                "Answers the state of every real server with its last answer, and the latest changes of state.",
                "one line for each real server; then one for each service that is down, with what becomes of new sessions",
                "`services`: a list of objects with `service`, `trouble` (why it is down, and what becomes of new sessions; else "
                "empty), `quorum`, `when_none_healthy`, `on_down` and `real_servers`, each with `address`, `port`, `state` (up "
                "or down), `backup`, `check` (none without one), `since_s`, `contrary` (answers in a row that speak against its "
                "state), `last_outcome` (passed, failed or undecided), `last_answer` and `draining`; `changes`: up to 1000 of "
                "the latest, the oldest first: `at_s` (since the epoch), `service`, "
                "`address`, `port`, `state`, `reason`, `last_answer`",
                answer=RealServersHealth,
            ),
        ),
    ),
)
