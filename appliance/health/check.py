"""A health check, as data: what is asked of a real server, how often, and how many answers change its state."""

from dataclasses import dataclass
from typing import NamedTuple

KINDS = ("tcp", "http", "https", "udp", "icmp", "command")
"""What a check can be."""


class Target(NamedTuple):
    """A real server of a service: what has a state of its own."""

    service: str
    address: str
    port: int

    @property
    def endpoint(self) -> str:
        """Its address and port."""
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of one real server. Two checks that are equal ask the same in the same way."""

    kind: str
    """One of KINDS."""
    port: int
    """The port that is asked; it means nothing to "icmp"."""
    sources: tuple[str, ...]
    """The addresses from which it asks, in turn."""
    own_ports: bool
    """Whether these are local addresses, on which a check may use certain ports only (see `policy.check_ports`)."""
    interval_s: float
    fast_interval_s: float
    """The interval while the state may be about to change."""
    timeout_s: float
    rise: int
    """So many checks in a row must pass before a real server that is down is up."""
    fall: int
    """So many checks in a row must fail before a real server that is up is down."""
    method: str = "GET"
    path: str = "/"
    host: str = ""
    """The value of the header Host; empty: address and port."""
    expect_status: str = "200-399"
    """See `status`."""
    expect_body: bytes = b""
    """What the body must contain, within the first `probes.http.MOST_BODY_BYTES`."""
    tls_verify: bool = True
    sni: str = ""
    """The name that TLS asks for; empty: that of `host`, if it is a name."""
    send: bytes = b""
    expect: bytes = b""
    """What a UDP answer must contain; empty: no answer is needed, only no refusal."""
    command: tuple[str, ...] = ()
    """The program, by its absolute path, and its arguments."""
