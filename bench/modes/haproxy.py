"""HAProxy in mode tcp: two connections, and the bytes are copied from one to the other."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.modes.mode import Mode
from bench.rig.processes import running_in_gateway
from bench.rig.servers import listens
from bench.rig.topology import BULK_PORT, GATEWAY_TO_SERVERS, HAPROXY_VIPS, HTTP_PORT, REAL_SERVERS, Site

_PROGRAM = "haproxy"
_CONNECTIONS_MAX = 4096  # it wants two descriptors for each, and its own default would want more than a shell allows


def configuration(shards: int) -> str:
    """The text of its configuration: as many threads as the appliance has shards, no log, no health checks, and otherwise its own
    defaults."""
    return f"""\
global
    nbthread {shards}
    maxconn {_CONNECTIONS_MAX}

defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s

listen web
{_binds(HTTP_PORT)}    balance roundrobin
{_servers(HTTP_PORT, REAL_SERVERS)}
listen bulk
{_binds(BULK_PORT)}{_servers(BULK_PORT, REAL_SERVERS[:1])}"""


def _binds(port: int) -> str:
    return "".join(f"    bind {vip}:{port}\n" for vip in HAPROXY_VIPS)


def _servers(port: int, addresses: tuple[str, ...]) -> str:
    return "".join(f"    server rs{number} {address}:{port}\n" for number, address in enumerate(addresses, start=1))


@contextmanager
def _opened(site: Site, shards: int) -> Iterator[None]:
    file = site.directory / "haproxy.cfg"
    file.write_text(configuration(shards))
    # -db: in the foreground, so that it ends with the measurement.
    with running_in_gateway(site, _PROGRAM, (_PROGRAM, "-db", "-f", str(file)), lambda: listens(site.gateway, BULK_PORT)):
        yield


HAPROXY = Mode(
    "haproxy", "HAProxy, mode tcp", HAPROXY_VIPS, (GATEWAY_TO_SERVERS,), _opened, protocols=("tcp",), programs=(_PROGRAM,)
)
