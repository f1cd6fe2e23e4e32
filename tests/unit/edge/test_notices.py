"""notices.py: which notices of the kernel are a reason to look."""

import socket
from collections.abc import Iterator

import pytest

from appliance.edge.notices import Notices, RuleNotices
from appliance.edge.rtnetlink import HEADER

NEW_CHAIN, NEW_RULE, GONE_RULE, INTO_SET = 3, 6, 8, 12
OURS, THEIRS = b"\x0e\x00\x01\x00appliance\x00\x00\x00", b"\x0b\x00\x01\x00filter\x00\x00"


class Kernel:
    """The other ends of both sockets."""

    def __init__(self) -> None:
        self.pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        (self.rules, listening_to_rules), (self.addresses, listening_to_addresses) = self.pairs
        self.ends = iter((listening_to_rules, listening_to_addresses))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    made = Kernel()

    def listening(*_: int) -> socket.socket:
        end = next(made.ends)
        end.setblocking(False)
        return end

    monkeypatch.setattr("appliance.edge.notices._listening", listening)
    yield made
    for pair in made.pairs:
        for end in pair:
            end.close()


def test_notices_about_our_tables_and_about_addresses_concern_us(kernel: Kernel) -> None:
    notices = Notices()
    assert not notices.concern_us()
    kernel.rules.send(THEIRS)
    assert not notices.concern_us()
    for sender, message in ((kernel.rules, OURS), (kernel.rules, OURS.replace(b"appliance", b"raw")), (kernel.addresses, b"?")):
        kernel.rules.send(THEIRS)
        sender.send(message)
        assert notices.concern_us()
        assert not notices.concern_us(), "all have been read"
    notices.close()


def test_where_many_wait_others_may_be_lost(kernel: Kernel) -> None:
    notices = Notices()
    for _ in range(17):
        kernel.rules.send(THEIRS)
    assert notices.concern_us()
    notices.close()


def about(*kinds: int) -> bytes:
    """A datagram with messages of these kinds, of nftables (10): see linux/netfilter/nf_tables.h."""
    return b"".join(HEADER.pack(HEADER.size + 4, 10 << 8 | kind, 0, 1, 0) + bytes(4) for kind in kinds)


def test_a_change_of_anybodys_rules_is_a_reason_to_look_at_them_and_what_comes_into_a_set_is_none(kernel: Kernel) -> None:
    notices = RuleNotices()
    assert notices.sockets[0].fileno() >= 0
    for kinds in ((NEW_CHAIN,), (NEW_RULE,), (GONE_RULE,), (INTO_SET, NEW_RULE)):
        kernel.rules.send(about(*kinds))
        assert notices.concern_us()
        assert not notices.concern_us(), "all have been read"
    kernel.rules.send(about(INTO_SET, INTO_SET))
    assert not notices.concern_us()
    for _ in range(17):
        kernel.rules.send(about(INTO_SET))
    assert notices.concern_us(), "others may be lost"
    notices.close()
