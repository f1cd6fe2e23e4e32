"""The keys of a service about its persistence."""

from typing import Annotated

from pydantic import Field

from appliance.config.values import Range

Persistence = Annotated[
    int,
    Range(0, 86_400, "seconds"),
    Field(
        description="For how long new sessions of a client go to the same real server; each new one begins the time anew. It "
        "ends earlier when that real server gets weight 0 or is removed. 0: the scheduler chooses for each new session."
    ),
]

Mask = Annotated[
    int,
    Range(1, 32, "bits"),
    Field(
        description="For persistence, clients whose addresses have so many first bits in common are one client: 32 for each "
        "address by itself, 24 for networks of 256."
    ),
]
