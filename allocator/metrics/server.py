"""Serves a registry to Prometheus over HTTP on a port of its own, from a thread of its own."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

from prometheus_client import start_http_server
from prometheus_client.registry import Collector

from allocator.domain.errors import FailedPrecondition


class MetricsServer:
    """GET /metrics on `host`:`port`; port 0 picks a free one, `port` says which once it has started.

    Also a context manager. There is no authentication: bind it to a loopback or an internal address.
    """

    def __init__(self, registry: Collector, host: str = "127.0.0.1", port: int = 0) -> None:
        self._registry, self._host, self._port = registry, host, port
        self._running: tuple[Any, threading.Thread] | None = None

    @property
    def port(self) -> int:
        """The port it listens on; the one asked for while it does not."""
        return self._port if self._running is None else int(self._running[0].server_port)

    @property
    def url(self) -> str:
        """Where to scrape."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/metrics"

    def start(self) -> None:
        """Listen and serve. FailedPrecondition if the address cannot be had, saying why."""
        if self._running is not None:
            raise FailedPrecondition("metrics", f"already served on {self.url}")
        try:
            self._running = start_http_server(self._port, addr=self._host, registry=self._registry)
        except (OSError, OverflowError) as error:
            raise FailedPrecondition(
                "metrics",
                f"cannot listen on {self._host} port {self._port}: {error.__class__.__name__}: {error}; free the port, "
                "or set metrics.host and metrics.port",
            ) from error

    def stop(self) -> None:
        """Stop listening and wait for the thread; nothing happens if it does not run."""
        if self._running is None:
            return
        server, thread = self._running
        self._running = None
        server.shutdown()
        server.server_close()
        thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
