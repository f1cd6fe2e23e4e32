"""The lane of a director without a kernel: it notes what is asked of it."""

from collections.abc import Callable, Iterable, Set
from pathlib import Path

from appliance.edge.errors import EdgeError
from appliance.ipc.plan import ServicePlan
from appliance.ipc.rows import LaneState, ServiceRing
from appliance.ipc.shared_layout import SharedState


class FakeLane:
    """As `director.lane.Lane`. `steps` is what was asked, which the test may share with other fakes."""

    def __init__(self, steps: list[str]) -> None:
        self.steps = steps
        self.pins = Path("/run/appliance/bpf/nowhere")
        self.worker_fds: tuple[int, ...] = (7, 8, 9)
        self.state = LaneState("on", "")
        self.tunables: dict[str, int] = {}
        self.attach_fails = False
        self.down: Set[int] = frozenset()
        self.closed: list[int] = []
        """The shards whose admissions were closed."""

    def open(self, slots: int, slots_are_new: bool = False) -> bool:
        """One is made."""
        self.steps.append(f"a lane with {slots} {'new ' if slots_are_new else ''}slots is there")
        return False

    def remember(self, shared: SharedState) -> None:
        """Where they were before."""

    def attach(self) -> None:
        """Refused if the test wants that."""
        if self.attach_fails:
            raise EdgeError("tc: no")
        self.steps.append("the lane is attached")

    def put_tunables(self, tunable: Callable[[str], int], generation: int = 0, early_rules: str = "") -> None:  # noqa: ARG002
        """Keeps one of them, and what stands against prepared admissions."""
        self.early_rules = early_rules
        self.tunables["fullnat_toa_kind"] = tunable("fullnat_toa_kind")

    def forget_worker(self, shard: int) -> None:
        """Notes whose."""
        self.closed.append(shard)

    def narrow(
        self,
        services: Iterable[ServicePlan],
        mtu: Callable[[int], int],
        left: Set[int] = frozenset(),
        down: Set[int] = frozenset(),
    ) -> None:
        """Keeps who is down. Notes real servers and their MTUs, and whose sessions leave them."""
        self.down = down
        mtus = [mtu(server.slot) for service in services for server in service.real_servers]
        leaving = f" and without {sorted(left)}" if left else ""
        self.steps.append(f"the lane forbids what is not allowed with MTUs {mtus}{leaving}")

    def widen(self) -> None:
        """Notes it."""
        self.steps.append("the lane allows it")

    def set_open(self, is_open: bool) -> None:
        """Notes it."""
        self.steps.append(f"the lane is {'open' if is_open else 'closed'}")

    def look(self) -> None:
        """There is nothing to put right."""

    def count(self, shared: SharedState, slots: Iterable[int]) -> list[int]:  # noqa: ARG002  # nothing is carried
        """One packet was."""
        return [1]

    def entries(self) -> tuple[int, int]:
        """One of two."""
        return 1, 2

    def rings(self) -> list[ServiceRing]:
        """Nothing is prepared."""
        return []

    def end(self) -> None:
        """Notes it."""
        self.steps.append("the lane is gone")

    def leave(self) -> None:
        """Notes it."""
        self.steps.append("the lane is left")
