"""policy/trace_rules.py: which packets the kernel is to tell of."""

import pytest

from appliance.policy.trace_rules import PACKETS_PER_S, name_of, render_trace

LIMIT = f"limit rate {PACKETS_PER_S}/second burst {PACKETS_PER_S} packets meta nftrace set 1 accept"


@pytest.mark.parametrize(
    ("rendered", "rule"),
    [
        (render_trace(0, "198.51.100.2"), "ip saddr 198.51.100.2/32"),
        (render_trace(0, "198.51.100.0/24"), "ip saddr 198.51.100.0/24"),
        (render_trace(0, "198.51.100.0/255.255.255.0"), "ip saddr 198.51.100.0/24"),
        (
            render_trace(0, "198.51.100.2:4000", port=80),
            "ip saddr 198.51.100.2/32 meta l4proto { tcp, udp } th sport 4000 th dport 80",
        ),
        (
            render_trace(0, "198.51.100.2", "203.0.113.10", "udp", 53),
            "ip saddr 198.51.100.2/32 ip daddr 203.0.113.10 meta l4proto udp th dport 53",
        ),
    ],
)
def test_one_rule_marks_what_is_wanted_at_a_bounded_rate_and_the_next_counts_the_rest(rendered: str, rule: str) -> None:
    assert f"\t\t{rule} {LIMIT}\n\t\t{rule} counter name untold\n" in rendered


def test_the_table_is_replaced_in_one_transaction_and_goes_with_its_process() -> None:
    lines = render_trace(3, "198.51.100.2").splitlines()
    assert lines[:4] == [
        "table ip appliance_trace3 { flags owner; }",
        "delete table ip appliance_trace3",
        "table ip appliance_trace3 {",
        "\tflags owner",
    ]
    assert name_of(render_trace(3, "198.51.100.2")) == "appliance_trace3"
