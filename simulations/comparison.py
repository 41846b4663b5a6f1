"""Two replays of one workload side by side: what another policy changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from allocator.domain.errors import InvalidInput
from simulations.output import SUMMARY_FILE
from simulations.traces.errors import TraceError

Figures = dict[str, dict[str, float | None]]
"""By name of the figure: `before`, `after`, and `ratio`, after / before; None where there is no value."""

FIGURES: Mapping[str, tuple[str, ...]] = {
    "preemptions per job": ("preemptions", "per_job"),
    "jobs stopped": ("preemptions", "stopped"),
    "jobs moved": ("preemptions", "moved"),
    "jobs moved to make room": ("preemptions", "moved_by_reason", "consolidated"),
    "restart seconds": ("preemptions", "restart_job_seconds"),
    "fairness error": ("fairness", "fairness_error"),
    "fairness error of means": ("fairness", "fairness_error_of_means"),
    "Jain index": ("fairness", "jain_index"),
    "rounding loss, mean of rounds": ("rounds", "rounding_loss_mean"),
    "rounding loss, time averages": ("service", "rounding_loss"),
    "shortfall, time averages": ("service", "shortfall"),
    "lag p95 (s)": ("service", "lag_s", "p95"),
    "lag max (s)": ("service", "lag_s", "max"),
    "behind p95 (s)": ("service", "behind_s", "p95"),
    "behind max (s)": ("service", "behind_s", "max"),
    "long-lived jobs": ("service", "long_lived", "jobs"),
    "of them within 2 %": ("service", "long_lived", "close"),
    "of them not 2 % behind": ("service", "long_lived", "not_behind"),
    "largest difference": ("service", "long_lived", "largest_difference"),
    "largest shortfall": ("service", "long_lived", "largest_shortfall"),
    "wait mean (s)": ("jobs", "wait_s", "mean"),
    "wait p95 (s)": ("jobs", "wait_s", "p95"),
    "slowdown mean": ("jobs", "slowdown", "mean"),
    "slowdown p95": ("jobs", "slowdown", "p95"),
    "GPUs in use while jobs arrive": ("utilization", "while_jobs_arrive", "gpu"),
    "bandwidth in use while jobs arrive": ("utilization", "while_jobs_arrive", "bandwidth"),
}
"""Where each figure stands in a summary."""
SAME_WORKLOAD = ("name", "nodes", "jobs", "start_s")


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary in a folder of results. Raises TraceError."""
    file = folder / SUMMARY_FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TraceError(file, f"cannot be read: {error.strerror}; name a folder of results") from None
    except ValueError as error:
        raise TraceError(file, f"is no summary: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("workload"), dict):
        raise TraceError(file, "is no summary of a replay: it says nothing of a workload")
    return found


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Figures:
    """Every figure that either has. Raises InvalidInput if they are not about the same workload."""
    for key in SAME_WORKLOAD:
        one, other = before["workload"].get(key), after["workload"].get(key)
        if one != other:
            raise InvalidInput.of(f"workload.{key}", f"must be the same in both; got {one!r} and {other!r}")
    figures: Figures = {}
    for name, path in FIGURES.items():
        one, other = _found(before, path), _found(after, path)
        if one is not None or other is not None:
            ratio = other / one if one and other is not None else None
            figures[name] = {"before": one, "after": other, "ratio": ratio}
    return figures


def _found(summary: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = summary
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, int | float) else None
