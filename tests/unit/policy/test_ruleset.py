"""ruleset.py: the rendered text sends every packet to the shard that the shard table names."""

import re
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import loading
from appliance.director.plans import steered
from appliance.model.tunables import TUNABLES
from appliance.policy import steering
from appliance.policy.address_sets import Steered, SteeredService, joined
from appliance.policy.check_ports import FIRST, LAST
from appliance.policy.defence import Defence
from appliance.policy.guard import render_guard
from appliance.policy.ruleset import Ruleset, render, render_defence, render_sets
from appliance.policy.sides import Sides
from tests.support.addresses import LIP1, LIP2, RS1_ADDRESS, SIDES, VIP_ADDRESS

ROOT = Path(__file__).parents[3]


ALL_IN_FORCE = Defence(frag_drop=True, tcp_drop=True, udp_drop=True)


SEED = 0x89ABCDEF


def ruleset_for(table: steering.ShardTable, *, native: bool = True, queue_base: int = 0) -> Ruleset:
    services = [SteeredService(VIP_ADDRESS, "tcp", 80), SteeredService(VIP_ADDRESS, "udp", 53)]
    return render(
        Steered(services, [LIP1, LIP2], table, queue_base, [RS1_ADDRESS], [(RS1_ADDRESS, 53)], SIDES, SEED),
        ALL_IN_FORCE,
        native=native,
    )


def ruleset(shards: int, *, native: bool = True, queue_base: int = 0) -> Ruleset:
    return ruleset_for(steering.shard_table(shards), native=native, queue_base=queue_base)


def chain(text: str, name: str) -> list[str]:
    """The rules of a chain."""
    return [line.strip() for line in text.split(f"chain {name} {{\n")[1].split("\n\t}\n")[0].splitlines()]


def rule(text: str, start: str) -> str:
    (line,) = [line.strip() for line in text.splitlines() if line.strip().startswith(start)]
    return line


def shards_by_slot(text: str, name: str) -> list[int]:
    """Read a verdict map as the kernel would: the shard whose chain each slot leads to."""
    match = re.search(rf"\tmap {name} \{{\n\t\ttypeof .* : verdict\n\t\tsize 256\n\t\telements = \{{(.*?)\}}", text, re.DOTALL)
    assert match is not None, f"there is no map {name}"
    pairs = [pair.strip().split(" : goto shard") for pair in match[1].split(",")]
    assert [int(slot) for slot, _ in pairs] == list(range(steering.SLOTS)), "every slot is there, once"
    return [int(shard) for _, shard in pairs]


def shards_by_reply_rule(text: str) -> list[int]:
    """Follow the rule for replies from each slot: that is from the low 8 bits of the local port."""
    assert rule(text, 'ip daddr @local_addresses iifname "server0" ip saddr').endswith("{ tcp, udp } goto to_local_address")
    line = chain(text, "to_local_address")[-1]
    if line.endswith("goto shard0"):
        return [0] * steering.SLOTS
    match = re.fullmatch(r"th dport & 0xff vmap @(\w+)", line)
    assert match is not None, line
    return shards_by_slot(text, match[1])


@given(st.integers(1, steering.MAX_SHARDS), st.integers(1, steering.MAX_SHARDS), st.integers(1025, 65535), st.integers(0, 700))
def test_every_port_a_shard_hands_out_steers_back_to_it(before: int, shards: int, low: int, size: int) -> None:
    """Also by a table that was made from the table for another number of shards."""
    table = steering.rebalanced(steering.shard_table(before), shards)
    shard_of_slot = shards_by_reply_rule(ruleset_for(table).nft)
    high = min(65535, low + size)
    ports = [steering.ports_of_shard(table, shard, low, high) for shard in range(shards)]
    assert sorted(port for of_shard in ports for port in of_shard) == list(range(low, high + 1)), "every port has one owner"
    assert all(shard_of_slot[port % steering.SLOTS] == shard for shard, of_shard in enumerate(ports) for port in of_shard)


@given(st.integers(2, steering.MAX_SHARDS), st.integers(2, steering.MAX_SHARDS), st.booleans())
def test_every_rule_that_picks_a_shard_reads_the_shard_table(before: int, shards: int, native: bool) -> None:
    table = steering.rebalanced(steering.shard_table(before), shards)
    text = ruleset_for(table, native=native).nft
    maps = {line.split("vmap @")[1] for line in text.splitlines() if "vmap @" in line}
    assert len(maps) == 3
    assert all(bytes(shards_by_slot(text, name)) == table for name in maps)


def test_a_single_shard_needs_no_slots() -> None:
    text = ruleset(1).nft
    assert "map" not in text
    assert text.count("goto shard0") == 4, "client to VIP, real server to local address, and an error about either"


def test_a_service_is_vip_protocol_and_port() -> None:
    text = ruleset(1).nft
    assert "elements = { 203.0.113.10 . tcp . 80, 203.0.113.10 . udp . 53 }" in text
    assert "elements = { 203.0.113.10 }" in text, "one VIP, however many services are on it"
    assert rule(text, "ip daddr . meta l4proto . th dport @services") in chain(text, "prerouting")


def test_errors_go_to_the_shard_of_the_quoted_packet() -> None:
    text = ruleset(4).nft
    about_outbound, about_inbound = chain(text, "errors")
    assert about_inbound.startswith("ip daddr @local_addresses icmp")
    assert about_inbound.endswith("@th,224,16 & 0xff vmap @shard_by_quoted_local_port"), "the quoted source port: the local port"
    assert about_outbound.startswith("ip daddr @vips icmp")
    assert rule(text, "ip daddr . meta l4proto . th dport @services").endswith(" goto to_service")
    hashed = chain(text, "to_service")[-1]
    choice = "mod 256 seed 0x89abcdef vmap @shard_by_hash"
    assert text.count("jhash") == text.count(choice), "errors about a client's packets are hashed as these are"
    assert about_outbound.endswith(f"jhash @th,192,32 . @th,240,16 {choice}"), "destination of the quoted packet: the client"
    assert hashed.endswith(f"jhash ip saddr . th sport {choice}")
    for line in (about_outbound, about_inbound):
        assert "@th,136,8 { 6, 17 }" in line, "protocol of the quoted packet: TCP or UDP"


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("shards", [1, 4])
def test_errors_of_the_kernel_itself_are_steered_once_where_it_sends_them(shards: int, native: bool) -> None:
    both = ruleset(shards, native=native)
    assert chain(both.nft, "output")[-1] == "meta l4proto icmp goto errors"
    assert chain(both.nft, "prerouting")[-2] == 'iif != "lo" meta l4proto icmp goto arriving_errors', (
        "not again where they come by lo"
    )
    if not native:
        assert "-A OUTPUT -p icmp -j APPLIANCE\n" in both.iptables


@pytest.mark.parametrize("hook", ["prerouting", "output"])
def test_marks_are_cleared_wherever_they_are_set(hook: str) -> None:
    text = ruleset(64, native=False).nft
    (marks,) = [line for line in text.splitlines() if f"hook {hook} priority -299" in line]
    lost, *said, clearing = (line.strip() for line in text.split(marks)[1].split("}")[0].strip().splitlines())
    assert said == (["meta mark & 0x80000000 == 0x80000000 meta priority set a9:0"] if hook == "prerouting" else [])
    assert "priority set" not in "".join(chain(text, "to_service") + chain(text, "to_local_address")), (
        "it is not queued yet there"
    )
    match = re.fullmatch(r"(?:meta l4proto icmp )?meta mark & (0x\w+) == (0x\w+) meta mark set meta mark & 0x00ffffff", clearing)
    assert match is not None, clearing
    assert all((base + shard) << 24 & int(match[1], 16) == int(match[2], 16) for base in (0x80, 0xC0) for shard in range(64))
    match = re.fullmatch(r"(?:meta l4proto icmp )?meta mark & (0x\w+) == (0x\w+) counter drop", lost)
    assert match is not None, lost
    assert all((0x80 + shard) << 24 & int(match[1], 16) == int(match[2], 16) for shard in range(64)), "not been through raw"
    assert all((0xC0 + shard) << 24 & int(match[1], 16) != int(match[2], 16) for shard in range(64)), "been through raw"


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("shards", [1, 2, 3, 4])
def test_every_shard_has_its_queue_and_is_not_tracked(shards: int, native: bool) -> None:
    both = ruleset(shards, native=native, queue_base=100)
    for shard in range(shards):
        chain = both.nft.split(f"chain shard{shard} {{")[1].split("}")[0]
        assert "notrack" in chain
        if native:
            assert f"queue num {100 + shard}" in chain
        else:
            mark = 0x80 + shard
            assert f"meta mark & 0x00ffffff | {mark:#x}000000" in chain
            assert "--mark 0x80000000/0xc0000000 -j MARK --or-mark 0x40000000\n" in both.iptables
            assert f"--mark {mark | 0x40:#x}000000/0xff000000 -j NFQUEUE --queue-num {100 + shard}" in both.iptables
    assert "bypass" not in both.nft + both.iptables, "without its worker a packet must be dropped, never let past"


def test_the_table_is_replaced_in_one_transaction() -> None:
    assert ruleset(2).nft.startswith("table ip appliance\ndelete table ip appliance\ntable ip appliance {\n")


def test_the_shipped_ruleset_is_that_of_the_shipped_configuration() -> None:
    loaded = loading.load(ROOT / "etc/lvs.toml")
    shipped = render(steered(loaded), Defence.of(loaded.sysctl), native=True).nft
    assert (ROOT / "deploy/nftables.conf").read_text().endswith(shipped), "run `make gen`"


def text_with(sides: Sides) -> str:
    services = [SteeredService(VIP_ADDRESS, "tcp", 80)]
    return render(Steered(services, [LIP1], bytes(steering.SLOTS), 0, [RS1_ADDRESS], [], sides), ALL_IN_FORCE, native=True).nft


def test_sides_with_interfaces_of_their_own() -> None:
    text = text_with(Sides(("c0", "c1"), ("s0",)))
    clients = 'iifname { "c0", "c1" }'
    around = [f"{clients} ip daddr @{name} counter name direct_access_drops drop" for name in ("real_servers", "local_addresses")]
    opened = 'iif != "lo" ip saddr @local_addresses meta priority a9:0 notrack accept'
    assert chain(text, "prerouting")[1:4] == [opened, *around], "before anything is steered"
    assert f"{clients} ip saddr @server_sources counter name forged_source_drops drop" in chain(text, "forged")
    assert 'iifname != { "c0", "c1", "s0" } counter name forged_source_drops drop' in chain(text, "to_service")
    assert 'iifname "s0" ip saddr != @server_sources counter name forged_source_drops drop' in chain(text, "to_service")
    assert chain(text, "arriving_errors") == [
        f"ip daddr @vips {clients} goto errors",
        'ip daddr @vips iifname "s0" @th,192,32 @quoted_server_sources goto errors',
        'ip daddr @local_addresses iifname "s0" goto errors',
    ]


def test_packets_with_sources_that_nobody_has_are_dropped_before_they_get_a_shard() -> None:
    text = text_with(Sides(("c0",), ("s0",)))
    assert chain(text, "forged")[:2] == [
        "ip saddr @no_host counter name forged_source_drops drop",
        "fib saddr type { local, broadcast, multicast } counter name forged_source_drops drop",
    ]
    assert "elements = { 0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/3 }" in text
    for name in ("to_service", "to_local_address"):
        assert chain(text, name)[0] == "jump forged"


def test_sides_on_one_interface_are_told_apart_by_source() -> None:
    text = text_with(Sides(("eth0",), ("eth0",), (IPv4Network("192.0.2.0/24"),)))
    assert "elements = { 192.0.2.0/24, 192.0.2.101 }" in text
    assert "elements = { 0xc0000200-0xc00002ff, 0xc0000265-0xc0000265 }" in text, "the same as integers"
    stranger = 'iifname "eth0" ip saddr != @server_sources'
    assert chain(text, "prerouting")[2].startswith(f"{stranger} ip daddr @real_servers")
    assert not any("@server_sources" in rule for rule in chain(text, "forged") + chain(text, "to_service"))
    assert chain(text, "arriving_errors")[1:] == ['ip daddr @local_addresses iifname "eth0" ip saddr @server_sources goto errors']


def test_the_way_around_is_open_when_the_configuration_says_so() -> None:
    text = text_with(Sides(("c0",), ("s0",), direct_access=True))
    assert not any("direct_access" in rule for rule in chain(text, "prerouting"))


@pytest.mark.parametrize("direct_access", [True, False])
def test_past_the_services_no_client_option_reaches_a_real_server(direct_access: bool) -> None:
    """Also on interfaces of neither side. Packets of services are steered before, so they do not pay for it."""
    text = text_with(Sides(("c0",), ("s0",), direct_access=direct_access))
    rules = chain(text, "prerouting")
    place = rules.index("ip daddr @real_servers ip protocol tcp goto past_services")
    assert all(
        rule.endswith(("goto to_service", "goto to_local_address", "drop", "accept;")) for rule in (rules[0], *rules[2:place])
    )
    fragments, *options = chain(text, "past_services")
    assert fragments.endswith("counter name forged_client_options drop")
    assert options == [
        "tcp option 254 exists counter name forged_client_options reset tcp option 254",
        "tcp option 254 exists drop",
    ]


def test_the_kind_of_the_option_changes_with_its_tunable() -> None:
    lines = render_defence(ALL_IN_FORCE._replace(toa_kind=200)).splitlines()
    start = lines.index("flush chain ip appliance past_services")
    assert lines[start + 3] == "add rule ip appliance past_services tcp option 200 exists drop"


def test_real_servers_change_in_one_transaction() -> None:
    steered = Steered([], [LIP1], bytes(steering.SLOTS), 0, [RS1_ADDRESS], [(RS1_ADDRESS, 53)], SIDES)
    none = steered._replace(real_servers=[], udp_servers=[])
    lines = render_sets(none, steered).splitlines()
    names = ("real_servers", "udp_servers", "server_sources", "quoted_server_sources")
    assert lines[::2] == [f"flush set ip appliance {name}" for name in names]
    assert lines[3] == "add element ip appliance udp_servers { 192.0.2.101 . 53 }"
    assert render_sets(steered, none).splitlines() == lines[::2], "nft knows no empty list of elements"


def test_services_and_local_addresses_change_in_one_transaction_and_what_is_the_same_stays() -> None:
    before = Steered([SteeredService(VIP_ADDRESS, "tcp", 80)], [LIP1], bytes(steering.SLOTS), 0, [RS1_ADDRESS], [], SIDES)
    after = before._replace(services=[*before.services, SteeredService(VIP_ADDRESS, "udp", 53)], local_addresses=[LIP1, LIP2])
    assert render_sets(before, after).splitlines() == [
        "flush set ip appliance services",
        "add element ip appliance services { 203.0.113.10 . tcp . 80, 203.0.113.10 . udp . 53 }",
        "flush set ip appliance local_addresses",
        "add element ip appliance local_addresses { 192.0.2.10, 192.0.2.11 }",
    ]
    assert render_sets(after, after) == ""
    assert joined(before, after) == joined(after, before) == after


def test_the_guard_spares_what_has_been_steered_and_what_the_host_tells_itself() -> None:
    steered = Steered([SteeredService(VIP_ADDRESS, "tcp", 80)], [LIP1], bytes(steering.SLOTS), 0, [RS1_ADDRESS], [], SIDES)
    rules = chain(render_guard(steered), "input")
    assert rules[1] == "meta priority a9:0 accept"
    assert rules[1].removesuffix(" accept").replace("priority", "priority set") in chain(text_with(SIDES), "to_service")
    assert rules[1].removesuffix(" accept").replace("priority", "priority set") in chain(text_with(SIDES), "to_local_address")
    assert rules[2] == 'iif "lo" accept'
    assert rules[3] == "ip daddr @local_addresses meta l4proto { tcp, udp } th dport 512-1024 accept"
    assert all(rule.endswith(" counter drop") for rule in rules[4:])


def test_the_ports_of_checks_are_no_ports_of_sessions_and_go_to_the_host() -> None:
    """The tunables that are the range of local ports begin behind them."""
    assert TUNABLES["fullnat_lport_min"].min > LAST
    rules = chain(text_with(SIDES), "to_local_address")
    assert rules[:2] == ["jump forged", f"th dport {FIRST}-{LAST} notrack accept"], "before any shard"
