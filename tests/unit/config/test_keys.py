"""config/keys.py: every key is listed, with the range and the default that the checks have."""

import re
import tomllib
from pathlib import Path

import pytest

from appliance.config.api_table import Api
from appliance.config.health_check import HealthCheck
from appliance.config.keys import Key, Section, sections
from appliance.config.loading import Config, ConfigError, parse
from appliance.config.observe import Observe
from appliance.config.session_log import SessionLog
from appliance.config.table import Table
from appliance.config.tables import Gateway, RealServer, Service
from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.model.tunables import TUNABLES

REFERENCE = (Path(__file__).parents[3] / "etc" / "lvs.toml").read_text()

_UNCOMMENTED = re.sub(r"(?m)^# (\[.*\])$", r"\1", REFERENCE)
"""The file, with the headers of the tables that are only shown in it."""

KEYS = [(section, key) for section in sections() for key in section.keys]
each_key = pytest.mark.parametrize(("section", "key"), KEYS, ids=[f"{section.header}{key.name}" for section, key in KEYS])


def test_sections_stand_in_the_order_of_the_file() -> None:
    headers = [line for line in _UNCOMMENTED.splitlines() if line.startswith("[")]
    assert [section.header for section in sections()] == list(dict.fromkeys(headers))


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.header)
def test_each_section_is_described(section: Section) -> None:
    assert section.meaning.endswith(".")
    assert section.keys


@each_key
def test_each_key_is_described(section: Section, key: Key) -> None:
    assert key.allowed
    assert key.meaning
    assert key.meaning.endswith(".") or section.header == "[sysctl]"
    assert key.default != ""


def test_the_keys_are_those_of_the_tables() -> None:
    tables: dict[str, type[Table]] = {
        "[gateway]": Gateway,
        "[api]": Api,
        "[[service]]": Service,
        "[service.health_check]": HealthCheck,
        "[service.observe]": Observe,
        "[session_log]": SessionLog,
        "[[service.real_server]]": RealServer,
    }
    for section in sections():
        names = {key.name for key in section.keys}
        if section.header == "[sysctl]":
            assert names == set(TUNABLES)
        elif section.header == "[host.sysctl]":
            assert names == set(HOST_PARAMETERS)
        elif table := tables.get(section.header):
            assert names == set(table.model_fields) - {"real_servers", "health_check", "observe"}
    top = {re.sub(r"[\[\]]", "", section.header).partition(".")[0] for section in sections()}
    assert top == {field.alias or name for name, field in Config.model_fields.items()}


@each_key
def test_the_reference_file_has_each_key(section: Section, key: Key) -> None:
    if section.header not in ("[sysctl]", "[host.sysctl]", "[local_addresses]"):
        assert re.search(rf"^(# )?{key.name} = ", REFERENCE, re.MULTILINE)


_KIND_OF = dict.fromkeys(("method", "path", "host", "expect_status", "expect_body"), "http") | {
    "tls_verify": "https",
    "sni": "https",
    "send": "udp",
    "expect": "udp",
    "command": "command",
}
"""The kind of check that a key is for."""


def set_to(section: Section, key: Key, value: str) -> str:
    """The reference file with one key set to `value`, in the first table with that header."""
    before, header, after = REFERENCE.partition(f"\n{section.header}\n")
    if not header:  # it is only shown there; with as much of it as `key` needs
        before, header, after = REFERENCE.partition(f"\n# {section.header}\n")
        kind = _KIND_OF.get(key.name, "tcp")
        needed = f'type = "{kind}"\n' if section.header == "[service.health_check]" and key.name != "type" else ""
        needed += 'command = ["/bin/true"]\n' if kind == "command" and key.name != "command" else ""
        return f"{before}\n{section.header}\n{needed}{key.name} = {value}\n{after}"
    end = after.find("\n[")
    table, rest = (after[:end], after[end:]) if end >= 0 else (after, "")
    return before + header + re.sub(rf"(?m)^{key.name} = .*$", "", table) + f"\n{key.name} = {value}\n" + rest


def problems(text: str) -> str:
    """The problems of a configuration, one per line; empty when there is none."""
    try:
        parse(text, "lvs.toml")
    except ConfigError as error:
        return str(error)
    return ""


@each_key
def test_a_range_is_the_one_that_is_checked(section: Section, key: Key) -> None:
    found = re.fullmatch(r"([\d.]+?)\.\.([\d.]+)(?:, a multiple of (\d+))?", key.allowed)
    if not found:
        return
    if "." in found[1]:
        low, high = float(found[1]), float(found[2])
        for number in (low / 2, high * 2, -low):
            assert f"{key.name}: {number} is out of range {key.allowed} {key.unit}" in problems(set_to(section, key, str(number)))
        for number in (low, high):
            assert "out of range" not in problems(set_to(section, key, str(number)))
        return
    if found[3]:
        assert f"{key.name}: {int(found[1]) + 1} is not a multiple of {found[3]}" in problems(
            set_to(section, key, str(int(found[1]) + 1))
        )
    for value in (int(found[1]) - 1, int(found[2]) + 1):
        said = f"{key.name}: {value} is out of range {found[1]}..{found[2]} {key.unit}".rstrip()
        assert said in problems(set_to(section, key, str(value)))
    for value in (int(found[1]), int(found[2])):
        assert "out of range" not in problems(set_to(section, key, str(value)))


@each_key
def test_a_default_is_the_value_of_a_key_that_is_left_out(section: Section, key: Key) -> None:
    """A key without a default is required; a default in words is not compared."""
    without = set_to(section, key, "0").replace(f"\n{key.name} = 0\n", "\n")
    if section.header == "[local_addresses]":
        return
    if key.default is None:
        with pytest.raises(ConfigError, match=rf"{key.name}: is required"):
            parse(without, "lvs.toml")
    elif _is_toml(key.default):
        assert parse(without, "lvs.toml") == parse(set_to(section, key, key.default), "lvs.toml")


def _is_toml(text: str) -> bool:
    """Whether a default is a value, and no words."""
    try:
        tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return False
    return True
