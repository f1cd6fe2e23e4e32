"""The route of attacks, as data."""

from appliance.rest import watch_models
from appliance.rest.operation import Operation, Route

ATTACK_ROUTES: tuple[Route, ...] = (
    Route(
        "/stats/attack",
        "whether the gateway is under attack, by what, and what clients get meanwhile",
        (
            Operation(
                "GET",
                "Answers the attacks that are under way, and the latest ones that are over: when each began and ended, what was "
                "dropped by which rule, and what clients got meanwhile.",
                "`no attack` or `under attack:` and the kinds; then one line for each attack, those under way first",
                "`under_way` and `ended` (the latest first, at most 32): lists of objects with `kind`, `summary`, `began` and "
                "`ended` (RFC 3339; null while it is under way), `lasted_s`, `dropped`, `rate_per_s` (at the last look, two "
                "seconds ago at most), `peak_per_s`, `rules` (an object: rule -> how many it dropped), `sessions` and `proofs` "
                "(sessions that were opened and SYN cookies that came back meanwhile), `sessions_per_s` and "
                "`sessions_per_s_before`",
                answer=watch_models.Attacks,
            ),
        ),
    ),
)
"""Appended to the routes of the API."""
