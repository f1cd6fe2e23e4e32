"""What the appliance changes on its host, and how that is undone: sysctls, the ruleset, addresses.

Every change is written to a file before it is made. A clean stop undoes the changes from memory; after a crash the next start, or
`appliance cleanup`, undoes them from the file. Only what was really changed is undone: an address that was there before stays,
and a sysctl gets its old value back.
"""

import json
import logging
import threading
from collections.abc import Callable
from functools import partial

from appliance.config.loading import Config, Gateway
from appliance.director.leftovers import read_leftovers
from appliance.director.plans import steered
from appliance.director.runtime_files import state_file, write_state
from appliance.edge import addresses, nft, sysctl
from appliance.edge.errors import EdgeError
from appliance.policy.defence import Defence, KernelCounts
from appliance.policy.ruleset import Ruleset, render, render_defence

log = logging.getLogger("appliance.host")


class Host:
    """The changes of one run. All methods block, so call them from a thread and not from the event loop."""

    def __init__(self) -> None:
        self._file = state_file("host").with_suffix(".json")
        self._sysctls: list[tuple[str, str]] = []
        self._addresses: list[tuple[str, str]] = []
        self._ruleset: Ruleset | None = None
        self._render: Callable[[Defence], Ruleset] | None = None
        """Makes the ruleset with a given defence; None while no packets are steered."""
        self._kernel_drops = KernelCounts()
        self._steering = threading.Lock()
        """Held while the ruleset is changed or removed: a repair that has begun before a stop must not end after it."""

    def undo_leftovers(self) -> bool:
        """Undo what a crashed run in this network namespace left behind; True when there was anything.

        Raises EdgeError when the file that lists it is damaged, or lists what the appliance never changes.
        """
        left = read_leftovers(self._file)
        if left is None:
            return False
        self._sysctls, self._addresses = left.sysctls, left.addresses
        self._ruleset = Ruleset("", "") if left.steering else None
        log.warning("undoing what an earlier run left behind")
        self.undo()
        return True

    def prepare(self, gateway: Gateway) -> None:
        """Set the sysctls that the gateway needs. Raises EdgeError, for instance when an interface does not exist."""
        interfaces = [gateway.client_interface, gateway.server_interface]
        if missing := addresses.missing_interfaces(interfaces):
            raise EdgeError(f"interface {missing[0]} (gateway.client_interface or server_interface) does not exist")
        for change in sysctl.needed_changes(interfaces):
            log.info("%s: %s -> %s", change.name, change.before, change.after)
            self._sysctls.append((change.path, change.before))
            self._save()
            sysctl.write(change.path, change.after)

    def start_steering(self, config: Config, defence: Defence) -> None:
        """Load the ruleset with the back end that this kernel supports, then add the addresses, which attract the traffic.

        Raises EdgeError when the kernel refuses either.
        """
        native = nft.kernel_has_queue_statement()
        log.info("steering: %s", "native nft queue" if native else "compat: nft marks, iptables NFQUEUE")
        self._render = partial(render, steered(config), native=native)
        self._ruleset = self._render(defence)
        self._save()
        nft.apply(self._ruleset)
        if config.gateway.manage_addresses:
            self._add_addresses(config)

    def mend_steering(self) -> None:
        """Load the ruleset again when it is gone, for instance because the host's own nftables service was reloaded.

        Raises EdgeError when the kernel or a tool refuses.
        """
        with self._steering:
            if self._ruleset is not None and not nft.is_loaded(self._ruleset):
                log.error("the ruleset of the appliance is gone (a flush?): loading it again")
                self._load(self._ruleset)

    def change_defence(self, defence: Defence) -> None:
        """Replace the rules of the defence in one transaction. Raises EdgeError when that fails; then the old rules stay."""
        with self._steering:
            if self._render is None:
                return
            ruleset = self._render(defence)
            if nft.is_loaded(ruleset):
                nft.change(render_defence(defence))
            else:
                self._load(ruleset)
            self._ruleset = ruleset

    def _load(self, ruleset: Ruleset) -> None:
        """Load the whole ruleset. Its counters start at zero again, so what they have counted is added up first."""
        self._kernel_drops.read(nft.named_counters())
        nft.apply(ruleset)
        self._kernel_drops.start_anew()

    def kernel_drops(self) -> dict[str, int]:
        """How many packets the kernel has dropped for the defence since the start, by counter. Raises EdgeError."""
        with self._steering:
            self._kernel_drops.read(nft.named_counters())
            return self._kernel_drops.totals

    def _add_addresses(self, config: Config) -> None:
        gateway, wanted = config.gateway, steered(config)
        placed = [(gateway.server_interface, str(address)) for address in wanted.local_addresses]
        placed += [(gateway.client_interface, str(vip)) for vip in sorted({service.vip for service in wanted.services})]
        for interface, address in placed:
            if addresses.present(address):
                log.info("%s is on this host already: left as it is", address)
                continue
            self._addresses.append((interface, address))
            self._save()
            addresses.add(interface, address)
            log.info("added %s to %s", address, interface)

    def undo(self) -> None:
        """Undo everything, the latest change first. A step that fails is logged, and the rest is undone all the same."""
        for interface, address in reversed(self._addresses):
            self._try(addresses.remove, interface, address)
        with self._steering:
            if self._ruleset is not None:
                self._try(nft.remove)
            self._ruleset = self._render = None
        for path, value in reversed(self._sysctls):
            self._try(sysctl.write, path, value)
        self._sysctls, self._addresses = [], []
        self._file.unlink(missing_ok=True)

    @staticmethod
    def _try(action: Callable[..., None], *arguments: str) -> None:
        try:
            action(*arguments)
        except EdgeError as error:
            log.error("while undoing: %s", error)

    def _save(self) -> None:
        """Write to the file what has been changed so far."""
        state = {"sysctls": self._sysctls, "addresses": self._addresses, "ruleset": self._ruleset}
        write_state(self._file, json.dumps(state))
