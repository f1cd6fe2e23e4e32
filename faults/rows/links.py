"""Interfaces that go down, and real servers that vanish."""

import time
from contextlib import ExitStack

from bench.rig.topology import CLIENT_INTERFACE, REAL_SERVERS, SERVER_INTERFACE
from faults.figures import NOBODY, Hit
from faults.gateway import Gateway
from faults.promises import Lost, Promise
from faults.rows.row import HOLD_S, Row
from faults.site import NAMES, configuration

_WAITED = Promise(Lost.NONE, 5.0, 10.0)
"""TCP waits for a link; the wait between its attempts doubles, so it may take as long again until it notices."""

_VANISHING = 1
"""Which of the real servers vanishes."""


def _client_side_down(gateway: Gateway, undo: ExitStack) -> Hit:
    return _down_and_up(gateway, undo, CLIENT_INTERFACE)


def _server_side_down(gateway: Gateway, undo: ExitStack) -> Hit:
    return _down_and_up(gateway, undo, SERVER_INTERFACE)


def _down_and_up(gateway: Gateway, undo: ExitStack, interface: str) -> Hit:
    undo.callback(gateway.run, "ip", "link", "set", interface, "up")
    gateway.run("ip", "link", "set", interface, "down")
    time.sleep(HOLD_S)
    gateway.run("ip", "link", "set", interface, "up")
    return NOBODY


def _set_server(gateway: Gateway, state: str) -> None:
    """The far end of the link of a real server: no packet leaves it, and none says why."""
    port = f"{SERVER_INTERFACE}-{NAMES[_VANISHING]}"
    gateway.run("ip", "link", "set", port, state)


def _server_away(gateway: Gateway, undo: ExitStack) -> Hit:
    undo.callback(_set_server, gateway, "up")
    _set_server(gateway, "down")
    time.sleep(HOLD_S)
    _set_server(gateway, "up")
    return NOBODY


def _server_gone(gateway: Gateway, undo: ExitStack) -> Hit:
    """The operator notices after a while, and takes it out."""
    before = gateway.config.read_text()
    undo.callback(lambda: gateway.reload(before))
    undo.callback(_set_server, gateway, "up")
    _set_server(gateway, "down")
    time.sleep(HOLD_S)
    lane = 'lane = "required"' in before
    gateway.reload(configuration(lane=lane, real_servers=REAL_SERVERS[:_VANISHING]))
    return Hit(servers=(NAMES[_VANISHING],))


ROWS = (
    Row("client-side-down", "interface of the clients down for 3 s", _client_side_down, _WAITED),
    Row("server-side-down", "interface of the real servers down for 3 s", _server_side_down, _WAITED),
    Row("server-away", "one of two real servers away for 3 s", _server_away, _WAITED),
    Row(
        "server-gone",
        "one of two real servers gone, taken out after 3 s",
        _server_gone,
        Promise(Lost.CONCERNED, 5.0, 5.0),
    ),
)
