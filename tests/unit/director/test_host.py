"""host.py: how the rules of the defence get into the kernel, and what it has counted, over changes, flushes and the end."""

from pathlib import Path

import pytest

from appliance.config import loading
from appliance.director.host import Host
from appliance.director.plans import steered
from appliance.edge.errors import EdgeError
from appliance.policy.defence import Defence
from appliance.policy.ruleset import Ruleset, render, render_defence

_FILE = loading.load(Path(__file__).parents[3] / "etc/lvs.toml")
SHIPPED = _FILE.model_copy(update={"gateway": _FILE.gateway.model_copy(update={"manage_addresses": False})})
ALL, NO_UDP = Defence(True, True, True), Defence(True, True, False)


class FakeNft:
    """The functions of `edge.nft`, and the kernel behind them."""

    def __init__(self) -> None:
        self.done: list[str | Ruleset] = []
        self.is_there = False
        self.counters: dict[str, int] = {}
        self.refuses = False

    def kernel_has_queue_statement(self) -> bool:
        return True

    def apply(self, ruleset: Ruleset) -> None:
        self.done.append(ruleset)
        self.is_there = True
        self.counters = {"defence_ip_frag_drop": 0, "defence_tcp_drop": 0, "defence_udp_drop": 0}

    def change(self, text: str) -> None:
        if self.refuses:
            raise EdgeError("nft -f - failed: why")
        self.done.append(text)

    def is_loaded(self, _: Ruleset) -> bool:
        return self.is_there

    def named_counters(self) -> dict[str, int]:
        return self.counters if self.is_there else {}

    def remove(self) -> None:
        self.is_there = False

    def flush(self) -> None:
        """What somebody else does."""
        self.is_there = False


@pytest.fixture
def nft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeNft:
    fake = FakeNft()
    monkeypatch.setattr("appliance.director.host.nft", fake)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    return fake


@pytest.fixture
def host(nft: FakeNft) -> Host:
    """Steers the shipped configuration."""
    host = Host()
    host.start_steering(SHIPPED, ALL)
    assert nft.done == [whole(ALL)]
    nft.done.clear()
    return host


def whole(defence: Defence) -> Ruleset:
    return render(steered(SHIPPED), defence, native=True)


def test_a_change_touches_nothing_but_the_rules(host: Host, nft: FakeNft) -> None:
    host.change_defence(NO_UDP)
    assert nft.done == [render_defence(NO_UDP)]


def test_a_flushed_ruleset_comes_back_as_it_is_in_force(host: Host, nft: FakeNft) -> None:
    host.change_defence(NO_UDP)
    nft.flush()
    host.mend_steering()
    host.mend_steering()
    assert nft.done == [render_defence(NO_UDP), whole(NO_UDP)]


def test_a_change_while_the_ruleset_is_gone_loads_all_of_it(host: Host, nft: FakeNft) -> None:
    nft.flush()
    host.change_defence(NO_UDP)
    assert nft.done == [whole(NO_UDP)]


def test_what_the_kernel_refuses_is_not_what_a_mend_loads(host: Host, nft: FakeNft) -> None:
    nft.refuses = True
    with pytest.raises(EdgeError, match="why"):
        host.change_defence(NO_UDP)
    nft.flush()
    host.mend_steering()
    assert nft.done == [whole(ALL)]


def test_counts_go_on_over_a_mend(host: Host, nft: FakeNft) -> None:
    nft.counters["defence_udp_drop"] = 5
    assert host.kernel_drops()["defence_udp_drop"] == 5
    nft.flush()
    assert host.kernel_drops()["defence_udp_drop"] == 5, "what cannot be read has not changed"
    host.mend_steering()
    nft.counters["defence_udp_drop"] = 7
    assert host.kernel_drops() == {"defence_ip_frag_drop": 0, "defence_tcp_drop": 0, "defence_udp_drop": 12}


def test_a_mend_reads_what_is_there_before_it_replaces_it(host: Host, nft: FakeNft, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is there and only a jump to the compat chain is missing: what it has counted since the last look is not lost."""
    nft.counters["defence_tcp_drop"] = 9
    monkeypatch.setattr(nft, "is_loaded", lambda _: False)
    host.mend_steering()
    assert host.kernel_drops()["defence_tcp_drop"] == 9


def test_nothing_is_changed_before_the_start_or_behind_the_end(host: Host, nft: FakeNft) -> None:
    host.undo()
    host.change_defence(NO_UDP)
    Host().change_defence(NO_UDP)
    assert nft.done == []
