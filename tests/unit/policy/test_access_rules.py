"""Access lists and rate limits as nft text. What the kernel makes of it is in `tests/lab/test_access.py`."""

from ipaddress import IPv4Address

import pytest

from appliance.policy.access_rules import AccessService, Loaded, Rate, named_sets, render_access, render_removal
from appliance.policy.prefixes import Prefixes, range_of

TEN, OTHERS = Prefixes([range_of("10.0.0.0/8")]), Prefixes([range_of("192.0.2.1"), range_of("192.0.2.3")])
WEB = AccessService("web", IPv4Address("203.0.113.10"), "tcp", 80, deny=TEN)
DNS = AccessService("dns", IPv4Address("203.0.113.10"), "udp", 53, allow=OTHERS)
KEY = "203_0_113_10_tcp_80"

PREPARE = f"""\
add table ip appliance_access
add set ip appliance_access list_{TEN.digest} {{ type ipv4_addr; flags interval; elements = {{ 10.0.0.0/8 }}; }}
add set ip appliance_access rate_{KEY}_24_10_30 {{ type ipv4_addr; size 65536; flags dynamic,timeout; timeout 4s; }}
add set ip appliance_access list_{OTHERS.digest} {{ type ipv4_addr; flags interval; elements = {{ 192.0.2.1, 192.0.2.3 }}; }}
add set ip appliance_access blocked {{ type ipv4_addr; flags interval; }}
add set ip appliance_access friends {{ type ipv4_addr; flags interval; }}
add counter ip appliance_access denied_drops_{KEY}
add counter ip appliance_access client_rate_drops_{KEY}
add counter ip appliance_access service_rate_drops_{KEY}
add counter ip appliance_access not_allowed_drops_203_0_113_10_udp_53
"""
SWITCH = f"""\
add map ip appliance_access services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
add chain ip appliance_access service_{KEY}
add rule ip appliance_access service_{KEY} ip saddr @list_{TEN.digest} counter name denied_drops_{KEY} drop
add rule ip appliance_access service_{KEY} ip saddr @blocked counter name denied_drops_{KEY} drop
add rule ip appliance_access service_{KEY} update @rate_{KEY}_24_10_30 {{ ip saddr & 255.255.255.0 \
limit rate over 10/second burst 30 packets }} counter name client_rate_drops_{KEY} drop
add rule ip appliance_access service_{KEY} limit rate over 500/second burst 500 packets counter name service_rate_drops_{KEY} drop
add chain ip appliance_access service_203_0_113_10_udp_53
add rule ip appliance_access service_203_0_113_10_udp_53 ip saddr != @list_{OTHERS.digest} ip saddr != @friends \
counter name not_allowed_drops_203_0_113_10_udp_53 drop
add element ip appliance_access services {{ 203.0.113.10 . tcp . 80 : goto service_{KEY}, \
203.0.113.10 . udp . 53 : goto service_203_0_113_10_udp_53 }}
add chain ip appliance_access prerouting {{ type filter hook prerouting priority -311; policy accept; }}
add rule ip appliance_access prerouting meta l4proto tcp tcp flags & (syn | ack) != syn accept
add rule ip appliance_access prerouting ip daddr . meta l4proto . th dport vmap @services
"""


def test_the_whole_text() -> None:
    web = WEB._replace(deny_sets=("blocked",), client_rate=Rate(10, 30), client_mask=24, service_rate=Rate(500, 500))
    assert render_access([web, DNS._replace(allow_sets=("friends",))], Loaded()) == (PREPARE, SWITCH, "")


def test_without_services_there_is_no_text_and_what_is_there_goes() -> None:
    assert render_access([], Loaded()) == ("", "", "")
    assert render_access([], Loaded(frozenset({"blocked"}))) == ("", "", ""), "the operator's table is left alone"
    loaded = Loaded(frozenset({"services", "list_1"}), frozenset({"prerouting", "service_x"}), frozenset({"denied_drops_x"}))
    assert render_access([], loaded) == ("", "delete table ip appliance_access\n", "")
    text = render_removal(loaded._replace(sets=loaded.sets | {"blocked"}))
    assert "delete table" not in text
    assert "blocked" not in text
    for line in ("delete chain ip appliance_access prerouting", "delete map ip appliance_access services"):
        assert f"{line}\n" in text
    assert text.index("flush map") < text.index("delete chain ip appliance_access service_x")


def test_what_stays_is_not_loaded_again_and_what_is_not_wanted_goes() -> None:
    loaded = Loaded(
        frozenset({"services", f"list_{TEN.digest}", "list_old", "rate_old", "others"}),
        frozenset({"prerouting", f"service_{KEY}", "service_10_0_0_1_udp_53", "of_the_operator"}),
        frozenset({f"denied_drops_{KEY}", "denied_drops_old"}),
    )
    prepare, switch, clean = render_access([WEB], loaded)
    assert prepare == "add table ip appliance_access\n"
    for word in ("add map", "flush map", "add element", "delete chain ip appliance_access prerouting", "of_the_operator"):
        assert word not in switch, "a packet finds its chain all the time"
    assert f"flush chain ip appliance_access service_{KEY}\n" in switch
    assert "delete element ip appliance_access services { 10.0.0.1 . udp . 53 }\n" in switch
    assert "delete chain ip appliance_access service_10_0_0_1_udp_53\n" in switch
    for gone in ("set {} list_old", "set {} rate_old", "counter {} denied_drops_old"):
        assert f"delete {gone.format('ip appliance_access')}\n" in clean
    assert "others" not in prepare + switch + clean
    anew = render_access([WEB], loaded, anew=True).switch
    assert "delete element" not in anew, "nobody knows whether it is there"
    assert f"services {{ 203.0.113.10 . tcp . 80 : goto service_{KEY} }}\n" in anew
    assert anew.startswith("flush map ip appliance_access services\n")


def test_services_with_equal_lists_share_a_set() -> None:
    text = render_access([WEB, DNS._replace(deny=Prefixes([range_of("10.0.0.0/9"), range_of("10.128.0.0/9")]))], Loaded()).prepare
    assert text.count("elements = { 10.0.0.0/8 }") == 1


def test_a_limit_that_changes_gets_a_set_of_its_own_because_elements_keep_theirs() -> None:
    texts = [render_access([WEB._replace(client_rate=rate)], Loaded()).prepare for rate in (Rate(1, 5), Rate(2, 5), Rate(1, 6))]
    assert len({line for text in texts for line in text.splitlines() if line.startswith("add set") and "rate_" in line}) == 3


def test_a_client_is_remembered_until_it_may_send_a_burst_again() -> None:
    for rate, timeout_s in ((Rate(1, 1), 2), (Rate(1, 60), 61), (Rate(1000, 1), 2), (Rate(3, 10), 5)):
        assert f"timeout {timeout_s}s" in render_access([WEB._replace(client_rate=rate)], Loaded()).prepare


@pytest.mark.parametrize(
    ("service", "admitted"),
    [
        (WEB, (False, True)),
        (WEB._replace(deny=None), (True, True)),
        (WEB._replace(deny=None, allow=TEN), (True, False)),
        (WEB._replace(allow=TEN), (False, False)),
        (WEB._replace(deny=None, allow=Prefixes()), (False, False)),
        (WEB._replace(deny=None, allow=Prefixes(), allow_sets=("friends",)), (True, True)),
        (WEB._replace(allow=OTHERS, allow_sets=("friends",)), (False, True)),
    ],
)
def test_whom_a_service_admits(service: AccessService, admitted: tuple[bool, bool]) -> None:
    clients = [int(IPv4Address(client)) for client in ("10.1.2.3", "192.0.2.2")]
    assert tuple(map(service.admits, clients)) == admitted


def test_the_sets_of_the_operator_and_who_names_them() -> None:
    web = WEB._replace(deny_sets=("a", "b"), allow_sets=("a",))
    assert named_sets([web, DNS._replace(deny_sets=("b",))]) == {"a": ["web"], "b": ["web", "dns"]}
