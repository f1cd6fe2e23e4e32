"""ruleset.py and steering.py: the rendered text sends every packet to the shard that owns it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import config, steering
from appliance.host import steered
from appliance.ruleset import Ruleset, Steered, render
from tests.support.addresses import LIP1, LIP2, VIP_ADDRESS

ROOT = Path(__file__).parents[2]


def ruleset(shards: int, *, native: bool = True, queue_base: int = 0) -> Ruleset:
    return render(Steered([(VIP_ADDRESS, 80)], [LIP1, LIP2], shards, queue_base), native=native)


def rule(text: str, start: str) -> str:
    (line,) = [line.strip() for line in text.splitlines() if line.strip().startswith(start)]
    return line


def shard_of_reply(text: str, port: int) -> int:
    """Read the rendered rule for replies as the kernel would: mask the port, look the value up in the verdict map."""
    line = rule(text, "ip daddr @local_addresses meta l4proto tcp")
    if line.endswith("goto shard0"):
        return 0
    match = re.fullmatch(r".* tcp dport & (0x[0-9a-f]+) vmap \{ (.*) \}", line)
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


def test_errors_go_to_the_shard_of_the_quoted_packet() -> None:
    text = ruleset(4).nft
    about_inbound = rule(text, "ip daddr @local_addresses icmp")
    assert "@th,224,16 & 0x3 vmap" in about_inbound, "source port of the quoted packet: the local port"
    about_outbound = rule(text, "ip daddr @vips icmp")
    hashed = rule(text, "ip daddr . tcp dport @services")
    seed = f"mod 4 seed {steering.HASH_SEED:#x} vmap"
    assert f"jhash @th,192,32 . @th,240,16 {seed}" in about_outbound, "destination of the quoted packet: the client"
    assert f"jhash ip saddr . tcp sport {seed}" in hashed


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
    shipped = render(steered(config.load(ROOT / "etc/lvs.toml")), native=True).nft
    assert (ROOT / "deploy/nftables.conf").read_text().endswith(shipped), "run `make gen`"
