"""A trace as lines of text and as JSON: what became of each packet, at which stage, and why. Pure."""

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from appliance.ipc.traced import Change, Snap, TraceBatch, TraceRow
from appliance.model.stages import KERNEL, stage_of
from appliance.model.verdict import ALL, Action
from appliance.wire.show import show

PACKET, LEFT_OUT, NOTE, IN_FORCE = "packet", "left-out", "note", "in-force"
"""Kinds of items: one packet; how many there is no item for; why packets may be missing; what shards go by from a moment on."""

_ACTIONS = {verdict.name: verdict.action for verdict in ALL}


def items(batch: TraceBatch, *, with_data: bool) -> Iterator[dict[str, Any]]:
    """What a batch says, fit for JSON. `with_data` adds the bytes of the packets, in Base64."""
    yield from ({"kind": NOTE, "text": note} for note in batch.notes)
    changes = [*batch.changes]
    for row in batch.rows:
        while changes and changes[0].at_s <= row.at_s:
            yield _in_force(changes.pop(0))
        yield packet_item(row, with_data=with_data)
    yield from map(_in_force, changes)
    if batch.left_out:
        yield {"kind": LEFT_OUT, "packets": batch.left_out}


def _in_force(change: Change) -> dict[str, Any]:
    return {"kind": IN_FORCE, "at_s": round(change.at_s, 6), "what": change.what}


def packet_item(row: TraceRow, *, with_data: bool) -> dict[str, Any]:
    """One packet, fit for JSON."""
    packet, is_kernels = row.packet, row.shard is None
    action = Action.DROP if is_kernels else _ACTIONS.get(packet.reason, Action.DROP)
    item = {
        "kind": PACKET,
        "at_s": round(row.at_s, 6),
        "shard": row.shard,
        "sender": packet.sender,
        "stage": KERNEL if is_kernels else stage_of(packet.reason),
        "verdict": action.value,
        "reason": packet.reason,
        "packet": show(packet.packet.data),
        "packet_bytes": packet.packet.whole_bytes,
    }
    if with_data:
        item |= {"data": _data(packet.packet), "after": packet.after and _data(packet.after)}
        item |= {"after_bytes": packet.after.whole_bytes if packet.after else 0, "own": [_data(snap) for snap in packet.own]}
    return item


def _data(snap: Snap) -> str:
    return b64encode(snap.data).decode()


def text_line(item: dict[str, Any]) -> str:
    """An item as one line of text. What is no packet begins with ``#``."""
    if item["kind"] == NOTE:
        return f"# {item['text']}\n"
    if item["kind"] == IN_FORCE:
        return f"# has changed, for a replay: {', '.join(item['what'])}\n"
    if item["kind"] == LEFT_OUT:
        return f"# {item['packets']} more packets, too many to show each\n"
    at = datetime.fromtimestamp(item["at_s"], UTC).strftime("%H:%M:%S.%f")
    return f"{at} {item['sender']:<6} {item['verdict']:<9} {verdict_words(item)}: {item['packet']}\n"


def verdict_words(item: dict[str, Any]) -> str:
    """Reason and stage of a packet: ``no_session (first packet)``."""
    return f"{item['reason']} ({item['stage']})"


def sent(item: dict[str, Any]) -> str:
    """An item as a server-sent event (WHATWG HTML, 9.2)."""
    return f"event: {item['kind']}\ndata: {json.dumps(item)}\n\n"
