"""What stands for the tools of a host, in tests of what is changed there: rules, the guard, addresses."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from appliance.edge.errors import EdgeError
from appliance.policy.ruleset import Ruleset


class FakeGuard:
    """The guard of `edge.guard`. `held` has the texts that it was made of, one after the other."""

    refuses: ClassVar[bool] = False

    def __init__(self) -> None:
        self.held: list[str] = []
        self.is_there = False

    def hold(self, text: str) -> None:
        if self.refuses:
            raise EdgeError("why")
        self.held.append(text)
        self.is_there = True

    def is_held(self) -> bool:
        return self.is_there

    def release(self) -> None:
        self.is_there = False


class FakeNft:
    """The functions of `edge.nft`, and the kernel behind them."""

    def __init__(self) -> None:
        self.done: list[str | Ruleset] = []
        self.is_there = False
        self.counters: dict[str, int] = {}
        self.refuses = False
        self.listed = ""
        self.owned: Iterator[bool] = iter(())
        """The answers to the next questions whether the guard belongs to another appliance."""

    def kernel_has_queue_statement(self) -> bool:
        return True

    def apply(self, ruleset: Ruleset) -> None:
        self.done.append(ruleset)
        self.is_there = True
        self.listed = ruleset.nft
        self.counters = {"defence_ip_frag_drop": 0, "defence_tcp_drop": 0, "defence_udp_drop": 0}

    def is_owned(self, table: str) -> bool:
        assert table == "appliance_guard"
        return next(self.owned, False)

    def change(self, text: str) -> None:
        if self.refuses:
            raise EdgeError("nft -f - failed: why")
        self.done.append(text)
        self.listed += text

    def listing(self, _: Ruleset) -> str:
        return self.listed if self.is_there else ""

    def named_counters(self) -> dict[str, int]:
        return self.counters if self.is_there else {}

    def remove(self) -> None:
        self.is_there = False

    def flush(self) -> None:
        """What somebody else does."""
        self.is_there = False


class FakeAddresses:
    """The functions of `edge.addresses`, and the interfaces behind them."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.gone_interfaces: set[str] = set()
        self.refused: set[str] = set()

    def missing_interfaces(self, interfaces: Sequence[str]) -> list[str]:
        return [interface for interface in interfaces if interface in self.gone_interfaces]

    def all_present(self) -> set[str]:
        return self.there

    def add(self, placed: Sequence[tuple[str, str]]) -> None:
        assert not self.gone_interfaces & {interface for interface, _ in placed}
        wanted = {address for _, address in placed}
        self.there |= wanted - self.refused
        if refused := sorted(wanted & self.refused):
            raise EdgeError(f"cannot add {', '.join(refused)}")

    def remove(self, placed: Sequence[tuple[str, str]]) -> None:
        self.there -= {address for _, address in placed}


class FakeAccessTable:
    """Notes what is done with the access lists."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def start(self) -> None:
        self.steps.append("start")

    def mend(self) -> None:
        self.steps.append("mend")

    def end(self) -> None:
        self.steps.append("end")

    def totals(self) -> dict[str, int]:
        return {"denied_drops": 4}
