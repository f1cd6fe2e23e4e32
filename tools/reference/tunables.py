"""The page of all tunables."""

from collections.abc import Iterable

from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.model.tunables import TUNABLES, Tunable
from tools.reference.lvs_sources import source_of
from tools.reference.markdown import Entry, code, paragraph, sentence, table
from tools.reference.markdown import page as whole_page

_GROUPS = {"fullnat_": "FULLNAT", "synproxy_": "SYNPROXY", "defence_": "Defence", "tcp_timeout_": "Timeouts of TCP states"}
_REST = "Sessions, their limits, and everything else"

_INTRODUCTION = """\
A tunable is an integer that can be changed while traffic flows. Read one with `GET /sysctl/NAME` or `appliance sysctl NAME`;
write one with `PUT /sysctl/NAME` or `appliance sysctl NAME=VALUE`. A value inside the range is in force in every shard at its
next packet, until the appliance stops. Any other value changes nothing and is refused. The value that the appliance starts with
stands in the table `[sysctl]` of [the configuration file](configuration.md); a tunable that does not stand there starts with
its default.
"""


def entries() -> list[Entry]:
    """All tunables, group by group."""
    return [Entry(tunable.name, tunable.summary) for tunable in TUNABLES.values()]


def page() -> str:
    """The page."""
    groups = [block for title, tunables in _grouped() for block in (f"## {title}", *map(_section, tunables))]
    return whole_page("Tunables", paragraph(_INTRODUCTION), _overview(), *groups)


def _overview() -> str:
    rows = (
        (code(tunable.name), str(tunable.default), f"{tunable.min}..{tunable.max}", tunable.unit or "-")
        for tunable in TUNABLES.values()
    )
    return table(("tunable", "default", "range", "unit"), rows)


def _grouped() -> Iterable[tuple[str, list[Tunable]]]:
    groups: dict[str, list[Tunable]] = {title: [] for title in (*_GROUPS.values(), _REST)}
    for tunable in TUNABLES.values():
        prefixes = [title for prefix, title in _GROUPS.items() if tunable.name.startswith(prefix)]
        groups[prefixes[0] if prefixes else _REST].append(tunable)
    return groups.items()


def _section(tunable: Tunable) -> str:
    facts = f"Default {tunable.default}, range {tunable.range_text}. Source: {source_of(tunable.name)}."
    if tunable.name in HOST_PARAMETERS:
        facts += " [The host has a parameter of this name](host-parameters.md) too, for its own sockets."
    return f"### {code(tunable.name)}\n\n{paragraph(sentence(tunable.summary))}\n\n{paragraph(facts)}"
