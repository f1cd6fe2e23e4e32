"""The route of the doctor, as data."""

from appliance.rest import watch_models
from appliance.rest.operation import Operation, Route

DOCTOR_ROUTES: tuple[Route, ...] = (
    Route(
        "/doctor",
        "what is wrong with the gateway and its host, and the commands that mend it",
        (
            Operation(
                "GET",
                "Answers what is wrong, how bad each of it is, what was seen, and which commands mend it. The status is 200 "
                "whatever is found: the question was answered, and the gateway may be serving. `/healthz` is for balancers and "
                "probes.",
                "a block for each finding, the worst first: severity, name, problem, evidence, advice, commands in lines of "
                "their own; then one line with the sum, and what could not be seen",
                "`severity` (ok, note, warning or error: the worst), `running` (true), `watched_s` (for how long counters were "
                "watched, at most ten minutes), `findings`: a list of objects with `severity`, `name`, `about`, `problem`, "
                "`evidence`, `advice`, `commands` (a list), `run_on` (an address when not here); `left_out`: a list of checks "
                "that could not be made; `unseen`: an object: fact -> why it could not be collected",
                is_costly=True,
                answer=watch_models.Report,
            ),
        ),
    ),
)
