"""The lane of a run: made, or taken over from an earlier run; kept in step with what changes, looked after, left or ended.

When services change, what forbids is written here before the shards have it (`narrow`), and what allows after they have it
(`widen`), so the kernel never carries what a shard would not. MTUs and tunables need no order: a packet too big goes up.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Set
from functools import partial
from pathlib import Path

from appliance.config.loading import Gateway
from appliance.director.admissions import Admissions
from appliance.director.front_doors import FrontDoors
from appliance.director.lane_counts import LaneCounts
from appliance.director.lane_gate import LaneGate
from appliance.director.lane_servers import LaneServers
from appliance.director.remembered_clients import hand_over
from appliance.director.steps import do_all
from appliance.edge import bpffs, lane_attach
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel, Pinned
from appliance.edge.lane_sizes import Sizes
from appliance.ipc.lane_layout import InterfaceFlags
from appliance.ipc.plan import ServicePlan
from appliance.ipc.rows import LaneState, ServiceRing
from appliance.ipc.shared_layout import SharedState
from appliance.policy.sides import Sides

log = logging.getLogger("appliance.lane")

SETTLE_S = 0.02
"""A program that was at work on another CPU when its filter was removed has ended after this time."""

_NO_SLOTS: Set[int] = frozenset()
Reset = Callable[[memoryview], int]
"""Resets both ends of all sessions in these records; returns how many sessions there were."""


class Lane:
    """All methods that ask the kernel block: call them from a thread. Without a lane they do nothing."""

    def __init__(
        self, gateway: Gateway | None, root: Path, name: str, reset: Reset, cookie_secret: bytes = b"", hash_seed: int = 0
    ) -> None:
        """`gateway` is None when there is only something to clean up.

        `root` is the place of the file system with the pins, and `name` that of this network namespace in it. `cookie_secret` is
        that of all shards, see `proxy.cookie`, and `hash_seed` that of the gateway, see `policy.steering`.
        """
        self._wanted, self._entries, self._shards = (
            (gateway.lane, gateway.lane_entries, gateway.shards) if gateway else ("off", 0, 1)
        )
        self._sides, self._root, self._name = gateway.sides if gateway else Sides((), ()), root, name
        self.pins = root / name
        self._reset = reset
        self._kernel: LaneKernel | None = None
        self._lock = threading.Lock()
        """Held while interfaces and pins are changed: a repair that has begun before a stop must not end after it."""
        self._servers: LaneServers | None = None
        self._reason, self._repairs = "it is not open yet", 0
        self._gate, self._doors = LaneGate(), FrontDoors(cookie_secret, Admissions(self._shards, hash_seed))
        self._counts: LaneCounts | None = None

    @property
    def state(self) -> LaneState:
        """How it goes."""
        if self._kernel is None:
            return LaneState("off", self._reason, self._repairs, "there is no lane")
        reason = self._reason or self._gate.why_closed()
        return LaneState("impaired" if reason else "on", reason, self._repairs, self._doors.admissions.why_off)

    @property
    def worker_fds(self) -> tuple[int, ...]:
        """The descriptors of the maps that a worker uses; none without a lane."""
        return self._kernel.worker_fds() if self._kernel is not None else ()

    def open(self, slots: int, slots_are_new: bool = False) -> bool:
        """Take over the lane of an earlier run, or make one; returns whether one was taken over. `slots` is the number of places
        for real servers; when they are new, the sessions move to maps in which nothing is counted yet. Raises EdgeError when the
        configuration requires a lane and there is none."""
        try:
            return self._open(slots, slots_are_new)
        except Exception as error:  # whatever it is, packets flow without the lane
            self._do_without(error)
        return False

    def _do_without(self, error: Exception) -> None:
        """Go on without a lane, unless one is required. Its sessions, and those of an earlier run, are reset."""
        is_ours = not isinstance(error, EdgeError)
        self._reason = f"{type(error).__name__}: {error}" if is_ours else str(error)
        if self._wanted == "required":
            raise EdgeError(f'gateway.lane is "required", and there is no lane: {self._reason}') from error
        log.warning("without the lane, all packets go through the workers: %s", self._reason, exc_info=is_ours and error)
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None
        self._clear_up(f"the lane is off ({self._reason})")

    def _open(self, slots: int, slots_are_new: bool) -> bool:
        if self._wanted == "off":
            self._reason = 'gateway.lane is "off"'
            self._clear_up(self._reason)
            return False
        self._check_interfaces()
        if self._wanted == "required":
            self._gate.check()
        directory = bpffs.prepared(self._root, self._name)
        with contextlib.closing(Pinned(directory)) as pinned:
            if pinned.maps and self._go_on_with(pinned, slots, slots_are_new):
                return True
        _detach_all()  # there may be a program whose maps nobody can read any more
        self._kernel = LaneKernel.make(directory, Sizes(self._entries, slots))
        return False

    def _go_on_with(self, pinned: Pinned, slots: int, slots_are_new: bool) -> bool:
        """Take over the lane of an earlier run, or move its sessions; False when neither is possible, and they were reset."""
        if why := pinned.why_not() or pinned.why_not_for(slots, slots_are_new):
            return self._move(pinned, why, slots)
        self._kernel = LaneKernel.take_over(pinned)
        if self._kernel.sizes.entries != self._entries:
            log.warning("lane_entries: %d stay until the appliance is stopped for good", self._kernel.sizes.entries)
        return True

    def _move(self, pinned: Pinned, why: str, slots: int) -> bool:
        """Move the sessions of a lane that is laid out in another way into a new one; False when that is not possible, and they
        were reset. The workers add the flows."""
        _detach_all()
        time.sleep(SETTLE_S)
        records = pinned.copied_records()
        if records is None:
            self._discard(pinned, why)
            return False
        log.info("the sessions of an earlier run move to other maps, because %s", why)
        self._kernel = LaneKernel.moved(pinned, records, slots)
        return True

    def _check_interfaces(self) -> None:
        links = lane_attach.links(self._sides.all)
        for name in self._sides.all:
            if name in links and not links[name].is_ethernet:
                raise EdgeError(f"interface {name} is not an Ethernet interface")

    def _discard(self, pinned: Pinned, why: str) -> None:
        """Reset the sessions of a lane that nobody goes on with, and remove it."""
        records = pinned.records()
        self._try(_detach_all)
        number = self._reset(records) if records is not None else 0
        log.warning("the sessions of an earlier run cannot be taken over, because %s: reset both ends of %d", why, number)
        pinned.unpin()

    def _clear_up(self, why: str) -> None:
        """Remove a lane that an earlier run has left. What cannot be removed is logged."""
        self._try(lambda: self._remove_earlier(why))

    def _remove_earlier(self, why: str) -> bool:
        """The same; returns whether there was one. Raises EdgeError when something of it stays."""
        is_there = bpffs.is_there(self._root, self._name)
        if is_there:
            with contextlib.closing(Pinned(self.pins)) as pinned:
                if pinned.maps:
                    self._discard(pinned, why)
            bpffs.remove(self._root, self._name)
        _detach_all()
        return is_there

    def attach(self) -> None:
        """Attach the program to the interfaces of both sides, also in the place of that of an earlier run, and to no others.
        Raises EdgeError as `open` does."""
        if self._kernel is None:
            return
        try:
            with self._lock:
                self._attach(self._kernel)
                _detach_all(but={link.index for link in lane_attach.links(self._sides.all).values()})
        except Exception as error:  # as in `open`
            self._do_without(error)

    def remember(self, shared: SharedState) -> None:
        """Have clients that persistence remembers come where the kernel sees them. No worker is there yet. Raises EdgeError as
        `open` does."""
        if self._kernel is not None:
            try:
                hand_over(self._kernel, shared)
            except Exception as error:  # as in `open`
                self._do_without(error)

    def _attach(self, kernel: LaneKernel) -> list[str]:
        """Put filters and interfaces right; returns the interfaces on which the filter was not ours."""
        links = lane_attach.links(self._sides.all)
        sides = {links[name].index: _side_of(name, self._sides) for name in self._sides.all if name in links}
        kernel.put_interfaces(sides)
        attached = lane_attach.attached(sides)
        wrong = [name for name in links if attached.get(links[name].index) != kernel.program.number]
        for name in wrong:
            lane_attach.attach(kernel.program.fd, links[name].index)
        return wrong

    def put_tunables(self, tunable: Callable[[str], int], generation: int = 0, early_rules: str = "") -> None:
        """Have the program go by the tunables; `tunable` gives the value of each. What was prepared by others is not used. See
        `director.early_rules`."""
        kernel = self._kernel
        if kernel is None:
            return
        kernel.put_settings(kernel.settings.with_tunables(tunable, generation))
        self._doors.put_tunables(kernel, tunable, early_rules)

    def narrow(
        self, services: Collection[ServicePlan], mtu: Callable[[int], int], left: Set[int] = _NO_SLOTS, down: Set[int] = _NO_SLOTS
    ) -> None:
        """Forbid what these services forbid, and keep forbidding what was forbidden. `mtu` gives that of each slot, in bytes;
        `down` are the slots of real servers that are down, and `left` those of them whose sessions leave them."""
        if self._kernel is None:
            return
        if self._servers is None or not self._servers.are_of(self._kernel):
            self._servers = LaneServers(self._kernel)
        self._servers.narrow(services, mtu, left)
        self._doors.narrow(self._kernel, services, mtu, down)

    def widen(self) -> None:
        """Allow what the services of the last `narrow` allow: all shards have them in force."""
        if self._kernel is not None and self._servers is not None:
            self._servers.widen()
            self._doors.widen(self._kernel)

    def forget_worker(self, shard: int) -> None:
        """The worker of a shard is gone: have nothing handed out that it has prepared, and no SYN answered in its place."""
        if self._kernel is not None:
            self._kernel.forget_worker(shard, self._shards)

    def set_open(self, is_open: bool) -> None:
        """Let the program carry packets while nothing on the host forbids it, or have it leave all of them to the workers."""
        if self._kernel is not None:
            self._gate.want(self._kernel, is_open)
            self._reason = ""

    def look(self) -> None:
        """Put back what somebody else has removed or replaced: filters and pins. Raises EdgeError when the kernel refuses."""
        with self._lock:
            kernel = self._kernel
            if kernel is None:
                return
            try:
                wrong = self._attach(kernel)
                gone = kernel.missing_pins()
                if gone:
                    bpffs.prepared(self._root, self._name)  # the directory may have gone with them
                    kernel.pin_again()
                self._gate.look(kernel)
                self._doors.put_keys(kernel)
            except (EdgeError, OSError) as error:
                self._reason = f"it cannot be put right: {error}"
                raise
            self._repairs += bool(wrong) + bool(gone)
            if wrong:
                log.error("the lane was not attached to %s any more: attached again", ", ".join(wrong))
            if gone:
                log.error("the pins of the lane were gone (%s): pinned again", ", ".join(gone))
            self._reason = ""

    def count(self, shared: SharedState, slots: Iterable[int]) -> list[int] | None:
        """What `LaneCounts.look` does; None without a lane. Raises EdgeError when the kernel cannot be asked."""
        with self.counting(shared) as counts:
            return counts.look(slots) if counts is not None else None

    @contextlib.contextmanager
    def counting(self, shared: SharedState) -> Iterator[LaneCounts | None]:
        """What counts the lane, for one at a time; None without a lane."""
        with self._lock:
            if self._kernel is not None and self._counts is None:
                self._counts = LaneCounts(self._kernel, shared)
            yield self._counts if self._kernel is not None else None

    def entries(self) -> tuple[int, int, int]:
        """How many entries are in use, how many there are, and how many prepared admissions are ready; none without a lane."""
        with self._lock:
            kernel = self._kernel
            return (kernel.entries_in_use(), kernel.sizes.entries, kernel.admissions.ready()) if kernel else (0, 0, 0)

    def rings(self) -> list[ServiceRing]:
        """What is prepared for each service in each shard, where something is."""
        with self._lock:
            return self._doors.admissions.rings(self._kernel) if self._kernel is not None else []

    def end(self) -> None:
        """End the lane for good: reset both ends of the sessions that are still in it, and remove it."""
        with self._lock:
            kernel, self._kernel = self._kernel, None
            if kernel is None:
                return
            self._reason = "it has ended"
            self._try(_detach_all)
            self._try(lambda: self._reset(kernel.records))
            self._try(kernel.unpin)
            kernel.close()
            self._try(lambda: bpffs.remove(self._root, self._name))

    def leave(self) -> None:
        """Leave all of it as it is, for the next run."""
        with self._lock:
            kernel, self._kernel = self._kernel, None
            if kernel is not None:
                kernel.close()

    def clean_up(self) -> bool:
        """End the lane that a run has left; returns whether there was one. Raises EdgeError when something of it stays."""
        return self._remove_earlier("the appliance is stopped for good")

    @staticmethod
    def _try(action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # whatever it is, the rest has to be undone
            log.error("while ending the lane: %s", error, exc_info=not isinstance(error, EdgeError))


def _detach_all(but: Set[int] = frozenset()) -> None:
    """Take the program off all interfaces but these. One that fails keeps no other from it. Raises EdgeError in the end."""
    do_all(partial(lane_attach.detach, index) for index in lane_attach.all_indexes() if index not in but)


def _side_of(name: str, sides: Sides) -> int:
    of_clients, of_servers = name in sides.client_interfaces, name in sides.server_interfaces
    return of_clients * InterfaceFlags.CLIENTS | of_servers * InterfaceFlags.REAL_SERVERS
