"""queue_worker.py with a queue that is a list: in which order packets are judged while they pile up, and what is done between."""

import contextlib
import itertools
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from appliance import queue_worker
from appliance.edge import shared_memory
from appliance.edge.errors import EdgeError
from appliance.edge.nfqueue import BatchEnd
from appliance.edge.record_locks import RecordLocks
from appliance.ipc.messages import Ask, EndWalk, LineReader, More, Piece, Start, decode, encode
from appliance.ipc.plan import Plan
from appliance.ipc.queries import CUT, TRACE, Query, SessionFilter
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model import verdicts
from appliance.model.verdict import Verdict
from appliance.queue_worker import BATCH_PACKETS, MOST_WAITING, SORTED_PACKETS, TURN_PACKETS, QueueWorker
from appliance.sessions import walk as walk_module
from appliance.sessions.adoption import Adopted
from appliance.sessions.lane_maps import LaneMaps
from appliance.worker import fair_queue
from appliance.worker.control_channel import ControlChannel
from tests.support.addresses import CLIENT, VIP
from tests.support.gateway import shared_state
from tests.support.lane_maps import FakeMaps
from tests.support.segments import tcp
from tests.support.world import plan


class FakePacket:
    """A packet without a session, which is dropped. `dropped` has the names of all that got a verdict, in order."""

    def __init__(self, name: str, raw: bytes, dropped: list[str]) -> None:
        self._name, self._raw, self._dropped = name, raw, dropped

    def get_payload(self) -> bytes:
        return self._raw

    def drop(self) -> None:
        self._dropped.append(self._name)

    def accept(self) -> None:
        self._dropped.append(f"{self._name} accepted")


class FakeQueue:
    """The kernel's queue: it holds the packets that the test puts into it."""

    def __init__(self, _: int, arrived: Callable[[FakePacket], None]) -> None:
        self._arrived = arrived
        self.packets: deque[FakePacket] = deque()
        self.steps: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self._other: socket.socket | None = None

    def also_wait_for(self, other: socket.socket) -> None:
        self._other = other

    def wait(self, _: float) -> bool:
        assert self._other is not None
        self.meanwhile()
        is_told = bool(select.select([self._other], [], [], 0)[0])
        self.steps.append("told" if is_told else "packets" if self.packets else "nothing")
        return is_told

    def close(self) -> None:
        """There is nothing to unbind."""

    def receive(self) -> None:
        self.meanwhile()
        self.steps.append("received")
        while self.packets:
            try:
                self._arrived(self.packets.popleft())
            except BatchEnd:
                return


class TakesAll:
    """A raw socket that sends nothing."""

    def send(self, _: bytes) -> bool:
        return True


class Scene:
    """A worker, its queue, and two flows: a bulk stream and a small one."""

    def __init__(self, control: socket.socket, maps: LaneMaps | None) -> None:
        wanted = plan()
        self.shared = shared_state(wanted.shards, wanted.destinations)
        self.shared.cookie_edges(0, 0)[0] = 3  # of an earlier worker, which answered with cookies when it died
        self.worker = QueueWorker(wanted, self.shared, ControlChannel(control), maps)
        queue = self.worker._queue
        assert isinstance(queue, FakeQueue)
        self.queue = queue
        self.dropped: list[str] = []

    def arrive(self, name: str, count: int = 1) -> None:
        """So many packets more of a flow, by its name."""
        raw = tcp(CLIENT[:4] + name.encode()[:2], VIP, "A")
        self.queue.packets += (FakePacket(name, raw, self.dropped) for _ in range(count))

    def turn(self) -> None:
        self.worker._take_turn()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The director's end of the control channel, and the worker's."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def maps() -> LaneMaps | None:
    """Those of the worker's lane."""
    return None


@pytest.fixture
def scene(ends: tuple[socket.socket, socket.socket], maps: LaneMaps | None, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(queue_worker, "KernelQueue", FakeQueue)
    monkeypatch.setattr(queue_worker, "SegmentSink", TakesAll)
    monkeypatch.setattr(fair_queue, "hash", lambda flow: flow[8], raising=False)  # so that the two never share a bucket
    monkeypatch.setattr(queue_worker, "TURN_S", 3600.0)
    scene = Scene(ends[1], maps)
    scene.worker._turn_ends = float("inf")
    return scene


def test_a_new_worker_answers_with_no_cookies_though_the_last_one_did(scene: Scene) -> None:
    assert scene.shared.cookie_edges(0, 0).tolist() == [3, 3]


def test_packets_that_do_not_pile_up_are_judged_as_they_come(scene: Scene) -> None:
    scene.arrive("bulk", TURN_PACKETS - 2)
    scene.arrive("small")
    scene.turn()
    assert scene.dropped == ["bulk"] * (TURN_PACKETS - 2) + ["small"]
    assert not scene.worker._is_sorting


def test_packets_are_judged_some_at_a_time_before_the_first_of_them_gets_its_verdict(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = scene.worker._shard
    handle = shard.handle

    def handle_and_note(raw: bytes, now: float) -> Verdict:
        scene.dropped.append("judged")
        return handle(raw, now)

    monkeypatch.setattr(scene.worker._shard, "handle", handle_and_note)
    scene.arrive("bulk", BATCH_PACKETS + 2)
    scene.turn()
    assert scene.dropped == ["judged"] * BATCH_PACKETS + ["bulk"] * BATCH_PACKETS + ["judged"] * 2 + ["bulk"] * 2


@pytest.mark.parametrize("maps", [FakeMaps()])
def test_flows_of_sessions_come_into_the_lane_before_the_first_packet_gets_its_verdict_and_go_at_the_end_of_a_turn(
    scene: Scene, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = scene.worker._shard
    assert shard._lane.gathers_flows
    monkeypatch.setattr(shard, "publish_flows", lambda: scene.dropped.append("published"))
    monkeypatch.setattr(shard, "on_tick", lambda *_: scene.dropped.append("ended"))
    scene.arrive("bulk", 2)
    ends[0].shutdown(socket.SHUT_WR)
    scene.worker.serve()
    assert scene.dropped == ["published", "bulk", "bulk", "ended", "published"]


@pytest.mark.parametrize("maps", [FakeMaps()])
def test_an_error_with_flows_keeps_back_no_verdict(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(scene.worker._shard, "publish_flows", fails)
    scene.arrive("bulk", 2)
    scene.turn()
    assert scene.dropped == ["bulk", "bulk"]
    assert "left out of the lane" in caplog.text


def test_packets_of_our_own_go_out_behind_the_packet_that_they_are_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    shard, asked = scene.worker._shard, itertools.count()

    def send(segment: bytes) -> bool:
        scene.dropped.append(segment.decode())
        return True

    def handle(_: bytes, __: float) -> Verdict:
        shard.output.segments += [b"first", b"second"] * (next(asked) == 1)
        return verdicts.NO_SESSION

    monkeypatch.setattr(scene.worker._shard, "handle", handle)
    monkeypatch.setattr(scene.worker._sink, "send", send)
    scene.arrive("bulk", 3)
    scene.turn()
    assert scene.dropped == ["bulk", "bulk", "first", "second", "bulk"]
    assert not shard.output.segments


def test_an_error_drops_its_packet_and_no_other(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = itertools.count()

    def handle(_: bytes, __: float) -> Verdict:
        if next(asked) == 1:
            raise RuntimeError("a mistake")
        return verdicts.NOT_OURS

    monkeypatch.setattr(scene.worker._shard, "handle", handle)
    scene.arrive("bulk", 3)
    scene.turn()
    assert scene.dropped == ["bulk accepted", "bulk", "bulk accepted"]
    assert scene.worker._verdict_counts[verdicts.INTERNAL_ERROR.index] == 1
    assert "a mistake" in caplog.text


def test_a_small_flow_passes_a_bulk_stream_that_piles_up(scene: Scene) -> None:
    scene.arrive("bulk", TURN_PACKETS + SORTED_PACKETS - 1)
    scene.arrive("small")
    scene.turn()
    assert scene.dropped == ["bulk"] * TURN_PACKETS, "nobody knows yet that more wait"
    scene.turn()
    assert scene.dropped[TURN_PACKETS:] == ["bulk", "small", *["bulk"] * (TURN_PACKETS - 2)]


def test_packets_are_sorted_until_none_waits(scene: Scene) -> None:
    scene.arrive("bulk", 2 * TURN_PACKETS + 1)
    scene.turn()
    scene.turn()
    scene.arrive("bulk", 2)
    scene.turn()
    assert len(scene.dropped) == 2 * TURN_PACKETS + 3
    assert not scene.worker._is_sorting, "as they come again"


def test_a_turn_waits_for_packets_unless_some_are_sorted(scene: Scene, ends: tuple[socket.socket, socket.socket]) -> None:
    def meanwhile() -> None:
        if len(scene.dropped) == 2 * TURN_PACKETS + 1:
            ends[0].close()

    scene.queue.meanwhile = meanwhile
    scene.arrive("bulk", 2 * TURN_PACKETS + 1)
    scene.worker.serve()
    assert scene.queue.steps == ["packets", *["received"] * 3, "told", "received"]


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


def test_packets_in_their_order_that_a_turn_has_no_time_for_come_first_in_the_next_one(scene: Scene) -> None:
    scene.arrive("first", 2)
    scene.worker._turn_ends = 0.0
    scene.turn()
    assert scene.dropped == ["first"]
    scene.worker._turn_ends = float("inf")
    scene.arrive("first", 2)
    scene.turn()
    assert scene.dropped == ["first"] * 4
    assert not scene.worker._is_sorting


class Director:
    """The director's end: it asks for a cut of all sessions, and for the next piece as soon as it has one."""

    def __init__(self, ours: socket.socket) -> None:
        self._ours = ours
        self._reader = LineReader()
        self.pieces: list[int] = []
        ours.send(encode(1, Ask(Query(CUT))))

    def answer(self) -> None:
        """Take what the worker has said; ask for more, or close the channel after the last piece."""
        try:
            lines = self._reader.feed(self._ours.recv(1 << 16))
        except BlockingIOError:
            return
        for line in lines:
            piece = decode(line).message
            assert isinstance(piece, Piece)
            self.pieces += piece.items
            if piece.is_last:
                self._ours.shutdown(socket.SHUT_WR)
            else:
                self._ours.send(encode(1 + len(self.pieces), More(1)))


def test_all_sessions_are_cut_some_in_each_turn_and_packets_are_judged_in_between(
    scene: Scene, ends: tuple[socket.socket, socket.socket]
) -> None:
    """While nothing arrives, each turn ends when the director has asked for the next piece. A wait for packets alone was rounded
    up by the kernel to some ten milliseconds, and a cut of 242,000 sessions took 45 s."""
    shard, later = scene.worker._shard, time.monotonic() + 1000
    for number in range(500):
        shard.handle(tcp(CLIENT[:4] + (2000 + number).to_bytes(2, "big"), VIP, "S"), later)
    director, judged_after = Director(ends[0]), list[int]()

    def meanwhile() -> None:
        director.answer()
        judged_after.append(len(scene.dropped))
        scene.arrive("bulk")

    scene.queue.meanwhile = meanwhile
    scene.worker.serve()
    assert sum(director.pieces) == 500
    assert len(shard._sessions) == 0
    assert max(director.pieces) <= walk_module.BUDGET / 15
    assert len(set(judged_after)) > len(director.pieces) >= 8, "packets were judged between any two pieces"
    waits = [step for step in scene.queue.steps if step != "received"]
    assert waits == ["told"] * (len(director.pieces) + 1)


def test_the_director_is_heard_while_packets_pile_up(scene: Scene, ends: tuple[socket.socket, socket.socket]) -> None:
    """A worker that never has to wait looks for itself whether the director has said something."""

    def meanwhile() -> None:
        scene.arrive("bulk", 2 * SORTED_PACKETS)
        if len(scene.dropped) >= 3 * TURN_PACKETS:
            ends[0].shutdown(socket.SHUT_WR)

    scene.queue.meanwhile = meanwhile
    scene.worker.serve()
    assert scene.worker._is_sorting
    assert len(scene.dropped) >= 3 * TURN_PACKETS


def test_a_director_that_has_said_nothing_is_not_asked(
    scene: Scene, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, receive = list[str](), scene.worker._control._receive

    def received() -> None:
        heard.append(scene.queue.steps[-2])
        receive()

    def meanwhile() -> None:
        scene.arrive("bulk")
        if len(scene.dropped) >= 9:
            ends[0].shutdown(socket.SHUT_WR)

    monkeypatch.setattr(scene.worker._control, "_receive", received)
    scene.queue.meanwhile = meanwhile
    scene.worker.serve()
    assert heard == ["told"]


def test_counters_are_published_every_fiftieth_of_a_second_and_not_in_every_turn(
    scene: Scene, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy worker makes a thousand turns a second, and there may be a thousand real servers."""
    now, turns, published = 50.0, 0.0, list[float]()

    def meanwhile() -> None:
        nonlocal now, turns
        now += 0.0005
        turns += 0.5  # each turn waits and receives
        if turns == 99.5:
            ends[0].close()

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(scene.worker._shard, "publish_counts", lambda: published.append(turns))
    scene.queue.meanwhile = meanwhile
    scene.worker.serve()
    assert len(published) == 5
    assert {after - before for before, after in itertools.pairwise(published)} <= {20, 21}


def test_counters_of_very_many_real_servers_take_a_tenth_of_the_time(
    scene: Scene, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    now, turns, published = 50.0, 0.0, list[float]()

    def meanwhile() -> None:
        nonlocal now, turns
        now += 0.0005
        turns += 0.5
        if turns == 600:
            ends[0].close()

    def publish() -> None:
        nonlocal now
        published.append(now)
        now += 0.008

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(scene.worker._shard, "publish_counts", publish)
    scene.queue.meanwhile = meanwhile
    scene.worker.serve()
    pauses = [after - before for before, after in itertools.pairwise(published)]
    assert len(pauses) >= 5
    assert all(0.08 <= pause < 0.085 for pause in pauses)


def test_what_became_of_the_sessions_in_the_lane_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    queue_worker._report(Adopted(0, 0, 0, ""))
    assert not caplog.messages
    queue_worker._report(Adopted(7, 2, 3, "entry 5: why"))
    assert caplog.messages == [
        "7 sessions adopted, 3 reset because their service or local address is gone",
        "2 records of sessions make no sense and were given up; entry 5: why",
    ]


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_a_worker_has_its_locks_in_common_with_the_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end of the control channel stays open until the process ends, which is another one than this in a test."""
    scene = plan()
    fd = shared_memory.create(size_bytes(scene.shards, scene.destinations))
    SharedState.create(shared_memory.attach(fd), scene.shards, scene.destinations)
    found: list[SharedState] = []

    def refuse(_plan: Plan, shared: SharedState, *_: object) -> None:
        found.append(shared)
        raise EdgeError("enough")

    monkeypatch.setattr(queue_worker, "QueueWorker", refuse)
    monkeypatch.setattr(queue_worker, "end_with_parent", lambda: True)
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(encode(1, Start(scene)))
        outcome = queue_worker.main([f"--shared-fd={fd}", f"--control-fd={theirs.detach()}"])
    assert outcome == queue_worker.EXIT_CANNOT_START
    assert isinstance(found[0].locks, RecordLocks)
    os.close(fd)


def test_packets_go_through_the_tracer_only_while_there_is_a_trace(
    scene: Scene, ends: tuple[socket.socket, socket.socket]
) -> None:
    director, worker, reader = ends[0], scene.worker, LineReader()
    handles, pieces = list[bool](), list[list[object]]()

    def hear() -> None:
        with contextlib.suppress(BlockingIOError):
            messages = [decode(line).message for line in reader.feed(director.recv(1 << 16))]
            pieces.extend(message.items for message in messages if isinstance(message, Piece))

    steps: Iterator[Callable[[], object]] = iter([
        lambda: director.send(encode(1, Ask(Query(TRACE, SessionFilter("198.51.100.0/24"), snap_bytes=80)))),
        lambda: scene.arrive("bulk", 2),
        lambda: director.send(encode(2, More(1))),
        lambda: director.send(encode(3, EndWalk(1))),
        lambda: scene.arrive("bulk"),
        lambda: director.shutdown(socket.SHUT_WR),
    ])  # fmt: skip

    def meanwhile() -> None:
        hear()
        if not scene.queue.packets and scene.queue.steps[-1:] == ["received"]:
            handles.append(worker._judges is worker._shard)
            next(steps)()

    scene.queue.meanwhile = meanwhile
    scene.worker.serve()
    assert handles == [True, False, False, False, True, True]
    assert [len(items) - 1 for items in pieces] == [0, 2]
    assert scene.dropped == ["bulk"] * 3
