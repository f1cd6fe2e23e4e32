"""The worker process: one process, one packet queue, one shard.

Each turn of its loop judges a bounded number of packets for a bounded time, and then looks at the timers and at the control
channel. So timers and queries go on under any flood, and a packet waits at most one turn for them. While packets pile up, the
flows have their turns, so that one bulk stream does not delay everybody else.

Packets are judged some at a time, before the first of them gets its verdict. The kernel sends a packet on as soon as it has its
verdict, up to the answer of a real server on the same machine, and what it needs for that pushes Python's code and data out of
the caches of the CPU. So the two change less often.
"""

import argparse
import contextlib
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence

from netfilterqueue import Packet

from appliance.edge import shared_memory
from appliance.edge.errors import EdgeError
from appliance.edge.host_sockets import HostSockets
from appliance.edge.lane_maps import KernelLaneMaps
from appliance.edge.nfqueue import BatchEnd, KernelQueue
from appliance.edge.process import end_with_parent
from appliance.edge.raw_socket import SegmentSink
from appliance.edge.record_locks import RecordLocks
from appliance.ipc.cookie_edges import end_engagements
from appliance.ipc.plan import Plan
from appliance.ipc.shared_layout import LayoutError, SharedState
from appliance.model.counters import EMIT_ERRORS, WORKER_STARTS
from appliance.model.verdict import Action
from appliance.model.verdicts import INTERNAL_ERROR
from appliance.sessions.adoption import Adopted
from appliance.sessions.ended import BATCH
from appliance.sessions.lane_maps import LaneMaps
from appliance.shard.shard import Shard
from appliance.shard.strays import HostHasSocket
from appliance.shard.tracer import Tracer
from appliance.worker.control_channel import ControlChannel
from appliance.worker.fair_queue import FairQueue

log = logging.getLogger("appliance.worker")

TURN_PACKETS = 64
"""Packets of one turn: about a millisecond of work. That makes the rest of a turn cheap and is short enough for timers and
queries."""

BATCH_PACKETS = 16
"""Packets that are judged before the first of them gets its verdict: so many that the change between the shard and the kernel is
cheap for each, and so few that the first one does not wait long, some hundred microseconds."""

SORTED_PACKETS = 128
"""When a turn has left packets in the kernel's queue, the next ones take so many out of it and sort them by flow, and then judge
TURN_PACKETS of them. Nobody can overtake in the kernel's queue, so it is emptied faster than packets are judged; and what sorting
costs in a turn is bounded under a flood as well."""

MOST_WAITING = 1024
"""While so many sorted packets wait, no more are taken out of the kernel's queue. The kernel looks for a packet that gets its
verdict before older ones among those, so there must not be too many."""

TURN_S = 0.02
"""After this time a turn ends with its next packet, so that packets that come slowly do not make it long."""

WAIT_S = 0.02
"""How long a turn waits for a packet when none is there. A word of the director ends that as well."""

PUBLISH_INTERVAL_S = 0.02
"""How often the counters of real servers are made visible. For a thousand real servers with sessions that takes a quarter of a
millisecond, and a busy worker makes a thousand turns a second."""

_PUBLISHING_SHARE = 10
"""With so many of them that it takes longer, it takes no more than one part in so many of the time."""

EXPIRIES_PER_TURN = 50
"""Sessions that may expire in one turn: about as much work as its packets, so that neither has to wait long for the other."""

LOOK_INTERVAL_S = 0.1
"""How often the timers are looked at: the wheel's own tick."""

RECONCILE_INTERVAL_S = 0.01
RECONCILED_PER_TURN = 300
"""How often a shard takes over what the kernel has made of its sessions, and of how many in one turn: a millisecond's work."""

TELL_INTERVAL_S = 0.1
"""How often the director is told of sessions that have ended, unless there are BATCH of them before."""

EXIT_CANNOT_START = 3

_ERROR_LOG_INTERVAL_S = 10.0

_REWRITTEN, _ACCEPT = Action.REWRITTEN, Action.ACCEPT

Judged = tuple[Packet, Action, bytes, Sequence[bytes]]
"""A packet, what the kernel is told, the packet's new bytes, and packets of our own that go out behind it."""


class QueueWorker:
    """The loop around one shard."""

    def __init__(self, plan: Plan, shared: SharedState, control: ControlChannel, maps: LaneMaps | None = None) -> None:
        """Adopt the sessions of the lane, bind the queue, open the raw socket. Raises EdgeError when the kernel refuses.

        Until the queue is bound, the kernel drops what has to be judged, so nobody is answered as if his session did not exist.
        `maps` are those of the lane; None when there is none.
        """
        now = time.monotonic()
        end_engagements(shared, plan.shard)
        self._shard = Shard(plan, shared, now, maps, _host_sockets(plan))
        _report(self._shard.adopt(now))
        self._shard.gather_flows()
        self._has_lane = maps is not None
        self._judges: Shard | Tracer = self._shard
        """What judges a packet: the tracer while there is a trace. So nothing is asked for each packet while there is none."""
        self._tracer = Tracer(self._shard.handle, self._shard.sessions, self._shard.output)
        self._control = control
        self._counts = shared.table(plan.shard, "queue")
        self._verdict_counts = shared.table(plan.shard, "verdicts")
        try:
            self._sink = SegmentSink()
        except OSError as error:
            raise EdgeError(f"cannot open a raw socket: {error.strerror} (CAP_NET_RAW is needed)") from error
        self._queue = KernelQueue(plan.queue_num, self._arrived)
        self._queue.also_wait_for(control.socket)
        self._counts[WORKER_STARTS] += 1
        self._heartbeats = shared.heartbeats
        self._number = plan.shard
        self._in_order: list[tuple[Packet, bytes]] = []
        """Packets as they came, with their bytes."""
        self._waiting: FairQueue[Packet] = FairQueue()
        """Packets that are sorted."""
        self._is_sorting = False
        self._left = 0
        self._turn_ends = 0.0
        self._last_error_log = -_ERROR_LOG_INTERVAL_S

    def serve(self) -> None:
        """Run until the director closes the control channel."""
        publish_at, look_at, reconcile_at, tell_at, more_are_due = 0.0, 0.0, 0.0, 0.0, False
        while not self._control.closed:
            self._heartbeats[self._number] += 1
            # A system call that finds out that the director has said nothing costs as much as half a packet.
            is_told = self._is_sorting or self._control.has_output or more_are_due or self._queue.wait(WAIT_S)
            self._turn_ends = time.monotonic() + TURN_S
            self._take_turn()
            now = time.monotonic()
            if now >= reconcile_at and not self._shard.reconcile(RECONCILED_PER_TURN, now):
                reconcile_at = now + RECONCILE_INTERVAL_S
            if now >= publish_at:
                self._shard.publish_counts()
                publish_at = now + max(PUBLISH_INTERVAL_S, _PUBLISHING_SHARE * (time.monotonic() - now))
            if now >= look_at:
                more_are_due = self._shard.on_tick(now, EXPIRIES_PER_TURN)
                look_at = now if more_are_due else now + LOOK_INTERVAL_S
            if is_told:
                self._control.converse(self._shard, self._tracer)
                self._judges = self._tracer if self._tracer.traces else self._shard
            if len(self._shard.sessions.ended) >= BATCH or now >= tell_at:
                self._control.tell_ended(self._shard)
                tell_at = now + TELL_INTERVAL_S
            self._publish_flows()
            if self._shard.output.segments:
                self._send(self._shard.output.segments)
                self._shard.output.segments.clear()
        self._shard.close()
        self._queue.close()

    def _take_turn(self) -> None:
        """Judge the packets of one turn: in their order, or sorted by flow while more come than can be judged at once."""
        if self._is_sorting:
            if len(self._waiting) < MOST_WAITING:
                self._receive(SORTED_PACKETS)
            self._judge_all(self._waiting.take(TURN_PACKETS))
            # Only when none waits any more: a packet that is judged in its order must not overtake one of its own flow.
            self._is_sorting = bool(self._waiting)
        else:
            self._receive(TURN_PACKETS)
            packets, self._in_order = iter(self._in_order), []
            self._judge_all(packets)
            for packet, raw in packets:
                self._waiting.put(packet, raw)
            self._is_sorting = not self._left or bool(self._waiting)

    def _receive(self, most: int) -> None:
        self._left = most
        self._queue.receive()

    def _arrived(self, packet: Packet) -> None:
        self._left -= 1
        if self._is_sorting:
            self._waiting.put(packet, packet.get_payload())
        else:
            self._in_order.append((packet, packet.get_payload()))
        if not self._left:
            raise BatchEnd

    def _judge_all(self, packets: Iterator[tuple[Packet, bytes]]) -> None:
        """Judge packets until the time of this turn is over, a batch at a time, and give each batch its verdicts."""
        handle, output, judged = self._judges.handle, self._shard.output, list[Judged]()
        for packet, raw in packets:
            now = time.monotonic()
            try:
                verdict = handle(raw, now)
            except Exception:  # one packet must never end the sessions of all others
                self._report_error(now)
                verdict = INTERNAL_ERROR
            segments: Sequence[bytes] = ()
            if output.segments:
                segments, output.segments = output.segments, []
            judged.append((packet, verdict.action, output.rewritten, segments))
            if now > self._turn_ends:
                break
            if len(judged) == BATCH_PACKETS:
                self._answer(judged)
                judged.clear()
        self._answer(judged)

    def _answer(self, judged: Sequence[Judged]) -> None:
        """Give packets their verdicts, and send packets of our own right behind that of the packet they are for."""
        self._publish_flows()  # first: the answer to a packet may already find its session in the lane
        for packet, action, rewritten, segments in judged:
            if action is _REWRITTEN:
                packet.set_payload(rewritten)
                packet.accept()
            elif action is _ACCEPT:
                packet.accept()
            else:
                packet.drop()
            if segments:
                self._send(segments)

    def _publish_flows(self) -> None:
        if not self._has_lane:
            return
        try:
            self._shard.publish_flows()
        except Exception:  # sessions without flows go on with Python
            self._report_error(time.monotonic())

    def _report_error(self, now: float) -> None:
        self._verdict_counts[INTERNAL_ERROR.index] += 1
        if now - self._last_error_log >= _ERROR_LOG_INTERVAL_S:
            self._last_error_log = now
            log.exception("packets were dropped, or left out of the lane, because of an error of ours; please report this")

    def _send(self, segments: Sequence[bytes]) -> None:
        self._counts[EMIT_ERRORS] += sum(not self._sink.send(segment) for segment in segments)


def _host_sockets(plan: Plan) -> HostHasSocket:
    """What tells a lost session's packets from those of the host's own connections."""
    if plan.has_predecessor:
        try:
            return HostSockets().has
        except EdgeError as error:
            log.warning("real servers of lost sessions are left to the host: %s", error)
    return lambda _: True


def _report(adopted: Adopted) -> None:
    """Say what became of the sessions that were in the lane, if there were any."""
    if adopted.sessions or adopted.unserved:
        log.info(
            "%d sessions adopted, %d reset because their service or local address is gone", adopted.sessions, adopted.unserved
        )
    if adopted.refused:
        log.error("%d records of sessions make no sense and were given up; %s", adopted.refused, adopted.first_problem)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if text else ()


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the worker process; the director passes the file descriptors."""
    parser = argparse.ArgumentParser(prog="appliance.queue_worker", description="One shard; started by the director only.")
    parser.add_argument("--shared-fd", type=int, required=True)
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--lane-fds", type=_numbers, default=())
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    if not end_with_parent():
        return EXIT_CANNOT_START
    control = ControlChannel(socket.socket(fileno=options.control_fd))
    plan = control.wait_for_plan()
    try:
        shared = SharedState(shared_memory.attach(options.shared_fd), plan.shards, plan.destinations)
        shared.locks = RecordLocks(options.shared_fd)
        maps = KernelLaneMaps(options.lane_fds) if options.lane_fds else None
        worker = QueueWorker(plan, shared, control, maps)
    except (EdgeError, LayoutError) as error:
        control.refuse_start(str(error))
        return EXIT_CANNOT_START
    control.confirm_start()
    # Sessions are in no reference cycle, so reference counts free them. A garbage collection that visits a million of them would
    # hold up packets for half a second.
    gc.collect()
    gc.freeze()
    gc.disable()
    # A worker that runs as soon as the first packet wakes it pays for one wake-up a packet. As a batch task it runs a little
    # later and finds several packets. On a core of its own this changes nothing. When a sandbox forbids it, the worker runs
    # without it.
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    worker.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
