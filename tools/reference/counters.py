"""The page of all counters, those of drop reasons excepted."""

from collections.abc import Iterable, Mapping

from appliance.model.counters import DESTINATION_FIELDS, EXT_ALIASES, EXT_COUNTERS, QUEUE_COUNTERS, Counter
from tools.reference.markdown import Entry, code, paragraph, sentence, table
from tools.reference.markdown import page as whole_page

_INTRODUCTION = """\
Counters only grow, from the start of the appliance on; they outlive a worker that dies. Each has a column for every shard and a
total. The reasons of dropped packets are counters too: they have [a page of their own](drop-reasons.md).
"""
_EXT = """\
`GET /stats/ext` shows these; `GET /stats/ext/NAME` answers the total of one. Their names are those of
`/proc/net/ip_vs_ext_stats` of LVS. The column `kernel` has what the rules of the defence dropped before it came to a shard.
"""
_ALIASES = """\
The LVS kernels call some of them differently from the LVS manual. `GET /stats/ext/NAME` understands both names, so monitoring
that was written for those kernels goes on working. Answers use the name on the right.
"""
_QUEUES = "`GET /stats/queues` shows these: what queues and workers lost or did, and what happened to sessions as a whole."
_TRAFFIC = """\
`GET /stats/ip_vs` shows these for each real server of a service, `GET /stats/ip_vs_stats` the sums and rates of the first five.
Bytes are those of IP packets. The last three are not counters: they say how many sessions there are now.
"""

TRAFFIC_MEANINGS: Mapping[str, str] = {
    "in_packets": "packets from clients, rewritten for the real server",
    "out_packets": "packets from the real server, rewritten for clients",
    "in_bytes": "bytes of the packets from clients",
    "out_bytes": "bytes of the packets from the real server",
    "conns": "sessions that were opened",
    "active_conns": "sessions now in ESTABLISHED",
    "inactive_conns": "sessions now in any other state, UDP sessions among them",
    "opening_conns": "those of the latter that are half-open: their handshake is under way",
    "refused_conns": "sessions that the real server refused, by RST to their SYN or by an ICMP error; of UDP, each error",
    "unanswered_conns": "sessions whose SYN the real server did not answer when it was sent again, or until their time was over",
    "open_conns": "sessions now whose connection is not over (TIME_WAIT, CLOSE): those that count for max_conn",
}


def entries() -> list[Entry]:
    """All counters, table by table."""
    counters = (Entry(counter.name, counter.summary) for counter in (*EXT_COUNTERS, *QUEUE_COUNTERS))
    return [*counters, *(Entry(name, TRAFFIC_MEANINGS[name]) for name in DESTINATION_FIELDS)]


def page() -> str:
    """The page."""
    return whole_page(
        "Counters",
        paragraph(_INTRODUCTION),
        *("## Extended counters", paragraph(_EXT), *_sections(EXT_COUNTERS)),
        *("## Other names of extended counters", paragraph(_ALIASES)),
        table(("name in the LVS kernels", "name here"), ((code(alias), code(name)) for alias, name in EXT_ALIASES.items())),
        *("## Queues, workers, ends of sessions", paragraph(_QUEUES), *_sections(QUEUE_COUNTERS)),
        *("## Traffic of real servers", paragraph(_TRAFFIC)),
        *_sections(Counter(name, TRAFFIC_MEANINGS[name]) for name in DESTINATION_FIELDS),
    )


def _sections(counters: Iterable[Counter]) -> list[str]:
    return [f"### {code(counter.name)}\n\n{paragraph(sentence(counter.summary))}" for counter in counters]
