"""Rows: what the director knows of sessions, tables and workers, in the form in which views show it."""

from typing import Any, NamedTuple

from appliance.ipc.ring_figures import RingFigures


class SessionRow(NamedTuple):
    """One session; its four endpoints are texts of the form ``address:port``."""

    service: str
    client: str
    vip: str
    local: str
    real_server: str
    state: str
    expires_s: float
    """Seconds until it expires when no packet comes."""
    protocol: str
    """"TCP" or "UDP"."""
    in_lane: bool = False
    """Whether the kernel may carry its packets."""
    chosen: str = ""
    """How its real server was chosen, as `policy.choice.words` says it; empty when it is not known."""
    age_s: float = 0.0
    """Seconds since it was opened."""


class SessionEnd(NamedTuple):
    """One session at its end, for the session log."""

    service: str
    """Its name; empty when only the lane still knew of the session."""
    protocol: str
    """"tcp" or "udp"."""
    client: str
    vip: str
    local: str
    real_server: str
    state: str
    """The one in which it ended."""
    reason: str
    """Why it left its table: the name of an `EndReason` in small letters, or "started_anew"."""
    closed_by: str
    """How its ends had closed the connection: "fin", "rst", or empty."""
    is_proxied: bool
    opened_ms: int
    ended_ms: int
    """In milliseconds of the monotonic clock."""
    in_packets: int
    in_bytes: int
    out_packets: int
    out_bytes: int
    """Of IP packets, from the client and from the real server."""


class SessionLogCounts(NamedTuple):
    """What has become of sessions that ended while the session log was on, in this run."""

    written: int
    left_out: int
    """There were too many in a second, or too many waited."""
    failed: int
    """Their lines could not be written."""


class Page(NamedTuple):
    """Some sessions, and the place where the next page begins."""

    rows: list[SessionRow]
    after: str
    """As `queries.Place` writes it; empty when there are no more sessions."""


class Slab(NamedTuple):
    """One table or pool of a shard, in the terms of `/proc/slabinfo`."""

    name: str
    active: int
    """Objects in use."""
    total: int
    """Objects for which there is memory."""
    object_bytes: int
    """Bytes of one object; their average when they differ."""


class Consistency(NamedTuple):
    """Whether the tables, pools and figures of a shard agree with each other and with the lane."""

    held: dict[str, dict[str, int]]
    """By real server (``address:port``): how many of its local endpoints each kind of holder has."""
    free: int
    """Local endpoints that nobody has, of those that were ever asked for."""
    entries: dict[str, int]
    """Entries of the lane: "used"; of those, "without_client", whose clients have come again while they rest; and "free"."""
    flows: int
    """Of the kernel's table, those that lead to entries of the shard."""
    wrong: int
    """How much does not agree."""
    problems: list[str]
    """The first of it, each in a sentence."""


class ShardState(NamedTuple):
    """The state of the worker process of one shard."""

    shard: int
    up: bool
    """Whether it takes packets."""
    pid: int | None
    """None while there is no process."""
    starts: int
    """How often a worker of this shard was started; 1 means that none has died."""
    silent_s: float = 0.0
    """Seconds for which its process has been there and has done nothing; 0.0 while it works, and while there is none."""
    cpu_s: float | None = None
    """CPU time that its process has used, in seconds; None while there is none."""
    waiting: int | None = None
    """Packets that wait in its queue; None while nobody has bound the queue."""


class Caller(NamedTuple):
    """Who asks the API."""

    name: str
    """For people, for instance ``user root (0)`` or ``token grafana``."""
    may_write: bool
    """Whether changes are allowed."""


class LaneState(NamedTuple):
    """How the lane goes."""

    state: str
    """"on", "off", or "impaired": there is one, and something of it is not as it should be at this moment."""
    reason: str
    """Why it is not on, in one line; empty when it is."""
    repairs: int = 0
    """How often what somebody else had removed was put back."""
    admissions_off: str = ""
    """Why the kernel opens no sessions that were decided in advance, in one line; empty when it does, for services that can have
    such."""


class ServiceRing(NamedTuple):
    """What is prepared for a service in a shard."""

    service: str
    shard: int
    ring: RingFigures


class LaneStats(NamedTuple):
    """What is in the lane and what it has counted, at one moment."""

    lane: LaneState
    entries_used: int
    entries: int
    tickets: int
    """Prepared admissions that are ready."""
    counts: list[int]
    """In the order of `model.lane_counters.LANE_COUNTERS`; empty without a lane."""


class DutyState(NamedTuple):
    """How one duty of the director goes."""

    name: str
    failures: int
    """How often it has failed and begun anew in this run."""
    last_error: str
    """Empty while it has not failed."""


class RealServerHealth(NamedTuple):
    """What health checks say of one real server."""

    address: str
    port: int
    state: str
    """"up" or "down"."""
    backup: bool
    check: str
    """The kind of its check; "traffic" without one, if its traffic is observed; else "none"."""
    since_s: float
    """For how many seconds it has had this state."""
    contrary: int
    """How many answers in a row have spoken against it."""
    last_outcome: str
    """"passed", "failed" or "undecided"; empty before the first answer."""
    last_answer: str
    tried_again_in_s: float = 0.0
    """Seconds until one that is down because of its traffic is up again, to be observed anew; 0.0 for all others."""
    draining: bool = False
    """Whether it is drained."""


class ServiceHealth(NamedTuple):
    """The health of one service."""

    service: str
    trouble: str
    """What is wrong, and what becomes of new sessions, while too few real servers are up; else empty."""
    quorum: int
    when_none_healthy: str
    on_down: str
    real_servers: list[RealServerHealth]


class Event(NamedTuple):
    """Something that has happened."""

    number: int
    """It grows from event to event."""
    at_s: float
    """Seconds since the epoch."""
    kind: str
    service: str
    real_server: str
    """Its address and port."""
    text: str


class EventsSince(NamedTuple):
    """Some events, in their order."""

    events: list[Event]
    last: int
    """The number behind which the next ones come."""
    are_missing: bool
    """Whether some in front of these are not known any more."""


class DrainState(NamedTuple):
    """How far the drain of a real server has come."""

    service: str
    real_server: str
    draining: bool
    since_s: float
    """For how many seconds it has been drained."""
    deadline_s: float | None
    """In how many seconds the sessions that are left end; None when there is no deadline."""
    sessions: int
    """How many it has in all shards, in any state."""
    gone: bool
    """Whether it is drained and its last session is gone."""
    note: str
    """What is wrong with its service, when too few other real servers get sessions; else empty."""


class PlannedChange(NamedTuple):
    """One thing that a change of the configuration changes."""

    change: str
    """What changes, in one line."""
    sessions: str
    """"kept", "waiting" (their packets are dropped until it is back) or "ended"; empty when it concerns no sessions."""
    number: int
    """How many sessions there are that this is about, at the moment of the plan."""


class ChangePlan(NamedTuple):
    """What a configuration would change."""

    changes: list[PlannedChange]
    needs_restart: list[str]
    """Why it cannot be put in force while traffic flows, a line each; then nothing of it is."""


class Applied(NamedTuple):
    """A change that was put in force."""

    changes: list[str]
    """What has changed, a line each."""
    confirm_within_s: int
    """After so many seconds it is taken back, unless it is confirmed; 0: it stays."""


class Saved(NamedTuple):
    """The file with what was changed meanwhile."""

    file: str
    """Its path."""
    changes: list[str]
    """What is new in it, a line each."""
    before: str
    """Its text."""
    after: str
    """The text that it has then."""
    is_written: bool


class ConfigState(NamedTuple):
    """The configuration in force, beside the file."""

    file: str
    """The path of the file."""
    differences: list[str]
    """What the file would change, a line each: what was changed while it ran and is not saved, or changed in the file and is not
    in force."""
    file_problem: str
    """Why the file cannot be used; empty when it can."""
    unconfirmed_s: float | None
    """In how many seconds the last change is taken back; None when nothing waits for its confirmation."""
    config: dict[str, Any]
    """The tables in force, with the keys of the file that are given or differ from their default."""
