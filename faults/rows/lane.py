"""The lane, in which the kernel carries sessions, taken away by somebody else."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.rig.topology import CLIENT_INTERFACE, SERVER_INTERFACE
from faults.figures import NOBODY, Hit
from faults.gateway import Gateway, wait_until
from faults.promises import Lost, Promise
from faults.rows.row import NotApplicableError, Row

_NO_LANE = "no lane"

_BACK = Promise(Lost.NONE, 5.0, 5.0)


def _detached(gateway: Gateway, _: ExitStack) -> Hit:
    with_lane = [
        name for name in (CLIENT_INTERFACE, SERVER_INTERFACE) if "clsact" in gateway.run("tc", "qdisc", "show", "dev", name)
    ]
    if not with_lane:
        raise NotApplicableError(_NO_LANE)
    with _put_back(gateway):
        for name in with_lane:
            gateway.run("tc", "qdisc", "del", "dev", name, "clsact")
    return NOBODY


def _unpinned(gateway: Gateway, _: ExitStack) -> Hit:
    pins = [pin for directory in _bpf_mounts(gateway) for pin in sorted(directory.glob("*/*"))]  # above are the kernel's own
    if not pins:
        raise NotApplicableError(_NO_LANE)
    with _put_back(gateway):
        for pin in pins:
            pin.unlink()
    return NOBODY


@contextmanager
def _put_back(gateway: Gateway) -> Iterator[None]:
    """Wait afterwards until the appliance has put back what was taken away. Raises BenchError when it does not."""
    before = gateway.lane()["repairs"]
    yield
    wait_until("the lane is put back", lambda: gateway.lane()["repairs"] > before and gateway.lane()["state"] == "on")


def _bpf_mounts(gateway: Gateway) -> list[Path]:
    """Where the service has file systems of pinned maps that are its own; that of the host may have maps of others."""
    lines = Path(f"/proc/{gateway.director()}/mounts").read_text().splitlines()
    places = [words[1] for words in map(str.split, lines) if words[2] == "bpf" and "appliance" in words[1]]
    return [gateway.root() / place.lstrip("/") for place in places]


ROWS = (
    Row("lane-detached", "tc qdisc del dev … clsact", _detached, _BACK, is_mended_by_us=True),
    Row("lane-unpinned", "maps of the lane unpinned", _unpinned, _BACK, is_mended_by_us=True),
)
