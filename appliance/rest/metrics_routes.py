"""The route of the admin API that Prometheus asks, as data."""

from appliance.rest import watch_models
from appliance.rest.operation import Operation, Route

METRICS_ROUTES: tuple[Route, ...] = (
    Route(
        "/metrics",
        "all numbers for Prometheus",
        (
            Operation(
                "GET",
                "Answers all counters and gauges of the gateway. The form is OpenMetrics 1.0.0 when the Accept header "
                "prefers `application/openmetrics-text`. An answer may be as old as a second, and is compressed when "
                "Accept-Encoding asks for gzip.",
                "the text format of Prometheus, version 0.0.4",
                "an object: name of the metric -> `type` (counter or gauge), `help` and `samples`: a list of objects with "
                "`labels` (an object) and `value`",
                answer=dict[str, watch_models.Metric],
                media=("application/json", "text/plain", "application/openmetrics-text"),
            ),
        ),
    ),
)
