"""Prometheus' configuration and rules, judged by promtool: valid, and every alert fires when it should, only then."""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from allocator.daemon.config import Settings
from allocator.metrics import Metrics
from allocator.rounds.report import FlavorUsage
from tests.deploy.prometheus import CONFIGURATION, program
from tests.metrics.cases import job, report, started, usage

pytestmark = pytest.mark.system


def _promtool(*arguments: str, stdin: bytes = b"", directory: Path = CONFIGURATION) -> tuple[int, str]:
    done = subprocess.run(
        [program("promtool"), *arguments], input=stdin, capture_output=True, cwd=directory, check=False, timeout=60
    )
    return done.returncode, (done.stdout + done.stderr).decode()


def _alerts() -> set[str]:
    rules = yaml.safe_load((CONFIGURATION / "alerting-rules.yml").read_text(encoding="utf-8"))
    return {rule["alert"] for group in rules["groups"] for rule in group["rules"]}


def test_the_configuration_is_valid() -> None:
    code, output = _promtool("check", "config", "prometheus.yml")
    assert code == 0, output
    assert "WARNING" not in output


def test_alerts_fire_when_they_should_and_not_otherwise() -> None:
    code, output = _promtool("test", "rules", "rules-test.yml")
    assert code == 0, output


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = yaml.safe_load((CONFIGURATION / "rules-test.yml").read_text(encoding="utf-8"))["tests"]
    fires: dict[bool, set[str]] = defaultdict(set)
    for case in cases:
        for check in case.get("alert_rule_test", ()):
            fires[bool(check["exp_alerts"])].add(check["alertname"])
    assert fires[True] == _alerts()
    assert fires[False] == _alerts()


def test_every_alert_says_how_urgent_it_is_and_what_to_do() -> None:
    rules = yaml.safe_load((CONFIGURATION / "alerting-rules.yml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"page", "ticket"}
            assert set(rule["annotations"]) == {"summary", "description"}


def test_a_broken_rule_would_be_noticed(tmp_path: Path) -> None:
    for file in CONFIGURATION.glob("*.yml"):
        shutil.copy(file, tmp_path)
    rules = tmp_path / "alerting-rules.yml"
    text = rules.read_text(encoding="utf-8")
    rules.write_text(text.replace("allocator_gap_ratio > 0.01", "allocator_gap_ratio > 0.5"), encoding="utf-8")
    code, output = _promtool("test", "rules", "rules-test.yml", directory=tmp_path)
    assert code != 0
    assert "AllocatorGapHigh" in output


def test_the_default_target_is_the_default_port_of_the_daemon() -> None:
    (group,) = yaml.safe_load((CONFIGURATION / "targets.yml").read_text(encoding="utf-8"))
    assert group["targets"] == [f"localhost:{Settings.model_construct().metrics.port}"]


def test_promtool_has_nothing_to_say_about_the_metrics() -> None:
    metrics = Metrics(version="1", round_interval=2.0)
    resources = ("cpu", "gpu", "memory", "bandwidth", "disk", "licence")
    fresh = job("j1", 1)
    metrics.observe(
        report(
            flavors=[FlavorUsage("a100", resource, 1000, 1000, 500, 0.1) for resource in resources],
            queues=[usage("research", pending=1)],
            jobs=[fresh],
            applied=[started(fresh)],
        )
    )
    metrics.rpc_request("a.B/C", "OK", 0.1)
    metrics.observe_store_batch(3, 0.01)
    assert _promtool("check", "metrics", stdin=generate_latest(metrics.registry)) == (0, "")
