"""Checks, from inside a namespace, whether a server answers."""

import http.client
import socket
from functools import partial

from appliance.lab import namespaces
from appliance.lab.plan import Endpoint

_ATTEMPT_TIMEOUT_S = 5.0
_UDP_ATTEMPT_TIMEOUT_S = 0.5  # short, because a lost datagram is not sent again: the caller asks again


def http_status(namespace: str, endpoint: Endpoint, path: str) -> int | None:
    """The status of the answer to `GET path` inside the namespace; None when there is no answer in HTTP."""
    connect = partial(socket.create_connection, (endpoint.host, endpoint.port), timeout=_ATTEMPT_TIMEOUT_S)
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port)
    try:
        connection.sock = namespaces.call_inside(namespace, connect)
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def accepts_tcp(namespace: str, endpoint: Endpoint) -> bool:
    """Whether somebody inside the namespace takes connections at this endpoint."""
    connect = partial(socket.create_connection, (endpoint.host, endpoint.port), timeout=_ATTEMPT_TIMEOUT_S)
    try:
        namespaces.call_inside(namespace, connect).close()
    except OSError:
        return False
    return True


def udp_answers(namespace: str, endpoint: Endpoint) -> bool:
    """Whether a datagram sent inside the namespace is answered."""

    def connected() -> socket.socket:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.settimeout(_UDP_ATTEMPT_TIMEOUT_S)
        udp.connect(endpoint)
        return udp

    with namespaces.call_inside(namespace, connected) as udp:
        try:
            return bool(udp.send(b"ready?") and udp.recv(1 << 16))
        except OSError:
            return False
