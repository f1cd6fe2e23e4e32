"""The modes that are flooded: the appliance with SYNPROXY, as shipped and without it; the `synproxy` statement of nftables."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench.flood.gateway import (
    CONTROL_VIPS,
    FRONT_DOOR_VIPS,
    SHIPPED_VIPS,
    UNPROTECTED_VIPS,
    WORKERS_VIPS,
    answering_in_kernel,
    as_shipped,
    configuration,
    opened_by_workers,
)
from bench.modes.appliance import API, APPLIANCE, APPLIANCE_WORKERS, WITH_LANE, appliance_running
from bench.modes.mode import Mode
from bench.rig.nft import table_loaded
from bench.rig.topology import (
    HTTP_PORT,
    NAT_LOCAL_ADDRESSES,
    NAT_VIPS,
    REAL_SERVERS,
    UNGUARDED,
    VIPS,
    Site,
    inside,
    output_of,
)

SYNPROXY_TABLE = "bench_synproxy"

CONNTRACK_SETTINGS = {
    # An ACK without a connection has to be "invalid", so that the synproxy statement sees it: nft(8), SYNPROXY STATEMENT.
    "nf_conntrack_tcp_loose": 0,
    # One client stands for many: its ports come again sooner than many clients' would, and the ACK of a new connection on a
    # tracked old one never gets to the synproxy statement.
    "nf_conntrack_tcp_timeout_time_wait": 1,
}


def synproxy_table() -> str:
    """SYNPROXY in front of DNAT to both real servers in turn, and SNAT.

    The VIPs are addresses of the gateway, so the untracked SYN ends in the input hook, which answers it. The SYN that the kernel
    sends on for a proven client is tracked from the start, and leaves by the output hook, where it gets its real server.
    """
    in_turn = ", ".join(f"{number} : {address}" for number, address in enumerate(REAL_SERVERS))
    ours = f"ip daddr {{ {', '.join(NAT_VIPS)} }} tcp dport {HTTP_PORT}"
    pairs = ", ".join(f"{vip} : {local}" for vip, local in zip(NAT_VIPS, NAT_LOCAL_ADDRESSES, strict=True))
    return f"""\
table ip {SYNPROXY_TABLE} {{
	chain raw {{
		type filter hook prerouting priority raw; policy accept;
		{ours} tcp flags & (fin | syn | rst | ack) == syn notrack
	}}
	chain input {{
		type filter hook input priority filter; policy accept;
		{ours} ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm
		{ours} ct state invalid drop
	}}
	chain output {{
		type nat hook output priority -100; policy accept;
		{ours} dnat to numgen inc mod {len(REAL_SERVERS)} map {{ {in_turn} }}
	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		snat to ct original ip daddr map {{ {pairs} }}
	}}
}}
"""


@contextmanager
def _kernel(site: Site, _shards: int) -> Iterator[None]:
    for name, value in CONNTRACK_SETTINGS.items():
        output_of(inside(site.gateway, "sysctl", "--quiet", "--write", f"net.netfilter.{name}={value}"))
    with table_loaded(site, SYNPROXY_TABLE, synproxy_table()):
        yield


# It runs for its own modes only: its rules and its lane look at every packet of the gateway.
_BY_WORKERS = partial(appliance_running, name="flooded", text=configuration(WITH_LANE, api=API))

AS_SHIPPED = APPLIANCE._replace(
    name="shipped",
    title="appliance, as shipped",
    targets=SHIPPED_VIPS,
    opened=partial(appliance_running, name="shipped", text=as_shipped(WITH_LANE, api=API)),
)
UNPROTECTED = APPLIANCE._replace(name="unprotected", title="appliance, no synproxy", targets=UNPROTECTED_VIPS, opened=_BY_WORKERS)
PROXIED = UNPROTECTED._replace(
    name="appliance",
    title="appliance, synproxy",
    targets=VIPS,
    # The client's part of the handshake, its request, and the real server's answer to the SYN: four packets of ten.
    queued_share=(0.3, 0.5),
    kept_share=(0.0, 0.05),
)
FRONT_DOOR = PROXIED._replace(
    name="front-door",
    title="appliance, SYNs in kernel",
    targets=FRONT_DOOR_VIPS,
    opened=partial(appliance_running, name="answering", text=answering_in_kernel(WITH_LANE, api=API)),
    # The kernel opens the sessions of clients that return a cookie, too, but for the first, until some admissions are ready.
    queued_share=(0.0, 0.05),
)
CONTROL = FRONT_DOOR._replace(
    name="control",
    title="control: flood elsewhere",
    targets=CONTROL_VIPS,
    opened=partial(appliance_running, name="control", text=answering_in_kernel(WITH_LANE, vips=CONTROL_VIPS, api=API)),
    flooded=UNGUARDED,
)
WORKERS = APPLIANCE_WORKERS._replace(
    name="workers",
    targets=WORKERS_VIPS,
    opened=partial(appliance_running, name="workers", text=opened_by_workers(WITH_LANE, api=API)),
)
KERNEL = Mode("kernel", "nft synproxy + NAT", NAT_VIPS, NAT_LOCAL_ADDRESSES, _kernel, is_tracked=True)

COMPARED = (PROXIED, FRONT_DOOR, CONTROL, KERNEL)
"""The modes that are measured in turns."""

ALONE = (AS_SHIPPED, UNPROTECTED, WORKERS)
"""The modes that are measured after them, one after the other: they leave half-open connections at the real servers."""

MODES = (*COMPARED, *ALONE)
BY_NAME = {mode.name: mode for mode in MODES}

DEFAULTS = (FRONT_DOOR.name, CONTROL.name, KERNEL.name)
"""Those that are measured when nothing else is said: both answer SYNs in the kernel, and what sending a flood costs by itself."""


def refusal(name: str) -> str:
    """Why a mode of that name cannot be asked for; empty when it can."""
    return "" if name in BY_NAME else f"{name!r} is not a mode; the modes are {', '.join(BY_NAME)}"
