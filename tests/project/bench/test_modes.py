"""The modes of the gateway: addresses, rules, configurations, and the checks that each is what it says."""

import tomllib

import pytest

from appliance.config.loading import load, parse
from appliance.lab.plan import CLIENT as LAB_CLIENT
from appliance.lab.plan import CLIENT_NETWORK as LAB_CLIENT_NETWORK
from appliance.lab.plan import make_plan
from bench.modes import haproxy, nft_nat, queue_loop
from bench.modes.appliance import (
    API,
    APPLIANCE,
    APPLIANCE_NO_LANE,
    APPLIANCE_WORKERS,
    RUNNING_APPLIANCE,
    WITH_LANE,
    WITHOUT_LANE,
    WITHOUT_PREPARED,
)
from bench.modes.haproxy import HAPROXY
from bench.modes.mode import Mode
from bench.modes.nft_nat import NFT_NAT
from bench.modes.queue_loop import QUEUE_LOOP
from bench.modes.registry import BY_NAME, DEFAULTS, installed, refusal
from bench.modes.routing import ROUTING
from bench.rig.checks import wrong_answers, wrong_counts, wrong_share
from bench.rig.counters import QueueCount, Snapshot
from bench.rig.gateway import configuration
from bench.rig.topology import (
    BULK_PORT,
    CLIENT,
    CLIENT_INTERFACE,
    CLIENT_NETWORK,
    HAPROXY_VIPS,
    HTTP_PORT,
    LAB_CONFIG,
    LOCAL_ADDRESSES,
    NAT_LOCAL_ADDRESSES,
    NAT_VIPS,
    QUEUED_REAL_SERVERS,
    REAL_SERVERS,
    SERVER_INTERFACE,
    VIPS,
)

MODES = tuple(BY_NAME.values())
BOTH = ("rs1", "rs2")
BEFORE = Snapshot({0: QueueCount(10, 0), 1: QueueCount(10, 0)}, received=1000, tracked=5)


def after(queues: dict[int, int], received: int, tracked: int = 0) -> Snapshot:
    """BEFORE, and then so many packets in these queues, packets received, connections tracked."""
    counts = {number: BEFORE.queues.get(number, QueueCount(0, 0)) for number in {*BEFORE.queues, *queues}}
    grown = {number: count._replace(packets=count.packets + queues.get(number, 0)) for number, count in counts.items()}
    return Snapshot(grown, BEFORE.received + received, BEFORE.tracked + tracked)


class TestChecks:
    """Is a mode what it says?"""

    @pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
    def test_answers_that_fit_the_mode_are_accepted(self, mode: Mode) -> None:
        assert list(wrong_answers(mode, [f"{name} {peer}" for name in BOTH for peer in mode.peers])) == []

    def test_a_real_server_without_a_request_is_named(self) -> None:
        assert list(wrong_answers(ROUTING, [f"rs1 {CLIENT}"])) == ["rs2 got no request"]

    def test_a_peer_that_the_mode_does_not_have_is_named(self) -> None:
        answers = [f"rs1 {CLIENT}", f"rs2 {LOCAL_ADDRESSES[1]}"]
        assert list(wrong_answers(ROUTING, answers)) == [f"a real server saw {LOCAL_ADDRESSES[1]}, not {CLIENT}"]
        assert list(wrong_answers(APPLIANCE, answers)) == [f"a real server saw {CLIENT}, not {' or '.join(LOCAL_ADDRESSES)}"]

    def test_a_proxy_is_seen_with_the_address_of_the_gateway(self) -> None:
        assert list(wrong_answers(HAPROXY, [f"rs1 {CLIENT}", "rs2 192.0.2.1"])) == [f"a real server saw {CLIENT}, not 192.0.2.1"]

    @pytest.mark.parametrize(
        ("mode", "queues", "tracked"),
        [
            (ROUTING, {}, 0),
            (ROUTING, {}, -3),
            (NFT_NAT, {}, 8),
            (HAPROXY, {}, 0),
            (QUEUE_LOOP, {1000: 50, 1001: 48}, 0),
            (APPLIANCE_NO_LANE, {0: 50, 1: 48}, 0),
            (APPLIANCE, {0: 2, 1: 2}, 0),
            (APPLIANCE_WORKERS, {0: 6, 1: 5}, 0),
        ],
    )
    def test_counts_that_fit_the_mode_are_accepted(self, mode: Mode, queues: dict[int, int], tracked: int) -> None:
        assert list(wrong_counts(mode, 2, BEFORE, after(queues, 100, tracked))) == []

    @pytest.mark.parametrize(
        ("mode", "queues", "tracked", "complaint"),
        [
            (ROUTING, {}, 4, "4 connections were tracked by the kernel"),
            (NFT_NAT, {}, 0, "0 connections were tracked by the kernel"),
            (ROUTING, {1: 3}, 0, "packets went through queues [1], not none"),
            (HAPROXY, {1: 3}, 0, "packets went through queues [1], not none"),
            (QUEUE_LOOP, {1000: 98}, 0, "packets went through queues [1000], not [1000, 1001]"),
            (QUEUE_LOOP, {0: 50, 1: 48}, 0, "packets went through queues [0, 1], not [1000, 1001]"),
            (QUEUE_LOOP, {1000: 50, 1001: 48, 1: 2}, 0, "packets went through queues [1, 1000, 1001], not [1000, 1001]"),
            (APPLIANCE_NO_LANE, {0: 28, 1: 27}, 0, "55 of the 100 packets that came in were queued"),
            (APPLIANCE, {0: 6, 1: 5}, 0, "11 of the 100 packets that came in were queued"),
            (APPLIANCE, {0: 4}, 0, "packets went through queues [0], not [0, 1]"),
            (APPLIANCE_WORKERS, {0: 8, 1: 8}, 0, "16 of the 100 packets that came in were queued"),
            (APPLIANCE_WORKERS, {0: 2, 1: 1}, 0, "3 of the 100 packets that came in were queued"),
            (APPLIANCE_WORKERS, {0: 11}, 0, "packets went through queues [0], not [0, 1]"),
        ],
    )
    def test_counts_that_contradict_the_mode_are_named(
        self, mode: Mode, queues: dict[int, int], tracked: int, complaint: str
    ) -> None:
        assert list(wrong_counts(mode, 2, BEFORE, after(queues, 100, tracked))) == [complaint]

    @pytest.mark.parametrize(
        ("mode", "queued", "is_right"),
        [
            (APPLIANCE, 0, True),
            (APPLIANCE, 2, True),
            (APPLIANCE, 3, False),
            (APPLIANCE_NO_LANE, 98, True),
            (APPLIANCE_NO_LANE, 60, False),
            (ROUTING, 0, True),
        ],
    )
    def test_a_connection_that_stays_has_a_share_of_its_own(self, mode: Mode, queued: int, is_right: bool) -> None:
        said = list(wrong_share(mode.kept_share, mode, BEFORE, after({0: queued}, 100)))
        assert said == ([] if is_right else [f"{queued} of the 100 packets that came in were queued"])


class TestRegistry:
    """Which modes can be asked for."""

    def test_names_are_those_of_the_command_line(self) -> None:
        assert DEFAULTS == ("routing", "nft-nat", "haproxy", "queue-loop", "appliance", "appliance-no-lane")
        assert tuple(BY_NAME) == (*DEFAULTS, "appliance-workers")
        assert {name: refusal(name) for name in BY_NAME} == dict.fromkeys(BY_NAME, "")

    def test_another_name_is_refused_with_those_that_there_are(self) -> None:
        assert refusal("ipvs").startswith("'ipvs' is not a mode; the modes are routing, nft-nat, ")

    def test_a_mode_whose_program_is_missing_is_left_out_by_name(self) -> None:
        absent = HAPROXY._replace(programs=("no-such-program",))
        assert installed([ROUTING, absent]) == (
            [ROUTING],
            ["HAProxy, mode tcp is left out: no-such-program is not installed"],
        )

    @pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
    def test_the_pair_of_addresses_changes_from_round_to_round_where_there_are_two_pairs(self, mode: Mode) -> None:
        first, second, third = (mode.pair_of_round(number) for number in range(3))
        assert first == third == mode.targets[:2]
        assert second == (mode.targets[2:] or mode.targets)

    def test_no_address_has_two_uses(self) -> None:
        groups = (VIPS, LOCAL_ADDRESSES, NAT_VIPS, NAT_LOCAL_ADDRESSES, HAPROXY_VIPS)
        every = (*REAL_SERVERS, *QUEUED_REAL_SERVERS, CLIENT, *(address for group in groups for address in group))
        assert len(set(every)) == len(every)


class TestQueueLoop:
    """Its steering."""

    @pytest.mark.parametrize("native", [False, True])
    @pytest.mark.parametrize("shards", [1, 2, 3])
    def test_both_directions_are_queued_to_every_shard(self, shards: int, native: bool) -> None:
        text = queue_loop.table(shards, native=native)
        addresses = ", ".join(QUEUED_REAL_SERVERS)
        forward, reply = (line for line in text.splitlines() if addresses in line)
        assert f"ip daddr {{ {addresses} }}" in forward
        assert f"ip saddr {{ {addresses} }}" in reply
        if shards > 1:
            assert "jhash ip saddr . th sport" in forward
            # The same value for both directions: mirrored fields, everything behind them equal.
            assert reply.partition("jhash ")[2] == forward.partition("jhash ")[2].replace(
                "ip saddr . th sport", "ip daddr . th dport"
            )
        queues = [str(queue_loop.QUEUE_BASE + shard) for shard in range(shards)]
        queueing = text if native else queue_loop.iptables_rules(shards)
        words = queueing.split()
        option = "num" if native else "--queue-num"
        assert [words[at + 1] for at, word in enumerate(words) if word == option] == queues
        for shard in range(shards):
            assert f"chain shard{shard} {{" in text

    def test_compat_marks_are_queued_by_the_mark_that_was_set(self) -> None:
        table, rules = queue_loop.table(4, native=False), queue_loop.iptables_rules(4)
        set_marks = [line.split()[-1] for line in table.splitlines() if "meta mark set" in line]
        read_marks = [line.split("--mark ")[1].split()[0] for line in rules.splitlines() if "--mark" in line]
        assert set_marks == read_marks
        assert len(set(set_marks)) == 4
        assert all(int(mark, 16) & 0xFF000000 == 0 for mark in set_marks)  # those bits are the appliance's


def test_nat_uses_the_addresses_the_check_expects() -> None:
    text = nft_nat.table()
    assert [f"{vip} : {local}" in text for vip, local in zip(NAT_VIPS, NAT_LOCAL_ADDRESSES, strict=True)] == [True] * 4
    assert f"{{ 0 : {REAL_SERVERS[0]}, 1 : {REAL_SERVERS[1]} }}" in text
    assert NFT_NAT.peers == NAT_LOCAL_ADDRESSES


def test_haproxy_has_as_many_threads_as_there_are_shards_and_every_address() -> None:
    text = haproxy.configuration(3)
    assert "nbthread 3\n" in text
    assert "mode tcp\n" in text
    web, bulk = text.partition("listen web")[2].split("listen bulk")
    assert [f"bind {vip}:{HTTP_PORT}\n" in web and f"bind {vip}:{BULK_PORT}\n" in bulk for vip in HAPROXY_VIPS] == [True] * 4
    assert [f"{address}:{HTTP_PORT}\n" in web for address in REAL_SERVERS] == [True, True]
    assert [f"{address}:{BULK_PORT}\n" in bulk for address in REAL_SERVERS] == [True, False]


class TestAppliance:
    """Its configurations."""

    def test_it_serves_what_the_client_connects_to(self) -> None:
        config = parse(configuration(), "bench.toml")
        served = {(str(service.vip), service.port, service.protocol): service for service in config.services}
        bulk = {(VIPS[0], BULK_PORT, protocol) for protocol in ("tcp", "udp")}
        assert set(served) == {*((vip, HTTP_PORT, "tcp") for vip in VIPS), *bulk}
        assert [str(server.address) for server in served[VIPS[2], HTTP_PORT, "tcp"].real_servers] == list(REAL_SERVERS)
        assert [str(server.address) for server in served[VIPS[0], BULK_PORT, "udp"].real_servers] == [REAL_SERVERS[0]]
        assert [str(address) for address in config.local_addresses["default"]] == list(LOCAL_ADDRESSES)

    def test_a_lane_is_a_key_of_its_gateway(self) -> None:
        read = [parse(configuration(line), "bench.toml").gateway.lane for line in (WITH_LANE, WITHOUT_LANE)]
        assert read == ["required", "off"]

    def test_admissions_are_prepared_as_they_are_by_default_or_not_at_all(self) -> None:
        read = [parse(configuration() + more, "bench.toml").sysctl["prepared_admissions"] for more in ("", WITHOUT_PREPARED)]
        assert read == [1, 0]

    def test_each_mode_of_it_can_be_told_from_the_others(self) -> None:
        assert APPLIANCE.name != APPLIANCE_NO_LANE.name
        assert RUNNING_APPLIANCE.targets == APPLIANCE.targets == APPLIANCE_NO_LANE.targets

    def test_its_api_is_not_where_the_lab_asks_whether_all_is_well(self) -> None:
        (listen,) = parse(configuration(api=API), "bench.toml").api.listen
        assert listen not in tomllib.loads(LAB_CONFIG.read_text())["api"]["listen"]

    def test_one_that_runs_all_the_time_answers_where_the_lab_asks(self) -> None:
        api = tomllib.loads(LAB_CONFIG.read_text())["api"]["listen"]
        assert parse(configuration(), "bench.toml").api.listen == tuple(api)


def test_our_network_is_the_one_the_lab_makes_of_the_shipped_configuration() -> None:
    plan = make_plan(load(LAB_CONFIG))
    assert (plan.client_interface, plan.server_interface) == (CLIENT_INTERFACE, SERVER_INTERFACE)
    assert (str(LAB_CLIENT.ip), str(LAB_CLIENT_NETWORK)) == (CLIENT, CLIENT_NETWORK)
    own = [str(address.address.ip) for role in ("rs1", "rs2") for address in plan.hosts[role].addresses]
    assert own == list(REAL_SERVERS)
