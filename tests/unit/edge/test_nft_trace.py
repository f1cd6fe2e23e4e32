"""nft_trace.py: what is read of the kernel's messages. tests/lab has those of a real kernel."""

import struct

import pytest

from appliance.edge import nft_dump, nft_trace
from appliance.edge.nft_trace import KernelTrace
from appliance.edge.rtnetlink import HEADER, attribute
from tests.support.addresses import CLIENT, VIP
from tests.support.segments import tcp

PACKET = tcp(CLIENT, VIP, "S")
RULES = {7: 'tcp dport 99 counter name "defence_tcp_drop" drop', 8: "tcp dport 98 drop"}


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def message(
    table: str = "appliance",
    *,
    kind: int = 3,
    handle: int = 7,
    verdict: int | None = 0,
    policy: int | None = None,
    of: int = 1,
    packet: bytes = b"",
) -> bytes:
    parts = [
        attribute(1, table.encode() + b"\0"),
        attribute(2, b"unsolicited\0"),
        attribute(4, number(kind)),
        attribute(6, number(of)),
    ]
    parts.append(attribute(3, handle.to_bytes(8, "big")))
    if verdict is not None:
        parts.append(attribute(5 | 0x8000, attribute(1, number(verdict & 0xFFFFFFFF))))
    if policy is not None:
        parts.append(attribute(16, number(policy)))
    if packet:
        parts += [attribute(8, packet[:20]), attribute(9, packet[20:40])]
    body = struct.pack("=BBH", 2, 0, 0) + b"".join(parts)
    return HEADER.pack(HEADER.size + len(body), 10 << 8 | 17, 0, 0, 0) + body


class FakeSocket:
    """Gives the messages that the test sets."""

    def __init__(self, *_: int) -> None:
        self.waiting: list[bytes] = []

    def bind(self, _: object) -> None:
        """There is nothing to bind."""

    def setsockopt(self, *_: object) -> None:
        """It has no options."""

    def recv(self, _: int) -> bytes:
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0)

    def close(self) -> None:
        """There is nothing to close."""


class FakeOwner:
    """Holds no table."""

    def hold(self, _: str) -> None:
        """Any will do."""

    def release(self) -> None:
        """There is none."""


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> KernelTrace:
    monkeypatch.setattr("appliance.edge.nft_trace.socket.socket", FakeSocket)
    monkeypatch.setattr(nft_trace, "Guard", FakeOwner)
    monkeypatch.setattr(nft_trace, "_rules_of", lambda _: RULES)
    return KernelTrace("table ip appliance_trace4 { flags owner; }")


def said(trace: KernelTrace, *messages: bytes) -> list[tuple[str, bytes, int, bytes]]:
    trace._socket.waiting = [b"".join(messages)]  # type: ignore[attr-defined]
    return [(drop.rule, drop.headers, drop.packet_bytes, drop.key) for drop in trace.take()]


def test_a_rule_that_drops_is_told_by_its_counter_with_the_headers_that_came_before(trace: KernelTrace) -> None:
    messages = (
        message("appliance_trace0", packet=PACKET, verdict=-1),
        message(packet=PACKET, verdict=None, kind=1, policy=1),
        message(),
    )
    assert said(trace, *messages) == [("defence_tcp_drop", PACKET[:40], len(PACKET), PACKET[12:24])]


def test_a_rule_without_a_named_counter_is_told_as_it_is(trace: KernelTrace) -> None:
    assert said(trace, message("host", handle=8)) == [("ip host unsolicited: tcp dport 98 drop", b"", 0, b"")]
    assert said(trace, message("host", handle=9)) == [("ip host unsolicited: rule 9", b"", 0, b"")]


def test_a_rule_that_is_not_listed_is_asked_for_once(trace: KernelTrace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[object]()

    def none_of(place: object) -> dict[int, str]:
        asked.append(place)
        return {}

    monkeypatch.setattr(nft_trace, "_rules_of", none_of)
    for _ in range(5):
        assert said(trace, message("host", handle=9))[0][0] == "ip host unsolicited: rule 9"
    assert len(asked) == 1


def test_a_long_rule_is_cut(trace: KernelTrace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft_trace, "_rules_of", lambda _: {9: "ip saddr { " + "192.0.2.1, " * 10_000 + "} drop"})
    assert len(said(trace, message("host", handle=9))[0][0]) < 300


def test_a_policy_that_drops_is_told(trace: KernelTrace) -> None:
    assert said(trace, message(kind=1, verdict=None, policy=0))[0][0] == "policy of ip appliance unsolicited"


def test_a_packet_that_was_rewritten_since_is_still_that_of_its_client(trace: KernelTrace) -> None:
    later = tcp(VIP, CLIENT, "S")
    found = said(trace, message("appliance_trace0", packet=PACKET, verdict=1), message("host", packet=later))
    assert found == [("defence_tcp_drop", later[:40], len(later), PACKET[12:24])]


def test_memory_for_packets_is_bounded(trace: KernelTrace) -> None:
    for packet in range(2000):
        said(trace, message("appliance_trace0", of=packet, packet=PACKET, verdict=1))
    assert len(trace._headers) == len(trace._keys) == nft_trace._PACKETS_KNOWN


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_half_a_message_is_no_drop_and_no_error(trace: KernelTrace, cut: int) -> None:
    said(trace, message(packet=PACKET)[:cut])


@pytest.mark.parametrize("verdict", [-1, 1, 3])
def test_other_verdicts_are_no_drops(trace: KernelTrace, verdict: int) -> None:
    assert said(trace, message(verdict=verdict)) == []


def test_packets_beyond_the_rate_are_those_of_the_counter_of_its_own_table(
    trace: KernelTrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {"appliance_trace4": {"untold": 12}, "appliance": {"untold": 1}}
    monkeypatch.setattr(nft_dump, "counters", lambda table: tables.get(table, {}))
    assert trace.untold() == 12
    tables.clear()
    assert trace.untold() == 0, "somebody has flushed the ruleset"
