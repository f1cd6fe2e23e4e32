"""The families that say how the gateway is: workers, duties, the host, the lane, tunables in force. Pure."""

from collections.abc import Callable, Iterable, Iterator

from appliance import __version__
from appliance.attack.kinds import KINDS
from appliance.ipc.rows import ShardState
from appliance.metrics.family import Family, Series, counter, gauge, one
from appliance.metrics.label import label
from appliance.metrics.reading import Reading
from appliance.model.tunables import TUNABLES, Tunable

_LANE_STATES = ("on", "impaired", "off")
_BASE_UNITS = {"ms": ("_seconds", 1000), "percent": ("_ratio", 100), "bytes": ("_bytes", 1)}
"""By the unit of a tunable: the end of the metric's name, and how many of the unit are one of Prometheus' base unit."""

_Read = Callable[[Reading], Iterable[Series]]


def _by_shard(read: Callable[[ShardState], float]) -> _Read:
    return lambda reading: (((str(state.shard),), read(state)) for state in reading.shards)


def _is_healthy(reading: Reading) -> bool:
    return all(state.up for state in reading.shards) and not reading.problems


def _sources(reading: Reading) -> Iterator[Series]:
    yield ("kernel_drops",), reading.kernel_drops is not None
    yield ("lane",), reading.lane_is_read


def _conntrack(name: str) -> _Read:
    """One figure of the host; no series while the host does not track connections, or does not count this."""

    def read(reading: Reading) -> Iterator[Series]:
        if reading.conntrack is not None and name in reading.conntrack:
            yield (), reading.conntrack[name]

    return read


def _tunable(tunable: Tunable) -> Family:
    suffix, many = _BASE_UNITS.get(tunable.unit, ("", 1))
    return gauge(
        f"tunable_{tunable.name}{suffix}",
        f"tunable {tunable.name}: {tunable.summary}",
        one(lambda reading: reading.shared.tunable(tunable.name) / many),
    )


CONDITION: tuple[Family, ...] = (
    gauge("build_info", "always 1; the label is the version that runs", lambda _: [((__version__,), 1)], "version"),
    gauge("healthy", "1 while /healthz answers 200: every shard is up, and the host is as it should be", one(_is_healthy)),
    gauge(
        "source_up",
        "1 when a source outside of the shared memory could be read for this page, else 0: then its series are missing",
        _sources,
        "source",
    ),
    gauge("shard_up", "1 while the worker of a shard takes packets, else 0", _by_shard(lambda state: state.up), "shard"),
    gauge(
        "shard_silent_seconds",
        "seconds for which the worker of a shard has been there and has done nothing; 0 while it works",
        _by_shard(lambda state: state.silent_s),
        "shard",
    ),
    counter(
        "duty_failures",
        "times a duty of the director has failed and begun anew in this run",
        lambda reading: (((label(duty.name),), duty.failures) for duty in reading.duties),
        "duty",
    ),
    gauge("host_problems", "problems of the host that /healthz names", one(lambda reading: reading.problems)),
    gauge(
        "missing_addresses",
        "VIPs and local addresses that no interface has, while another program is to add them",
        one(lambda reading: reading.missing_addresses),
    ),
    gauge(
        "lane_state",
        "1 for the state that the lane is in, 0 for the others",
        lambda reading: (((state,), reading.lane.lane.state == state) for state in _LANE_STATES),
        "state",
    ),
    gauge("lane_entries", "sessions that the lane has room for", one(lambda reading: reading.lane.entries)),
    gauge("lane_entries_used", "sessions that are in the lane now", one(lambda reading: reading.lane.entries_used)),
    counter(
        "lane_repairs",
        "times something of the lane that somebody else had removed was put back",
        one(lambda reading: reading.lane.lane.repairs),
    ),
    gauge(
        "attack_under_way",
        "1 while the gateway is under an attack of this kind, else 0",
        lambda reading: (((kind.name,), kind.name in reading.attacks.under_way) for kind in KINDS),
        "kind",
    ),
    counter(
        "attacks",
        "attacks of this kind that began in this run",
        lambda reading: (((kind.name,), reading.attacks.begun[kind.name]) for kind in KINDS),
        "kind",
    ),
    counter(
        "session_log_sessions",
        "sessions that ended while the session log was on, by what became of their lines: written, left out, failed",
        lambda reading: (((name,), number) for name, number in reading.session_log._asdict().items()),
        "outcome",
    ),
    gauge("host_conntrack_entries", "entries of the host's own connection tracking", _conntrack("count")),
    gauge("host_conntrack_entries_limit", "entries that the host's own connection tracking may have", _conntrack("max")),
    gauge("host_conntrack_buckets", "buckets of the host's own connection tracking", _conntrack("buckets")),
    counter("host_conntrack_drops", "packets the host dropped because its connection tracking was full", _conntrack("drop")),
    counter(
        "host_conntrack_early_drops", "entries the host's connection tracking dropped for new ones", _conntrack("early_drop")
    ),
    counter(
        "host_conntrack_insert_failures", "entries the host's connection tracking could not make", _conntrack("insert_failed")
    ),
)

TUNABLE_FAMILIES: tuple[Family, ...] = tuple(map(_tunable, TUNABLES.values()))
