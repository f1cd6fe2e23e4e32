"""What the admin API needs of the director, as Protocols: the API is tested with a gateway that has no worker behind it."""

import socket
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Protocol

from appliance.attack.watch import AttackWatch
from appliance.doctor.examine import Report
from appliance.health.changes import StateChange
from appliance.health.check import Target
from appliance.ipc.plan import ServicePlan
from appliance.ipc.queries import Query, SessionFilter
from appliance.ipc.rows import (
    Applied,
    Caller,
    ChangePlan,
    ConfigState,
    Consistency,
    DrainState,
    DutyState,
    EventsSince,
    LaneState,
    LaneStats,
    Page,
    Saved,
    ServiceHealth,
    ServiceRing,
    SessionLogCounts,
    SessionRow,
    ShardState,
    Slab,
)
from appliance.ipc.shared_layout import SharedState
from appliance.ipc.traced import TraceBatch
from appliance.model.edit import Edit, Subject
from appliance.model.host_parameter import HostParameter, HostReading, Values
from appliance.model.rates import Rates
from appliance.model.token import Tokens


class Sessions(Protocol):
    """The sessions of all shards. Every method but `cut` raises ShardDownError while a worker is down."""

    def rows(self, wanted: SessionFilter) -> AsyncIterator[list[SessionRow]]:
        """All sessions that match a filter, in batches; a batch is read from its shard when the caller asks for it."""

    async def page(self, wanted: SessionFilter, limit: int, after: str) -> Page:
        """At most `limit` sessions that come after the place `after`; an empty `after` is the beginning.

        Raises QueryError when `after` is not a place of this appliance.
        """

    async def tally(self, by: str, wanted: SessionFilter) -> Counter[str]:
        """The number of sessions of each client, service or real server; `by` is one of `queries.GROUPS`."""

    async def cut(self, wanted: SessionFilter) -> int:
        """End all sessions that match a filter and return their number. A worker that is down has no session."""

    async def slabs(self) -> list[list[Slab]]:
        """The tables and pools of each shard."""

    async def consistency(self) -> list[Consistency]:
        """Whether what each shard has agrees with itself and with the lane."""


class Health(Protocol):
    """The health of all real servers."""

    down: frozenset[int]
    """The slots of those that are down."""

    @property
    def troubles(self) -> Mapping[str, str]:
        """By service: what is wrong with those that are down at this moment."""

    @property
    def recent(self) -> Iterable[StateChange]:
        """The latest changes of state, the oldest first."""

    def rows(self) -> list[ServiceHealth]:
        """The health of each service and its real servers."""


class Drains(Protocol):
    """The drains of real servers. All methods raise KeyError for a real server that does not exist."""

    def state(self, target: Target, note: str = "") -> DrainState:
        """How far the drain of a real server has come; `note` becomes a part of it while it is drained."""

    async def begin(self, target: Target, deadline_s: float | None) -> None:
        """Drain a real server; another deadline for one that is drained already."""

    async def take_back(self, target: Target) -> bool:
        """Take a drain back; False when there is none."""

    @property
    def slots(self) -> tuple[int, ...]:
        """The slots of all real servers that are drained."""


class Traces(Protocol):
    """What becomes of packets."""

    def packets(self, wanted: Query, *, with_changes: bool = False) -> AsyncGenerator[TraceBatch, None]:
        """The packets that a query of the kind TRACE wants, in batches, until this is closed; with what is in force as well."""


class Events(Protocol):
    """What has happened."""

    @property
    def last(self) -> int:
        """The number of the latest event."""

    def since(self, number: int, most: int) -> EventsSince:
        """Up to `most` events behind this number; 0 is in front of all."""

    async def news(self) -> None:
        """Return when there is another event than there are now."""


class Tls(Protocol):
    """The certificate of the API."""

    @property
    def context(self) -> ssl.SSLContext:
        """For new connections."""

    @property
    def names(self) -> frozenset[str]:
        """The names and addresses in the certificate, in lower case; a name may begin with ``*.``."""


class Access(Protocol):
    """Who may use the API. What it says changes at a reload."""

    tokens: Tokens
    remote_needs_token: bool
    """Whether requests without a token are refused on listeners that other hosts reach."""

    @property
    def tls(self) -> Tls | None:
        """What listeners with TLS show; None when there are no such listeners."""

    async def who(self, sock: socket.socket) -> Caller:
        """The user at the other end of a connection. The socket is looked at before this waits."""


class HostParameters(Protocol):
    """The parameters of the host's kernel. Reading raises EdgeError when the kernel does not say what it has."""

    async def read(self, parameter: HostParameter) -> HostReading:
        """One parameter at this moment, with the values at `all` and at the interfaces of the gateway where it has those."""

    async def read_all(self) -> list[HostReading]:
        """All of them, in the order of HOST_PARAMETERS."""

    async def write(self, parameter: HostParameter, place: str, values: Values) -> HostReading:
        """Write one at one place; what is then in force. Raises HostParameterError, and changes nothing, when that is refused."""


class AccessControl(Protocol):
    """Access lists and rate limits."""

    async def drops(self) -> Mapping[tuple[str, str], int]:
        """Packets that the kernel dropped for them, by service and counter; empty when it cannot be asked."""


class SessionLog(Protocol):
    """The session log."""

    @property
    def counts(self) -> SessionLogCounts:
        """What has become of sessions that ended while it was on."""


class Configuration(Protocol):
    """The configuration in force. Whatever changes it raises ChangeRefusedError, and changes nothing, when that is refused."""

    async def state(self) -> ConfigState:
        """What is in force, beside the file."""

    async def plan(self, text: str | None) -> ChangePlan:
        """What a text would change; without one, the file."""

    async def apply(self, text: str | None, confirm_within_s: int, versions: Sequence[str]) -> Applied:
        """Put a text in force; without one, the file. With a time, it is taken back then, unless it is confirmed. `versions` are
        those of the whole configuration that the client knows."""

    async def save(self, *, write: bool) -> Saved:
        """The file with what is in force and with its comments; with `write` it is written."""

    async def confirm(self) -> None:
        """Let the change stay that waits for it."""

    async def change(self, edit: Edit, versions: Sequence[str]) -> Applied:
        """Change one service, real server or pool. `versions` are those of it that the client knows."""

    def look_up(self, subject: Subject) -> dict[str, Any] | None:
        """The value of a service, a real server or a pool; None when there is no such one."""

    def services(self) -> list[dict[str, Any]]:
        """The values of all services."""

    def pools(self) -> dict[str, dict[str, Any]]:
        """The values of all pools, by name."""


class Gateway(Protocol):
    """The director, as the API sees it."""

    shared: SharedState
    services: tuple[ServicePlan, ...]

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""

    @property
    def access(self) -> Access:
        """Who may use the API."""

    @property
    def access_control(self) -> AccessControl:
        """Who may open connections."""

    @property
    def sessions(self) -> Sessions:
        """The sessions of all shards."""

    @property
    def host_parameters(self) -> HostParameters:
        """The parameters of the host's kernel."""

    @property
    def health(self) -> Health:
        """The health of all real servers."""

    @property
    def attacks(self) -> AttackWatch:
        """The attacks of this run."""

    @property
    def drains(self) -> Drains:
        """The drains of real servers."""

    @property
    def events(self) -> Events:
        """What has happened."""

    @property
    def session_log(self) -> SessionLog:
        """The session log."""

    @property
    def traces(self) -> Traces:
        """What becomes of packets."""

    async def set_tunable(self, name: str, value: int) -> None:
        """Put a value in force. Raises TunableError, and changes nothing, when the value is not allowed."""

    async def kernel_drops(self) -> dict[str, int]:
        """The packets that the kernel dropped for the defence, by the name of the extended counter; as of a moment ago."""

    def kernel_drops_are_known(self) -> bool:
        """Whether the kernel could be asked for these when they were last looked at."""

    def shard_states(self) -> list[ShardState]:
        """The condition of each worker process."""

    def duty_states(self) -> list[DutyState]:
        """How each duty of the director goes."""

    def lane_state(self) -> LaneState:
        """How the lane goes."""

    async def lane_stats(self) -> LaneStats:
        """What the lane has counted, at this moment."""

    async def lane_rings(self) -> Sequence[ServiceRing]:
        """What is prepared for each service in each shard, where something is."""

    def host_problems(self) -> Sequence[str]:
        """What is wrong on the host at this moment, a sentence each."""

    def network_notes(self) -> Sequence[str]:
        """What is wrong around the gateway and stops some traffic at most, a sentence each."""

    def missing_addresses(self) -> Sequence[str]:
        """VIPs and local addresses that no interface has although another program is to add them."""

    async def examine(self) -> Report:
        """What the doctor finds wrong now; it may be of a second ago."""

    def rates(self) -> Rates:
        """Events per second, in the order of `counters.TRAFFIC_FIELDS`."""

    def host_sockstat(self) -> Mapping[str, Mapping[str, int]]:
        """The host's own sockets and fragments: the lines of `/proc/net/sockstat` by kind, then by name."""

    def host_conntrack(self) -> Mapping[str, int] | None:
        """The figures of the host's own connection tracking; None when the host does not track connections."""
