"""Small packets from four flows of the client, as fast as it can send.

UDP is counted where it arrives, at the first real server. TCP is counted where it is sent, because a proxy makes packets of its
own size of it: without what had to be sent again, and only so much of it as had arrived at the end. Its segments have 88 bytes at
most, the least that Linux allows, and the client's interface does not put them together: otherwise one packet of 64 KiB would
pass the gateway in their place.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bench.measures.measure import Figure, Load, Measure
from bench.rig.counters import interface_count
from bench.rig.iperf3 import iperf3
from bench.rig.reading import Reading
from bench.rig.topology import END_INTERFACE, Site, inside, output_of

_FLOWS = 4
_UDP_PAYLOAD_BYTES = 64
_TCP_SEGMENT_BYTES = 88
_JOINING = ("tso", "gso")

_ARRIVED = Figure("arrived_share", "of sent", 2)


class Counted(NamedTuple):
    """What iperf3 says, packets that the client sent, packets that the real server received."""

    traffic: Reading
    sent: int
    arrived: int

    def reading(self, packets: float) -> Reading:
        """The figures, when so many packets count."""
        seconds = self.traffic.details.get("seconds", 0.0)
        per_s = packets / seconds if seconds else 0.0
        return Reading(per_s, self.traffic.trouble, packets, {_ARRIVED.name: packets / self.sent if self.sent else 0.0})


def udp_reading(counted: Counted) -> Reading:
    """The figures of datagrams: those that arrived."""
    return counted.reading(counted.arrived)


def tcp_reading(counted: Counted) -> Reading:
    """The figures of segments: the share that arrived of those that were sent, without repetitions."""
    details = counted.traffic.details
    return counted.reading((counted.sent - details.get("retransmits", 0.0)) * details.get("arrived_share", 0.0))


def _udp(load: Load) -> Reading:
    return udp_reading(_counted(load, "--udp", "--bitrate", "0", "--length", str(_UDP_PAYLOAD_BYTES)))


def _tcp(load: Load) -> Reading:
    with _segments_left_alone(load.site):
        return tcp_reading(_counted(load, "--set-mss", str(_TCP_SEGMENT_BYTES), "--no-delay"))


def _counted(load: Load, *options: str) -> Counted:
    ends = (load.site.client, load.site.real_servers[0])
    before = [interface_count(end, END_INTERFACE) for end in ends]
    traffic = iperf3(load.bulk_target, load.seconds, "--parallel", str(_FLOWS), *options)
    after = [interface_count(end, END_INTERFACE) for end in ends]
    client, server = (now.since(then) for now, then in zip(after, before, strict=True))
    return Counted(traffic, client.sent, server.received)


@contextmanager
def _segments_left_alone(site: Site) -> Iterator[None]:
    def switch(state: str) -> None:
        arguments = (word for feature in _JOINING for word in (feature, state))
        output_of(inside(site.client, "ethtool", "-K", END_INTERFACE, *arguments))

    switch("off")
    try:
        yield
    finally:
        switch("on")


UDP_PACKETS = Measure(
    "udp-packets",
    "small UDP packets",
    "packets/s",
    0,
    _udp,
    (_ARRIVED,),
    "packet",
    protocol="udp",
    may_drop=True,
    programs=("iperf3",),
)
TCP_PACKETS = Measure(
    "tcp-packets",
    "small TCP packets",
    "packets/s",
    0,
    _tcp,
    (_ARRIVED,),
    "packet",
    may_drop=True,
    programs=("iperf3", "ethtool"),
)
