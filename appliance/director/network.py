"""The network around the gateway: interfaces that are up, a route to each real server, a neighbour on the way to it.

None of it is the appliance's own, so nothing is repaired here: each change is logged once, and shown by ``/healthz``.
"""

import logging
from collections.abc import Callable, Iterable, Mapping

from appliance.edge.errors import EdgeError
from appliance.edge.links import UP
from appliance.policy.sides import Sides

log = logging.getLogger("appliance.network")


class Network:
    """What was seen at the last look."""

    def __init__(
        self, sides: Sides, link_states: Callable[[Iterable[str]], Mapping[str, str]], failed: Callable[[], set[str]]
    ) -> None:
        """`link_states` is `edge.links.states`, `failed` is `edge.neighbours.failed`."""
        self._sides = sides
        self._link_states = link_states
        self._failed = failed
        self._of_links: dict[str, str] = {}
        self._of_servers: dict[str, str] = {}
        self._no_way: tuple[str, ...] = ()

    @property
    def problems(self) -> list[str]:
        """Why no traffic can flow, a sentence each: a side none of whose interfaces is up."""
        return list(self._no_way)

    @property
    def notes(self) -> list[str]:
        """What is wrong and stops some traffic at most, a sentence each: interfaces, then real servers, in their order."""
        return [*self._of_links.values(), *self._of_servers.values()]

    def look_at_links(self) -> None:
        """Look at the interfaces of both sides. Blocks. Raises EdgeError when the kernel cannot be asked."""
        sides, states = self._sides, self._link_states(self._sides.all)
        wrong = {name: f"interface {name} is {state}" for name, state in states.items() if state != UP}
        self._of_links = _changed(self._of_links, wrong)
        parts = (("clients", sides.client_interfaces), ("real servers", sides.server_interfaces))
        self._no_way = tuple(
            f"no interface towards {whom} is up: {', '.join(f'{name} is {states[name]}' for name in interfaces)}"
            for whom, interfaces in parts
            if all(name in wrong for name in interfaces)
        )

    def look_at_servers(self, next_hops: Mapping[str, str]) -> None:
        """Look at the way to real servers. `next_hops` has the neighbour on that way by the real server's address; "" where there
        is no route. Blocks. When the kernel cannot be asked, what was seen before stays."""
        try:
            failed = self._failed()
        except Exception as error:  # a reload waits for this, and traffic flows without
            log.error("cannot look for neighbours: %s", error, exc_info=not isinstance(error, EdgeError))
            return
        wrong = {address: _why_no_way(address, hop) for address, hop in next_hops.items() if not hop or hop in failed}
        self._of_servers = _changed(self._of_servers, wrong)


def _why_no_way(address: str, next_hop: str) -> str:
    if not next_hop:
        return f"there is no route to real server {address}"
    if next_hop == address:
        return f"real server {address} does not answer ARP"
    return f"real server {address} cannot be reached: next hop {next_hop} does not answer ARP"


def _changed(before: Mapping[str, str], now: dict[str, str]) -> dict[str, str]:
    """What is wrong now. What has become wrong, or right again, is logged once."""
    for name, words in now.items():
        if before.get(name) != words:
            log.warning("%s", words)
    for name, words in before.items():
        if name not in now:
            log.info("no more: %s", words)
    return now
