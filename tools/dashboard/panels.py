"""What the dashboard shows: rows of panels, each with its queries."""

from typing import NamedTuple

_HERE = 'instance=~"$instance"'
"""The gateways that were chosen at the top of the dashboard."""


class Panel(NamedTuple):
    """One picture."""

    title: str
    unit: str
    """As Grafana calls it."""
    queries: dict[str, str]
    """By legend, in which `{{label}}` stands for the value of a label."""
    meaning: str
    is_number: bool = False
    """One number for each series, instead of curves."""


class Row(NamedTuple):
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


def _now(metric: str, labels: str = "") -> str:
    return f"{metric}{{{', '.join(filter(None, (_HERE, labels)))}}}"


def _rate(metric: str, labels: str = "") -> str:
    return f"rate({_now(metric, labels)}[$__rate_interval])"


def _sum(by: str, inside: str) -> str:
    return f"sum by ({by}) ({inside})"


_CHOSEN = 'service=~"$service"'

_LANE_SHARE = (
    f"{_sum('instance', _rate('appliance_lane_packets_total'))}"
    f" / ({_sum('instance', _rate('appliance_lane_packets_total'))} + {_sum('instance', _rate('appliance_shard_packets_total'))})"
)

ROWS: tuple[Row, ...] = (
    Row(
        "How it is",
        (
            Panel(
                "Healthy",
                "bool_yes_no",
                {"{{instance}}": _now("appliance_healthy")},
                "Whether every shard is up and the host is as it should be; /healthz says what is not.",
                is_number=True,
            ),
            Panel("Shards up", "short", {"{{instance}}": _sum("instance", _now("appliance_shard_up"))}, "", is_number=True),
            Panel("Sessions", "short", {"{{instance}}": _sum("instance", _now("appliance_sessions"))}, "", is_number=True),
            Panel(
                "Table of sessions",
                "percentunit",
                {
                    "{{instance}}": f"sum without (state) ({_now('appliance_sessions')})"
                    f" / ({_now('appliance_tunable_conn_max')} > 0)"
                },
                "How full the table of sessions is: conn_max is its limit.",
                is_number=True,
            ),
        ),
    ),
    Row(
        "Traffic",
        (
            Panel(
                "Bits per second",
                "bps",
                {
                    "in {{instance}}": "8 * " + _sum("instance", _rate("appliance_real_server_bytes_total", 'direction="in"')),
                    "out {{instance}}": "8 * " + _sum("instance", _rate("appliance_real_server_bytes_total", 'direction="out"')),
                },
                "IP packets of sessions, from clients (in) and to them (out).",
            ),
            Panel(
                "Packets per second",
                "pps",
                {
                    "lane {{instance}}": _sum("instance", _rate("appliance_lane_packets_total")),
                    "shard {{shard}} {{instance}}": _sum("instance, shard", _rate("appliance_shard_packets_total")),
                },
                "Packets of sessions, by who carried them.",
            ),
            Panel(
                "Share of the lane",
                "percentunit",
                {"{{instance}}": _LANE_SHARE},
                "The part of the packets of sessions that the kernel carried by itself.",
            ),
            Panel(
                "New sessions per second",
                "cps",
                {"shard {{shard}} {{instance}}": _sum("instance, shard", _rate("appliance_shard_sessions_opened_total"))},
                "By the shard that opened them.",
            ),
            Panel(
                "Sessions by state",
                "short",
                {"{{state}}": f"{_sum('state', _now('appliance_sessions'))} > 0"},
                "States describe the real server's side.",
            ),
        ),
    ),
    Row(
        "Real servers",
        (
            Panel(
                "New sessions per second, the ten most",
                "cps",
                {"{{service}} {{real_server}}": f"topk(10, {_rate('appliance_real_server_sessions_opened_total', _CHOSEN)})"},
                "",
            ),
            Panel(
                "Sessions, the ten most",
                "short",
                {
                    "{{service}} {{real_server}}": "topk(10, sum without (state) "
                    f"({_now('appliance_real_server_sessions', _CHOSEN)}))"
                },
                "",
            ),
            Panel(
                "Bits per second, the ten most",
                "bps",
                {
                    "{{service}} {{real_server}}": "topk(10, 8 * sum without (direction) "
                    f"({_rate('appliance_real_server_bytes_total', _CHOSEN)}))"
                },
                "Both directions.",
            ),
            Panel(
                "Drained",
                "short",
                {"{{service}}": f"count by (service) ({_now('appliance_real_server_weight', _CHOSEN)} == 0)"},
                "Real servers with weight 0, which get no new sessions.",
            ),
        ),
    ),
    Row(
        "What was dropped",
        (
            Panel(
                "Dropped by shards, by reason",
                "pps",
                {"{{reason}}": f"{_sum('reason', _rate('appliance_dropped_packets_total'))} > 0"},
                "The reference of drop reasons says what each means and what to do.",
            ),
            Panel(
                "Lost before a shard",
                "pps",
                {
                    "queue full, shard {{shard}} {{instance}}": _rate("appliance_queue_full_drops_total"),
                    "socket full, shard {{shard}} {{instance}}": _rate("appliance_socket_drops_total"),
                },
                "Packets that a worker was too slow for.",
            ),
            Panel(
                "Dropped by the defence",
                "pps",
                {
                    "TCP": f"sum({_rate('appliance_defence_tcp_drop_total')})",
                    "UDP": f"sum({_rate('appliance_defence_udp_drop_total')})",
                    "fragments": f"sum({_rate('appliance_defence_ip_frag_drop_total')})",
                    "forged sources": f"sum({_rate('appliance_forged_source_drops_total')})",
                    "past the services": f"sum({_rate('appliance_direct_access_drops_total')})",
                },
                "Packets that no service wants.",
            ),
            Panel(
                "SYN cookies",
                "pps",
                {
                    "sent": f"sum({_rate('appliance_synproxy_syn_cnt_total')})",
                    "returned": f"sum({_rate('appliance_synproxy_ok_ack_total')})",
                    "not valid": f"sum({_rate('appliance_synproxy_bad_ack_total')})",
                    "refused by real servers": f"sum({_rate('appliance_synproxy_rs_error_total')})",
                },
                "Far more sent than returned is a SYN flood, which is being held off.",
            ),
        ),
    ),
    Row(
        "The lane and the host",
        (
            Panel(
                "Packets that the lane left to workers, by reason",
                "pps",
                {"{{reason}}": f"{_sum('reason', _rate('appliance_lane_handed_up_packets_total'))} > 0"},
                "",
            ),
            Panel(
                "Entries of the lane",
                "percentunit",
                {"{{instance}}": f"{_now('appliance_lane_entries_used')} / ({_now('appliance_lane_entries')} > 0)"},
                "How full the lane is. Sessions that find no entry go through a worker.",
            ),
            Panel(
                "Starts of workers",
                "short",
                {"shard {{shard}} {{instance}}": f"increase({_now('appliance_worker_starts_total')}[$__rate_interval])"},
                "",
            ),
            Panel(
                "Failures of duties",
                "short",
                {"{{duty}} {{instance}}": f"increase({_now('appliance_duty_failures_total')}[$__rate_interval])"},
                "Work of the director that failed and began anew; the log says why.",
            ),
            Panel(
                "Connection tracking of the host",
                "percentunit",
                {
                    "{{instance}}": _now("appliance_host_conntrack_entries")
                    + " / "
                    + _now("appliance_host_conntrack_entries_limit")
                },
                "How full it is. Traffic of the gateway is not in it; empty when the host tracks nothing.",
            ),
        ),
    ),
)
