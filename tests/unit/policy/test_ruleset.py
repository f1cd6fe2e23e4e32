"""ruleset.py and steering.py: the rendered text sends every packet to the shard that owns it."""

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


def ruleset(shards: int, *, native: bool = True, queue_base: int = 0) -> Ruleset:
    services = [SteeredService(VIP_ADDRESS, "tcp", 80), SteeredService(VIP_ADDRESS, "udp", 53)]
    return render(Steered(services, [LIP1, LIP2], shards, queue_base), ALL_IN_FORCE, native=native)


def chain(text: str, name: str) -> list[str]:
    """The rules of a chain."""
    return [line.strip() for line in text.split(f"chain {name} {{\n")[1].split("\n\t}\n")[0].splitlines()]


def rule(text: str, start: str) -> str:
    (line,) = [line.strip() for line in text.splitlines() if line.strip().startswith(start)]
    return line


def shard_of_reply(text: str, port: int) -> int:
    """Read the rendered rule for replies as the kernel would: mask the port, look the value up in the verdict map."""
    line = rule(text, "ip daddr @local_addresses meta l4proto { tcp, udp }")
    if line.endswith("goto shard0"):
        return 0
    match = re.fullmatch(r".* th dport & (0x[0-9a-f]+) vmap \{ (.*) \}", line)
    assert match is not None, line
    goto = dict(pair.split(" : ") for pair in match[2].split(", "))
    return int(goto[str(port & int(match[1], 16))].removeprefix("goto shard"))


@given(st.integers(1, steering.MAX_SHARDS), st.integers(1025, 65535), st.integers(0, 700), st.booleans())
def test_every_port_a_shard_hands_out_steers_back_to_it(shards: int, low: int, size: int, native: bool) -> None:
    text = ruleset(shards, native=native).nft
    high = min(65535, low + size)
    handed_out = [port for shard in range(shards) for port in steering.ports_of_shard(shard, shards, low, high)]
    assert sorted(handed_out) == list(range(low, high + 1)), "every port has exactly one owner"
    for shard in range(shards):
        for port in steering.ports_of_shard(shard, shards, low, high)[:20]:
            assert shard_of_reply(text, port) == shard


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 5, 7, 8, 12, 64])
def test_ports_are_shared_out_fairly(shards: int) -> None:
    counts = [len(steering.ports_of_shard(shard, shards, 5000, 65535)) for shard in range(shards)]
    assert max(counts) <= 1.15 * min(counts) + 1


@pytest.mark.parametrize("shards", [0, -1, 65])
def test_a_shard_count_out_of_range_is_refused(shards: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.64"):
        steering.port_classes(shards)


def test_a_service_is_vip_protocol_and_port() -> None:
    text = ruleset(1).nft
    assert "elements = { 203.0.113.10 . tcp . 80, 203.0.113.10 . udp . 53 }" in text
    assert "elements = { 203.0.113.10 }" in text, "one VIP, however many services are on it"
    assert rule(text, "ip daddr . meta l4proto . th dport @services") in chain(text, "prerouting")


def test_errors_go_to_the_shard_of_the_quoted_packet() -> None:
    text = ruleset(4).nft
    about_outbound, about_inbound = chain(text, "errors")
    assert about_inbound.startswith("ip daddr @local_addresses icmp")
    assert "@th,224,16 & 0x3 vmap" in about_inbound, "source port of the quoted packet: the local port"
    assert about_outbound.startswith("ip daddr @vips icmp")
    hashed = rule(text, "ip daddr . meta l4proto . th dport @services")
    seed = f"mod 4 seed {steering.HASH_SEED:#x} vmap"
    assert f"jhash @th,192,32 . @th,240,16 {seed}" in about_outbound, "destination of the quoted packet: the client"
    assert f"jhash ip saddr . th sport {seed}" in hashed
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
