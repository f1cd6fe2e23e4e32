"""What the appliance changes on its host, how that is put back when somebody else changes it, and how it is undone: sysctls, the
ruleset, the guard, addresses.

Every change is written to a file before it is made. A stop for good undoes the changes from memory. After a crash, or when a run
leaves them on purpose, the next run goes on with them, or `appliance cleanup` undoes them from the file. Only what was really
changed is undone: an address that was there before stays, and a sysctl gets its old value back.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from appliance.config.loading import Config, Gateway
from appliance.director.access_table import AccessTable
from appliance.director.host_addresses import HostAddresses
from appliance.director.leftovers import Leftovers, as_text, read_leftovers
from appliance.director.plans import RemovedServer, steered
from appliance.director.runtime_files import state_file, write_state
from appliance.director.steps import do_all
from appliance.director.sysctls import Sysctls
from appliance.edge import addresses, nft
from appliance.edge.addresses import Placed
from appliance.edge.errors import EdgeError
from appliance.edge.guard import Guard, wait_until_free
from appliance.model.host_parameter import Values
from appliance.policy.address_sets import Steered, joined
from appliance.policy.defence import COUNTER_PLACES, Defence, KernelCounts
from appliance.policy.guard import render_guard
from appliance.policy.ruleset import Ruleset, render, render_defence, render_sets
from appliance.policy.sides import COUNTERS as SIDE_COUNTERS
from appliance.policy.steering import HASH_SEED

log = logging.getLogger("appliance.host")


class Host:
    """The changes of one run. All methods block, so call them from a thread and not from the event loop."""

    def __init__(self, hash_seed: int = HASH_SEED) -> None:
        """`hash_seed` is that of the gateway, see `policy.steering`."""
        self._hash_seed = hash_seed
        self._file = state_file("host").with_suffix(".json")
        self._saving = threading.Lock()
        self.sysctls = Sysctls(self._save)
        self._ruleset: Ruleset | None = None
        self._in_force: tuple[Steered, Defence, bool] | None = None
        """What the ruleset is made from, and whether it is the native one; None while no packets are steered."""
        self._listing = ""
        """How the kernel lists the ruleset."""
        self._to_shrink: Steered | None = None
        """What is to be steered alone, as long as more is."""
        self._listed: Ruleset | None = None
        """The ruleset that is listed so after it was loaded as a whole."""
        self._guard: Guard | None = Guard()
        """None once the kernel has refused it."""
        self._gateway: Gateway | None = None
        self.access = AccessTable()
        self._kernel_drops = KernelCounts((*COUNTER_PLACES, *SIDE_COUNTERS))
        self._steering = threading.Lock()
        """Held while the ruleset is changed or removed: a repair that has begun before a stop must not end after it."""
        self.problems: dict[str, str] = {}
        """What is wrong with the steering at this moment, by its kind; one sentence each."""
        self._addresses = HostAddresses(self._save, self.problems)

    def undo_leftovers(self) -> bool:
        """Undo what a crashed run in this network namespace left behind; True when there was anything.

        Raises EdgeError when the file that lists it is damaged, or lists what the appliance never changes.
        """
        left = read_leftovers(self._file)
        if left is None:
            return False
        self.sysctls.adopt(left.sysctls)
        self._addresses.ours = left.addresses
        self._ruleset = Ruleset("", "") if left.steering else None
        log.warning("undoing what an earlier run left behind")
        self.undo()
        return True

    def adopt_leftovers(self) -> bool:
        """Go on with what an earlier run in this network namespace has left; it is ours to undo now. True when there was some.

        Raises EdgeError as `undo_leftovers` does.
        """
        left = read_leftovers(self._file)
        if left is None:
            return False
        self.sysctls.adopt(left.sysctls)
        self._addresses.ours = left.addresses
        log.info("going on with what an earlier run has left")
        return True

    def prepare(self, gateway: Gateway, wanted: Mapping[str, Values] = MappingProxyType({})) -> None:
        """Set the sysctls that the gateway needs, and those that the configuration wants, by the names of `host_parameters`.

        Raises EdgeError, for instance when an interface does not exist, or when another appliance guards this network namespace:
        the lock of one that has another runtime directory is not seen.
        """
        wait_until_free()
        interfaces = list(gateway.sides.all)
        if missing := addresses.missing_interfaces(interfaces):
            raise EdgeError(f"interface {missing[0]} (of a key of [gateway]) does not exist")
        self._gateway = gateway
        self.sysctls.start(wanted, interfaces)

    def start_steering(self, config: Config, defence: Defence) -> None:
        """Load the ruleset with the back end that this kernel supports, then add the addresses, which attract the traffic.

        Raises EdgeError when the kernel refuses either.
        """
        native = nft.kernel_has_queue_statement()
        log.info("steering: %s", "native nft queue" if native else "compat: nft marks, iptables NFQUEUE")
        with self._steering:
            self._put_in_force(steered(config, self._hash_seed), defence, native=native)
            self._save()
            self.access.start()  # first, here and in `mend`: a client that is denied must not get in before
            self._load(self._ruleset_in_force())
            self._hold_guard()
            self._addresses.remove_unlike(self._managed_addresses())
            self._mend_addresses(at_start=True)

    def _put_in_force(self, wanted: Steered, defence: Defence, *, native: bool) -> None:
        self._in_force = wanted, defence, native
        self._ruleset = render(wanted, defence, native=native)

    def _ruleset_in_force(self) -> Ruleset:
        assert self._ruleset is not None
        return self._ruleset

    def mend(self) -> None:
        """Put back what somebody else has changed or removed: rules, the guard, sysctls, addresses.

        Raises EdgeError when the kernel or a tool refuses; `problems` says what is wrong as long as it is.
        """
        with self._steering:
            if self._in_force is None:
                return
            self.access.mend()
            self._mend_ruleset()
            self._hold_guard(only_if_gone=True)
            do_all((self._shrink, partial(self._mend_addresses, at_start=False)))

    def _mend_ruleset(self) -> None:
        ruleset = self._ruleset_in_force()
        if not self._is_loaded(ruleset):
            self.problems["ruleset"] = "steering: the rules in the kernel are not those of the appliance; they are put back"
            log.error("the ruleset of the appliance is gone or changed (a flush?): loading it again")
            self._load(ruleset)
        self.problems.pop("ruleset", None)

    def change_defence(self, defence: Defence) -> None:
        """Replace the rules of the defence in one transaction. Raises EdgeError when that fails; then the old rules stay."""
        with self._steering:
            if self._in_force is not None:
                wanted, _, native = self._in_force
                self._change(wanted, defence, native, render_defence(defence))

    def extend(self, config: Config) -> None:
        """Take packets of what this configuration has as well, and add its VIPs and local addresses. What was taken before is
        taken on.

        Raises EdgeError when the kernel refuses one of these; then nothing has changed.
        """
        with self._steering:
            if self._in_force is None:
                return
            before, self._to_shrink = self._in_force[0], None
            self._steer(joined(before, steered(config, self._hash_seed)))
            try:
                self._addresses.add_all(self._managed_addresses())
            except EdgeError:
                self._to_shrink = before
                with contextlib.suppress(EdgeError):  # then `mend` tries it again
                    self._shrink()
                raise

    def shrink(self, config: Config, removed: Sequence[RemovedServer] = ()) -> None:
        """Take packets of this configuration alone, and of these real servers, which were removed from its services, for their
        last sessions; and remove the VIPs and local addresses that were added for others. What it has is taken already.

        Raises EdgeError when the kernel refuses; then `mend` tries it again.
        """
        with self._steering:
            if self._in_force is not None:
                self._to_shrink = steered(config, self._hash_seed, removed)
                self._shrink()

    def _shrink(self) -> None:
        if self._to_shrink is not None:
            self._steer(self._to_shrink)
            self._addresses.remove_unlike(self._managed_addresses())
            self._to_shrink = None

    def _steer(self, wanted: Steered) -> None:
        assert self._in_force is not None
        before, defence, native = self._in_force
        if wanted != before:
            self._change(wanted, defence, native, render_sets(before, wanted))
            self._hold_guard()

    def _managed_addresses(self) -> list[Placed]:
        """The VIPs and local addresses that are ours to add."""
        gateway = self._gateway
        return self._wanted_addresses(gateway) if gateway is not None and gateway.manage_addresses else []

    def _change(self, wanted: Steered, defence: Defence, native: bool, text: str) -> None:
        """Put another ruleset in force: by the change alone when that in force is loaded as it is to be, else as a whole."""
        ruleset = render(wanted, defence, native=native)
        if self._is_loaded(ruleset):
            nft.change(text)
            self._listing, self._listed = nft.listing(ruleset), None
        else:
            self._load(ruleset)
        self._put_in_force(wanted, defence, native=native)

    def _is_loaded(self, ruleset: Ruleset) -> bool:
        """Whether the kernel lists what it did right after the rules were loaded, which was nothing if they were gone by then."""
        return bool(self._listing) and nft.listing(ruleset) == self._listing

    def _load(self, ruleset: Ruleset) -> None:
        """Load the whole ruleset. Its counters start at zero again, so what they have counted is added up first."""
        self._kernel_drops.read(nft.named_counters())
        nft.apply(ruleset)
        self._kernel_drops.start_anew()
        self._note_listing(ruleset)

    def _note_listing(self, ruleset: Ruleset) -> None:
        """Note how the kernel lists the ruleset that was just loaded. Somebody may have taken rules away again by now: so one
        that was listed before has to have the same lines, in whatever order; if it has not, the next look loads it again."""
        listing = nft.listing(ruleset)
        if ruleset != self._listed or not self._listing or sorted(listing.splitlines()) == sorted(self._listing.splitlines()):
            self._listed, self._listing = ruleset, listing

    def _hold_guard(self, *, only_if_gone: bool = False) -> None:
        """Make the guard, or replace it. Without it, the host answers while somebody else has removed the ruleset."""
        if self._guard is None or self._in_force is None or (only_if_gone and self._guard.is_held()):
            return
        try:
            self._guard.hold(render_guard(self._in_force[0]))
        except EdgeError as error:
            log.warning("there is no guard table, so the host answers clients with RST while the ruleset is gone: %s", error)
            self._guard.release()
            self._guard = None

    def kernel_drops(self) -> dict[str, int]:
        """How many packets the kernel has dropped for the defence since the start, by counter. Raises EdgeError."""
        with self._steering:
            self._kernel_drops.read(nft.named_counters())
            return self._kernel_drops.totals | self.access.totals()

    def _mend_addresses(self, *, at_start: bool) -> None:
        """Put back the sysctls of the interfaces, and the VIPs and local addresses that none has.

        An interface that is gone, and a step that fails, keep nothing else from being put back. Raises EdgeError in the end.
        """
        gateway = self._gateway
        if gateway is None:
            return
        gone = addresses.missing_interfaces(gateway.sides.all)
        present = [interface for interface in gateway.sides.all if interface not in gone]
        do_all((
            partial(self.sysctls.set_needed, present),
            partial(self._look_for_addresses, gateway, gone, at_start=at_start),
            partial(self._note_gone, gone),
        ))  # fmt: skip

    def _note_gone(self, interfaces: Sequence[str]) -> None:
        if not interfaces:
            self.problems.pop("interface", None)
            return
        words = f"interface {interfaces[0]} does" if len(interfaces) == 1 else f"interfaces {', '.join(interfaces)} do"
        self.problems["interface"] = f"{words} not exist"
        raise EdgeError(self.problems["interface"])

    def _look_for_addresses(self, gateway: Gateway, gone: Sequence[str], *, at_start: bool) -> None:
        wanted = self._wanted_addresses(gateway)
        self._addresses.look(wanted, gone, managed=gateway.manage_addresses, at_start=at_start)

    def _wanted_addresses(self, gateway: Gateway) -> list[Placed]:
        assert self._in_force is not None
        wanted = self._in_force[0]
        placed = [(gateway.server_interface, str(address)) for address in wanted.local_addresses]
        return placed + [(gateway.client_interface, str(vip)) for vip in sorted({service.vip for service in wanted.services})]

    @property
    def missing_addresses(self) -> tuple[str, ...]:
        """VIPs and local addresses that no interface has although another program is to add them."""
        return self._addresses.missing

    def leave(self) -> None:
        """Leave everything as it is for the next run; only the guard ends with this process."""
        with self._steering:
            self.access.end()
            self.sysctls.leave()
            self._ruleset = self._in_force = self._to_shrink = None
            if self._guard is not None:
                self._guard.release()

    def undo(self) -> None:
        """Undo everything, the latest change first. A step that fails is logged, and the rest is undone all the same.

        `mend` may still run in a thread, for its task was cancelled and not the thread. It must put nothing back after this.
        """
        with self._steering:
            self._try(self._addresses.undo)
            self.access.end()
            if self._ruleset is not None:
                self._try(nft.remove)
            self._ruleset = self._in_force = self._to_shrink = None
            if self._guard is not None:
                self._guard.release()
            self.sysctls.undo()
            self._file.unlink(missing_ok=True)

    @staticmethod
    def _try(action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # whatever it is, the rest has to be undone
            log.error("while undoing: %s", error, exc_info=not isinstance(error, EdgeError))

    def _save(self) -> None:
        """Write to the file what has been changed so far."""
        with self._saving:
            left = Leftovers(self.sysctls.before, self._addresses.ours, self._ruleset is not None)
            write_state(self._file, as_text(left))
