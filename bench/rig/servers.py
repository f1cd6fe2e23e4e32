"""The real servers of the benchmark: nginx and iperf3 in both namespaces, and the addresses and routes they need.

Their kernel parameters stay as they are, TIME_WAIT above all: when a gateway reuses a local port too early, its figures show it.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from appliance.lab.plan import Endpoint
from appliance.lab.readiness import http_status
from bench.rig.processes import running
from bench.rig.topology import (
    BULK_PORT,
    CLIENT_NETWORK,
    END_INTERFACE,
    GATEWAY_TO_SERVERS,
    HAPROXY_VIPS,
    HTTP_PORT,
    NAT_LOCAL_ADDRESSES,
    NAT_VIPS,
    QUEUED_REAL_SERVERS,
    REAL_SERVERS,
    SERVER_INTERFACE,
    Site,
    inside,
    output_of,
)

_CLIENT_SETTINGS = {"ip_local_port_range": "1024 65535", "tcp_tw_reuse": "1"}
"""Kernel parameters of the client, in whose namespace this process runs: one client opens as many connections as many clients
would."""

_LOOPBACK = "127.0.0.1"
_HTTP_OK = 200

PEER_PATH = "/peer"
"""The path whose answer is the name of the real server and the peer it sees: "rs1 192.0.2.10"."""


def nginx_program() -> str | None:
    """The path of nginx, also where Debian puts it, which is not in the PATH of an ordinary user; None when it is not
    installed."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def nginx_configuration(name: str, directory: Path) -> str:
    """The text of nginx's configuration: one worker, a body of three bytes, no log, and connections kept as long as the client
    wants."""
    scratch = "".join(
        f"    {kind}_temp_path {directory}/{name}-{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    )  # fmt: skip
    return f"""\
daemon off;
user root;
worker_processes 1;
pid {directory}/{name}.pid;
events {{
    worker_connections 8192;
}}
http {{
    access_log off;
    keepalive_requests 1000000000;
    default_type text/plain;
{scratch}    server {{
        listen {HTTP_PORT} backlog=4096;
        location = {PEER_PATH} {{
            return 200 "{name} $remote_addr";
        }}
        location / {{
            return 200 "ok\\n";
        }}
    }}
}}
"""


def prepare_network(site: Site) -> None:
    """Add what the lab's own network lacks: the route to the client, second addresses, the addresses of the other
    modes, forwarding, which the appliance switches on only while it runs."""
    for namespace, address in zip(site.real_servers, QUEUED_REAL_SERVERS, strict=True):
        _ip(namespace, "address", "add", f"{address}/24", "dev", END_INTERFACE)
        _ip(namespace, "route", "add", CLIENT_NETWORK, "via", GATEWAY_TO_SERVERS)
    for address in (*NAT_LOCAL_ADDRESSES, *NAT_VIPS, *HAPROXY_VIPS):
        _ip(site.gateway, "address", "add", f"{address}/32", "dev", SERVER_INTERFACE)
    output_of(inside(site.gateway, "sysctl", "--quiet", "--write", "net.ipv4.ip_forward=1"))
    for setting, value in _CLIENT_SETTINGS.items():
        (Path("/proc/sys/net/ipv4") / setting).write_text(value)


@contextmanager
def servers_running(site: Site) -> Iterator[None]:
    """With nginx in both real servers and iperf3 in the first, all of them ready."""
    with ExitStack() as stack:
        for name, namespace in zip(("rs1", "rs2"), site.real_servers, strict=True):
            stack.enter_context(nginx_running(site, name, namespace))
        # One for each address: a server for all of them answers datagrams from the first, whichever they were sent to.
        for address in (REAL_SERVERS[0], QUEUED_REAL_SERVERS[0]):
            stack.enter_context(_iperf3_running(site, address))
        yield


@contextmanager
def nginx_running(site: Site, name: str, namespace: str) -> Iterator[None]:
    """With nginx in one real server, ready."""
    configuration = site.directory / f"{name}-nginx.conf"
    configuration.write_text(nginx_configuration(name, site.directory))
    log = site.directory / f"{name}-nginx.log"
    command = inside(namespace, nginx_program() or "nginx", "-e", "stderr", "-p", str(site.directory), "-c", str(configuration))
    with running(command, log, lambda: http_status(namespace, Endpoint(_LOOPBACK, HTTP_PORT), "/") == _HTTP_OK):
        yield


@contextmanager
def _iperf3_running(site: Site, address: str) -> Iterator[None]:
    first = site.real_servers[0]
    command = inside(first, "iperf3", "--server", "--bind", address, "--port", str(BULK_PORT))
    with running(command, site.directory / f"iperf3-{address}.log", partial(listens, first, BULK_PORT, address)):
        yield


def listens(namespace: str, port: int, address: str = "0.0.0.0/0") -> bool:
    """Whether somebody listens on that TCP port of the address, or of any, in the namespace."""
    return bool(output_of(inside(namespace, "ss", "-H", "-l", "-n", "-t", f"src {address} and sport = :{port}")))


def _ip(namespace: str, *command: str) -> None:
    output_of(inside(namespace, "ip", *command))
