"""The lane's program, loaded once, in a network namespace of its own that has nothing but two interfaces and their routes.

Everything in this directory needs root; without it each test is skipped with that reason.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from tests.kernel.lane import CLIENTS, SERVERS, Lane, Port

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]

_CLONE_NEWNET = 0x40000000

ENTRIES, REAL_SERVERS = 4096, 8


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all tests of this directory for users who are not root."""
    for item in items:
        if _HERE in item.path.parents and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="loads a program into the kernel: needs root"))


@contextmanager
def new_namespace() -> Iterator[None]:
    """Be in a network namespace of one's own, which is gone afterwards."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as before:
        assert libc.unshare(_CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(before.fileno(), 0) == 0, os.strerror(ctypes.get_errno())


def make_port(ip: IPRoute, name: str, address: str) -> Port:
    """An interface that leads nowhere, with the route of its network."""
    ip.link("add", ifname=name, kind="veth", peer={"ifname": f"{name}-end"})
    index, far_end = (ip.link_lookup(ifname=each)[0] for each in (name, f"{name}-end"))
    ip.addr("add", index=index, address=address, prefixlen=24)
    for each in (index, far_end):
        ip.link("set", index=each, state="up")
    return Port(index, bytes.fromhex(ip.get_links(index)[0].get_attr("IFLA_ADDRESS").replace(":", "")))


@pytest.fixture(scope="session")
def lane_object() -> Path:
    """The program, compiled."""
    built = subprocess.run([_ROOT / "tools" / "build_lane.sh"], check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return _ROOT / "build" / "lane.bpf.o"


@pytest.fixture(scope="session")
def lane(lane_object: Path) -> Iterator[Lane]:
    """The program and its maps."""
    with new_namespace():
        with IPRoute() as ip:
            clients, servers = make_port(ip, CLIENTS, "198.51.100.1"), make_port(ip, SERVERS, "192.0.2.1")
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        with Lane(lane_object, (clients, servers), entries=ENTRIES, real_servers=REAL_SERVERS) as loaded:
            yield loaded
