"""The defence: the rules in the kernel and the shard judge every packet in the same way."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model import verdicts
from appliance.model.verdict import Action, Verdict
from appliance.policy.address_sets import Steered, SteeredService
from appliance.policy.defence import RULES, Defence
from appliance.policy.ruleset import render, render_defence
from appliance.policy.steering import shard_table
from tests.support.addresses import C0, CLIENT, LIP1, LIP2, R0, RS1, SIDES, VIP, VIP_ADDRESS
from tests.support.segments import fragments, tcp, udp
from tests.support.world import World, plan

OSPF, GRE = 89, 47

DEFENCES = st.builds(Defence, st.booleans(), st.booleans(), st.booleans())
NOTHING = Defence(frag_drop=False, tcp_drop=False, udp_drop=False)

SETS = {"vips": {VIP[:4]}, "local_addresses": {LIP1.packed, LIP2.packed}}


def text_of(defence: Defence, *, native: bool = True) -> str:
    steered = Steered([SteeredService(VIP_ADDRESS, "tcp", 80)], [LIP1, LIP2], shard_table(2), 0, [], [], SIDES)
    return render(steered, defence, native=native).nft


def rules_of(text: str, chain: str) -> list[str]:
    body = text.split(f"chain {chain} {{\n")[1].split("\t}\n")[0].splitlines()
    return [line.strip() for line in body if not line.strip().startswith("type filter")]


def counter_of_first_match(rules: list[str], raw: bytes) -> str | None:
    """The counter of the first rule that matches, as the kernel reads the rules, for a packet that does not come in by `lo`."""
    shape = (
        r"(?:ip frag-off & (0x\w+) != 0 ip protocol != (\d+)|meta l4proto (\d+)) "
        r'ip daddr @(\w+) iif != "lo" counter name (\w+) drop'
    )
    for rule in rules:
        match = re.fullmatch(shape, rule)
        assert match is not None, rule
        mask, spared, protocol, addresses, counter = match.groups()
        if mask:
            is_meant = bool(int.from_bytes(raw[6:8], "big") & int(mask, 16)) and raw[9] != int(spared)
        else:
            is_meant = raw[9] == int(protocol)
        if is_meant and raw[16:20] in SETS[addresses]:
            return counter
    return None


def packet(protocol: int, destination: bytes, fragment_bits: int) -> bytes:
    """A packet to port 81, which is not a service: a SYN, a datagram, or bytes of another protocol."""
    whole = udp(CLIENT, destination, b"x") if protocol == 17 else tcp(CLIENT, destination, "S", seq=C0)
    return whole[:6] + fragment_bits.to_bytes(2, "big") + whole[8:9] + bytes((protocol,)) + whole[10:]


@given(
    DEFENCES,
    st.sampled_from([6, 17, 1, OSPF, GRE]),
    st.sampled_from([VIP[:4], LIP1.packed, LIP2.packed, RS1[:4]]),
    st.sampled_from([0, 0x4000, 0x2000, 0x0001, 0x1FFF, 0x2010, 0x8000]),
)
def test_kernel_and_shard_judge_alike(defence: Defence, protocol: int, address: bytes, fragment_bits: int) -> None:
    """An unsolicited packet is dropped and counted by the same counter, or by none, wherever it is judged."""
    raw = packet(protocol, address + (81).to_bytes(2, "big"), fragment_bits)
    text = text_of(defence)
    is_kept = bool(fragment_bits & 0x3FFF and rules_of(text, "reassembly"))  # the kernel keeps it until it has all fragments
    rules = rules_of(text, "fragments") + ([] if is_kept else rules_of(text, "unsolicited"))
    by_kernel = counter_of_first_match(rules, raw)
    tunables = {rule.tunable: int(rule in defence.rules) for rule in RULES}
    world = World(plan(), **tunables)
    given_verdict = world.put(raw)
    by_shard = [rule.counter for rule in RULES if world.counter(rule.counter)]
    assert by_shard == ([by_kernel] if by_kernel else [])
    if by_kernel:
        assert given_verdict.action is Action.DROP
        assert world.counter(by_kernel) == world.counter(given_verdict.name) == 1
    world.assert_quiet()


@given(DEFENCES, DEFENCES, st.booleans())
def test_a_change_leads_to_the_rules_that_a_start_would_load(before: Defence, after: Defence, native: bool) -> None:
    chains = {chain: rules_of(text_of(before, native=native), chain) for chain in ("fragments", "unsolicited", "reassembly")}
    for line in render_defence(after).splitlines():
        if match := re.fullmatch(r"flush chain ip appliance (\w+)", line):
            chains[match[1]] = []
        else:
            match = re.fullmatch(r"add rule ip appliance (\w+) (.*)", line)
            assert match is not None, line
            chains[match[1]].append(match[2])
    assert chains == {chain: rules_of(text_of(after, native=native), chain) for chain in chains}


def test_the_kernel_puts_fragments_together_only_while_they_are_not_dropped() -> None:
    assert rules_of(text_of(Defence(True, False, False)), "reassembly") == []
    assert rules_of(text_of(Defence(False, True, True)), "reassembly") == ["meta l4proto { tcp, udp } tproxy to :1"]


def test_fragments_are_judged_before_the_kernel_would_put_them_together_and_all_others_behind_the_services() -> None:
    text = text_of(Defence(True, True, True))
    assert "chain fragments {\n\t\ttype filter hook prerouting priority -410; policy accept;\n" in text
    assert rules_of(text, "prerouting")[-1] == "jump unsolicited"
    assert "reassembly" not in text.replace("chain reassembly {", ""), "no packet comes to that chain"


def test_rules_that_are_switched_off_are_not_rendered() -> None:
    text = text_of(NOTHING)
    assert rules_of(text, "fragments") == rules_of(text, "unsolicited") == []
    assert all(f"counter {rule.counter} {{" in text for rule in RULES), "counters are there to be read all the same"


@pytest.mark.parametrize("flags", ["A", "PA", "FA", "R", "SA", "UA"])
@pytest.mark.parametrize("drop", [0, 1])
def test_a_segment_to_a_service_without_a_session(flags: str, drop: int) -> None:
    world = World(defence_tcp_drop=drop)
    assert world.client.sends(flags, seq=C0, ack=R0) is (verdicts.NO_SESSION if drop else verdicts.NOT_OURS)
    assert (world.counter("defence_tcp_drop"), world.counter("no_session"), world.counter("not_ours")) == (drop, drop, 1 - drop)
    world.assert_quiet()


@pytest.mark.parametrize(
    ("flags", "data", "expected"),
    [("A", b"", verdicts.NULL_COOKIE_ACK), ("PA", b"x", verdicts.BAD_COOKIE), ("FA", b"x", verdicts.BAD_COOKIE)],
)
@pytest.mark.parametrize("drop", [0, 1])
def test_a_cookie_is_judged_first(flags: str, data: bytes, expected: Verdict, drop: int) -> None:
    world = World(plan(synproxy="always"), defence_tcp_drop=drop)
    assert world.client.sends(flags, seq=C0, ack=5, data=data) is expected
    assert world.counter("defence_tcp_drop") == 0


@pytest.mark.parametrize("flags", ["R", "RA", "SA"])
def test_a_service_behind_synproxy_is_defended_as_any_other(flags: str) -> None:
    world = World(plan(synproxy="always"))
    assert world.client.sends(flags, seq=C0, ack=5) is verdicts.NO_SESSION
    assert world.counter("defence_tcp_drop") == 1


def test_a_segment_that_is_left_to_the_host_is_not_answered_by_the_shard_as_well() -> None:
    world = World(defence_tcp_drop=0, tcp_abort_on_overflow=1)
    assert world.client.sends("A", seq=C0, ack=R0) is verdicts.NOT_OURS
    world.assert_quiet()


def test_the_next_packet_is_judged_by_the_new_value() -> None:
    world = World()
    world.client.sends("A", seq=C0, ack=R0)
    world.shared.set_tunables({"defence_tcp_drop": 0})
    assert world.client.sends("A", seq=C0, ack=R0) is verdicts.NOT_OURS
    assert world.counter("defence_tcp_drop") == 1


def test_a_service_of_the_other_protocol_defends_nothing() -> None:
    assert World(plan(with_udp=True)).put(udp(CLIENT, VIP, b"x")) is verdicts.TO_REAL_SERVER
    world = World()
    assert world.put(udp(CLIENT, VIP, b"x")) is verdicts.NO_SERVICE
    assert world.counter("defence_udp_drop") == 1


@pytest.mark.parametrize("drop", [0, 1])
def test_fragments_are_never_translated(drop: int) -> None:
    world = World(plan(with_udp=True), defence_frag_drop=drop)
    for part in fragments(udp(CLIENT, VIP, bytes(64)), 32):
        assert world.put(part) is verdicts.FRAGMENT
    assert world.counter("defence_ip_frag_drop") == 3 * drop
