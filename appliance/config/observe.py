"""`[service.observe]`: when the traffic of a service speaks against its real servers."""

from typing import Annotated

from pydantic import Field

from appliance.config.table import Table
from appliance.config.values import Range


class Observe(Table):
    """`[service.observe]`. Errors are sessions that a real server refused, and those whose SYN it did not answer."""

    errors: Annotated[
        int,
        Range(2, 10_000),
        Field(
            description="So many errors within `within_s` bring the next check of the real server forward. One without a check "
            "is down then, if at least half of its new sessions were errors, and if others are left to the service."
        ),
    ] = 10
    within_s: Annotated[float, Range(1.0, 600.0, "s"), Field(description="The time in which errors are added up.")] = 10.0
    hold_s: Annotated[
        float,
        Range(1.0, 3600.0, "s"),
        Field(description="How long a real server without a check stays down. After that it is up, and observed as before."),
    ] = 30.0
