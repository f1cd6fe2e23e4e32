"""The network around the gateway: what is wrong with it is seen, said once, and gone again."""

from collections.abc import Iterable, Mapping

import pytest

from appliance.director.network import Network
from appliance.edge.errors import EdgeError
from appliance.edge.links import DOWN, MISSING, NO_CARRIER, UP
from appliance.policy.sides import Sides

TWO_SERVER_INTERFACES = Sides(("client0",), ("server0", "server1"))
ONE_ARMED = Sides(("both0",), ("both0",))
NEAR, BEHIND, ROUTER = "192.0.2.101", "10.1.1.1", "192.0.2.254"


class FakeKernel:
    """Interfaces and neighbours, for the test to change. What is not said of an interface is that it is up."""

    def __init__(self) -> None:
        self.links: dict[str, str] = {}
        self.failed: set[str] = set()
        self.refuses = False
        self.refusal: Exception = EdgeError("why")

    def states(self, interfaces: Iterable[str]) -> Mapping[str, str]:
        return {name: self.links.get(name, UP) for name in interfaces}

    def failed_neighbours(self) -> set[str]:
        if self.refuses:
            raise self.refusal
        return set(self.failed)


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


def network(kernel: FakeKernel, sides: Sides = TWO_SERVER_INTERFACES) -> Network:
    return Network(sides, kernel.states, kernel.failed_neighbours)


def test_nothing_is_wrong_with_interfaces_that_are_up(kernel: FakeKernel, caplog: pytest.LogCaptureFixture) -> None:
    seen = network(kernel)
    seen.look_at_links()
    assert (seen.problems, seen.notes, caplog.messages) == ([], [], [])


@pytest.mark.parametrize("state", [DOWN, NO_CARRIER, MISSING])
def test_one_of_two_interfaces_is_a_note_and_the_last_one_a_problem(kernel: FakeKernel, state: str) -> None:
    seen = network(kernel)
    kernel.links["server0"] = state
    seen.look_at_links()
    assert (seen.problems, seen.notes) == ([], [f"interface server0 is {state}"])
    kernel.links["server1"] = DOWN
    seen.look_at_links()
    assert seen.problems == [f"no interface towards real servers is up: server0 is {state}, server1 is down"]
    kernel.links = {"server1": DOWN}
    seen.look_at_links()
    assert (seen.problems, seen.notes) == ([], ["interface server1 is down"])


def test_without_its_only_interface_a_one_armed_gateway_has_neither_side(kernel: FakeKernel) -> None:
    seen = network(kernel, ONE_ARMED)
    kernel.links["both0"] = DOWN
    seen.look_at_links()
    assert seen.problems == [f"no interface towards {whom} is up: both0 is down" for whom in ("clients", "real servers")]


def test_each_change_is_logged_once(kernel: FakeKernel, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    seen = network(kernel)
    for state in (DOWN, DOWN, NO_CARRIER, UP, UP):
        kernel.links["server0"] = state
        seen.look_at_links()
    down, dark = "interface server0 is down", "interface server0 is without a carrier"
    assert caplog.messages == [down, dark, f"no more: {dark}"]


def test_a_real_server_without_a_way_is_a_note(kernel: FakeKernel) -> None:
    seen = network(kernel)
    seen.look_at_servers({NEAR: NEAR, BEHIND: ROUTER})
    assert seen.notes == []
    kernel.failed = {NEAR, "192.0.2.9"}
    seen.look_at_servers({NEAR: NEAR, BEHIND: ROUTER})
    assert seen.notes == [f"real server {NEAR} does not answer ARP"]
    kernel.failed = {ROUTER, BEHIND}
    seen.look_at_servers({NEAR: NEAR, BEHIND: ROUTER})
    assert seen.notes == [f"real server {BEHIND} cannot be reached: next hop {ROUTER} does not answer ARP"]
    kernel.failed = set()
    seen.look_at_servers({NEAR: "", BEHIND: ROUTER})
    assert (seen.notes, seen.problems) == ([f"there is no route to real server {NEAR}"], [])


@pytest.mark.parametrize("refusal", [EdgeError("why"), ValueError("why")], ids=["the kernel's", "a mistake"])
def test_what_was_seen_stays_while_the_kernel_does_not_answer(
    kernel: FakeKernel, caplog: pytest.LogCaptureFixture, refusal: Exception
) -> None:
    seen = network(kernel)
    kernel.refusal = refusal
    seen.look_at_servers({NEAR: ""})
    before = seen.notes
    kernel.refuses = True
    seen.look_at_servers({NEAR: NEAR})
    assert seen.notes == before != []
    assert caplog.messages[-1] == "cannot look for neighbours: why"
