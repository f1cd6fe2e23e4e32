"""config/loading.py: what is true for every content of the file."""

import json
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appliance.config.loading import Config, ConfigError, parse
from appliance.policy.steering import ports_of_shard, shard_table

GOOD = (Path(__file__).parents[3] / "etc" / "lvs.toml").read_text()


def toml(value: object) -> str:
    """`value` as TOML on one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{toml(key)} = {toml(child)}" for key, child in value.items()) + "}"
        case list():
            return "[" + ", ".join(toml(child) for child in value) + "]"
        case str() | bool():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)


def document(table: dict[str, Any]) -> str:
    """A whole TOML document, one line for each key of `table`."""
    return "".join(f"{toml(key)} = {toml(value)}\n" for key, value in table.items())


def tables(node: Any) -> list[dict[str, Any]]:
    """Every table in a document, and the document itself."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [node] * isinstance(node, dict) + [table for child in children for table in tables(child)]


def problem_lines(text: str) -> list[str]:
    """One printable line for each problem of `text`; empty when there is none. All exceptions but ConfigError pass through."""
    try:
        config = parse(text, "lvs.toml")
    except ConfigError as error:
        return well_formed_lines(error)
    assert isinstance(config, Config)
    return []


def well_formed_lines(error: ConfigError) -> list[str]:
    """The lines of an error; there is one for each problem."""
    lines = str(error).split("\n")
    assert len(lines) == len(error.errors) > 0
    assert all(line.startswith("lvs.toml:") and line.isprintable() for line in lines)
    return lines


SCALARS = st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(["192.0.2.10", "tcp"]))
KEYS = st.one_of(st.text(max_size=8), st.sampled_from(["port", "vip", "service", "real_server", "default", "shards"]))
VALUES = st.recursive(
    SCALARS,
    lambda child: st.lists(child, max_size=4) | st.dictionaries(KEYS, child, max_size=4),
    max_leaves=8,
)


@st.composite
def nearly_good_tables(draw: st.DrawFn) -> dict[str, Any]:
    """The tables of GOOD, with one to four keys removed, added or given another value."""
    table = tomllib.loads(GOOD)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(tables(table)))
        key = draw(st.sampled_from(sorted(place)) | KEYS) if place else draw(KEYS)
        if draw(st.booleans()):
            place[key] = draw(VALUES)
        else:
            place.pop(key, None)
    return table


@given(nearly_good_tables())
def test_any_tables_are_taken_or_refused(table: dict[str, Any]) -> None:
    problem_lines(document(table))


@given(
    st.text()
    | st.text(alphabet="[]{}=\"'\\.,#a1 \n\r")
    | st.builds(lambda at, piece: GOOD[:at] + piece + GOOD[at:], st.integers(0, len(GOOD)), st.text(max_size=5))
)
def test_any_text_is_taken_or_refused(text: str) -> None:
    problem_lines(text)


@given(shards=st.integers(1, 64), lport_min=st.integers(1025, 65535), ports=st.integers(1, 1200))
def test_a_port_range_is_taken_exactly_when_every_shard_has_a_port(shards: int, lport_min: int, ports: int) -> None:
    lport_max = min(lport_min + ports - 1, 65535)
    table = tomllib.loads(GOOD)
    table["gateway"]["shards"] = shards
    table["sysctl"] = {"fullnat_lport_min": lport_min, "fullnat_lport_max": lport_max}
    table_of_shards = shard_table(shards)
    enough = all(ports_of_shard(table_of_shards, shard, lport_min, lport_max) for shard in range(shards))
    assert enough == (not problem_lines(document(table)))
