"""edge/early_rules.py: the rules of the host are read when they have changed, and not before."""

from pathlib import Path

import pytest

from appliance.edge import early_rules
from appliance.edge.early_rules import EarlyRules
from appliance.edge.errors import EdgeError
from appliance.policy.early_rules import Chain

EARLY = Chain("ip", "mine", "early", "prerouting", priority=-400, devices=(), rules=1, drops=False)


class Kernel:
    """Chains that the test chooses."""

    def __init__(self, legacy_tables: Path) -> None:
        self.chains: list[Chain] = []
        self.generation = 0
        self.dumps = 0
        self.legacy_tables = legacy_tables

    def change(self, *chains: Chain) -> None:
        self.chains = [*chains]
        self.generation += 1

    def dump(self) -> list[Chain]:
        self.dumps += 1
        return self.chains


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    made = Kernel(tmp_path / "ip_tables_names")
    monkeypatch.setattr("appliance.edge.nft_dump.generation", lambda: made.generation)
    monkeypatch.setattr("appliance.edge.nft_dump.all_chains", made.dump)
    monkeypatch.setattr(early_rules, "_LEGACY_TABLES", made.legacy_tables)
    return made


def test_chains_are_read_again_when_the_ruleset_has_changed(kernel: Kernel) -> None:
    rules = EarlyRules(("eth0",))
    assert [rules.look(), rules.look()] == ["", ""]
    assert kernel.dumps == 1
    kernel.change(EARLY)
    assert "chain early" in rules.look()
    assert "chain early" in rules.look()
    assert kernel.dumps == 2
    kernel.change()
    assert rules.look() == ""


def test_iptables_legacy_is_looked_for_each_time(kernel: Kernel) -> None:
    rules = EarlyRules(("eth0",))
    assert rules.look() == ""
    kernel.legacy_tables.write_text("filter\nraw\n")
    assert "iptables-legacy" in rules.look()
    kernel.legacy_tables.write_text("filter\n")
    assert rules.look() == ""


def test_a_file_that_cannot_be_read_is_an_error(kernel: Kernel) -> None:
    kernel.legacy_tables.mkdir()
    with pytest.raises(EdgeError, match="ip_tables_names: Is a directory"):
        EarlyRules(("eth0",)).look()


def test_after_an_error_the_chains_are_read_anew(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> list[Chain]:
        raise EdgeError("no")

    rules = EarlyRules(("eth0",))
    kernel.change(EARLY)
    with monkeypatch.context() as patched:
        patched.setattr("appliance.edge.nft_dump.all_chains", refuse)
        with pytest.raises(EdgeError):
            rules.look()
    assert "chain early" in rules.look()
