"""config, db and serve: the commands of the daemon's side."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from allocator.__main__ import app
from allocator.client import Client, Queue


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner(env={"ALLOCATOR_CONFIG": None}).invoke(app, list(args))
    return result.exit_code, result.stdout, result.stderr


def test_what_show_prints_is_a_configuration_that_means_the_same(tmp_path: Path) -> None:
    code, shown, _ = run("config", "show", "--set", "server.port=1234", "--set", "policy.fairness=2")
    assert code == 0
    assert (tomllib.loads(shown)["server"]["port"], tomllib.loads(shown)["policy"]["fairness"]) == (1234, 2.0)
    path = tmp_path / "allocator.toml"
    path.write_text(shown)
    assert run("config", "show", "-c", str(path))[1] == shown
    assert run("config", "check", "-c", str(path)) == (0, "the configuration is valid\n", "")
    assert json.loads(run("config", "show", "-c", str(path), "--json")[1]) == tomllib.loads(shown)


def test_every_fault_of_a_configuration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "allocator.toml"
    path.write_text('[server]\nport = "many"\n[rounds]\ninterval_seconds = -1\n')
    code, out, err = run("config", "check", "-c", str(path))
    assert (code, out) == (2, "")
    assert "server.port" in err
    assert "rounds.interval_seconds" in err
    path.write_text("[server\n")
    assert "is not valid TOML" in run("config", "check", "-c", str(path))[2]


@pytest.mark.parametrize(
    "args",
    [
        ("config", "check", "--json", "--set", "server.port=x"),
        ("config", "check", "--set", "server.port=x", "--json"),
        ("config", "show", "--json", "--set", "port"),
        ("db", "current", "--json", "--url", "mysql://"),
        ("db", "upgrade", "--url", "mysql://", "--json"),
        ("--json", "config", "check", "--set", "server.port=x"),
    ],
)
def test_a_refusal_is_told_as_json_when_json_is_asked_for(args: tuple[str, ...]) -> None:
    code, out, err = run(*args)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert json.loads(err)["error"]["kind"] == "InvalidInput"
    assert json.loads(err)["error"]["violations"]
    assert run("config", "check", "--set", "server.port=x")[2].startswith("error: "), "one command's --json is its own"


def test_json_may_be_asked_for_before_the_command() -> None:
    assert json.loads(run("--json", "config", "check")[1]) == {"valid": True}


def test_a_database_is_made_and_looked_at(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'facts.db'}"
    assert "holds no schema" in run("db", "current", "--url", url)[1]
    upgraded = json.loads(run("db", "upgrade", "--url", url, "--json")[1])
    assert json.loads(run("db", "current", "--url", url, "--json")[1]) == {
        "version": upgraded["version"],
        "needed": upgraded["version"],
    }
    assert run("db", "current", "--url", "sqlite:////does/not/exist/facts.db")[0] == 5
    code, _, err = run("db", "current", "--url", "nonsense")
    assert code == 2
    assert err.startswith("error: ")


@pytest.mark.system
def test_serve_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    daemon = subprocess.Popen(
        [
            *(sys.executable, "-m", "allocator", "serve", "--port", "0", "--metrics-port", "0"),
            *("--store", f"sqlite:///{tmp_path / 'facts.db'}", "--interval", "0.1", "--set", "log.format=json"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert daemon.stderr is not None
        serving = next(entry for line in daemon.stderr if (entry := json.loads(line))["event"] == "serving")
        with Client(serving["api"]) as client:
            client.create_queue(Queue("q"))
            next(client.watch_rounds())
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=30)
        assert daemon.returncode == 0
    finally:
        daemon.kill()
        daemon.communicate()
