"""The tables of the configuration file, key by key: what each key allows, its default and its meaning.

`keys` lists all of them for the reference.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, create_model, model_validator

from appliance.config import access_keys, persistence_keys
from appliance.config.health_check import Backup, HealthCheck, OnDown, Quorum, WhenNoneHealthy
from appliance.config.limits import MaxConn, MaxConnOfServer, MaxConnPerClient, WhenFull
from appliance.config.observe import Observe
from appliance.config.table import Table
from appliance.config.values import (
    INTERFACE_RULE,
    Allowed,
    HostAddress,
    InterfaceName,
    Listed,
    Multiple,
    Name,
    Network,
    NonEmpty,
    OneOf,
    Port,
    Range,
    SynproxyMode,
    double_brackets,
    not_empty,
)
from appliance.ipc.lane_layout import CHANGED_PAGE_BYTES, LEAST_ENTRIES, MOST_ENTRIES, USUAL_ENTRIES
from appliance.model.tunables import TUNABLES
from appliance.policy.candidates import LEAVE, REFUSE
from appliance.policy.schedulers.maglev_table import PLACES, USUAL_PLACES
from appliance.policy.schedulers.registry import SCHEDULERS
from appliance.policy.sides import Sides
from appliance.policy.steering import MAX_SHARDS

LAST_QUEUE_NUM = 65535

LANE_WORDS = ("auto", "off", "required")
"""What gateway.lane can be."""


class Gateway(Table):
    """`[gateway]`: the host that the appliance runs on."""

    shards: Annotated[
        int,
        Range(1, MAX_SHARDS),
        Field(
            description="The number of worker processes. Each serves one shard of the traffic through one NFQUEUE, and uses "
            "about one CPU core under load. `--shards` on the command line overrides it."
        ),
    ] = 1
    queue_base: Annotated[
        int,
        Range(0, LAST_QUEUE_NUM),
        Field(
            description="The NFQUEUE number of the first shard; the other shards have the numbers after it, and the last one "
            f"cannot pass {LAST_QUEUE_NUM}. Change it when another program on this host uses these queues."
        ),
    ] = 0
    client_interface: Annotated[InterfaceName, Field(description="The interface on which the packets of clients arrive.")]
    server_interface: Annotated[InterfaceName, Field(description="The interface towards the real servers.")]
    manage_addresses: Annotated[
        bool,
        Allowed("true or false"),
        Field(
            description="true: the appliance adds the VIPs and the local addresses to the interfaces when it starts, and "
            "removes those that it added when it stops. false: another program does this (ifupdown, netplan, a routing daemon)."
        ),
    ] = True
    client_interfaces: Annotated[
        Listed[InterfaceName],
        Allowed(f"a list of interface names: {INTERFACE_RULE}"),
        Field(
            description="More interfaces on which packets of clients arrive. Packets to a service that arrive on an interface "
            "of neither side are dropped."
        ),
    ] = ()
    server_interfaces: Annotated[
        Listed[InterfaceName],
        Allowed(f"a list of interface names: {INTERFACE_RULE}"),
        Field(
            description="More interfaces on which packets of real servers arrive. Packets to a local address are taken from "
            "the interfaces of real servers only. An interface may be on both sides."
        ),
    ] = ()
    server_networks: Annotated[
        Listed[Network],
        Allowed("a list of IPv4 networks in quotes, for instance 192.0.2.0/24"),
        Field(
            description="The networks of the server side. On an interface of both sides, only packets with a source in these "
            "networks are taken for packets of real servers, and errors of routers towards them. Every real server must lie "
            "in one of them, and no client."
        ),
    ] = ()
    direct_access: Annotated[
        bool,
        Allowed("true or false"),
        Field(
            description="false: packets of the client side to real servers and to local addresses are dropped. true: the host "
            "forwards them, and all that is done for them is that a client-address option is overwritten."
        ),
    ] = False

    lane: Annotated[
        str,
        OneOf(LANE_WORDS),
        Field(
            description="Whether a program in the kernel carries the packets of sessions that the appliance has opened. auto: it "
            "does where kernel, privileges and interfaces allow it, and where they do not, the appliance works without it and "
            "says why. required: the appliance does not start without it. off: every packet goes through a worker."
        ),
    ] = "auto"
    lane_entries: Annotated[
        int,
        Range(LEAST_ENTRIES, MOST_ENTRIES),
        Multiple(CHANGED_PAGE_BYTES),
        Field(
            description="How many sessions the lane can carry, in all shards together. Each takes 256 bytes of kernel memory "
            "that is never swapped out, so the default takes 64 MiB, and some 100 bytes more while it is used. Sessions beyond "
            "that go through the workers."
        ),
    ] = USUAL_ENTRIES

    spare_real_servers: Annotated[
        int,
        Range(0, 65_536),
        Field(
            description="How many real servers there may be, of all services together, beyond those of the start: reloads can "
            "add so many. Each takes some hundred bytes of memory per shard. One that was removed and has no session any more "
            "counts no longer."
        ),
    ] = 256

    @property
    def sides(self) -> Sides:
        """Where the packets of clients and of real servers arrive. Each interface is named once on a side."""
        return Sides(
            tuple(dict.fromkeys((self.client_interface, *self.client_interfaces))),
            tuple(dict.fromkeys((self.server_interface, *self.server_interfaces))),
            self.server_networks,
            self.direct_access,
        )


class RealServer(Table):
    """`[[service.real_server]]`: a server behind a VIP."""

    address: Annotated[
        HostAddress, Field(description="The address of the real server. It can be neither a VIP nor a local address.")
    ]
    port: Annotated[
        Port, Field(description="The port of the real server. A service cannot have the same address and port twice.")
    ]
    weight: Annotated[
        int,
        Range(0, 65535),
        Field(
            description="The share of new sessions, for schedulers that use weights; rr and lc do not. With 0 the real server is "
            "drained: its sessions go on, and it gets no new ones."
        ),
    ] = 100
    slow_start_s: Annotated[
        int,
        Range(0, 3600, "seconds"),
        Field(
            description="How long a real server that was added, has come back or was raised from weight 0 takes until it has its "
            "whole share of new sessions; until then its weight counts for less. 0: it has it at once. It does nothing when the "
            "appliance starts, and nothing with the schedulers sh and mh."
        ),
    ] = 0
    backup: Backup = False
    max_conn: MaxConnOfServer = 0
    health_check: HealthCheck | None = Field(
        default=None,
        alias="health_check",
        description="The check of this real server alone, in the place of that of its service: the whole table, not single keys.",
    )


def _maglev_places(value: int) -> int:
    if value not in PLACES:
        raise ValueError(f"is no size of a table; sizes: {', '.join(map(str, PLACES))}")
    return value


class Service(Table):
    """`[[service]]`: a virtual service."""

    name: Annotated[Name, Field(description="The name of the service in views, logs and filters. Each service needs its own.")]
    vip: Annotated[HostAddress, Field(description="The virtual IP address that clients connect to.")]
    port: Annotated[
        Port, Field(description="The port that clients connect to. Services may share a VIP, but not VIP, port and protocol.")
    ]
    protocol: Annotated[
        str,
        OneOf(("tcp", "udp")),
        Field(
            description="The protocol. A UDP session is the traffic between one port of a client and the service, until neither "
            "side has sent anything for the time of the tunable `udp_timeout`; or of `udp_timeout_unconfirmed`, as long as the "
            "client has not sent again after an answer."
        ),
    ] = "tcp"
    scheduler: Annotated[
        str,
        OneOf(tuple(SCHEDULERS)),
        Field(
            description="How the real server of a new session is chosen. rr: each in turn. wrr: each in turn, as often as its "
            "weight says. lc: the one with least open sessions. wlc: the one with least of them for its weight. sh: by a hash of "
            "the client's address. mh: by a hash of it as well, through the table of Maglev, which keeps to the weights more "
            "exactly."
        ),
    ] = "rr"
    # Fields are checked in this order, and the check of synproxy needs the protocol.
    synproxy: Annotated[
        bool | Literal["auto"],
        SynproxyMode,
        Allowed('true, false or "auto"; false for UDP'),
        Field(
            description="Whether clients have to complete a SYN-cookie handshake before a real server hears of them. With auto "
            "they have to while the service has more half-open sessions than the tunable `tcp_max_syn_backlog` allows. A UDP "
            "service that does not say it is without it."
        ),
    ] = "auto"
    synproxy_defer: Annotated[
        Annotated[int, Range(0, 1)] | None,
        Allowed("0 or 1", default='the value of the tunable `synproxy_defer`; 0 when synproxy is "auto"'),
        Field(
            description="When SYNPROXY opens the session. 1: when the first data of the client arrives. 0: at the end of the "
            "client's handshake, for protocols in which the server speaks first."
        ),
    ] = None
    lane: Annotated[
        bool,
        Allowed("true or false"),
        Field(
            description="Whether the lane may carry the sessions of this service. What it carries passes the rules that the "
            "operator's own firewall has for forwarded packets with its first packet only. false: every packet passes them."
        ),
    ] = True
    local_addresses: Annotated[
        str,
        Allowed("the name of a pool in [local_addresses]"),
        Field(description="The pool of local addresses from which the sessions of this service reach their real servers."),
    ] = "default"
    maglev_table: Annotated[
        int,
        Allowed(", ".join(map(str, PLACES))),
        AfterValidator(_maglev_places),
        Field(
            description="How many places the table of the scheduler mh has. The more, the more exactly it keeps to the weights. "
            "A place takes a byte in each shard, or two with more than 255 real servers; services with the same real servers and "
            "weights have one table together. The tables of all services may take 256 MiB in each shard."
        ),
    ] = USUAL_PLACES
    persistence_s: persistence_keys.Persistence = 0
    persistence_mask: persistence_keys.Mask = 32
    when_none_healthy: WhenNoneHealthy = REFUSE
    quorum: Quorum = 1
    on_down: OnDown = LEAVE
    allow: access_keys.Allow = ()
    allow_files: access_keys.AllowFiles = ()
    allow_sets: access_keys.AllowSets = ()
    deny: access_keys.Deny = ()
    deny_files: access_keys.DenyFiles = ()
    deny_sets: access_keys.DenySets = ()
    client_new_per_s: access_keys.ClientRate = 0
    client_new_burst: access_keys.ClientBurst = 0
    client_mask: access_keys.ClientMask = 32
    new_per_s: access_keys.ServiceRate = 0
    new_burst: access_keys.ServiceBurst = 0
    max_conn: MaxConn = 0
    max_conn_per_client: MaxConnPerClient = 0
    when_full: WhenFull = REFUSE
    health_check: HealthCheck | None = Field(
        default=None,
        alias="health_check",
        description="How the real servers of the service above are checked. Without it, all of them count as up. A table "
        "`[service.real_server.health_check]` behind a real server takes its place for that one, as a whole.",
    )
    observe: Observe | None = Field(
        default=None,
        alias="observe",
        description="When the traffic of the service above speaks against its real servers.",
    )
    real_servers: Annotated[Listed[RealServer], BeforeValidator(double_brackets)] = Field(
        default=(), alias="real_server", description="A real server of the service above. Without any, clients are refused."
    )

    @model_validator(mode="before")
    @classmethod
    def _without_synproxy_unless_of_tcp(cls, table: object) -> object:
        """A service of another protocol that does not say `synproxy` is without it."""
        if isinstance(table, dict) and table.get("protocol", "tcp") != "tcp":
            return {"synproxy": False, **table}
        return table


_tunable_fields: dict[str, Any] = {
    tunable.name: (
        Annotated[int, Range(tunable.min, tunable.max, tunable.unit), Field(description=tunable.summary)],
        tunable.default,
    )
    for tunable in TUNABLES.values()
}
StartValues: type[Table] = create_model("StartValues", __base__=Table, **_tunable_fields)
"""`[sysctl]`: a key for each tunable."""


def _complete(table: object) -> dict[str, int]:
    return StartValues.model_validate(table).model_dump()


Sysctl = Annotated[dict[str, int], BeforeValidator(_complete)]
"""Every tunable by name; those that the file leaves out have their defaults."""

Services = Annotated[NonEmpty[Service], BeforeValidator(double_brackets)]

Pools = Annotated[dict[Name, NonEmpty[HostAddress]], AfterValidator(not_empty)]
"""Local addresses by the name of their pool."""
