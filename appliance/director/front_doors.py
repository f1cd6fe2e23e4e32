"""The front doors: for which services the kernel answers SYNs with cookies, with which terms, and with which keys.

Python stays the one that judges: what is answered here is what a shard would answer in any case, whatever else it knows. So a
service has a front door while each SYN to it gets a cookie. In "auto" that is so while tcp_syncookies is 2. While it is 1, only
a shard knows whether its backlog is full: then the door has a latch for each shard, which that shard opens (`sessions.latches`).
All that a client does after that is judged by a shard.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Set
from functools import partial
from ipaddress import IPv4Address
from itertools import islice
from typing import NamedTuple

from appliance.director.admissions import Admissions
from appliance.director.datagram_rules import DatagramRules
from appliance.director.of_services import OfServices
from appliance.director.stray_rules import StrayRules
from appliance.edge.errors import EdgeError
from appliance.edge.lane_kernel import LaneKernel
from appliance.ipc.early import COOKIES, IN_AUTO, STRAYS, in_force
from appliance.ipc.front_door import FrontDoor
from appliance.ipc.lane_layout import FRONT_DOORS, NO_LATCH, front_door_key
from appliance.ipc.latches import first_latches
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.ipc.shared_layout import USUAL_MTU
from appliance.model.syn_cookie import epoch_of, key_state
from appliance.model.syn_offer import COOKIES_WHEN_FULL, AnswerTerms, modes_with_cookies, path_mss
from appliance.policy.candidates import DROP, candidates

log = logging.getLogger("appliance.lane")


class _Member(NamedTuple):
    """As `policy.candidates.Member`."""

    weight: int
    is_backup: bool
    is_up: bool


class _Door(NamedTuple):
    """A door, what its service says of cookies, and its first latch. One in which that has changed is another door."""

    key: bytes
    mode: str
    first_latch: int


class FrontDoors:
    """Those of a run. Without a lane there are none."""

    def __init__(self, cookie_secret: bytes, admissions: Admissions | None = None) -> None:
        """`cookie_secret` is that of all shards, see `proxy.cookie`. `admissions` are for the services without a front door."""
        self.admissions = admissions or Admissions()
        self._strays = StrayRules(self.admissions.steer)
        self._datagrams = DatagramRules(self.admissions.shards, self.admissions.steer)
        self._secret = cookie_secret
        self._services: dict[_Door, ServicePlan] = {}
        self._mtus: Mapping[str, int] = {}
        self._tunable: Callable[[str], int] | None = None
        self._against = ""
        """What keeps the kernel from answering and from dropping, in words."""
        self._there = OfServices[bytes]()
        self._epochs: set[int] = set()
        self._allowed: set[_Door] = set()
        """What may be open: the shards have these services in force."""

    def narrow(self, kernel: LaneKernel, services: Iterable[ServicePlan], mtu: Callable[[int], int], down: Set[int]) -> None:
        """Close the doors that these services do not have. Those that they did not have before are not opened until `widen`.

        `mtu` gives that of each slot, in bytes; `down` are the slots of real servers that are down.
        """
        services = tuple(services)
        self.admissions.narrow(kernel, services)
        latches = first_latches(services, self.admissions.shards)
        self._strays.narrow(kernel, services, latches)
        self._datagrams.narrow(kernel, services)
        doors = ((_door_of(service, latches), service) for service in services if _may_have_one(service, down))
        self._services = dict(sorted(doors, key=lambda door: door[0].mode != "always"))
        self._mtus = {service.name: _least_mtu(service.real_servers, mtu) for service in self._services.values()}
        self._allowed &= self._services.keys()
        self._put(kernel)

    def widen(self, kernel: LaneKernel) -> None:
        """Open the doors that the services of the last `narrow` have: all shards have them in force."""
        self._allowed = set(self._services)
        self._put(kernel)
        self.admissions.widen(kernel)
        self._strays.widen(kernel)
        self._datagrams.widen(kernel)

    def put_tunables(self, kernel: LaneKernel, tunable: Callable[[str], int], early_rules: str = "") -> None:
        """Go by these tunables; `tunable` gives the value of each, also later. `early_rules` says which rules of the host
        see packets before the appliance; it is empty when none do."""
        self._tunable = switches = in_force(tunable, has_early_rules=bool(early_rules))
        self._tell(early_rules if IN_AUTO in (tunable(COOKIES), tunable(STRAYS)) else "")
        self._strays.put_tunables(kernel, switches)  # before anybody gets a cookie whom no shard would have sent one
        self._datagrams.put_tunables(kernel, switches)
        self._put(kernel)
        self.admissions.put_tunables(kernel, tunable, early_rules)

    def _tell(self, against: str) -> None:
        """Say in the log what keeps the kernel from what it may do, when that is something else than before."""
        if against != self._against:
            self._against = against
            log.warning(
                "floods of packets without a session %s", f"go to the workers: {against}" if against else "end in the kernel"
            )

    def put_keys(self, kernel: LaneKernel) -> None:
        """Give the kernel the key of this moment, the next one and the one before. To be called every few seconds."""
        epoch = epoch_of(time.monotonic())
        needed = {max(0, epoch - 1), epoch, epoch + 1}
        for wanted in sorted(needed - self._epochs):
            kernel.put_cookie_key(wanted, key_state(self._secret, wanted))
        self._epochs = needed

    def _put(self, kernel: LaneKernel) -> None:
        """Bring the kernel's doors to what is wanted. When it refuses, the next change or look at routes tries again."""
        if self._tunable is None:
            return
        self.put_keys(kernel)
        wanted = dict(islice(self._wanted(self._tunable), FRONT_DOORS))
        try:
            if wanted:
                self.admissions.steer(kernel)
            remove, put = partial(kernel.remove_of_services, "front_doors"), partial(kernel.put_of_services, "front_doors")
            self._there.bring_to(wanted, remove, put)
        except EdgeError as error:
            log.error("the kernel does not answer SYNs as it should: %s", error)

    def _wanted(self, tunable: Callable[[str], int]) -> Iterable[tuple[bytes, bytes]]:
        terms, leaves_room = AnswerTerms.of(tunable), bool(tunable("fullnat_mss_adjust_entry"))
        if not tunable(COOKIES):
            return
        syncookies = tunable("tcp_syncookies")
        for wanted, service in self._services.items():
            first_latch = _first_latch(wanted, syncookies)
            if wanted in self._allowed and first_latch is not None:
                door = FrontDoor.of(terms, path_mss(self._mtus[service.name], leaves_room=leaves_room), first_latch)
                yield wanted.key, door.pack()


def _first_latch(door: _Door, syncookies: int) -> int | None:
    """The first latch of a door at this tcp_syncookies, NO_LATCH when it is open to all; None when it is no door."""
    if door.mode in modes_with_cookies(syncookies):
        return NO_LATCH
    has_latches = syncookies == COOKIES_WHEN_FULL and door.first_latch != NO_LATCH
    return door.first_latch if has_latches else None


def _least_mtu(real_servers: Iterable[RealServerPlan], mtu: Callable[[int], int]) -> int:
    return min((mtu(real_server.slot) for real_server in real_servers), default=USUAL_MTU)


def _door_of(service: ServicePlan, latches: Mapping[str, int]) -> _Door:
    key = front_door_key(IPv4Address(service.vip).packed, service.port)
    return _Door(key, service.synproxy, latches.get(service.name, NO_LATCH))


def _may_have_one(service: ServicePlan, down: Set[int]) -> bool:
    """Whether a shard may answer each SYN to the service with a cookie; the tunables say whether it does."""
    is_plain = service.protocol == "tcp" and service.lane and not service.guarded
    return is_plain and service.synproxy != "never" and not _drops_new(service, down)


def _drops_new(service: ServicePlan, down: Set[int]) -> bool:
    """Whether SYNs are dropped without an answer, because no real server is healthy: see `state.services`."""
    if service.when_none_healthy != DROP:
        return False
    members = [_Member(server.weight, server.backup, server.slot not in down) for server in service.real_servers]
    return not candidates(members, service.quorum, DROP)
