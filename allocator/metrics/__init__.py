"""Prometheus: what the daemon exports, and the port it exports it on. The names are in `allocator.metrics.names`."""

from allocator.metrics.collector import OK, Metrics, NodeSource, PushSource, StreamCounts
from allocator.metrics.kinds import command_kind, error_code
from allocator.metrics.server import MetricsServer

__all__ = [
    "OK",
    "Metrics",
    "MetricsServer",
    "NodeSource",
    "PushSource",
    "StreamCounts",
    "command_kind",
    "error_code",
]
