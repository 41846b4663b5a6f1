"""A real Prometheus on a loopback port and a directory of its own."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import yaml

from tests.ports import free_port

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "prometheus"
_POLL_SECONDS = 0.1


def program(name: str) -> str:
    """The path of an installed program; the test is skipped, saying so, without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (tests/install-system-packages installs it): NOT TESTED")
    return found


def eventually(what: str, holds: Callable[[], bool], seconds: float = 90.0) -> None:
    """Return as soon as `holds()`; fail naming `what` if it never does."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(_POLL_SECONDS)


class Prometheus:
    """Runs with the project's configuration, only faster, against one target."""

    def __init__(self, directory: Path, target: str) -> None:
        self._directory = directory
        self._configure(target)
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def _configure(self, target: str) -> None:
        for file in CONFIGURATION.glob("*-rules.yml"):
            shutil.copy(file, self._directory)
        settings = yaml.safe_load((CONFIGURATION / "prometheus.yml").read_text(encoding="utf-8"))
        settings["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
        (self._directory / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        (self._directory / "targets.yml").write_text(yaml.safe_dump([{"targets": [target]}]), encoding="utf-8")

    def __enter__(self) -> Self:
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={self._directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            eventually("Prometheus is ready", self._is_ready)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"Prometheus ended: {(self._directory / 'log').read_text(encoding='utf-8')}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    def _ask(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}?{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{parameters}: {error.read().decode()}")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Samples of an instant query. Fails the test if Prometheus does not understand it."""
        found: list[dict[str, Any]] = self._ask("/api/v1/query", query=expression)["result"]
        return found

    def has_data(self, expression: str) -> bool:
        """Whether at least one sample is there and a number."""
        return any(math.isfinite(float(sample["value"][1])) for sample in self.query(expression))

    def rules(self) -> list[dict[str, Any]]:
        """Every rule that is loaded, with its health and last error."""
        return [rule for group in self._ask("/api/v1/rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes, with health and last error."""
        found: list[dict[str, Any]] = self._ask("/api/v1/targets")["activeTargets"]
        return found
