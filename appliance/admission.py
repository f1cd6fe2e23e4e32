"""Open a conn entry for a new connection: pick the real server, take a local port. Or say which of the three was missing."""

from appliance.conn import ConnEntry
from appliance.model import flow_key
from appliance.nat.lport import LocalPorts
from appliance.service import RealServer, VirtualService
from appliance.verdict import LOCAL_PORTS_EXHAUSTED, NO_LOCAL_ADDRESS, NO_REAL_SERVER, Verdict


def open_conn(service: VirtualService, client_key: bytes, local_ports: LocalPorts, tries: int) -> ConnEntry | Verdict:
    """A new entry for the client's packet with these 12 address bytes, not yet in the table; or the reason for none.

    Every local address of the service is tried, `tries` ports on each, before the ports count as exhausted.
    """
    real_server = service.pick_real_server()
    if real_server is None:
        return NO_REAL_SERVER
    if not service.local_addresses:
        return NO_LOCAL_ADDRESS
    local = _take_local_port(service, real_server, local_ports, tries)
    if local is None:
        return LOCAL_PORTS_EXHAUSTED
    return ConnEntry(service, real_server, client_key, flow_key(local, real_server.endpoint))


def close_conn(conn: ConnEntry, local_ports: LocalPorts) -> None:
    """Give back what `open_conn` took."""
    local_ports.release(conn.local_address, conn.real_server.endpoint, conn.local_port)


def _take_local_port(service: VirtualService, real_server: RealServer, local_ports: LocalPorts, tries: int) -> bytes | None:
    """A local endpoint, starting at the address after the one this real server got last."""
    addresses = service.local_addresses
    for step in range(len(addresses)):
        index = (real_server.next_local_address + step) % len(addresses)
        port = local_ports.acquire(addresses[index], real_server.endpoint, tries)
        if port is not None:
            real_server.next_local_address = index + 1
            return addresses[index] + port.to_bytes(2, "big")
    return None
