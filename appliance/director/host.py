"""What the appliance changes on its host, and the way back: sysctls, the ruleset, addresses.

Every change is written to a file before it is made. So a clean stop undoes them from memory, and after a crash the next start,
or `appliance cleanup`, undoes them from the file. Only what was really changed is undone: an address that was there before
stays, a sysctl gets its old value back.

Beside that file lies the one thing that is to outlive a run: the key of initial sequence numbers.
"""

import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from appliance.config.loading import Config, Gateway
from appliance.edge import addresses, nft, sysctl
from appliance.edge.errors import EdgeError
from appliance.policy.defence import Defence, KernelCounts
from appliance.policy.ruleset import Ruleset, Steered, SteeredService, render, render_defence
from appliance.policy.steering import shard_table

log = logging.getLogger("appliance.host")


def runtime_directory() -> Path:
    """Where state of the running appliance lies: what systemd prepared for it, else /run/appliance."""
    return Path(os.environ.get("RUNTIME_DIRECTORY", "/run/appliance"))


def steered(config: Config) -> Steered:
    """The part of the configuration that the ruleset is made of."""
    pools = {address for service in config.services for address in config.local_addresses[service.local_addresses]}
    return Steered(
        services=[SteeredService(service.vip, service.protocol, service.port) for service in config.services],
        local_addresses=sorted(pools),
        shard_table=shard_table(config.gateway.shards),
        queue_base=config.gateway.queue_base,
    )


_ISN_SECRET_BYTES = 16
_ISN_SECRET = re.compile(rf"[0-9a-f]{{{2 * _ISN_SECRET_BYTES}}}")


def kept_isn_secret() -> str:
    """The key of initial sequence numbers (see `nat.isn`), in hexadecimal: that of the run before, while there is one.

    The numbers of a tuple only grow from run to run when the key stays, and real servers remember the last ones for a minute.
    Raises EdgeError when it cannot be written. Call it with the instance lock held, or another run may replace the file.
    """
    file = _state_file("isn-secret")
    try:
        secret = file.read_text()
        if _ISN_SECRET.fullmatch(secret):
            return secret
        log.warning("%s: damaged; taking a new key for initial sequence numbers", file)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        log.warning("%s: cannot be read (%s); taking a new key for initial sequence numbers", file, error)
    secret = secrets.token_hex(_ISN_SECRET_BYTES)
    _write_state(file, secret)
    return secret


def _state_file(name: str) -> Path:
    """A file of this network namespace: each may have an appliance of its own."""
    return runtime_directory() / f"{name}-{Path('/proc/self/ns/net').stat().st_ino}"


def _write_state(file: Path, text: str) -> None:
    """In one step, because a torn file is worse than none; for nobody else to read. Raises EdgeError."""
    new = file.with_name(file.name + ".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(text)
        new.replace(file)
    except OSError as error:
        raise EdgeError(f"cannot write {file}: {error.strerror}") from error


class Host:
    """The changes of one run. All methods block; call them off the event loop."""

    def __init__(self) -> None:
        self._file = _state_file("host").with_suffix(".json")
        self._sysctls: list[tuple[str, str]] = []
        self._addresses: list[tuple[str, str]] = []
        self._ruleset: Ruleset | None = None
        self._render: Callable[[Defence], Ruleset] | None = None
        """While packets are steered: the ruleset with any defence."""
        self._kernel_drops = KernelCounts()
        self._steering = threading.Lock()
        """Held while the ruleset is changed or removed: a mend that was under way when the stop came must not outlive it."""

    def undo_leftovers(self) -> bool:
        """Undo what a crashed run in this network namespace left; True when there was anything."""
        try:
            left = json.loads(self._file.read_text())
            self._sysctls = [(path, value) for path, value in left["sysctls"]]
            self._addresses = [(interface, address) for interface, address in left["addresses"]]
            self._ruleset = Ruleset(*left["ruleset"]) if left["ruleset"] else None
        except FileNotFoundError:
            return False
        except (ValueError, KeyError, TypeError) as error:
            raise EdgeError(f"{self._file}: damaged ({error!r}); undo by hand and remove it") from error
        log.warning("undoing what an earlier run left behind")
        self.undo()
        return True

    def prepare(self, gateway: Gateway) -> None:
        """Set the sysctls the gateway needs. Raises EdgeError, for instance for an interface that does not exist."""
        interfaces = [gateway.client_interface, gateway.server_interface]
        if missing := addresses.missing_interfaces(interfaces):
            raise EdgeError(f"interface {missing[0]} (gateway.client_interface or server_interface) does not exist")
        for change in sysctl.needed_changes(interfaces):
            log.info("%s: %s -> %s", change.name, change.before, change.after)
            self._sysctls.append((change.path, change.before))
            self._save()
            sysctl.write(change.path, change.after)

    def start_steering(self, config: Config, defence: Defence) -> None:
        """Load the ruleset, by the back end this kernel can do, then add the addresses, which is what draws traffic."""
        native = nft.kernel_has_queue_statement()
        log.info("steering: %s", "native nft queue" if native else "compat: nft marks, iptables NFQUEUE")
        self._render = partial(render, steered(config), native=native)
        self._ruleset = self._render(defence)
        self._save()
        nft.apply(self._ruleset)
        if config.gateway.manage_addresses:
            self._add_addresses(config)

    def mend_steering(self) -> None:
        """Load the ruleset again when somebody flushed it, as a reload of the host's own nftables service does."""
        with self._steering:
            if self._ruleset is not None and not nft.is_loaded(self._ruleset):
                log.error("the ruleset of the appliance is gone (a flush?): loading it again")
                self._load(self._ruleset)

    def change_defence(self, defence: Defence) -> None:
        """Put other rules in force, with no packet in between. Raises EdgeError, with the old ones in force, when that fails."""
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
        """In place of what there is, and its counters."""
        self._kernel_drops.read(nft.named_counters())
        nft.apply(ruleset)
        self._kernel_drops.start_anew()

    def kernel_drops(self) -> dict[str, int]:
        """Packets that the kernel has dropped for the defence since the start, by counter."""
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
        """Take everything back, latest first; what fails is logged and does not keep the rest from being undone."""
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
        """Write what has been changed: a torn file would leave the host changed for good."""
        state = {"sysctls": self._sysctls, "addresses": self._addresses, "ruleset": self._ruleset}
        _write_state(self._file, json.dumps(state))
