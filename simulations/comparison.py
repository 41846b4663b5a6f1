"""Replays of one workload side by side: what another policy, or another scheduler, changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from allocator.domain.errors import InvalidInput
from simulations.output import SUMMARY_FILE
from simulations.report.figures import Figure, known
from simulations.traces.errors import TraceError

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


class Compared:
    """Every figure that any of the replays has, one value for each; None where there is none."""

    def __init__(self, names: Sequence[str], summaries: Sequence[Mapping[str, Any]]) -> None:
        """Raises InvalidInput if they are not all about the same workload."""
        require_same_workload(summaries)
        self.names = tuple(names)
        self.rows: tuple[tuple[Figure, tuple[float | None, ...]], ...] = tuple(
            (figure, tuple(figure.of(summary) for summary in summaries)) for figure in known(summaries)
        )

    def ratios(self, values: Sequence[float | None]) -> tuple[float | None, ...]:
        """Each over the first; None where there is no value, or the first is 0."""
        first = values[0]
        return tuple(value / first if first and value is not None else None for value in values)

    def document(self) -> dict[str, Any]:
        """For JSON: by figure its unit, which way is better, values and ratios to the first, in order of `replays`."""
        return {
            "replays": list(self.names),
            "figures": {
                figure.name: {
                    "unit": figure.unit.value,
                    "better": figure.better.value,
                    "values": list(values),
                    "ratios": list(self.ratios(values)),
                }
                for figure, values in self.rows
            },
        }

    def lines(self) -> list[list[str]]:
        """For CSV: a head, then a row per figure; empty where there is no value. Numbers in full."""
        rows = [["figure", "unit", "better", *self.names]]
        for figure, values in self.rows:
            numbers = ("" if value is None else repr(value) for value in values)
            rows.append([figure.name, figure.unit.value, figure.better.value, *numbers])
        return rows


def require_same_workload(summaries: Sequence[Mapping[str, Any]]) -> None:
    """Raise InvalidInput unless all are about the same workload."""
    for summary in summaries[1:]:
        for key in SAME_WORKLOAD:
            one, other = summaries[0]["workload"].get(key), summary["workload"].get(key)
            if one != other:
                raise InvalidInput.of(f"workload.{key}", f"must be the same in both; got {one!r} and {other!r}")
