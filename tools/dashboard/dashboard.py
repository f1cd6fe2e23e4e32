"""The dashboard as Grafana reads it."""

import json
from itertools import count

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from tools.dashboard.panels import ROWS, Panel

SOURCE = DataSourceRef("prometheus", "${datasource}")

VARIABLES = {
    "instance": "label_values(appliance_build_info, instance)",
    "service": 'label_values(appliance_real_server_weight{instance=~"$instance"}, service)',
}
"""By name: the query for the values that can be chosen at the top."""

_GRID_COLUMNS = 24
_NUMBER_HEIGHT, _CURVES_HEIGHT = 4, 8
_MOST_IN_A_LINE = 3


def text() -> str:
    """The whole dashboard as JSON, a member a line, so that a change of it can be read."""
    return f"{json.dumps(_dashboard().build(), cls=JSONEncoder, indent=2, sort_keys=True)}\n"


def _dashboard() -> dashboard.Dashboard:
    whole = (
        dashboard.Dashboard("Layer-4 appliance")
        .uid("l4-appliance")
        .description("One or several gateways: how they are, what they carry, and what they drop.")
        .tags(["appliance"])
        .refresh("30s")
        .time("now-1h", "now")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for name, query in VARIABLES.items():
        chosen = dashboard.QueryVariable(name).label(name.capitalize()).query(query).datasource(SOURCE)
        whole = whole.with_variable(chosen.multi(True).include_all(True))
    numbers = count(1)
    for row in ROWS:
        whole = whole.with_row(dashboard.Row(row.title).id(next(numbers)))
        for place, panel in enumerate(row.panels):
            whole = whole.with_panel(_panel(panel, next(numbers), _width(place, len(row.panels), panel)))
    return whole


def _width(place: int, panels: int, panel: Panel) -> int:
    """Numbers stand in one line, curves three to a line; those of the last line share it."""
    if panel.is_number:
        return _GRID_COLUMNS // panels
    last = panels % _MOST_IN_A_LINE or _MOST_IN_A_LINE
    return _GRID_COLUMNS // (last if place >= panels - last else _MOST_IN_A_LINE)


def _number() -> stat.Panel:
    return stat.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _curves() -> timeseries.Panel:
    return timeseries.Panel().fill_opacity(10).min(0).legend(common.VizLegendOptions().show_legend(True))


def _panel(panel: Panel, number: int, width: int) -> stat.Panel | timeseries.Panel:
    made = _number() if panel.is_number else _curves()
    made = made.id(number).title(panel.title).unit(panel.unit).datasource(SOURCE).span(width)
    made = made.height(_NUMBER_HEIGHT if panel.is_number else _CURVES_HEIGHT)
    if panel.meaning:
        made = made.description(panel.meaning)
    for place, (legend, query) in enumerate(panel.queries.items()):
        made = made.with_target(prometheus.Dataquery().expr(query).legend_format(legend).ref_id(chr(ord("A") + place)))
    return made
