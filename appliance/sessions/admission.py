"""Open a session for a new connection: pick the real server, take a local address and port; or say which was missing."""

from appliance.model.verdicts import LOCAL_PORTS_EXHAUSTED, NO_LOCAL_ADDRESS, NO_REAL_SERVER, Verdict
from appliance.nat.isn import IsnSource, following
from appliance.nat.lport import LocalPorts
from appliance.state.progress import progress_of
from appliance.state.services import RealServer, VirtualService
from appliance.state.session import Session
from appliance.wire.flow import flow_key, local_endpoint


class Admission:
    """Opens and closes the sessions of one shard for one transport protocol, each of which has its own ports."""

    def __init__(self, local_ports: LocalPorts, isns: IsnSource | None) -> None:
        """`isns` is None for a protocol without sequence numbers."""
        self.local_ports = local_ports
        self._isns = isns

    def open(
        self, service: VirtualService[Session], client_key: bytes, client_isn: int, tries: int, now: float
    ) -> Session | Verdict:
        """A new session for a client's packet of the flow `client_key`, not yet in the table; or the reason for none.

        Every local address of the service is tried, `tries` ports on each, before the ports count as exhausted.
        """
        real_server = service.pick_real_server(client_key)
        if real_server is None:
            return NO_REAL_SERVER
        if not service.local_addresses:
            return NO_LOCAL_ADDRESS
        taken = self._take_local_port(service, real_server, tries)
        if taken is None:
            return LOCAL_PORTS_EXHAUSTED
        local, last_seq = taken
        server_key = flow_key(local, real_server.endpoint)
        if self._isns is None:
            return Session(service, real_server, client_key, server_key, 0, 0)
        isn = self._isns.first(server_key, now) if last_seq is None else following(last_seq)
        return Session(service, real_server, client_key, server_key, client_isn, isn)

    def close(self, session: Session) -> None:
        """Give back what `open` took."""
        self.local_ports.release(
            session.local_address, session.real_server.endpoint, session.local_port, progress_of(session).real_server.acked
        )

    def _take_local_port(
        self, service: VirtualService[Session], real_server: RealServer, tries: int
    ) -> tuple[bytes, int | None] | None:
        """A local endpoint, starting at the address after the one this real server got last, and the last number used on it."""
        addresses = service.local_addresses
        for step in range(len(addresses)):
            index = (real_server.next_local_address + step) % len(addresses)
            local = self.local_ports.acquire(addresses[index], real_server.endpoint, tries)
            if local is not None:
                real_server.next_local_address = index + 1
                return local_endpoint(addresses[index], local.port), local.last_seq
        return None
