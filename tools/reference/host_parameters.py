"""The page of all parameters of the host's kernel."""

from appliance.model.host_gateway import GATEWAY_PARAMETERS
from appliance.model.host_parameter import HostParameter, text_of
from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.model.host_tcp import TCP_PARAMETERS
from appliance.model.tunables import TUNABLES
from tools.reference.markdown import Entry, code, item, paragraph, table
from tools.reference.markdown import page as whole_page

_INTRODUCTION = """\
These parameters belong to the kernel of the host, in the network namespace that the appliance runs in. Those of TCP concern
sockets of the host and never sessions of the gateway, which have [tunables](tunables.md) instead. Read them with
`GET /host/sysctl` or `appliance host sysctl`; write one with `PUT /host/sysctl/NAME`, `appliance host sysctl NAME VALUE`, or in
the table `[host.sysctl]` of [the configuration file](configuration.md). The range is what the appliance writes; the kernel takes
more, also values that make no sense. What was written is put back when the appliance stops.
[How to use them](../how-to/host-parameters.md) says more.
"""
_BOTH = "There is also a tunable of this name, for the services of the gateway."
_GROUPS = (("TCP", TCP_PARAMETERS), ("The gateway", GATEWAY_PARAMETERS))


def entries() -> list[Entry]:
    """All parameters, group by group."""
    return [Entry(parameter.name, parameter.meaning) for parameter in HOST_PARAMETERS.values()]


def page() -> str:
    """The page."""
    groups = [block for title, parameters in _GROUPS for block in (f"## {title}", *map(_section, parameters))]
    return whole_page("Host parameters", paragraph(_INTRODUCTION), _overview(), *groups)


def _overview() -> str:
    rows = ((code(parameter.name), _range(parameter), parameter.unit or "-") for parameter in HOST_PARAMETERS.values())
    return table(("parameter", "range", "unit"), rows)


def _range(parameter: HostParameter) -> str:
    return f"{parameter.numbers[0].low}..{parameter.numbers[0].high}"


def _section(parameter: HostParameter) -> str:
    blocks = [f"### {code(parameter.name)}", paragraph(parameter.meaning)]
    blocks.append("\n".join(item(f"**{label}.** {words}") for label, words in _facts(parameter).items() if words))
    return "\n\n".join(blocks)


def _facts(parameter: HostParameter) -> dict[str, str]:
    unit = f" {parameter.unit}" if parameter.unit else ""
    usual = f"{text_of(parameter.usual)}{unit}" if parameter.usual else "as the kernel finds right for the memory"
    return {
        "Full name": f"{code(parameter.full_name())}.",
        "Allowed": f"{parameter.range_text}." if not parameter.refused else f"Nothing: {parameter.refused}.",
        "Default of the kernel": f"{usual}.",
        "Recommended": f"{text_of(parameter.recommended)}{unit}." if parameter.recommended else "",
        "Often wrong": parameter.mistake,
        "Here": parameter.here,
        "For sessions": _tunables(parameter),
        "Where": _where(parameter),
    }


def _tunables(parameter: HostParameter) -> str:
    names = ", ".join(map(code, parameter.tunables))
    return f"{names}.{f' {_BOTH}' if parameter.name in TUNABLES else ''}" if names else ""


def _where(parameter: HostParameter) -> str:
    if parameter.until:
        return f"Linux before {parameter.until}; later ones do not have it."
    if parameter.of_host:
        return "It is one for the whole host: in another network namespace than the first one it cannot be written, or is absent."
    return ""
