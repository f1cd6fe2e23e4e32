"""Views of sessions: the rows of a listing, and the clients, services or real servers with most sessions. Pure."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from heapq import nsmallest
from typing import Any

from appliance.ipc.rows import SessionRow
from appliance.views.document import Document, align

TEXT_HEAD = (
    "IPVS connection entries\n"
    f"pro expire {'state':<11} {'source':<21} {'virtual':<21} {'local':<21} {'destination':<21} {'age':<9} chosen by\n"
)  # fmt: skip


def session_text(row: SessionRow) -> str:
    """One session as a line of ``ipvsadm -lnc``, with the local address in a column before the destination, and behind it
    its age and how the real server was chosen."""
    minutes, seconds = divmod(int(row.expires_s), 60)
    return (
        f"{row.protocol:<3} {minutes:02}:{seconds:02}  {row.state:<11} "
        f"{row.client:<21} {row.vip:<21} {row.local:<21} {row.real_server:<21} {_clock(row.age_s):<9} {row.chosen or '-'}\n"
    )


def _clock(age_s: float) -> str:
    """Hours, minutes and seconds."""
    minutes, seconds = divmod(int(age_s), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def session_data(row: SessionRow) -> dict[str, Any]:
    """One session for JSON, with the column names of the text; `expires_s` and `age_s` are in seconds, with
    milliseconds."""
    return {
        "protocol": row.protocol,
        "expires_s": round(row.expires_s, 3),
        "state": row.state,
        "source": row.client,
        "virtual": row.vip,
        "local": row.local,
        "destination": row.real_server,
        "service": row.service,
        "lane": row.in_lane,
        "chosen_by": row.chosen,
        "age_s": round(row.age_s, 3),
    }


def page(rows: Sequence[SessionRow]) -> Document:
    """One page of sessions, in the same form as the whole listing."""
    return Document(TEXT_HEAD + "".join(map(session_text, rows)), [session_data(row) for row in rows])


async def as_text(batches: AsyncIterator[list[SessionRow]]) -> AsyncIterator[str]:
    """The text of all sessions, one piece per batch; the first piece is the header."""
    yield TEXT_HEAD
    async for batch in batches:
        yield "".join(map(session_text, batch))


async def as_json(batches: AsyncIterator[list[SessionRow]]) -> AsyncIterator[str]:
    """One JSON list with one session per line. Its closing bracket comes only after the last batch."""
    before = "[\n"
    async for batch in batches:
        if batch:
            yield before + ",\n".join(json.dumps(session_data(row)) for row in batch)
            before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def top(by: str, counts: Counter[str], number: int) -> Document:
    """The `number` names with most sessions, most first and equal counts by name, as ``uniq -c | sort -nr | head`` shows them.

    `by` is one of `queries.GROUPS` and says what the names are.
    """
    first = nsmallest(number, counts.items(), key=lambda item: (-item[1], item[0]))
    text = align("><", [("conns", by), *((str(count), name) for name, count in first)])
    data = {
        "by": by,
        "conns": counts.total(),
        "different": len(counts),
        "top": [{by: name, "conns": count} for name, count in first],
    }
    return Document(text, data)
