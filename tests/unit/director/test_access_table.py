"""access_table.py: elements that somebody else takes out of the appliance's own sets are noticed, logged once, and put back."""

import logging
import re
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from appliance.director.access_table import AccessTable
from appliance.edge import nft, nft_dump
from appliance.edge.errors import EdgeError
from appliance.policy.access_rules import ACCESS_TABLE, MENDED, AccessService, Loaded, fixed_sets
from appliance.policy.prefixes import Prefixes, range_of

WEB = AccessService("web", IPv4Address("203.0.113.10"), "tcp", 80, deny=Prefixes([range_of("10.0.0.0/8")]))
OTHER = WEB._replace(name="other", port=81, deny=Prefixes([range_of("192.0.2.0/24"), range_of("198.51.100.7")]))
(LIST,) = (name for name, is_list in fixed_sets([WEB]).items() if is_list)
(OTHERS,) = (name for name, is_list in fixed_sets([OTHER]).items() if is_list)


class Kernel:
    """What is in the table, with its elements as text: those that nft was told."""

    def __init__(self) -> None:
        self.sets: dict[str, set[str]] = {}
        self.chains: set[str] = set()
        self.generation_now = 1
        self.rules_now: tuple[bytes, ...] = ()
        self.looks: list[str] = []
        self.changes: list[str] = []
        self.refuses = False

    def change(self, text: str) -> None:
        if self.refuses:
            raise EdgeError("nft -f - failed: why")
        self.changes.append(text)
        self.generation_now += 1
        for line in text.splitlines():
            self._do(line)
        self.rules_now = tuple(line.encode() for line in text.splitlines() if line.startswith("add rule")) or self.rules_now

    def _do(self, line: str) -> None:
        verb, what, _, _, name, *_ = [*line.split(), "", "", "", ""]
        listed = re.search(r"elements = \{ (.*?) \}", line) or re.search(r"add element \S+ \S+ \S+ \{ (.*) \}", line)
        elements = set(listed[1].split(", ")) if listed else set()
        if verb == "add" and what in ("set", "map"):
            self.sets.setdefault(name, set()).update(elements)
        elif verb == "add" and what == "element":
            self.sets[name] |= elements
        elif verb == "add" and what == "chain":
            self.chains.add(name)
        elif verb == "flush" and what in ("set", "map"):
            self.sets[name].clear()
        elif verb == "delete" and what in ("set", "map"):
            del self.sets[name]
        elif verb == "delete" and what == "element":
            self.sets[name] -= {each for each in self.sets[name] if each.startswith(line.split("{ ")[1].removesuffix(" }"))}

    def elements(self, table: str, name: str, *, in_order: bool) -> bytes:
        assert (table, in_order) == (ACCESS_TABLE, name != "services")
        self.looks.append(name)
        return repr(sorted(self.sets[name])).encode()


class Clock:
    """Time that passes while elements are looked at."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 0.25
        return self.now


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    answers: dict[str, Callable[..., object]] = {
        "rules": lambda _: made.rules_now,
        "generation": lambda: made.generation_now,
        "elements": made.elements,
        "counters": lambda _: {},
    }
    for name, answer in answers.items():
        monkeypatch.setattr(nft_dump, name, answer)
    monkeypatch.setattr(nft, "change", made.change)
    monkeypatch.setattr(nft, "access_table", lambda: Loaded(frozenset(made.sets), frozenset(made.chains), frozenset()))
    return made


@pytest.fixture
def table(kernel: Kernel) -> AccessTable:
    made = AccessTable(Clock())
    made.start()
    made.change([WEB, OTHER])
    made.mend()
    kernel.looks.clear()
    kernel.changes.clear()
    return made


def later(table: AccessTable) -> None:
    """The pause after a look is over."""
    table._now.now += 1000  # type: ignore[attr-defined]


def somebody_removes(kernel: Kernel, name: str) -> None:
    kernel.sets[name].pop()
    kernel.generation_now += 1


@pytest.mark.parametrize("name", [LIST, OTHERS, "services"])
def test_an_element_that_somebody_removes_is_put_back_and_logged_once(
    table: AccessTable, kernel: Kernel, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = {each: set(elements) for each, elements in kernel.sets.items()}
    somebody_removes(kernel, name)
    for _ in range(3):
        later(table)
        table.mend()
    assert kernel.sets == before
    words = f"somebody else has changed what is in {name} of the table ip {ACCESS_TABLE}: it is put back"
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [words]
    assert table.totals()[MENDED] == 1
    assert len(kernel.changes) == 1, "in one transaction"


def test_an_element_that_somebody_adds_goes(table: AccessTable, kernel: Kernel) -> None:
    kernel.sets[LIST].add("203.0.113.99")
    kernel.generation_now += 1
    later(table)
    table.mend()
    assert kernel.sets[LIST] == {"10.0.0.0/8"}


def test_nothing_is_read_while_nobody_has_changed_anything_and_not_too_often_otherwise(
    table: AccessTable, kernel: Kernel
) -> None:
    later(table)
    table.mend()
    kernel.looks.clear()
    for _ in range(3):
        later(table)
        table.mend()
    assert kernel.looks == []
    kernel.generation_now += 1  # a table of somebody else
    table.mend()
    assert len(kernel.looks) == 3
    for _ in range(5):
        kernel.generation_now += 1
        table.mend()
    assert len(kernel.looks) == 3, "it took a while, so the next look waits"
    later(table)
    table.mend()
    assert len(kernel.looks) == 6


def test_a_reload_mends_first_so_that_what_is_missing_never_counts_as_right(table: AccessTable, kernel: Kernel) -> None:
    somebody_removes(kernel, LIST)
    table.change([WEB, OTHER, WEB._replace(name="third", port=82)])
    assert kernel.sets[LIST] == {"10.0.0.0/8"}
    somebody_removes(kernel, "services")
    later(table)
    table.mend()
    assert len(kernel.sets["services"]) == 3
    assert table.totals()[MENDED] == 2


def test_a_list_that_stays_is_not_read_again_at_a_reload(table: AccessTable, kernel: Kernel) -> None:
    later(table)
    table.mend()
    kernel.looks.clear()
    table.change([WEB])
    assert kernel.looks == ["services"]


def test_sets_that_an_earlier_run_has_left_are_filled_again(kernel: Kernel) -> None:
    kernel.sets = {LIST: {"203.0.113.99"}, "services": set()}
    table = AccessTable(Clock())
    table.services = [WEB]
    table.start()
    assert kernel.sets[LIST] == {"10.0.0.0/8"}
    assert len(kernel.sets["services"]) == 1


def test_what_the_kernel_refuses_is_tried_again(table: AccessTable, kernel: Kernel) -> None:
    somebody_removes(kernel, LIST)
    kernel.refuses = True
    later(table)
    with pytest.raises(EdgeError):
        table.mend()
    kernel.refuses = False
    later(table)
    table.mend()
    assert kernel.sets[LIST] == {"10.0.0.0/8"}
    assert table.totals()[MENDED] == 1


def test_nothing_is_put_back_after_the_end(table: AccessTable, kernel: Kernel) -> None:
    table.end()
    somebody_removes(kernel, LIST)
    later(table)
    table.mend()
    assert kernel.changes == []
