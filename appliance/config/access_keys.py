"""The keys of a service that say who may open a connection to it, and how fast. What they do: `policy.access_rules`."""

import re
from ipaddress import IPv4Network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from appliance.config.values import Allowed, FilePath, Listed, Range
from appliance.policy.access_rules import RESERVED
from appliance.policy.prefixes import range_of

MOST_PER_S = 1_000_000

_SET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


def _prefix(value: object) -> IPv4Network:
    if not isinstance(value, str):
        raise ValueError("is not an IPv4 address or prefix in quotes")
    first, last = range_of(value)
    return IPv4Network((first, 32 - (last - first).bit_length()))


def _set_name(value: str) -> str:
    if not _SET_NAME.fullmatch(value):
        raise ValueError("is not a name of a set: a letter, then letters, digits and _, 63 at most")
    if value.startswith(RESERVED):
        raise ValueError(f"is taken: names that begin with {', '.join(RESERVED)} are those of the appliance's own sets")
    return value


_Prefixes = Annotated[
    Listed[Annotated[IPv4Network, BeforeValidator(_prefix)]],
    Allowed("a list of IPv4 addresses and prefixes in quotes, for instance 192.0.2.0/24"),
]
_Files = Annotated[Listed[FilePath], Allowed("a list of absolute paths in quotes")]
_Sets = Annotated[Listed[Annotated[str, AfterValidator(_set_name)]], Allowed("a list of names of sets in quotes")]

Allow = Annotated[
    _Prefixes,
    Field(
        description="Clients that may open connections. As soon as allow, allow_files or allow_sets names anything, the SYNs and "
        "datagrams of all others are dropped."
    ),
]
AllowFiles = Annotated[
    _Files,
    Field(
        description="Files with more of them, a prefix a line; what follows a # is a comment. They are read at the start and at "
        "each reload. A file must belong to root, and others must not be able to change it."
    ),
]
AllowSets = Annotated[
    _Sets,
    Field(
        description="Sets of the nftables table `ip appliance_access` with more of them, which you fill yourself. One that does "
        "not exist is made, empty."
    ),
]
Deny = Annotated[
    _Prefixes,
    Field(
        description="Clients that may open no connection, also when they are allowed. When a reload denies clients, their "
        "sessions are cut."
    ),
]
DenyFiles = Annotated[_Files, Field(description="Files with more of them, as allow_files.")]
DenySets = Annotated[
    _Sets,
    Field(description="Sets with more of them, as allow_sets. Sessions of clients that you add are not cut."),
]
ClientRate = Annotated[
    int,
    Range(0, MOST_PER_S, "SYNs per second"),
    Field(
        description="How many new connections each client may open; SYNs beyond that are dropped, and its kernel sends them "
        "again a second later. For TCP services. 0: no limit."
    ),
]
ClientBurst = Annotated[
    int,
    Range(0, MOST_PER_S, "SYNs"),
    Field(description="How many of them may come at once, after a pause. 0: as many as in a second."),
]
ClientMask = Annotated[
    int,
    Range(8, 32, "bits"),
    Field(
        description="For client_new_per_s and max_conn_per_client, clients whose addresses have so many first bits in common are "
        "one client: 32 for each address by itself, 24 for networks of 256."
    ),
]
ServiceRate = Annotated[
    int,
    Range(0, MOST_PER_S, "SYNs per second"),
    Field(
        description="How many new connections all clients together may open; SYNs beyond that are dropped. For TCP services with "
        "synproxy = false: a flood of forged SYNs uses the limit up. 0: no limit."
    ),
]
ServiceBurst = Annotated[
    int,
    Range(0, MOST_PER_S, "SYNs"),
    Field(description="How many of them may come at once, after a pause. 0: as many as in a second."),
]

KEYS = (
    "allow",
    "allow_files",
    "allow_sets",
    "deny",
    "deny_files",
    "deny_sets",
    "client_new_per_s",
    "client_new_burst",
    "client_mask",
    "new_per_s",
    "new_burst",
)
"""All of these keys."""
