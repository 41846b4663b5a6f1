"""The dashboard's file is the one that the code makes, and the code makes a dashboard that can be drawn."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from allocator.metrics import names
from allocator.metrics.names import FAMILIES
from deploy import generated
from deploy.grafana import dashboard

DOCUMENT = dashboard.document()
PANELS: list[dict[str, Any]] = [panel for panel in DOCUMENT["panels"] if panel["type"] != "row"]
_DEPLOY = Path(generated.__file__).parent


def test_the_file_is_up_to_date() -> None:
    message = "run: python -m deploy.grafana.dashboard"
    assert dashboard.FILE.read_text(encoding="utf-8") == dashboard.rendered(), message


def test_the_rows_are_the_ones_promised() -> None:
    rows = [panel["title"] for panel in DOCUMENT["panels"] if panel["type"] == "row"]
    assert rows == [
        "Overview", "Queues", "Quotas and guarantees", "Prices", "Side constraints", "Capacity by flavor", "Rounds",
        "Intake, push and API",
    ]  # fmt: skip


def test_identities_are_unique() -> None:
    identities = [panel["id"] for panel in DOCUMENT["panels"]]
    assert len(set(identities)) == len(identities)


def test_panels_stay_on_the_page_and_do_not_overlap() -> None:
    boxes = [panel["gridPos"] for panel in DOCUMENT["panels"]]
    for box in boxes:
        assert 0 <= box["x"] <= box["x"] + box["w"] <= 24
    for one, other in combinations(boxes, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_is_explained_and_asks_the_chosen_data_source(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["targets"]
    for target in panel["targets"]:
        assert 'job="$job"' in target["expr"], "several clusters must not be mixed"


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    asked = set(re.findall(r"\ballocator_\w+", shown))
    missing = {
        family.name for family in FAMILIES if not any(name.removesuffix("_bucket") == family.name for name in asked)
    }
    missing -= {family.name for family in FAMILIES if f"{family.name}_sum" in asked}
    # Losses of the others can be looked up; CPU and GPU are what people pay for.
    optional = {names.LOST[resource].name for resource in ("memory", "bandwidth", "disk", names.EXTRA)}
    assert missing == optional


def test_variables_offer_what_the_queries_use() -> None:
    offered = {variable["name"] for variable in DOCUMENT["templating"]["list"]}
    used = {
        name
        for panel in PANELS
        for target in panel["targets"]
        for name in re.findall(r"\$(\w+)", target["expr"])
        if not name.startswith("__")
    }
    assert used | {"datasource"} == offered


def test_grafana_is_told_where_the_dashboard_and_prometheus_are() -> None:
    compose = yaml.safe_load((_DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    provisioning = _DEPLOY / "grafana" / "provisioning"
    providers = yaml.safe_load((provisioning / "dashboards" / "allocator.yml").read_text(encoding="utf-8"))
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))
    folder = providers["providers"][0]["options"]["path"]
    mounted = [volume for volume in compose["services"]["grafana"]["volumes"] if "allocator.json" in volume]
    assert mounted == [f"./grafana/allocator.json:{folder}/allocator.json:ro"]
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"


def test_checking_a_generated_file_and_making_it_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "made.json"
    assert generated.run("deploy.made", file, "new\n", ["--check"]) == 1
    assert "python -m deploy.made" in capsys.readouterr().err
    assert generated.run("deploy.made", file, "new\n", []) == 0
    assert generated.run("deploy.made", file, "new\n", ["--check"]) == 0
    assert generated.run("deploy.made", file, "newer\n", ["--check"]) == 1
    assert generated.run("deploy.made", file, "new\n", ["--chekc"]) == 2
