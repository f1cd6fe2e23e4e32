"""nft_dump.py: chains as the kernel tells them (linux/netfilter/nf_tables.h), byte by byte."""

import struct
from collections.abc import Iterator
from typing import Any

import pytest

from appliance.edge import nft_dump
from appliance.edge.rtnetlink import attribute
from appliance.policy.early_rules import Chain

INET, IP, IP6, NETDEV = 1, 2, 10, 5
NESTED = 0x8000


def word(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack(">i", number))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def chain(family: int, name: str, hook: bytes = b"", policy: int | None = None, references: int = 0) -> bytes:
    parts = [text(1, "mine"), text(3, name)]
    parts += [attribute(4 | NESTED, hook)] if hook else []
    parts += [word(5, policy)] if policy is not None else []
    return struct.pack("=BBH", family, 0, 0) + b"".join((*parts, word(6, references)))


def devices(*names: str, kind: int = 1) -> bytes:
    return attribute(4 | NESTED, b"".join(text(kind, name) for name in names))


def told(monkeypatch: pytest.MonkeyPatch, *bodies: bytes) -> list[Chain]:
    def dump(kind: int, asked: bytes, asks: int, family: int) -> Iterator[dict[int, bytes]]:
        assert (kind, asked, asks, family) == (4, b"", 0x301, 0), "the chains of all tables of all families"
        for body in bodies:
            yield {nft_dump._OF_FAMILY: body[:1]} | nft_dump._parsed(body[4:])

    monkeypatch.setattr(nft_dump, "_dump", dump)
    return nft_dump.all_chains()


def hook(number: int, priority: int, more: bytes = b"") -> bytes:
    return word(1, number) + word(2, priority) + more


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (chain(IP, "a", hook(0, -400), 1, 2), {"family": "ip", "hook": "prerouting", "priority": -400, "rules": 2}),
        (chain(INET, "a", hook(0, 7), 0), {"family": "inet", "hook": "prerouting", "priority": 7, "drops": True}),
        (chain(IP, "a", hook(2, 0), 1), {"hook": "another"}),
        (chain(IP, "a", references=5), {"rules": 5}),
        (
            chain(INET, "a", hook(5, 0, devices("eth1", "eth0")), 1),
            {"family": "inet", "hook": "ingress", "devices": ("eth0", "eth1")},
        ),
        (
            chain(NETDEV, "a", hook(0, 0, devices("eth0") + text(3, "eth0")), 1),
            {"family": "netdev", "hook": "ingress", "devices": ("eth0",)},
        ),
        (chain(NETDEV, "a", hook(1, 0, text(3, "eth0")), 1), {"family": "netdev", "hook": "another", "devices": ("eth0",)}),
        (chain(NETDEV, "a", hook(0, 0, devices("eth", kind=2)), 1), {"family": "netdev", "hook": "ingress", "devices": None}),
    ],
)
def test_what_is_told_of_a_chain(monkeypatch: pytest.MonkeyPatch, body: bytes, expected: dict[str, Any]) -> None:
    plain = Chain("ip", "mine", "a", "", priority=0, devices=(), rules=0, drops=False)
    assert told(monkeypatch, chain(IP6, "b", hook(0, -400), 1, 2), body) == [plain._replace(**expected)]
