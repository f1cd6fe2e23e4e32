"""The keys of a service and of its real servers that limit concurrent sessions."""

from typing import Annotated

from pydantic import Field

from appliance.config.values import OneOf, Range
from appliance.policy.limits import WHEN_FULL

MOST_CONNS = 100_000_000
MOST_CONNS_PER_CLIENT = 1_000_000

MaxConn = Annotated[
    int,
    Range(0, MOST_CONNS, "sessions"),
    Field(
        description="How many sessions the service may have at the same time, in all shards together; those whose connection is "
        "over do not count (TIME_WAIT, CLOSE). What becomes of more, `when_full` says. 0: as many as there is room for."
    ),
]
MaxConnOfServer = Annotated[
    int,
    Range(0, MOST_CONNS, "sessions"),
    Field(
        description="How many sessions the real server may have at the same time, as the key of that name of the service. The "
        "next ones go to others; when all are full, `when_full` of the service says what becomes of them. 0: as many as come."
    ),
]
MaxConnPerClient = Annotated[
    int,
    Range(0, MOST_CONNS_PER_CLIENT, "sessions"),
    Field(
        description="How many sessions each client may have at the same time, in all shards together, for TCP services. Those "
        "count that are established and not over; `client_mask` says who is one client, and `when_full` what becomes of more. "
        "0: as many as there is room for."
    ),
]
WhenFull = Annotated[
    str,
    OneOf(WHEN_FULL),
    Field(
        description="What becomes of new sessions beyond a limit of the service. refuse: clients are answered with RST, or with "
        "ICMP port unreachable. drop: they are not answered."
    ),
]
