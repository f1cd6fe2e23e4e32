"""queue_worker.py with a queue that is a list: in which order packets are judged while they pile up."""

from collections import deque
from collections.abc import Callable

import pytest

from appliance import queue_worker
from appliance.edge.nfqueue import BatchEnd
from appliance.queue_worker import MOST_WAITING, SORTED_PACKETS, TURN_PACKETS, QueueWorker
from appliance.sessions.adoption import Adopted
from appliance.worker import fair_queue
from tests.support.addresses import CLIENT, VIP
from tests.support.gateway import shared_state
from tests.support.segments import tcp
from tests.support.world import plan


class FakePacket:
    """A packet without a session, which is dropped. `dropped` has the names of all that were, in order."""

    def __init__(self, name: str, raw: bytes, dropped: list[str]) -> None:
        self._name, self._raw, self._dropped = name, raw, dropped

    def get_payload(self) -> bytes:
        return self._raw

    def drop(self) -> None:
        self._dropped.append(self._name)


class FakeQueue:
    """The kernel's queue: it holds the packets that the test puts into it."""

    def __init__(self, _: int, judge: Callable[[FakePacket], None]) -> None:
        self._judge = judge
        self.packets: deque[FakePacket] = deque()
        self.waits: list[bool] = []

    def receive(self, *, wait: bool) -> None:
        self.waits.append(wait)
        while self.packets:
            try:
                self._judge(self.packets.popleft())
            except BatchEnd:
                return


class Scene:
    """A worker, its queue, and two flows: a bulk stream and a small one."""

    def __init__(self) -> None:
        wanted = plan()
        self.worker = QueueWorker(wanted, shared_state(wanted.shards, wanted.destinations), None)  # type: ignore[arg-type]
        queue = self.worker._queue
        assert isinstance(queue, FakeQueue)
        self.queue = queue
        self.dropped: list[str] = []

    def arrive(self, name: str, count: int = 1) -> None:
        """So many packets more of a flow, by its name."""
        raw = tcp(CLIENT[:4] + name.encode()[:2], VIP, "A")
        self.queue.packets += (FakePacket(name, raw, self.dropped) for _ in range(count))

    def turn(self) -> None:
        self.worker._take_turn(wait=True)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(queue_worker, "KernelQueue", FakeQueue)
    monkeypatch.setattr(queue_worker, "SegmentSink", object)
    monkeypatch.setattr(fair_queue, "hash", lambda flow: flow[8], raising=False)  # so that the two never share a bucket
    monkeypatch.setattr(queue_worker, "TURN_S", 3600.0)
    scene = Scene()
    scene.worker._turn_ends = float("inf")
    return scene


def test_packets_that_do_not_pile_up_are_judged_as_they_come(scene: Scene) -> None:
    scene.arrive("bulk", TURN_PACKETS - 2)
    scene.arrive("small")
    scene.turn()
    scene.turn()
    assert scene.dropped == ["bulk"] * (TURN_PACKETS - 2) + ["small"]
    assert scene.queue.waits == [True, True]


def test_a_small_flow_passes_a_bulk_stream_that_piles_up(scene: Scene) -> None:
    scene.arrive("bulk", TURN_PACKETS + SORTED_PACKETS - 1)
    scene.arrive("small")
    scene.turn()
    assert scene.dropped == ["bulk"] * TURN_PACKETS, "nobody knows yet that more wait"
    scene.turn()
    assert scene.dropped[TURN_PACKETS:] == ["bulk", "small", *["bulk"] * (TURN_PACKETS - 2)]
    assert scene.queue.waits == [True, False], "a turn that sorts does not wait"


def test_packets_are_sorted_until_none_waits(scene: Scene) -> None:
    scene.arrive("bulk", 2 * TURN_PACKETS + 1)
    scene.turn()
    scene.turn()
    scene.arrive("bulk", 2)
    scene.turn()
    assert len(scene.dropped) == 2 * TURN_PACKETS + 3
    assert scene.queue.waits == [True, False, False]
    scene.turn()
    assert scene.queue.waits[-1] is True, "as they come again"


def test_no_more_are_sorted_than_the_kernel_can_look_through(scene: Scene) -> None:
    scene.arrive("bulk", 40 * SORTED_PACKETS)
    for _ in range(40):
        scene.turn()
        assert len(scene.worker._waiting) < MOST_WAITING + SORTED_PACKETS
    assert len(scene.dropped) == 40 * TURN_PACKETS
    assert len(scene.worker._waiting) >= MOST_WAITING - TURN_PACKETS


def test_a_turn_that_took_its_time_ends_and_keeps_the_rest(scene: Scene) -> None:
    scene.arrive("bulk", 2 * TURN_PACKETS)
    scene.turn()
    scene.worker._turn_ends = 0.0
    scene.turn()
    assert len(scene.dropped) == TURN_PACKETS + 1
    scene.worker._turn_ends = float("inf")
    scene.turn()
    assert len(scene.dropped) == 2 * TURN_PACKETS


def test_what_became_of_the_sessions_in_the_lane_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    queue_worker._report(Adopted(0, 0, 0, ""))
    assert not caplog.messages
    queue_worker._report(Adopted(7, 2, 3, "entry 5: why"))
    assert caplog.messages == [
        "7 sessions adopted, 3 reset because their service is gone",
        "2 records of sessions make no sense and were given up; entry 5: why",
    ]
