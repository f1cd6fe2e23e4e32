"""Asking, from inside a namespace, whether a server answers yet."""

import http.client
import socket
from functools import partial

from appliance.lab import namespaces
from appliance.lab.plan import Endpoint

_ATTEMPT_TIMEOUT_S = 5.0


def http_status(namespace: str, endpoint: Endpoint, path: str) -> int | None:
    """The status that `GET path` gets inside the namespace, or None when nothing there speaks HTTP."""
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
