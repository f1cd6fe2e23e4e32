"""early_rules.py: which rules of the host see a SYN of a client before the appliance does."""

from collections.abc import Iterator, Sequence

import pytest

from appliance.policy.early_rules import Chain, first_early


def chain(family: str = "ip", table: str = "mine", name: str = "pre", hook: str = "prerouting", **more: object) -> Chain:
    plain = Chain(family, table, name, hook, priority=-400, devices=(), rules=1, drops=False)
    return plain._replace(**more)  # type: ignore[arg-type]


RAW = chain(table="raw", name="PREROUTING", priority=-300)
APPLIANCE_IN_RAW = chain(table="raw", name="APPLIANCE", hook="", rules=5)
"""What is there in the table raw when the kernel cannot queue by nftables."""


def found(*chains: Chain, legacy: Sequence[str] = (), interfaces: Sequence[str] = ("eth0", "eth1")) -> str:
    return first_early(chains, legacy, interfaces)


@pytest.mark.parametrize(
    "early",
    [
        chain(),
        chain(family="inet"),
        chain(priority=-310),
        chain(rules=0, drops=True),
        chain(family="netdev", hook="ingress", priority=9, devices=("eth7", "eth1")),
        chain(family="inet", hook="ingress", devices=("eth0",)),
        chain(family="netdev", hook="ingress", devices=None),
    ],
)
def test_a_chain_in_front_of_the_steering(early: Chain) -> None:
    of_the_table = f"the table {early.family} mine sees SYNs of clients before the appliance"
    assert found(early) == f"the chain pre of {of_the_table}"
    assert found(RAW, chain(rules=0), early._replace(name="other")) == f"the chain other of {of_the_table}"


@pytest.mark.parametrize(
    "other",
    [
        chain(rules=0),
        chain(priority=-309),
        chain(priority=-100),
        chain(hook="another"),
        chain(hook="", rules=3),
        chain(family="ip6"),
        chain(family="netdev", hook="ingress", devices=("eth7",)),
        chain(family="netdev", hook="ingress", devices=()),
        chain(table="appliance"),
        chain(table="appliance_access"),
        RAW,
    ],
)
def test_what_sees_them_behind_the_steering_or_never(other: Chain) -> None:
    assert found(other) == ""


def test_where_the_table_raw_queues_its_other_rules_and_those_before_it_count() -> None:
    """There our jump is the one rule that is not the host's own."""
    assert found(RAW, APPLIANCE_IN_RAW) == ""
    assert "PREROUTING of the table ip raw" in found(RAW._replace(rules=2), APPLIANCE_IN_RAW)
    assert "PREROUTING of the table ip raw" in found(RAW._replace(drops=True), APPLIANCE_IN_RAW)
    assert "of the table ip mine" in found(chain(priority=-300), RAW, APPLIANCE_IN_RAW)
    assert found(chain(priority=-299), RAW, APPLIANCE_IN_RAW) == ""


def test_a_table_of_another_family_with_our_name_is_not_ours() -> None:
    assert "of the table inet appliance" in found(chain(family="inet", table="appliance"))


def test_a_trace_sees_syns_as_they_were_sent() -> None:
    trace = chain(table="appliance_trace17", name="prerouting", priority=-500)
    assert found(trace) == "the chain prerouting of the table ip appliance_trace17 sees SYNs of clients before the appliance"


def test_of_iptables_legacy_only_raw_can_come_first() -> None:
    assert found(legacy=("filter", "nat", "mangle")) == ""
    assert found(legacy=("filter", "raw")) == "the table raw of iptables-legacy may see SYNs of clients before the appliance"


class Counted(list[Chain]):
    """Chains that count how often somebody goes through them."""

    times = 0

    def __iter__(self) -> Iterator[Chain]:
        self.times += 1
        return super().__iter__()


def test_the_chains_of_a_host_with_thousands_are_gone_through_a_few_times_only() -> None:
    """And not once more for each of them: a host of containers has ten thousand, and they change often."""
    chains = Counted(chain(name=f"a-service-{number}", hook="") for number in range(1000))
    chains += [chain(name="second"), chain(name="first")]
    assert first_early(chains, (), ("eth0",)) == "the chain first of the table ip mine sees SYNs of clients before the appliance"
    assert chains.times <= 3
