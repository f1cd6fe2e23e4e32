"""ruleset.py: the rendered text sends every packet to the shard that the shard table names."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import loading
from appliance.director.plans import steered
from appliance.policy import steering
from appliance.policy.defence import Defence
from appliance.policy.ruleset import Ruleset, Steered, SteeredService, render
from tests.support.addresses import LIP1, LIP2, VIP_ADDRESS

ROOT = Path(__file__).parents[3]


ALL_IN_FORCE = Defence(frag_drop=True, tcp_drop=True, udp_drop=True)


def ruleset_for(table: steering.ShardTable, *, native: bool = True, queue_base: int = 0) -> Ruleset:
    services = [SteeredService(VIP_ADDRESS, "tcp", 80), SteeredService(VIP_ADDRESS, "udp", 53)]
    return render(Steered(services, [LIP1, LIP2], table, queue_base), ALL_IN_FORCE, native=native)


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
    line = rule(text, "ip daddr @local_addresses meta l4proto { tcp, udp }")
    if line.endswith("goto shard0"):
        return [0] * steering.SLOTS
    match = re.fullmatch(r".* th dport & 0xff vmap @(\w+)", line)
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
    hashed = rule(text, "ip daddr . meta l4proto . th dport @services")
    choice = f"mod 256 seed {steering.HASH_SEED:#x} vmap @shard_by_hash"
    assert about_outbound.endswith(f"jhash @th,192,32 . @th,240,16 {choice}"), "destination of the quoted packet: the client"
    assert hashed.endswith(f"jhash ip saddr . th sport {choice}")
    for line in (about_outbound, about_inbound):
        assert "@th,136,8 { 6, 17 }" in line, "protocol of the quoted packet: TCP or UDP"


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("shards", [1, 4])
def test_errors_of_the_kernel_itself_are_steered_once_where_it_sends_them(shards: int, native: bool) -> None:
    both = ruleset(shards, native=native)
    assert chain(both.nft, "output")[-1] == "meta l4proto icmp goto errors"
    assert chain(both.nft, "prerouting")[-2] == 'iif != "lo" meta l4proto icmp goto errors', "not again where they come by lo"
    if not native:
        assert "-A OUTPUT -p icmp -j APPLIANCE\n" in both.iptables


@pytest.mark.parametrize("hook", ["prerouting", "output"])
def test_marks_are_cleared_wherever_they_are_set(hook: str) -> None:
    text = ruleset(64, native=False).nft
    (marks,) = [line for line in text.splitlines() if f"hook {hook} priority -299" in line]
    clearing = text.split(marks)[1].split("}")[0].strip()
    match = re.fullmatch(r"(?:meta l4proto icmp )?meta mark & (0x\w+) == (0x\w+) meta mark set meta mark & 0x00ffffff", clearing)
    assert match is not None, clearing
    assert all((0x80 + shard) << 24 & int(match[1], 16) == int(match[2], 16) for shard in range(64))


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
            assert f"--mark {mark:#x}000000/0xff000000 -j NFQUEUE --queue-num {100 + shard}" in both.iptables
    assert "bypass" not in both.nft + both.iptables, "without its worker a packet must be dropped, never let past"


def test_the_table_is_replaced_in_one_transaction() -> None:
    assert ruleset(2).nft.startswith("table ip appliance\ndelete table ip appliance\ntable ip appliance {\n")


def test_the_shipped_ruleset_is_that_of_the_shipped_configuration() -> None:
    loaded = loading.load(ROOT / "etc/lvs.toml")
    shipped = render(steered(loaded), Defence.of(loaded.sysctl), native=True).nft
    assert (ROOT / "deploy/nftables.conf").read_text().endswith(shipped), "run `make gen`"
