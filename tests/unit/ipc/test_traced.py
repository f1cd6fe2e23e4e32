"""ipc/traced.py: packets of a trace on their way from a worker to the director."""

import json
from typing import Any

import pytest

from appliance.ipc.traced import CLIENT, Snap, Traced, piece_items, read_piece

PLAIN = Traced(1000.25, CLIENT, "no_session", Snap(b"\x45\0", 40), None, ())
FULL = PLAIN._replace(reason="cookie_sent", after=Snap(b"\xff" * 80, 1500), own=(Snap(b"a", 1), Snap(b"b", 2)))


@pytest.mark.parametrize("packets", [[], [PLAIN], [PLAIN, FULL]])
def test_a_piece_is_read_as_it_was_written(packets: list[Traced]) -> None:
    assert read_piece(json.loads(json.dumps(piece_items(7, packets)))) == (7, packets)


def test_a_piece_is_written_like_this() -> None:
    assert piece_items(7, [FULL._replace(after=Snap(b"after", 5))]) == [
        7, [1000.25, "client", "cookie_sent", [["RQA=", 40], ["YWZ0ZXI=", 5], ["YQ==", 1], ["Yg==", 2]]],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "items", [[], ["7"], [7, 5], [7, [1, 2, 3]], [7, [1.0, "client", "held", []]], [7, [1.0, "", "", [["=", 1], ["", 0]]]]]
)
def test_what_is_no_piece_is_refused(items: list[Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        read_piece(items)
