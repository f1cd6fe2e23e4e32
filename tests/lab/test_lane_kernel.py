"""The lane in a kernel, without an appliance around it: its maps and pins, what a worker does with them, its filters."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance.edge import bpffs
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel, Pinned
from appliance.edge.lane_maps import KernelLaneMaps
from appliance.edge.lane_sizes import Settings, Sizes
from appliance.ipc import lane_layout
from appliance.ipc.lane_layout import FLOW_BYTES, LATCH, LATCHES, LEAST_ENTRIES, RealServerFlags, flow, tcp_states
from appliance.ipc.session_record import RECORD_BYTES, VERSION
from appliance.model.lane_counters import LANE_COUNTERS

pytestmark = pytest.mark.once

SIZES = Sizes(LEAST_ENTRIES, 260)
CLIENT, SERVER = (flow(4, 6, bytes([192, 0, 2, host, 4, 0]), bytes([192, 0, 2, 9, 0, 80])) for host in (1, 2))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Where a file system is mounted. What a test that failed has left there goes as well."""
    root = tmp_path / "bpf"
    yield root
    for path in [*root.glob("*/")]:
        bpffs.remove(root, path.name)


@pytest.fixture
def directory(root: Path) -> Iterator[Path]:
    yield bpffs.prepared(root, "1")
    bpffs.remove(root, "1")
    assert not root.exists(), "the mount was ours, and nobody else is there"


@pytest.fixture
def kernel(directory: Path) -> Iterator[LaneKernel]:
    with closing(LaneKernel.make(directory, SIZES)) as kernel:
        yield kernel


def test_a_directory_is_mounted_once_and_stays_for_others(root: Path) -> None:
    assert not bpffs.is_there(root, "1")
    for name in ("1", "2", "1"):
        assert bpffs.is_bpffs(bpffs.prepared(root, name))
    assert (root / "1").stat().st_mode & 0o777 == 0o700
    bpffs.remove(root, "1")
    assert (bpffs.is_there(root, "1"), bpffs.is_there(root, "2")) == (False, True)
    bpffs.remove(root, "2")
    assert not root.exists()


def test_what_is_written_is_what_a_successor_finds(directory: Path, kernel: LaneKernel) -> None:
    assert (kernel.sizes, kernel.settings.is_open) == (SIZES, 0)
    kernel.put_settings(kernel.settings._replace(is_open=1, toa_kind=254, storm_interval_ns=5))
    kernel.put_real_server(259, 1500, RealServerFlags.NO_LANE)
    kernel.records[:2] = b"\2\0"
    pinned = Pinned(directory)
    assert pinned.why_not() == ""
    with closing(LaneKernel.take_over(pinned)) as successor:
        assert successor.sizes == SIZES
        assert (successor.settings.is_open, successor.settings.toa_kind, successor.settings.storm_interval_ns) == (1, 254, 5)
        assert successor.real_server(259) == (1500, RealServerFlags.NO_LANE)
        assert successor.entries_in_use() == 1
        kernel.records[RECORD_BYTES : RECORD_BYTES + 2] = b"\2\0"
        assert successor.entries_in_use() == 2, "the maps are the same"
        assert successor.program.number != kernel.program.number


def test_a_successor_writes_its_own_table_of_states(directory: Path, kernel: LaneKernel) -> None:
    key, table = bytes(4), kernel.maps["tcp_states"]
    of_another_version = bytes(len(tcp_states()))
    table.update(key, of_another_version)
    with closing(LaneKernel.take_over(Pinned(directory))) as successor:
        assert successor.maps["tcp_states"].lookup(key) == tcp_states()


def test_records_move_into_maps_of_other_sizes(directory: Path, kernel: LaneKernel) -> None:
    records = bytes(range(256)) * LEAST_ENTRIES
    with closing(LaneKernel.moved(Pinned(directory), records, 300)) as moved:
        assert moved.sizes == Sizes(LEAST_ENTRIES, 300)
        assert bytes(moved.records) == records
        assert bytes(kernel.records[:256]) != records[:256]
        assert Pinned(directory).why_not() == ""
        assert Pinned(directory).maps["real_servers"].entries == 300, "the pins are those of the new maps"


def test_records_that_the_kernel_has_no_room_for_stay_where_they_are(directory: Path, kernel: LaneKernel) -> None:
    kernel.records[:2] = VERSION.to_bytes(2, "little")
    with pytest.raises(EdgeError):
        LaneKernel.moved(Pinned(directory), bytes(LEAST_ENTRIES * RECORD_BYTES), 1 << 31)
    assert Pinned(directory).copied_records() == bytes(kernel.records)


def test_nothing_is_counted_before_there_is_a_packet(kernel: LaneKernel) -> None:
    assert kernel.counts() == [0] * len(LANE_COUNTERS)
    assert kernel.traffic([0, 259]) == {0: (0, 0, 0, 0), 259: (0, 0, 0, 0)}


def test_interfaces_are_those_that_were_written_last(kernel: LaneKernel) -> None:
    kernel.put_interfaces({2: 1, 3: 3})
    kernel.put_interfaces({3: 2, 4: 1})
    assert {key[0]: value[0] for key, value in kernel.maps["interfaces"].items()} == {3: 2, 4: 1}


def test_pins_that_are_gone_are_missing_and_come_back(directory: Path, kernel: LaneKernel) -> None:
    (directory / "flows").unlink()
    assert Pinned(directory).why_not() == "the map flows is not there"
    assert kernel.missing_pins() == ["flows"]
    kernel.pin_again()
    assert kernel.missing_pins() == []


def test_maps_of_another_layout_are_refused_and_their_records_can_be_read(directory: Path, kernel: LaneKernel) -> None:
    kernel.put_settings(Settings(9, LEAST_ENTRIES, b"another!"))
    kernel.records[:2] = b"\2\0"
    pinned = Pinned(directory)
    assert pinned.why_not().startswith(f"they have version 9 (616e6f7468657221) of their layout and not {lane_layout.VERSION} (")
    records = pinned.records()
    assert records is not None
    assert bytes(records[:2]) == b"\2\0"
    records.release()
    kernel.put_settings(kernel.settings._replace(version=lane_layout.VERSION, layout_hash=bytes(8)))
    assert "of their layout" in Pinned(directory).why_not()


def test_records_can_be_copied_when_all_have_this_version(directory: Path, kernel: LaneKernel) -> None:
    kernel.put_settings(Settings(9, 1, b"another!"))
    kernel.records[:2] = VERSION.to_bytes(2, "little")
    kernel.records[200] = 7
    assert Pinned(directory).copied_records() == bytes(kernel.records)
    kernel.records[RECORD_BYTES] = VERSION + 1
    assert Pinned(directory).copied_records() is None


def test_maps_that_contradict_themselves_are_refused(directory: Path, kernel: LaneKernel) -> None:
    kernel.put_settings(kernel.settings._replace(entries=2 * LEAST_ENTRIES))
    assert Pinned(directory).why_not() == f"they have {LEAST_ENTRIES} entries and say {2 * LEAST_ENTRIES}"


def test_latches_of_a_worker_that_is_gone_are_closed_and_all_by_a_successor(directory: Path, kernel: LaneKernel) -> None:
    latches = KernelLaneMaps(kernel.worker_fds()).latches
    numbers = (0, 1, 2, 3, LATCHES - 1)

    def are_open() -> list[int]:
        return [number for number in numbers if LATCH.unpack_from(latches, number * LATCH.size)[:3] == (5, 1, 1)]

    for number in numbers:
        LATCH.pack_into(latches, number * LATCH.size, 5, 1, 1, 0, 0, b"")
    kernel.forget_worker(1, 2)
    assert are_open() == [0, 2]
    with closing(LaneKernel.take_over(Pinned(directory))):
        assert are_open() == []
    assert LATCH.unpack_from(latches, 0)[0] == 5, "what was counted stays"


def test_flows_come_and_go_in_pairs(kernel: LaneKernel) -> None:
    maps = KernelLaneMaps(kernel.worker_fds())
    assert (maps.entries, len(maps.records), len(maps.changed)) == (LEAST_ENTRIES, LEAST_ENTRIES * RECORD_BYTES, LEAST_ENTRIES)
    assert maps.insert(CLIENT + SERVER, [5]) == []
    assert dict(maps.flows()) == {CLIENT: 10, SERVER: 11}
    maps.remove_flow(SERVER)
    maps.remove_flow(SERVER)
    maps.remove(CLIENT + SERVER)
    maps.remove(CLIENT + SERVER)
    assert dict(maps.flows()) == {}
    maps.records[:2] = b"\2\0"
    assert kernel.entries_in_use() == 1


def test_flows_of_several_sessions_come_and_go_at_once(kernel: LaneKernel) -> None:
    maps = KernelLaneMaps(kernel.worker_fds())
    flows = [bytes([number]) * FLOW_BYTES for number in range(8)]
    assert maps.insert(b"".join(flows[:4]), [5, 6]) == []
    assert dict(maps.flows()) == dict(zip(flows[:4], (10, 11, 12, 13), strict=True))
    maps.remove_flow(flows[1])
    maps.remove(b"".join(flows[:3]))
    assert dict(maps.flows()) == {flows[3]: 13}


def test_of_several_sessions_those_get_in_for_which_there_is_room(kernel: LaneKernel) -> None:
    maps = KernelLaneMaps(kernel.worker_fds())
    for number in range(kernel.maps["flows"].entries - 3):
        kernel.maps["flows"].update(number.to_bytes(FLOW_BYTES, "little"), bytes(4))
    flows = [bytes([255 - number]) * FLOW_BYTES for number in range(4)]
    assert maps.insert(b"".join(flows), [5, 6]) == [6]
    assert {key: value for key, value in maps.flows() if key in flows} == dict(zip(flows[:2], (10, 11), strict=True))


def test_without_room_for_both_flows_neither_is_there(kernel: LaneKernel) -> None:
    maps = KernelLaneMaps(kernel.worker_fds())
    most = kernel.maps["flows"].entries
    for number in range(most - 1):
        kernel.maps["flows"].update(number.to_bytes(40, "little"), bytes(4))
    assert maps.insert(CLIENT + SERVER, [5]) == [5]
    assert not {CLIENT, SERVER} & {key for key, _ in maps.flows()}


_FILTERS = """
import subprocess, sys
from pathlib import Path
from appliance.edge import bpffs, lane_attach
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel, Sizes

def tc(words):
    return subprocess.run(["tc", *words.split()], capture_output=True, text=True).stdout

subprocess.run(["ip", "link", "add", "one", "type", "veth", "peer", "name", "two"], check=True)
links = lane_attach.links(["one", "lo", "absent"])
assert (set(links), links["one"].is_ethernet, links["lo"].is_ethernet) == ({"one", "lo"}, True, False), links
index = links["one"].index
root = Path(sys.argv[1])
kernels = [LaneKernel.make(bpffs.prepared(root, name), Sizes(4096, 2)) for name in "ab"]
for kernel in kernels:
    lane_attach.attach(kernel.program.fd, index)
    assert lane_attach.attached([index, 99]) == {index: kernel.program.number}, "one replaces the other"
assert lane_attach.all_indexes() == [index]
assert lane_attach.detach(index) and not lane_attach.detach(index)
assert "clsact" not in tc("qdisc show dev one"), "it was there for us alone"

tc("qdisc add dev one clsact")
bytecode = ["bytecode", "1,6 0 0 4294967295,"]
subprocess.run(["tc", "filter", "add", "dev", "one", "egress", "protocol", "ip", "pref", "7", "bpf", "da", *bytecode], check=True)
lane_attach.attach(kernels[0].program.fd, index)
lane_attach.detach(index)
assert "pref 7" in tc("filter show dev one egress"), "the filter of somebody else stays"
tc("qdisc del dev one clsact")

tc("qdisc add dev one ingress")
lane_attach.attach(kernels[0].program.fd, index)
assert lane_attach.attached([index]) == {index: kernels[0].program.number}, "also on a qdisc of the older kind"
lane_attach.detach(index)
assert "ingress" in tc("qdisc show dev one")

theirs = ["pref", "50000", "handle", "1", "bpf", "da", *bytecode]
subprocess.run(["tc", "filter", "add", "dev", "one", "ingress", "protocol", "all", *theirs], check=True)
try:
    lane_attach.attach(kernels[0].program.fd, index)
except EdgeError as error:
    assert "a filter of somebody else" in str(error)
else:
    raise AssertionError("it took the place of somebody else's filter")
assert lane_attach.attached([index]) == {} and not lane_attach.detach(index)
for kernel, name in zip(kernels, "ab"):
    kernel.close()
    bpffs.remove(root, name)
"""


def test_filters_of_ours_and_of_others(root: Path) -> None:
    name = f"test-{os.getpid()}-filters"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        command = ["nsenter", f"--net=/run/netns/{name}", "--", sys.executable, "-c", _FILTERS, str(root)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
