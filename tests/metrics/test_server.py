"""The port that Prometheus scrapes."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest

from allocator.domain.errors import FailedPrecondition
from allocator.metrics import Metrics, MetricsServer


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    with MetricsServer(Metrics(version="1", round_interval=2.0).registry) as running:
        yield running


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        body: bytes = answer.read()
    return body.decode()


def test_a_free_port_is_found_and_answers(server: MetricsServer) -> None:
    assert server.port > 0
    assert str(server.port) in server.url
    text = _get(server.url)
    assert "# TYPE allocator_rounds_total counter" in text
    assert "process_cpu_seconds_total" in text


def test_a_scrape_can_ask_for_some_metrics_only(server: MetricsServer) -> None:
    text = _get(server.url + "?name[]=allocator_rounds_total")
    assert {line.split("{")[0] for line in text.splitlines() if not line.startswith("#")} == {"allocator_rounds_total"}


def test_a_taken_port_says_so_and_what_to_do(server: MetricsServer) -> None:
    second = MetricsServer(Metrics(version="1", round_interval=2.0).registry, port=server.port)
    with pytest.raises(FailedPrecondition, match=rf"127\.0\.0\.1 port {server.port}.*metrics\.port"):
        second.start()


def test_an_address_of_somebody_else_says_so() -> None:
    with pytest.raises(FailedPrecondition, match=r"cannot listen on 192\.0\.2\.1"):
        MetricsServer(Metrics(version="1", round_interval=2.0).registry, host="192.0.2.1").start()


def test_it_cannot_be_started_twice(server: MetricsServer) -> None:
    with pytest.raises(FailedPrecondition, match="already served"):
        server.start()


def test_a_stopped_server_frees_its_port_and_starts_again() -> None:
    server = MetricsServer(Metrics(version="1", round_interval=2.0).registry)
    server.start()
    port = server.port
    server.stop()
    server.stop()
    with MetricsServer(Metrics(version="1", round_interval=2.0).registry, port=port) as again:
        assert again.port == port
