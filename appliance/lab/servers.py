"""What runs on the real servers of a lab: the lab's own servers, a program of the user's on each, or nothing."""

import http
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from appliance.lab.names import REAL_SERVERS, LabName
from appliance.lab.plan import Endpoint, Plan
from appliance.lab.readiness import accepts_tcp, http_status, udp_answers

OWN, NONE = "own", "none"
SERVERS = (OWN, NONE)
"""What `--servers` may say."""


class Program(NamedTuple):
    """A program of one real server."""

    title: str
    """Its name for people."""
    role: str
    log_name: str
    argv: Sequence[str]
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = MappingProxyType({})
    """What it has beside the environment of the lab."""


def programs(name: LabName, plan: Plan, servers: str, serve: str | None) -> Iterator[Program]:
    """What runs on each real server, in the order in which it is started. `serve` is the user's command line for a shell."""
    for role in REAL_SERVERS:
        if serve is not None:
            yield _of_the_user(name, plan, role, serve)
        elif servers == OWN:
            yield from _of_the_lab(name, plan, role)


def _of_the_user(name: LabName, plan: Plan, role: str, serve: str) -> Program:
    tcp = plan.listeners[role]
    first = (tcp or plan.udp_listeners[role] or (Endpoint("", 0),))[0]
    is_ready = partial(accepts_tcp, name.namespace(role), tcp[0]) if tcp else _always
    environment = {"REAL_SERVER": role, "LISTEN_ADDRESS": first.host, "LISTEN_PORT": str(first.port)}
    return Program(f"your program on {role}", role, f"{role}.log", ("sh", "-c", serve), is_ready, environment)


def _of_the_lab(name: LabName, plan: Plan, role: str) -> Iterator[Program]:
    namespace = name.namespace(role)
    if tcp := plan.listeners[role]:
        yield Program(
            f"the HTTP server of {role}", role, f"{role}.log", _argv("http", role, tcp), partial(_is_ok, namespace, tcp[0])
        )
    if udp := plan.udp_listeners[role]:
        answers = partial(udp_answers, namespace, udp[0])
        yield Program(f"the UDP server of {role}", role, f"{role}-udp.log", _argv("udp", role, udp), answers)


def _argv(kind: str, role: str, listeners: Sequence[Endpoint]) -> tuple[str, ...]:
    program = (sys.executable, "-m", f"appliance.lab.{kind}_server", "--name", role)
    return (*program, *(f"--listen={listener}" for listener in listeners))


def _is_ok(namespace: str, endpoint: Endpoint) -> bool:
    return http_status(namespace, endpoint, "/") == http.HTTPStatus.OK


def _always() -> bool:
    return True
