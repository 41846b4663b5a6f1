"""Where settings come from, which wins, and what a wrong one is told."""

from __future__ import annotations

import math
import os
from dataclasses import fields
from pathlib import Path

import pytest

from allocator.daemon.config import PolicySection, load, show
from allocator.domain.errors import InvalidInput
from allocator.domain.policy import Policy


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:

    for name in list(os.environ):
        if name.startswith("ALLOCATOR_") and name not in ("ALLOCATOR_TRACES", "ALLOCATOR_CASES"):
            monkeypatch.delenv(name)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "allocator.toml"
    path.write_text(text)
    return path


def test_flags_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "[server]\nport = 1\nhost = '::1'\n[metrics]\nport = 2\n[rounds]\ninterval_seconds = 7\n")
    monkeypatch.setenv("ALLOCATOR_SERVER__PORT", "3")
    monkeypatch.setenv("ALLOCATOR_METRICS__PORT", "4")
    settings = load(path, {"server.port": 5, "store.url": None})
    assert settings.server.port == 5
    assert settings.metrics.port == 4
    assert settings.server.host == "::1"
    assert settings.rounds.interval_seconds == 7
    assert settings.store.url == "sqlite:///allocator.db"


def test_file_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATOR_CONFIG", str(written(tmp_path, "[server]\nport = 1234\n")))
    assert load().server.port == 1234


def test_variables_of_others_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATOR_ADDRESS", "127.0.0.1:1")
    assert load() == load(None, {})


def test_shown_settings_load_to_the_same(tmp_path: Path) -> None:
    settings = load(None, {"policy.fairness": 2.0, "store.url": 'sqlite:///odd "name".db'})
    assert load(written(tmp_path, show(settings))) == settings


def test_max_min_is_written_inf_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_file = load(written(tmp_path, "[policy]\nfairness = inf\n"))
    assert from_file.policy.policy() == Policy(fairness=math.inf)
    assert "\nfairness = inf\n" in show(from_file)
    assert load(written(tmp_path, show(from_file))) == from_file
    monkeypatch.setenv("ALLOCATOR_POLICY__FAIRNESS", "inf")
    assert load() == from_file


def test_passwords_are_shown_only_when_asked(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    settings = load(None, {"store.url": "postgresql://user:secret@host/db"})
    assert "secret" not in show(settings)
    assert load(written(tmp_path, show(settings, secrets=True))) == settings


def test_defaults_are_the_domains() -> None:
    assert load().policy.policy() == Policy()
    only_in_files = {"side_constraints", "floating_resources", "priority_classes"}
    said_otherwise = {"utility"}  # in fairness
    assert set(PolicySection.model_fields) == {field.name for field in fields(Policy)} - only_in_files - said_otherwise


@pytest.mark.parametrize(
    ("name", "fairness", "utility"), [("min-delay", 2.0, "throughput"), ("drf", math.inf, "dominant-share")]
)
def test_an_objective_has_a_name_or_is_an_alpha(name: str, fairness: float, utility: str, tmp_path: Path) -> None:
    settings = load(written(tmp_path, f'[policy]\nfairness = "{name}"\n'))
    assert settings.policy.policy() == Policy(fairness=fairness, utility=utility)
    assert f'\nfairness = "{name}"\n' in show(settings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server]\nport = 'x'", "server.port: input should be a valid integer"),
        ("[server]\nport = 70000", "server.port: input should be less than or equal to 65535, got 70000"),
        ("[server]\nprot = 1", "server.prot: is not a setting"),
        ("[sever]\nport = 1", "sever: is not a setting"),
        ("[policy]\nfairness = nan", "policy.fairness: must be a number, at least 0, or inf; got nan"),
        (
            '[policy]\nfairness = "drff"',
            "policy.fairness: must be one of proportional, throughput, min-delay, max-min, drf",
        ),
        ("[policy]\nfairness = -inf", "policy.fairness: must be a number, at least 0, or inf; got -inf"),
        ("[policy]\ngap = inf", "policy.gap: input should be less than 1"),
        ("[policy]\nlag_tolerance = 1", "policy.lag_tolerance: input should be less than 1"),
        ("[policy]\nusage_strength = 9", "policy.usage_strength: input should be less than or equal to 8"),
        ("[policy]\naging_seconds = 0", "policy.aging_seconds: input should be greater than 0"),
        ("[policy]\naging_seconds = nan", "policy.aging_seconds: input should be greater than 0"),
        (
            '[policy]\nweighting = "las"',
            "policy.weighting: input should be 'none', 'least-attained-service', 'shortest-remaining' or",
        ),
        ("[rounds]\ninterval_seconds = 0", "rounds.interval_seconds: input should be greater than 0"),
        ("[server]\nhost = ''", "server.host: string should have at least 1 character"),
        ("[rounds]\ninterval_seconds = true", "rounds.interval_seconds: must not be true or false"),
        ("[store]\nurl = 'mysql://x'", "store.url: must be"),
        ("[nodes]\nheartbeat_interval_seconds = 30", "must be at least twice heartbeat_interval_seconds (30)"),
        ("[policy]\nhysteresis_seconds = 9000", "hysteresis_seconds: must be at most credit_limit_seconds"),
        ("server = 3", "server: input should be a valid dictionary"),
        ("[server\n", "is not valid TOML"),
    ],
)
def test_names_what_is_wrong_and_where(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InvalidInput) as caught:
        load(path)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)


def test_wrong_variable_and_flag_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATOR_METRICS__PORT", "many")
    with pytest.raises(InvalidInput) as caught:
        load(None, {"rounds.interval_seconds": -1})
    assert "in the environment, ALLOCATOR_METRICS__PORT" in str(caught.value)
    assert "rounds.interval_seconds: input should be greater than 0, got -1 (given as a flag)" in str(caught.value)


@pytest.mark.parametrize("name", ["ALLOCATOR_SERVRE__PORT", "ALLOCATOR_SERVER__PROT"])
def test_misspelt_variables_are_told(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(InvalidInput, match=f"{name}: is not a setting"):
        load()


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is a directory"):
        load(tmp_path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        load(tmp_path / "nowhere.toml")
