"""What many sessions cost, as a table: a row for each figure, a column for each count. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from bench.rig.machine import Machine
from bench.rig.tables import aligned
from bench.sessions.crowd import LONG_MS
from bench.sessions.figures import CHURN, FEW, Figures


class Row(NamedTuple):
    """One figure. `beside` are endings of its name: the figures under those names are shown in brackets."""

    name: str
    title: str
    decimals: int
    """Decimals of a figure that is not a whole number."""
    beside: tuple[str, ...] = ()


_LONG = ("long",)
_ENDS = ("low", "high")

_MEMORY = (
    Row("resident_bytes", "resident memory, bytes a session", 0),
    Row("told_bytes", "memory that /slabs shows, bytes a session", 0),
)
_PACKETS = tuple(
    row
    for name, words in (("inbound", "client to real server"), ("outbound", "real server to client"))
    for row in (
        Row(f"{name}_us", f"a packet, {words}, us", 2),
        Row(f"{name}_few_us", f"  with {FEW:,} sessions, us", 2),
        Row(f"{name}_ratio", "  ratio of neighbours, median (min..max)", 2, _ENDS),
    )
)
_CHANGE = (
    Row("opening_us", "opening one, three packets, us", 1),
    Row("opening_handle_ms", "longest handle of a packet while all open, ms", 2, _LONG),
    Row("opening_expire_ms", "longest look at timers while all open, ms", 2, _LONG),
    Row("churn_handle_ms", f"longest handle while one in {CHURN} is replaced, ms", 2, _LONG),
    Row("churn_expire_ms", f"longest look at timers while one in {CHURN} is replaced, ms", 2, _LONG),
    Row("dict_ms", "longest insert into one dict with as many keys, ms", 2, _LONG),
)
_TICKS = tuple(
    row
    for name, words in (("many", "with all sessions"), ("few", f"with {FEW:,} sessions"))
    for row in (
        Row(f"idle_tick_{name}_us", f"a tick {words}, nothing due, us", 1),
        Row(f"busy_tick_{name}_us", f"a tick {words}, deadlines pushed out, mean, us", 1),
        Row(f"busy_tick_{name}_ms", "  longest look in one, ms", 2, _LONG),
    )
)
_EXPIRY = tuple(
    row
    for name, words in (("spread", "one by one"), ("at_once", "all at once"))
    for row in (
        Row(f"expiry_{name}_total_s", f"all expire, {words}, s", 2),
        Row(f"expiry_{name}_us", "  a session, us", 1),
        Row(f"expiry_{name}_ms", "  longest look, ms", 2, _LONG),
    )
)
_WALKS = tuple(
    row
    for name, words in (("list", "list all"), ("tally", "tally by client"), ("cut", "cut, none matching"))
    for row in (Row(f"{name}_ms", f"{words}: longest step, ms", 2, _LONG), Row(f"{name}_steps", "  steps", 0))
)
ROWS = (*_MEMORY, *_PACKETS, *_CHANGE, *_TICKS, *_EXPIRY, *_WALKS)


def as_text(machine: Machine, results: Mapping[int, Figures]) -> str:
    """The table, for people; `results` by the count of sessions."""
    heads = ["sessions in one shard", *(f"{count:,}" for count in results)]
    rows = [[row.title, *(_cell(row, figures) for figures in results.values())] for row in ROWS]
    return (
        f"{machine.in_words}\n"
        "times are CPU time; packets are of sessions chosen at random; nothing is sent, and no kernel takes part;\n"
        f"in brackets after the longest of many calls: how many took more than {LONG_MS} ms\n\n"
        f"{aligned([heads, *rows])}"
    )


def _cell(row: Row, figures: Figures) -> str:
    def shown(name: str) -> str:
        value = figures[name]
        return f"{value:,}" if isinstance(value, int) else f"{value:,.{row.decimals}f}"

    beside = "..".join(shown(f"{row.name}_{end}") for end in row.beside)
    return shown(row.name) + (f" ({beside})" if beside else "")
