"""Draws `panels.py` as a Grafana dashboard: `python -m deploy.grafana.dashboard` makes allocator.json anew.

The result is a provisioned file: change the code, not the dashboard in the browser.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common as style
from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard

from allocator.metrics import names
from deploy import generated
from deploy.grafana.panels import ROWS
from deploy.grafana.queries import Chart, Look

FILE = Path(__file__).parent / "allocator.json"
UID = "allocator"
DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
_NUMBER_HEIGHT = 4
_CHART_HEIGHT = 8


def build() -> dashboard.Dashboard:
    """The whole dashboard."""
    drawing = (
        board.Dashboard("Allocator")
        .uid(UID)
        .description("Queues, prices, capacity and rounds of an allocator. Generated: change deploy/grafana/panels.py.")
        .tags(["allocator"])
        .timezone("browser")
        .refresh("15s")
        .time("now-3h", "now")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .with_variable(board.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("job", "Scrape job", f"label_values({names.BUILD.name}, job)"))
        .with_variable(_variable("queue", "Queue", _values(names.QUEUE_WEIGHT, "queue"), several=True))
        .with_variable(_variable("flavor", "Flavor", _values(names.NODES, "flavor"), several=True))
    )
    identity = itertools.count(1)
    for title, charts in ROWS.items():
        drawing = drawing.with_row(board.Row(title).id(next(identity)))
        for chart in charts:
            drawing = drawing.with_panel(_panel(chart).id(next(identity)))
    return drawing.build()


def _values(family: names.Family, label: str) -> str:
    return f'label_values({family.name}{{job="$job"}}, {label})'


def _variable(name: str, label: str, query: str, *, several: bool = False) -> board.QueryVariable:
    variable = (
        board.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({"query": query, "refId": name})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    )
    if several:
        everything = dashboard.VariableOption(selected=True, text="All", value="$__all")
        variable = variable.multi(multi=True).include_all(include_all=True).all_value(".*").current(everything)
    return variable


def _panel(chart: Chart) -> stat.Panel | timeseries.Panel:
    panel = _number(chart) if chart.look is Look.NUMBER else _lines(chart)
    for index, query in enumerate(chart.queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + index))
        panel = panel.with_target(target.instant() if chart.look is Look.NUMBER else target.range())
    return panel


def _number(chart: Chart) -> stat.Panel:
    steps = [dashboard.Threshold(value=None, color="green")]
    if chart.warn_above is not None:
        # Grafana colours from a step's value upwards, this chart above it.
        steps.append(dashboard.Threshold(value=chart.warn_above + 1e-9, color="orange"))
    shows_legend = any(query.legend for query in chart.queries)
    return (
        stat.Panel()
        .title(chart.title)
        .description(chart.help)
        .datasource(DATASOURCE)
        .unit(chart.unit)
        .span(chart.width)
        .height(_NUMBER_HEIGHT)
        .graph_mode(common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.NAME if shows_legend else common.BigValueTextMode.VALUE)
        .reduce_options(style.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_scheme(board.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .thresholds(board.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps))
    )


def _lines(chart: Chart) -> timeseries.Panel:
    stacked = chart.look is Look.STACK
    mode = common.StackingMode.NORMAL if stacked else common.StackingMode.NONE
    return (
        timeseries.Panel()
        .title(chart.title)
        .description(chart.help)
        .datasource(DATASOURCE)
        .unit(chart.unit)
        .span(chart.width)
        .height(_CHART_HEIGHT)
        .min(0)
        .fill_opacity(30 if stacked else 0)
        .show_points(common.VisibilityMode.NEVER)
        .stacking(style.StackingConfig().mode(mode).group("A"))
        .tooltip(style.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .legend(
            style.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
    )


def rendered() -> str:
    """The dashboard as the file holds it."""
    return json.dumps(build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def document() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    parsed: dict[str, Any] = json.loads(rendered())
    return parsed


if __name__ == "__main__":
    sys.exit(generated.run("deploy.grafana.dashboard", FILE, rendered(), sys.argv[1:]))
