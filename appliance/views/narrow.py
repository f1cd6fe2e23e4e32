"""Views in 80 columns, made from their JSON: what the command line shows of tables that are wider. Pure.

Each raises KeyError, TypeError, AttributeError or ValueError for JSON of another form. Whoever prints a text folds the lines that
are too long all the same, and takes out what a terminal would obey.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from textwrap import wrap
from typing import Any

from appliance.model.verdicts import VERDICTS
from appliance.views.document import align

COLUMNS = 80

_NAME, _ENDPOINT = 14, 21
"""Columns of the name of a service, and of an address with its port."""

_CUT = "~"
"""Stands for the end of a name that is too long."""

_MEANINGS = {verdict.name: verdict.summary for verdict in VERDICTS}


def totals(data: Mapping[str, Any]) -> str:
    """Counters: the total of each."""
    return align("<>", [("counter", "total"), *((name, str(row["total"])) for name, row in data.items())])


def drops(data: Mapping[str, Any], *, with_zeros: bool = False) -> str:
    """The reasons for which packets were not translated, most packets first, and what each means."""
    counts = {name: int(row["total"]) for name, row in data.items()}
    shown = sorted((name for name in counts if counts[name] or with_zeros), key=lambda name: -counts[name])
    if not shown:
        return "every packet was translated\n"
    rows = [("reason", "packets", "meaning"), *((name, str(counts[name]), _MEANINGS.get(name, "")) for name in shown)]
    return _folding_last("<><", rows)


def traffic(data: Mapping[str, Any]) -> str:
    """Sessions, packets and bytes: since the start, and per second."""
    rows = ((name, str(row["total"]), str(data["per_second"][name]["total"])) for name, row in data["totals"].items())
    return align("<>>", [("", "total", "per second"), *rows])


def tunables(data: Mapping[str, Any]) -> str:
    """All tunables, without their meaning."""
    rows = (
        (name, str(row["value"]), str(row["default"]), f"{row['min']}..{row['max']}", row["unit"] or "-")
        for name, row in data.items()
    )
    return align("<>><<", [("name", "value", "default", "range", "unit"), *rows])


def host_parameters(data: Mapping[str, Any]) -> str:
    """All parameters of the host's kernel, with the values in force."""
    rows = [(name, row["unit"] or "-", _values(row)) for name, row in data.items()]
    return _folding_last("<<<", [("name", "unit", "value"), *rows])


def _values(row: Mapping[str, Any]) -> str:
    value = row["value"]
    if value is None:
        return str(row["state"])
    return ", ".join(f"{place} {_numbers(one)}" for place, one in value.items()) if isinstance(value, dict) else _numbers(value)


def _numbers(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def services(data: Sequence[Mapping[str, Any]]) -> str:
    """Services as they are configured."""
    rows = (
        (
            _cut(value["name"], 18),
            f"{value['vip']}:{value['port']}",
            value.get("protocol", "tcp"),
            value.get("scheduler", "rr"),
            _cut(value.get("local_addresses", "default"), 10),
            str(len(value.get("real_server", ()))),
        )
        for value in data
    )
    return align("<<<<<>", [("service", "endpoint", "prot", "scheduler", "pool", "servers"), *rows])


def health(data: Mapping[str, Any]) -> str:
    """A line for each real server; below one that is not well, what its check answered last."""
    lines: list[tuple[str, ...]] = [("service", "real server", "state", "since_s", "check")]
    answers = [""]
    for service in data["services"]:
        for server in service["real_servers"]:
            lines.append(_server(service, server))
            is_well = server["state"] == "up" and not server["contrary"]
            answers.append("" if is_well else _last_answer(server))
    table = align("<<<><", lines).splitlines()
    text = "".join(f"{line}\n{answer}" for line, answer in zip(table, answers, strict=True))
    down = ((service["service"], service["trouble"]) for service in data["services"])
    return text + "".join(f"{name} is down: {trouble}\n" for name, trouble in down if trouble)


def _server(service: Mapping[str, Any], server: Mapping[str, Any]) -> tuple[str, ...]:
    marks = [name for name, holds in (("drained", server["draining"]), ("backup", server["backup"])) if holds]
    endpoint = f"{server['address']}:{server['port']}"
    state = ", ".join([server["state"], *marks])
    return _cut(service["service"], _NAME), endpoint, state, f"{server['since_s']:.0f}", server["check"]


def _last_answer(server: Mapping[str, Any]) -> str:
    """Any number of results may be against the state before it changes."""
    against = f" ({server['contrary']} against)" if server["contrary"] else ""
    return f"    last answer: {server['last_answer'] or '-'}{against}\n"


def events(data: Mapping[str, Any]) -> str:
    """Events, each with its real server and its text in a line of its own."""
    rows = [("number", "time (UTC)", "kind", "service")]
    rows += [
        (str(event["number"]), _time(event["at_s"]), event["kind"], _cut(event["service"], _NAME)) for event in data["events"]
    ]
    texts = ["", *("    " + f"{event['real_server']}  {event['text']}".strip() + "\n" for event in data["events"])]
    missing = "events before these are known no more\n" if data["missing"] else ""
    table = align("><<<", rows).splitlines()
    return missing + "".join(f"{line}\n{text}" for line, text in zip(table, texts, strict=True))


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def attacks(data: Mapping[str, Any]) -> str:
    """Attacks, those under way first; each with what was dropped by which rule in a line of its own."""
    now, over = data["under_way"], data["ended"]
    head = ", ".join(f"{attack['kind']} ({attack['summary']})" for attack in now)
    text = f"under attack: {head}\n" if now else "no attack\n"
    rows = [("attack", "began", "lasted_s", "dropped", "now/s", "peak/s")]
    rows += [
        (attack["kind"], attack["began"], *(str(attack[key]) for key in ("lasted_s", "dropped", "rate_per_s", "peak_per_s")))
        for attack in (*now, *over)
    ]
    rules = (" ".join(f"{rule}={count}" for rule, count in attack["rules"].items()) for attack in (*now, *over))
    below = ["", *(f"    dropped by {words}\n" if words else "" for words in rules)]
    if len(rows) == 1:
        return text
    table = align("<<>>>>", rows).splitlines()
    return text + "".join(f"{line}\n{more}" for line, more in zip(table, below, strict=True))


def session(line: str) -> str:
    """A line of the listing of sessions, heads too, with state and addresses alone."""
    parts = line.split(maxsplit=7)
    if len(parts) < 7 or line.startswith("IPVS"):
        return line
    _, _, state, client, vip, _, real_server, *_ = parts
    return f"{state:<11} {client:<{_ENDPOINT}} {vip:<{_ENDPOINT}} {real_server}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - len(_CUT)] + _CUT


def _folding_last(layout: str, rows: Sequence[Sequence[str]]) -> str:
    """A table whose last column is folded where it ends."""
    heads = align(layout[:-1], [row[:-1] for row in rows]).splitlines()
    width = max(map(len, heads)) + 2
    return "".join(_folded(head, row[-1], width) for head, row in zip(heads, rows, strict=True))


def _folded(head: str, last: str, width: int) -> str:
    first, *more = wrap(last, COLUMNS - width) or [""]
    lines: Iterable[str] = (f"{head:<{width}}{first}".rstrip(), *(f"{'':<{width}}{one}" for one in more))
    return "".join(f"{line}\n" for line in lines)
