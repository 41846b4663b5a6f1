"""Every panel of the dashboard and every rule finds data in a real Prometheus that scrapes a living cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml

from allocator.metrics.names import FAMILIES, Kind
from deploy.grafana.dashboard import document
from tests.deploy.cluster import LivingCluster
from tests.deploy.prometheus import CONFIGURATION, Prometheus, eventually, program

pytestmark = pytest.mark.system

_VARIABLES = {"$job": "allocator", "$queue": ".*", "$flavor": ".*", "$__rate_interval": "10s"}


def _panels() -> Iterator[tuple[str, str]]:
    """(panel and query, PromQL) as Grafana would send it with everything selected."""
    row = ""
    for panel in document()["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
            continue
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in _VARIABLES.items():
                expression = expression.replace(name, value)
            yield f"{row}: {panel['title']} {target['refId']}", expression


def _rules(kind: str) -> Iterator[tuple[str, str]]:
    for file in sorted(CONFIGURATION.glob("*-rules.yml")):
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                if kind in rule:
                    yield rule[kind], rule["expr"]


PANELS = dict(_panels())
RECORDED = list(_rules("record"))
ALERTS = dict(_rules("alert"))


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    program("prometheus")
    with LivingCluster(tmp_path_factory.mktemp("allocator")) as cluster:
        target = f"127.0.0.1:{cluster.metrics_port}"
        with Prometheus(tmp_path_factory.mktemp("prometheus"), target) as running:
            eventually("the first scrape", lambda: running.has_data("up == 1"))
            yield running


@pytest.mark.parametrize("panel", PANELS)
def test_every_query_of_every_panel_finds_data(prometheus: Prometheus, panel: str) -> None:
    assert "$" not in PANELS[panel], "a variable that the test does not know"
    eventually(f"{panel} has data: {PANELS[panel]}", lambda: prometheus.has_data(PANELS[panel]))


@pytest.mark.parametrize(("name", "expression"), RECORDED)
def test_every_recording_rule_finds_data(prometheus: Prometheus, name: str, expression: str) -> None:
    eventually(f"{expression} has data", lambda: prometheus.has_data(expression))
    eventually(f"{name} is recorded", lambda: prometheus.has_data(name))


@pytest.mark.parametrize("alert", ALERTS)
def test_everything_that_an_alert_looks_at_is_there(prometheus: Prometheus, alert: str) -> None:
    prometheus.query(ALERTS[alert])
    looked_at = re.findall(r"\b(?:\w+:)?allocator[\w:]*|\bup\b", ALERTS[alert])
    assert looked_at
    for name in looked_at:
        if name != "allocator":  # the scrape job's name
            eventually(f"{name}, which {alert} looks at", lambda name=name: prometheus.has_data(name))  # type: ignore[misc]


def test_every_rule_is_loaded_and_healthy(prometheus: Prometheus) -> None:
    expected = {name for name, _ in RECORDED} | set(ALERTS)

    def healthy() -> bool:
        return {rule["name"] for rule in prometheus.rules() if rule["health"] == "ok"} == expected

    eventually("every rule was evaluated without error", healthy)


def test_every_metric_of_the_table_is_scraped_and_no_other(prometheus: Prometheus) -> None:
    expected = set()
    for family in FAMILIES:
        suffixes = ("_bucket", "_sum", "_count") if family.kind is Kind.HISTOGRAM else ("",)
        expected |= {family.name + suffix for suffix in suffixes}

    def scraped() -> set[str]:
        samples = prometheus.query('{__name__=~"allocator_.*"}')
        return {sample["metric"]["__name__"] for sample in samples}

    eventually("every metric is there", lambda: scraped() >= expected)
    assert scraped() <= expected


def test_what_is_scraped_adds_up(prometheus: Prometheus) -> None:
    shared_out = " + ".join(f"sum(allocator_{part}price_budget_ratio)" for part in ("", "side_constraint_", "pieces_"))
    eventually(
        "with more work than room, proportional fairness spends every budget: prices x what there is are all of it",
        lambda: any(abs(float(sample["value"][1]) - 1) < 0.01 for sample in prometheus.query(shared_out)),
    )
    overfull = "allocator_utilization_ratio > 1"
    assert prometheus.query(overfull) == []

    def by_flavor() -> dict[str, str]:
        samples = prometheus.query("sum by (flavor) (allocator_nodes)")
        return {sample["metric"]["flavor"]: sample["value"][1] for sample in samples}

    eventually("nodes by flavor", lambda: by_flavor() == {"a100": "2", "t4": "1"})


def test_the_scrape_itself_is_clean(prometheus: Prometheus) -> None:
    """One that came late on a busy machine is forgiven; the next one is clean."""
    (target,) = prometheus.targets()
    assert target["labels"]["job"] == "allocator"

    def clean() -> bool:
        (now,) = prometheus.targets()
        return (now["health"], now["lastError"]) == ("up", "")

    eventually("a clean scrape", clean)
