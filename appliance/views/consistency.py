"""Whether tables, pools and figures of sessions agree with each other and with the lane, all shards together. Pure."""

from collections import Counter
from collections.abc import Sequence

from appliance.ipc.rows import Consistency
from appliance.views.document import Document, align


def consistency(shards: Sequence[Consistency]) -> Document:
    """What does not agree comes first."""
    held: dict[str, Counter[str]] = {}
    for one in shards:
        for real_server, counts in one.held.items():
            held.setdefault(real_server, Counter()).update(counts)
    data = {
        "wrong": sum(one.wrong for one in shards),
        "problems": [problem for one in shards for problem in one.problems],
        "entries": {name: sum(one.entries[name] for one in shards) for name in ("used", "without_client", "free")},
        "flows": sum(one.flows for one in shards),
        "free": sum(one.free for one in shards),
        "real_servers": {real_server: dict(counts) for real_server, counts in sorted(held.items())},
    }
    return Document(_text(data, held), data)


def _text(data: dict[str, object], held: dict[str, Counter[str]]) -> str:
    problems, entries = data["problems"], data["entries"]
    assert isinstance(problems, list)
    assert isinstance(entries, dict)
    lines = (
        f"wrong: {data['wrong']}",
        *problems,
        f"entries: {entries['used']} used, {entries['without_client']} of them without their client, {entries['free']} free",
        f"flows: {data['flows']}",
        f"local endpoints: {data['free']} free",
    )
    holders = list(next(iter(held.values()), ()))
    rows = ((real_server, *(str(counts[holder]) for holder in holders)) for real_server, counts in sorted(held.items()))
    table = align("<" + ">" * len(holders), (("real server", *holders), *rows)) if held else ""
    return "".join(f"{line}\n" for line in lines) + table
