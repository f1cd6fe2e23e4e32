"""director/lane.py without a kernel: what is made, taken over, refused, put back, left and ended, and in which order."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from appliance.config import loading
from appliance.config.loading import Config
from appliance.director.lane import Lane
from appliance.edge.errors import EdgeError
from appliance.edge.lane_attach import Link
from appliance.edge.lane_kernel import LaneKernel, Pinned
from appliance.edge.lane_sizes import Settings, Sizes
from appliance.ipc import lane_layout
from appliance.ipc.lane_layout import RealServerFlags
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.ipc.session_record import RECORD_BYTES
from appliance.model.counters import ACK_STORM, ACTIVE_CONNS, BAD_ACK, CONNS, INACTIVE_CONNS, NULL_ACK, SYN_CNT
from appliance.model.lane_counters import LANE_COUNTER_PLACE, LANE_COUNTERS
from appliance.model.tunables import TUNABLES
from appliance.model.verdicts import BAD_COOKIE, BAD_FLAGS, COOKIE_SENT, NO_SESSION, NULL_COOKIE_ACK, STORM
from appliance.policy.defence import TCP
from tests.support.fake_admissions import FakeAdmissions
from tests.support.gateway import shared_state

SHIPPED = loading.load(Path(__file__).parents[3] / "etc/lvs.toml")
PROGRAM = 77
LANE_KERNEL_MAKE = LaneKernel.make
CLIENT, SERVER = Link(2, True), Link(3, True)


class Program:
    fd, number = 5, PROGRAM


class Kernel:
    """As `edge.lane_kernel.LaneKernel`, in memory."""

    program = Program()

    def __init__(self, host: "Host", sizes: Sizes) -> None:
        self.host, self.sizes = host, sizes
        self.settings = Settings(lane_layout.VERSION, sizes.entries, lane_layout.layout_hash())
        self.servers: dict[int, tuple[int, int]] = {}
        self.interfaces: dict[int, int] = {}
        self.doors: dict[bytes, bytes] = {}
        self.admissions = FakeAdmissions()
        self.forgotten: list[tuple[int, int]] = []
        self.epochs: set[int] = set()
        self.records = memoryview(bytearray(sizes.entries * RECORD_BYTES if host.readable else b"records of this run"))
        self.carried = {0: (1, 2, 30, 40)}
        self.asked: list[int] = []
        self.missing: list[str] = []

    def put_settings(self, settings: Settings) -> None:
        self.settings = settings

    def put_real_server(self, slot: int, mtu: int, flags: int) -> None:
        self.servers[slot] = mtu, flags

    def real_server(self, slot: int) -> tuple[int, int]:
        return self.servers.get(slot, (0, 0))

    def put_of_services(self, name: str, values: dict[bytes, bytes]) -> None:
        if name == "front_doors":
            self.doors = dict(values)

    def remove_of_services(self, name: str, keys: list[bytes]) -> None:
        for key in keys if name == "front_doors" else ():
            del self.doors[key]

    def put_cookie_key(self, epoch: int, _: tuple[int, ...]) -> None:
        self.epochs.add(epoch)

    def put_interfaces(self, sides: dict[int, int]) -> None:
        self.interfaces = dict(sides)

    def counts(self) -> list[int]:
        return [10 + place for place in range(len(LANE_COUNTERS))]

    def traffic(self, slots: Iterable[int]) -> dict[int, tuple[int, int, int, int]]:
        self.asked += slots
        return {slot: self.carried[slot] for slot in slots}

    def entries_in_use(self) -> int:
        return 3

    def forget_worker(self, shard: int, shards: int) -> None:
        self.forgotten.append((shard, shards))

    def worker_fds(self) -> tuple[int, ...]:
        return 7, 8, 9

    def missing_pins(self) -> list[str]:
        return self.missing

    def pin_again(self) -> None:
        self.missing = []

    def unpin(self) -> None:
        self.host.steps.append("unpinned")

    def close(self) -> None:
        self.host.steps.append("closed")


class PinnedMaps:
    """As `edge.lane_kernel.Pinned`."""

    def __init__(self, host: "Host") -> None:
        self.host = host
        self.maps: dict[str, Any] = {"real_servers": Sizes(0, 260)} if host.pinned else {}
        if host.pinned:
            self.maps["real_servers"] = type("Map", (), {"entries": 260})()

    def why_not(self) -> str:
        return self.host.why_not

    def why_not_for(self, slots: int, slots_are_new: bool) -> str:
        return Pinned.why_not_for(self, slots, slots_are_new)  # type: ignore[arg-type]

    directory = Path("/run/x/bpf/4026")

    def records(self) -> memoryview:
        return memoryview(b"records of an earlier run")

    def copied_records(self) -> bytes | None:
        return self.host.readable

    def unpin(self) -> None:
        self.host.pinned = False
        self.host.steps.append("old pins removed")

    def close(self) -> None:
        """Nothing of it stays open."""


class Host:
    """The kernel, its interfaces, and what was done to them."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.links = {"client0": CLIENT, "server0": SERVER}
        self.filters: dict[int, int] = {}
        self.pinned = False
        self.why_not = ""
        self.readable: bytes | None = None
        """The records of the earlier run, if this one can read them."""
        self.bpffs = ""
        """Why there is none; empty when there is one."""
        self.has_directory = False
        self.refuses_maps = False
        self.policies = 0
        """Of IPsec; negative when the kernel does not say."""
        self.kernel: Kernel | None = None

    def ipsec(self) -> int:
        if self.policies < 0:
            raise EdgeError("cannot ask for IPsec policies: no")
        return self.policies

    def prepared(self, root: Path, name: str) -> Path:
        if self.bpffs:
            raise EdgeError(self.bpffs)
        self.has_directory = True
        return root / name

    def attach(self, _: int, index: int) -> None:
        self.filters[index] = PROGRAM
        self.steps.append(f"attached to {index}")

    def detach(self, index: int) -> None:
        del self.filters[index]
        self.steps.append(f"detached from {index}")

    def make(self, _: Path, sizes: Sizes) -> Kernel:
        self.steps.append("made")
        self.kernel = Kernel(self, sizes)
        return self.kernel

    def take_over(self, _: PinnedMaps) -> Kernel:
        self.steps.append("taken over")
        self.kernel = Kernel(self, Sizes(4096, 260))
        return self.kernel

    def moved(self, pinned: PinnedMaps, records: bytes, slots: int) -> Kernel:
        if self.refuses_maps:
            raise EdgeError("cannot load the program: Cannot allocate memory")
        self.steps.append("moved")
        pinned.unpin()
        self.kernel = Kernel(self, Sizes(len(records) // RECORD_BYTES, slots))
        self.kernel.records[:] = records
        return self.kernel

    def reset(self, records: memoryview) -> int:
        self.steps.append(f"reset: {bytes(records).decode()}")
        return 12


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host()
    module = "appliance.director.lane"
    monkeypatch.setattr(f"{module}.bpffs.prepared", host.prepared)
    monkeypatch.setattr(f"{module}.bpffs.is_there", lambda *_: host.pinned)
    monkeypatch.setattr(f"{module}.bpffs.remove", lambda *_: host.steps.append("directory removed"))
    monkeypatch.setattr(f"{module}.Pinned", lambda _: PinnedMaps(host))
    monkeypatch.setattr(f"{module}.LaneKernel.make", host.make)
    monkeypatch.setattr(f"{module}.LaneKernel.take_over", host.take_over)
    monkeypatch.setattr(f"{module}.LaneKernel.moved", host.moved)
    monkeypatch.setattr(
        f"{module}.lane_attach.links", lambda names: {name: host.links[name] for name in names if name in host.links}
    )
    monkeypatch.setattr(
        f"{module}.lane_attach.attached", lambda indexes: {i: host.filters[i] for i in indexes if i in host.filters}
    )
    monkeypatch.setattr(f"{module}.lane_attach.all_indexes", lambda: list(host.filters))
    monkeypatch.setattr(f"{module}.lane_attach.attach", host.attach)
    monkeypatch.setattr(f"{module}.lane_attach.detach", host.detach)
    monkeypatch.setattr("appliance.director.lane_gate.ipsec.policies", host.ipsec)
    return host


def lane_of(host: Host, word: str = "auto", config: Config = SHIPPED) -> Lane:
    return Lane(config.with_lane(word).gateway, Path("/run/x/bpf"), "4026", host.reset)


def opened(host: Host) -> Lane:
    """A new lane that carries packets."""
    lane = lane_of(host)
    assert not lane.open(260)
    lane.attach()
    lane.set_open(True)
    return lane


def service(*slots: int, **more: Any) -> ServicePlan:
    servers = tuple(RealServerPlan("192.0.2.101", 8080 + slot, 1, slot) for slot in slots)
    return ServicePlan("web", "203.0.113.10", 80, "rr", ("192.0.2.10",), servers, **more)


def test_a_new_lane_is_made_attached_and_then_opened(host: Host) -> None:
    lane = opened(host)
    assert host.steps == ["made", "attached to 2", "attached to 3"]
    assert host.kernel is not None
    assert host.kernel.sizes == Sizes(SHIPPED.gateway.lane_entries, 260)
    assert host.kernel.interfaces == {2: lane_layout.InterfaceFlags.CLIENTS, 3: lane_layout.InterfaceFlags.REAL_SERVERS}
    assert host.kernel.settings.is_open == 1
    assert (lane.state.state, lane.state.reason, lane.worker_fds) == ("on", "", (7, 8, 9))


def test_a_program_of_another_version_is_no_lane_and_the_state_says_why(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "lane.bpf.o"
    program.write_bytes(b"compiled before there was a mark")
    monkeypatch.setattr("appliance.edge.lane_object.OBJECTS", (program,))
    monkeypatch.setattr("appliance.director.lane.LaneKernel.make", LANE_KERNEL_MAKE)
    lane = lane_of(host)
    assert not lane.open(260)
    assert lane.state.state == "off"
    assert lane.state.reason.startswith(f"its program {program} was built by another version of the appliance: ")
    with pytest.raises(EdgeError, match=r'gateway\.lane is "required", and there is no lane: its program '):
        lane_of(host, "required").open(260)


PAST_IPSEC = "there are IPsec policies, which it would go past (2)"


def test_while_there_are_ipsec_policies_the_lane_is_closed(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """What they are to encrypt would leave in clear. The sessions stay, and go through the workers."""
    host.policies = 2
    lane = opened(host)
    assert host.kernel is not None
    assert host.kernel.settings.is_open == 0
    assert (lane.state.state, lane.state.reason, lane.worker_fds) == ("impaired", PAST_IPSEC, (7, 8, 9))
    host.policies = 0
    lane.look()
    lane.look()
    assert host.kernel.settings.is_open == 1
    assert lane.state[:3] == ("on", "", 0)
    host.policies = 2
    lane.look()
    lane.look()
    assert host.kernel.settings.is_open == 0
    closed, again = f"the lane is closed: {PAST_IPSEC}", "the lane is open again"
    assert caplog.messages == [closed, again, closed]


def test_a_lane_that_is_required_does_not_start_where_it_would_be_closed(host: Host) -> None:
    host.policies = 2
    with pytest.raises(EdgeError, match="there is no lane: there are IPsec policies"):
        lane_of(host, "required").open(260)
    assert host.steps == []


def test_a_lane_that_is_to_be_closed_is_not_opened_by_a_look(host: Host) -> None:
    lane = opened(host)
    lane.set_open(False)
    lane.look()
    assert host.kernel is not None
    assert host.kernel.settings.is_open == 0
    assert lane.state.reason == "it is closed"


def test_a_kernel_that_does_not_say_is_shown_and_keeps_nothing_from_being_put_right(host: Host) -> None:
    host.policies = -1
    lane = opened(host)
    assert host.kernel is not None
    assert host.kernel.settings.is_open == 1
    host.filters = {}
    with pytest.raises(EdgeError, match="cannot ask for IPsec policies"):
        lane.look()
    assert host.filters == {2: PROGRAM, 3: PROGRAM}
    assert lane.state.reason == "it cannot be put right: cannot ask for IPsec policies: no"


def test_one_interface_may_be_of_both_sides(host: Host) -> None:
    gateway = SHIPPED.gateway.model_copy(update={"client_interface": "server0"})
    lane = lane_of(host, config=SHIPPED.model_copy(update={"gateway": gateway}))
    lane.open(260)
    lane.attach()
    assert host.kernel is not None
    assert host.kernel.interfaces == {3: lane_layout.InterfaceFlags.CLIENTS | lane_layout.InterfaceFlags.REAL_SERVERS}


def test_the_lane_of_an_earlier_run_is_taken_over_with_its_size(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.pinned, host.filters = True, {2: 66, 3: 66}
    lane = lane_of(host)
    assert lane.open(260)
    lane.attach()
    assert host.steps == ["taken over", "attached to 2", "attached to 3"], "in the place of its program"
    assert caplog.messages == ["lane_entries: 4096 stay until the appliance is stopped for good"]


@pytest.mark.parametrize(
    ("why_not", "slots", "words"),
    [
        ("they have version 9 of their layout and not 1", 260, "they have version 9 of their layout and not 1"),
        ("", 300, "they have places for 260 real servers and not 300"),
    ],
)
def test_a_lane_that_nobody_can_go_on_with_is_reset_and_made_anew(
    host: Host, caplog: pytest.LogCaptureFixture, why_not: str, slots: int, words: str
) -> None:
    host.pinned, host.filters, host.why_not = True, {2: 66}, why_not
    assert not lane_of(host).open(slots)
    assert host.steps == ["detached from 2", "reset: records of an earlier run", "old pins removed", "made"]
    assert caplog.messages == [f"the sessions of an earlier run cannot be taken over, because {words}: reset both ends of 12"]


def test_sessions_of_a_lane_that_is_laid_out_in_another_way_move_into_a_new_one(host: Host) -> None:
    host.pinned, host.filters, host.why_not = True, {2: 66}, "they have version 9 of their layout and not 1"
    host.readable = bytes(4095 * RECORD_BYTES) + b"\2" * RECORD_BYTES
    assert lane_of(host).open(300)
    assert host.steps == ["detached from 2", "moved", "old pins removed"]
    assert host.kernel is not None
    assert host.kernel.sizes == Sizes(4096, 300)
    assert bytes(host.kernel.records) == host.readable


def test_maps_in_which_slots_are_of_other_real_servers_are_not_taken_over(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    host.pinned, host.readable = True, bytes(4096 * RECORD_BYTES)
    assert lane_of(host).open(260, slots_are_new=True)
    assert host.steps == ["moved", "old pins removed"]
    assert caplog.messages == ["the sessions of an earlier run move to other maps, because real servers have other places now"]


def test_sessions_that_cannot_move_because_the_kernel_refuses_new_maps_are_reset(host: Host) -> None:
    host.pinned, host.filters, host.why_not = True, {2: 66}, "they have version 9 of their layout and not 1"
    host.readable, host.refuses_maps = bytes(4096 * RECORD_BYTES), True
    lane = lane_of(host)
    assert not lane.open(300)
    assert host.steps == ["detached from 2", "reset: records of an earlier run", "old pins removed", "directory removed"]
    assert lane.state.reason == "cannot load the program: Cannot allocate memory"


def test_an_interface_that_is_not_named_any_more_loses_the_filter(host: Host) -> None:
    host.pinned, host.filters = True, {2: 66, 3: 66, 8: 66}
    lane = lane_of(host)
    lane.open(260)
    lane.attach()
    assert host.filters == {2: PROGRAM, 3: PROGRAM}


def test_filters_whose_maps_nobody_can_read_any_more_go(host: Host) -> None:
    host.filters = {3: 66}
    lane_of(host).open(260)
    assert host.steps == ["detached from 3", "made"]


@pytest.mark.parametrize("word", ["auto", "required"])
def test_what_is_not_possible_is_said_in_one_line(host: Host, caplog: pytest.LogCaptureFixture, word: str) -> None:
    host.bpffs = "there is no file system of type bpf"
    lane = lane_of(host, word)
    if word == "required":
        with pytest.raises(
            EdgeError, match=r'gateway.lane is "required", and there is no lane: there is no file system of type bpf'
        ):
            lane.open(260)
        return
    assert not lane.open(260)
    lane.attach()
    lane.set_open(True)
    lane.look()
    lane.end()
    assert caplog.messages == ["without the lane, all packets go through the workers: there is no file system of type bpf"]
    assert (lane.state.state, lane.state.reason, lane.worker_fds) == ("off", host.bpffs, ())
    assert lane.count(shared_state(1, 1), [0]) is None
    assert lane.entries() == (0, 0, 0)


@pytest.mark.parametrize("word", ["auto", "required"])
def test_a_program_that_cannot_be_attached_is_a_reason_as_well(host: Host, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    def refuse(*_: object) -> None:
        raise EdgeError("somebody else is there")

    monkeypatch.setattr("appliance.director.lane.lane_attach.attach", refuse)
    lane = lane_of(host, word)
    lane.open(260)
    host.pinned = True
    if word == "required":
        with pytest.raises(EdgeError, match=r"there is no lane: somebody else is there"):
            lane.attach()
        return
    lane.attach()
    assert (lane.state.state, lane.state.reason, lane.worker_fds) == ("off", "somebody else is there", ())
    assert host.steps == ["made", "closed", "reset: records of an earlier run", "old pins removed", "directory removed"]


@pytest.mark.parametrize("where", ["bpffs.prepared", "Pinned", "lane_attach.attach"])
def test_no_error_of_ours_keeps_packets_from_flowing_without_the_lane(
    host: Host, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("who wrote this?")

    monkeypatch.setattr(f"appliance.director.lane.{where}", fail)
    lane = lane_of(host)
    lane.open(260)
    lane.attach()
    assert (lane.state.state, lane.state.reason) == ("off", "ValueError: who wrote this?")


def test_an_error_of_ours_ends_a_start_for_which_the_lane_is_required(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("who wrote this?")

    monkeypatch.setattr("appliance.director.lane.Pinned", fail)
    with pytest.raises(EdgeError, match=r"there is no lane: ValueError: who wrote this\?"):
        lane_of(host, "required").open(260)


def test_an_interface_that_is_not_ethernet_is_a_reason(host: Host) -> None:
    host.links["client0"] = Link(2, False)
    lane = lane_of(host)
    lane.open(260)
    assert lane.state.reason == "interface client0 is not an Ethernet interface"


def test_a_lane_that_is_off_now_ends_the_sessions_of_the_earlier_run(host: Host) -> None:
    host.pinned, host.filters = True, {2: 66}
    lane = lane_of(host, "off")
    lane.open(260)
    assert host.steps == ["detached from 2", "reset: records of an earlier run", "old pins removed", "directory removed"]
    assert (lane.state.state, lane.state.reason) == ("off", 'gateway.lane is "off"')


def test_only_what_changes_is_written(host: Host) -> None:
    """With twenty thousand real servers, one that goes down must not cost what all of them cost."""
    lane = opened(host)
    assert host.kernel is not None
    services = [service(0, 1), service(2)]
    lane.narrow(services, lambda _: 1400)
    lane.widen()
    before, host.kernel.servers = host.kernel.servers, {}
    lane.narrow(services, lambda _: 1400)
    lane.widen()
    assert host.kernel.servers == {}
    lane.narrow(services, lambda slot: 1300 if slot == 0 else 1400, {1})
    assert host.kernel.servers == {0: (1300, 0), 1: (1400, RealServerFlags.IS_REMOVED)}
    lane.narrow(services, lambda _: 1400)
    assert host.kernel.servers == {0: (1400, 0), 1: (1400, RealServerFlags.IS_REMOVED)}, "the shards do not have it yet"
    lane.widen()
    assert before | host.kernel.servers == before


def test_only_real_servers_with_sessions_are_counted_after_the_first_look(host: Host) -> None:
    lane, shared = opened(host), shared_state(2, 5)
    assert host.kernel is not None
    host.kernel.carried = dict.fromkeys(range(5), (1, 2, 3, 4))

    def looks() -> list[int]:
        assert host.kernel is not None
        host.kernel.asked.clear()
        lane.count(shared, range(5))
        return sorted(host.kernel.asked)

    assert looks() == [0, 1, 2, 3, 4]
    assert looks() == []
    shared.destination(0, 1)[ACTIVE_CONNS] = 1
    shared.destination(1, 2)[INACTIVE_CONNS] = 1
    assert looks() == [1, 2]
    shared.destination(0, 1)[ACTIVE_CONNS] = 0
    assert looks() == [1, 2], "what its last session did since the last look"
    assert looks() == [2]
    shared.destination(1, 4)[CONNS] += 1
    assert looks() == [2, 4], "a session came and went"
    assert looks() == [2]


def test_what_is_forbidden_is_so_at_once_and_what_is_allowed_waits(host: Host) -> None:
    lane = opened(host)
    assert host.kernel is not None
    servers = host.kernel.servers
    lane.narrow([service(0, 1)], lambda _: 1400)
    lane.widen()
    assert (servers[0], servers[1], servers[2]) == ((1400, 0), (1400, 0), (1500, RealServerFlags.IS_REMOVED))
    lane.narrow([service(1, 2)], lambda _: 1300)
    assert servers[0][1] == RealServerFlags.IS_REMOVED, "a shard may still carry it"
    assert (servers[1], servers[2]) == ((1300, 0), (1300, RealServerFlags.IS_REMOVED)), "no shard knows the new one yet"
    lane.widen()
    assert [servers[slot][1] for slot in range(3)] == [RealServerFlags.IS_REMOVED, 0, 0]


def test_flags_say_what_is_special_about_a_service(host: Host) -> None:
    lane = opened(host)
    assert host.kernel is not None
    lane.narrow([service(0, synproxy="auto"), service(1, synproxy="always"), service(2, lane=False)], lambda _: 1500)
    lane.widen()
    assert [host.kernel.servers[slot][1] for slot in range(3)] == [
        RealServerFlags.ASKS_FOR_COOKIES,
        RealServerFlags.ASKS_FOR_COOKIES,
        RealServerFlags.NO_LANE,
    ]


def test_tunables_become_settings(host: Host) -> None:
    lane = opened(host)
    assert host.kernel is not None
    values = {name: tunable.default for name, tunable in TUNABLES.items()} | {"fullnat_toa_entry": 0, "fullnat_toa_kind": 200}
    lane.put_tunables(values.__getitem__)
    settings = host.kernel.settings
    assert (settings.toa, settings.toa_kind, settings.storm_threshold, settings.storm_interval_ns) == (0, 200, 10, 500_000_000)
    assert settings.is_open == 1


def test_filters_and_pins_that_others_remove_come_back(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    lane = opened(host)
    assert host.kernel is not None
    lane.look()
    assert lane.state.repairs == 0
    host.filters[2] = 99
    lane.look()
    host.kernel.missing, host.has_directory = ["flows"], False
    lane.look()
    lane.look()
    assert host.has_directory
    assert (host.filters, lane.state.repairs) == ({2: PROGRAM, 3: PROGRAM}, 2)
    assert caplog.messages == [
        "the lane was not attached to client0 any more: attached again",
        "the pins of the lane were gone (flows): pinned again",
    ]


def test_what_cannot_be_put_back_shows(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = opened(host)
    del host.filters[3]

    def refuse(*_: object) -> None:
        raise EdgeError("tc: no")

    monkeypatch.setattr("appliance.director.lane.lane_attach.attach", refuse)
    with pytest.raises(EdgeError):
        lane.look()
    assert (lane.state.state, lane.state.reason) == ("impaired", "it cannot be put right: tc: no")
    monkeypatch.setattr("appliance.director.lane.lane_attach.attach", host.attach)
    lane.look()
    assert (lane.state.state, lane.state.reason) == ("on", "")


def test_an_interface_that_comes_back_with_another_number_is_attached_again(host: Host) -> None:
    lane = opened(host)
    assert host.kernel is not None
    del host.links["client0"]
    lane.look()
    assert host.kernel.interfaces == {3: lane_layout.InterfaceFlags.REAL_SERVERS}
    host.links["client0"] = Link(9, True)
    lane.look()
    assert host.kernel.interfaces == {9: lane_layout.InterfaceFlags.CLIENTS, 3: lane_layout.InterfaceFlags.REAL_SERVERS}
    assert host.filters[9] == PROGRAM


def test_an_end_for_good_takes_it_off_resets_and_removes(host: Host) -> None:
    lane = opened(host)
    host.steps.clear()
    lane.end()
    lane.end()
    assert host.steps == [
        "detached from 2",
        "detached from 3",
        "reset: records of this run",
        "unpinned",
        "closed",
        "directory removed",
    ]
    assert lane.state.state == "off"


def test_what_cannot_be_removed_keeps_nothing_else_from_it(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(index: int) -> None:
        if index == 2:
            raise EdgeError("tc: no")
        host.detach(index)

    def busy(*_: object) -> None:
        raise EdgeError("cannot remove it")

    lane = opened(host)
    monkeypatch.setattr("appliance.director.lane.lane_attach.detach", refuse)
    monkeypatch.setattr("appliance.director.lane.bpffs.remove", busy)
    host.steps.clear()
    lane.end()
    assert host.steps == ["detached from 3", "reset: records of this run", "unpinned", "closed"]
    assert caplog.messages == ["while ending the lane: tc: no", "while ending the lane: cannot remove it"]


def test_clean_up_says_when_something_stays(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise EdgeError("tc: no")

    monkeypatch.setattr("appliance.director.lane.lane_attach.detach", refuse)
    host.pinned, host.filters = True, {2: 66}
    with pytest.raises(EdgeError, match="tc: no"):
        Lane(None, Path("/run/x/bpf"), "4026", host.reset).clean_up()
    assert host.steps == ["reset: records of an earlier run", "old pins removed", "directory removed"]


def test_a_lane_that_is_left_stays_as_it_is(host: Host) -> None:
    lane = opened(host)
    host.steps.clear()
    lane.leave()
    assert host.steps == ["closed"]
    assert set(host.filters) == {2, 3}


def test_clean_up_ends_what_a_run_has_left(host: Host) -> None:
    lane = Lane(None, Path("/run/x/bpf"), "4026", host.reset)
    assert not lane.clean_up()
    host.steps.clear()
    host.pinned, host.filters = True, {2: 66}
    assert lane.clean_up()
    assert host.steps == ["detached from 2", "reset: records of an earlier run", "old pins removed", "directory removed"]


def test_the_lane_counts_on_from_what_was_counted_before_its_maps(host: Host) -> None:
    lane, shared = opened(host), shared_state(2, 1)
    shared.destination(shared.lane, 0)[0] = 100
    shared.table(shared.lane, "ext")[0] = 500
    assert host.kernel is not None
    assert lane.count(shared, [0]) == host.kernel.counts()
    assert shared.destination(shared.lane, 0).tolist()[:4] == [100, 2, 30, 40]
    host.kernel.carried[0] = (11, 2, 30, 45)
    shared.destination(1, 0)[ACTIVE_CONNS] = 1
    lane.count(shared, [0])
    assert shared.destination(shared.lane, 0).tolist()[:4] == [110, 2, 30, 45]
    assert shared.table(shared.lane, "ext")[0] == 500
    assert LANE_COUNTERS[LANE_COUNTER_PLACE["storm"]].name == "storm"
    assert lane.entries() == (3, SHIPPED.gateway.lane_entries, 0)


def test_what_the_kernel_answers_and_drops_is_counted_as_that_of_shards(host: Host) -> None:
    lane, shared = opened(host), shared_state(2, 1)
    lane.count(shared, [0])
    assert host.kernel is not None
    counts = host.kernel.counts()
    storms, cookies = counts[LANE_COUNTER_PLACE["storm"]], counts[LANE_COUNTER_PLACE["cookie_sent"]]
    ext, verdicts = shared.table(shared.lane, "ext"), shared.table(shared.lane, "verdicts")
    assert (ext[ACK_STORM], verdicts[STORM.index]) == (storms, storms)
    assert (ext[SYN_CNT], verdicts[COOKIE_SENT.index]) == (cookies, cookies)
    bad, null = counts[LANE_COUNTER_PLACE["bad_cookie"]], counts[LANE_COUNTER_PLACE["null_cookie_ack"]]
    assert (ext[BAD_ACK], verdicts[BAD_COOKIE.index]) == (bad, bad)
    assert (ext[NULL_ACK], verdicts[NULL_COOKIE_ACK.index]) == (null, null)
    stray, senseless = counts[LANE_COUNTER_PLACE["stray"]], counts[LANE_COUNTER_PLACE["bad_flags"]]
    assert (verdicts[NO_SESSION.index], verdicts[BAD_FLAGS.index]) == (stray, senseless)
    assert ext[TCP.place] == stray + senseless


def test_front_doors_open_with_the_services_and_have_keys(host: Host) -> None:
    """They are closed while shards do not have the service yet, and while its real servers are down and it says nothing."""
    lane = opened(host)
    tunables = {name: tunable.default for name, tunable in TUNABLES.items()} | {"synproxy_in_kernel": 1}
    lane.put_tunables(tunables.__getitem__)
    assert host.kernel is not None
    lane.narrow([service(0, synproxy="always", when_none_healthy="drop")], lambda _: 1500)
    assert host.kernel.doors == {}
    lane.widen()
    assert len(host.kernel.doors) == 1
    lane.narrow([service(0, synproxy="always", when_none_healthy="drop")], lambda _: 1500, down={0})
    assert host.kernel.doors == {}
    assert len(host.kernel.epochs) >= 2
    host.kernel.epochs.clear()
    lane.look()
    assert not host.kernel.epochs, "what is there is not written again"


def test_what_a_worker_has_prepared_which_is_gone_is_not_handed_out(host: Host) -> None:
    """And what is prepared is for the shard that netfilter would ask."""
    lane = opened(host)
    tunables = {name: tunable.default for name, tunable in TUNABLES.items()} | {"prepared_admissions": 1}
    lane.put_tunables(tunables.__getitem__, (1 << 32) + 7)
    assert host.kernel is not None
    assert (host.kernel.settings.generation, host.kernel.settings.timestamp_remove) == (7, 1)
    lane.forget_worker(1)
    shards = SHIPPED.gateway.shards
    assert host.kernel.forgotten == [(1, shards)]
