"""Services with their real servers, and the health of the shards, as text and as JSON. Pure."""

from collections.abc import Container, Iterable, Mapping, Sequence, Set
from ipaddress import IPv4Network
from types import MappingProxyType
from typing import Any, NamedTuple

from appliance import __version__
from appliance.ipc.cookie_edges import has_engaged
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.ipc.rows import DutyState, LaneState, ShardState
from appliance.ipc.shared_layout import SharedState
from appliance.ipc.sums import destination_sums
from appliance.model.counters import BYTES, DESTINATION_FIELDS
from appliance.model.syn_offer import ALWAYS_COOKIES
from appliance.model.verdicts import LIMITS_REACHED
from appliance.views.document import Document


class _Counts(NamedTuple):
    """The DESTINATION_FIELDS of all slots, one behind the other."""

    total: Sequence[int]
    lane: Sequence[int]
    """Those of the lane alone."""
    refused: Sequence[Sequence[int]]
    """By slot, how many sessions each limit has kept out."""


def services(
    shared: SharedState, plans: Iterable[ServicePlan], down: Set[int] = frozenset(), drained: Container[int] = ()
) -> Document:
    """Services and their real servers, with counters summed over the shards; the text has the form of ``ipvsadm -ln``. `down` are
    the slots of real servers that are down, and `drained` of those that are drained: the text shows weight 0 for these, which is
    what counts."""
    counts = _Counts(destination_sums(shared), shared.all_destinations(shared.lane).tolist(), shared.refusal_columns())
    data = [_service(shared, plan, counts, down, drained) for plan in plans]
    lines = [
        f"IP Virtual Server version {__version__} (shards={shared.shards})",
        "Prot LocalAddress:Port Scheduler Flags",
        f"  -> {'RemoteAddress:Port':<28} Forward Weight ActiveConn InActConn",
    ]
    for service in data:
        lines.append(f"{service['protocol']:<4} {service['vip']}:{service['port']} {service['scheduler']}{_flags(service)}")
        lines += (
            f"  -> {row['address'] + ':' + str(row['port']):<28} {row['forward']:<7} {row['weight'] * (not row['draining']):<6} "
            f"{row['active_conns']:<10} {row['inactive_conns']:<10}".rstrip()
            for row in service["real_servers"]
        )
    return Document("".join(f"{line}\n" for line in lines), {"version": __version__, "services": data})


def status_of(shards_down: int, problems: Sequence[str]) -> str:
    """The state of the gateway in a word: ``down``, ``impaired`` or ``ok``."""
    return "down" if shards_down else "impaired" if problems else "ok"


def health(
    states: Sequence[ShardState],
    duties: Sequence[DutyState] = (),
    problems: Sequence[str] = (),
    missing_addresses: Sequence[str] = (),
    lane: LaneState | None = None,
    services_down: Mapping[str, str] = MappingProxyType({}),
    notes: Sequence[str] = (),
) -> Document:
    """The text is ``ok``, or one line for each shard that is down and for each problem of the host; then one for each service
    that is down, by name, and for each of the `notes`, which are about the network around. These say nothing against the gateway.

    The JSON has the duties of the director, missing addresses and the lane too. These are no problem by themselves: on a gateway
    in reserve another program has not added the addresses yet, and without the lane all packets go through the workers.
    """
    down = [state for state in states if not state.up]
    text = "".join(map(_condition, down))
    text += "".join(f"{problem}\n" for problem in problems)
    data: dict[str, Any] = {
        "status": status_of(len(down), problems),
        "shards": [state._asdict() for state in states],
        "duties": [duty._asdict() for duty in duties],
        "problems": list(problems),
        "missing_addresses": list(missing_addresses),
        "lane": lane._asdict() if lane else None,
        "services_down": dict(services_down),
        "notes": list(notes),
    }
    troubles = "".join(f"service {name} is down: {trouble}\n" for name, trouble in services_down.items())
    return Document((text or "ok\n") + troubles + "".join(f"note: {note}\n" for note in notes), data)


def _condition(state: ShardState) -> str:
    """The line about a shard that is down."""
    if state.silent_s:
        return f"shard{state.shard} is down: its worker (pid {state.pid}) has done nothing for {state.silent_s:.1f} s\n"
    return f"shard{state.shard} is down (started {state.starts} times)\n"


def _flags(service: dict[str, Any]) -> str:
    """Persistence and SYNPROXY, as `ipvsadm -ln` shows them; behind `auto`, whether SYNs get cookies at this moment."""
    flags = ""
    if service["persistence_s"]:
        mask = "" if service["persistence_mask"] == 32 else f" mask {IPv4Network((0, service['persistence_mask'])).netmask}"
        flags += f" persistent {service['persistence_s']}{mask}"
    if service["synproxy"] != "never":
        flags += " synproxy"
    if service["synproxy"] == "auto":
        flags += " auto engaged" if service["engaged"] else " auto"
    return flags


def _is_engaged(shared: SharedState, plan: ServicePlan) -> bool:
    """Whether SYNs to the service are answered with cookies at this moment, by one shard at least."""
    if plan.synproxy != "auto":
        return plan.synproxy == "always"
    mode = shared.tunable("tcp_syncookies")
    return mode == ALWAYS_COOKIES or (mode != 0 and has_engaged(shared, (server.slot for server in plan.real_servers)))


def heading(plan: ServicePlan) -> dict[str, Any]:
    """What every list of services says of each of them first."""
    return {
        "name": plan.name,
        "protocol": plan.protocol.upper(),
        "vip": plan.vip,
        "port": plan.port,
        "scheduler": plan.scheduler,
    }


def _service(shared: SharedState, plan: ServicePlan, counts: _Counts, down: Set[int], drained: Container[int]) -> dict[str, Any]:
    return {
        **heading(plan),
        "persistence_s": plan.persistence_s,
        "persistence_mask": plan.persistence_mask,
        "local_addresses": list(plan.local_addresses),
        "max_conn": plan.max_conn,
        "max_conn_per_client": plan.max_conn_per_client,
        "client_mask": plan.client_mask,
        "when_full": plan.when_full,
        "refused": {
            verdict.name: sum(column[server.slot] for server in plan.real_servers)
            for verdict, column in zip(LIMITS_REACHED, counts.refused, strict=True)
        },
        "synproxy": plan.synproxy,
        "engaged": _is_engaged(shared, plan),
        "real_servers": [_real_server(real_server, counts, down, drained) for real_server in plan.real_servers],
    }


def _real_server(plan: RealServerPlan, counts: _Counts, down: Set[int], drained: Container[int]) -> dict[str, Any]:
    start = plan.slot * len(DESTINATION_FIELDS)
    return {
        "address": plan.address,
        "port": plan.port,
        "forward": "FullNat",
        "weight": plan.weight,
        "state": "down" if plan.slot in down else "up",
        "backup": plan.backup,
        "max_conn": plan.max_conn,
        "draining": plan.slot in drained,
        **dict(zip(DESTINATION_FIELDS, counts.total[start : start + len(DESTINATION_FIELDS)], strict=True)),
        "lane_packets": sum(counts.lane[start : start + BYTES]),
    }
