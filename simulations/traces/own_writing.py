"""Writes any workload in the project's own tables (`SCHEMA.md`), so that reading them gives the same workload."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from allocator.domain.cluster import EngineCapability, Labels, Node
from allocator.domain.constraints import UNCONSTRAINED
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import FIELD_BY_RESOURCE, Resources, display_unit
from allocator.wire.constraints import constraints_to_json
from simulations.output import require_pyarrow
from simulations.traces.own_schema import ABOUT_FILE, NEEDED, TABLES, Field
from simulations.traces.own_values import COLUMN_OF_RESOURCE
from simulations.workload import Arrival, Workload

PARQUET, CSV = "parquet", "csv"
KINDS = (PARQUET, CSV)
_LABELS = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
Value = str | float | int | bool | None


def write(workload: Workload, folder: Path, kind: str = PARQUET) -> tuple[Path, ...]:
    """The files, in `folder`, which is made if need be. Columns in which every value is the default are left out.

    Raises OSError, and MissingExtra for Parquet without pyarrow.
    """
    if kind == PARQUET:
        require_pyarrow()
    folder.mkdir(parents=True, exist_ok=True)
    shapes = _Shapes()
    jobs = _names(workload.arrivals)
    tables: dict[str, dict[str, list[Value]]] = {
        "nodes": _columns("nodes", workload.nodes, _NODE),
        "queues": _columns("queues", workload.queues, _QUEUE),
        "jobs": _columns("jobs", list(zip(jobs, workload.arrivals, strict=True)), _job(shapes)),
        "shapes": _columns("shapes", list(shapes.rows()), _SHAPE),
    }
    written = []
    for name, columns in tables.items():
        file = folder / f"{name}.{kind}"
        fields = {field.name: field for field in TABLES[name][0]}
        if kind == PARQUET:
            _write_parquet(file, columns, fields)
        else:
            _write_csv(file, columns)
        written.append(file)
    about = {
        "name": workload.name,
        "start_s": workload.start,
        "notes": list(workload.notes),
        "dropped": dict(workload.dropped),
    }
    (folder / ABOUT_FILE).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return (*written, folder / ABOUT_FILE)


def _names(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """The jobs' names; where one is empty or was there before, with its place among all."""
    seen: set[str] = set()
    for index, arrival in enumerate(arrivals):
        name = arrival.spec.name
        if not name or name in seen:
            name = f"{name}@{index}"
        seen.add(name)
        yield name


def _in_units(resource: str, amount: int) -> float:
    return amount / display_unit(resource)[1]


def _amounts(demand: Callable[[Any], Resources]) -> dict[str, Callable[[Any], Value]]:
    def column(resource: str) -> Callable[[Any], Value]:
        return lambda member: _in_units(resource, getattr(demand(member), FIELD_BY_RESOURCE[resource]))

    found: dict[str, Callable[[Any], Value]] = {name: column(resource) for resource, name in COLUMN_OF_RESOURCE.items()}
    found["extra"] = lambda member: _LABELS(dict(demand(member).extra))
    return found


def _pairs(labels: Labels) -> str:
    return _LABELS(dict(labels)) if labels else "{}"


def _capabilities(able: frozenset[EngineCapability] | None) -> str | None:
    return None if able is None else json.dumps(sorted(each.value for each in able))


def _quotas(quotas: Iterable[Quota]) -> str:
    entries = []
    for quota in quotas:
        entry: dict[str, Any] = {"flavor": quota.flavor, "resource": quota.resource}
        for name in ("nominal", "borrowing_limit", "lending_limit"):
            amount = getattr(quota, name)
            if amount is not None:
                entry[name] = _in_units(quota.resource, amount)
        entries.append(entry)
    return json.dumps(entries)


_NODE: Mapping[str, Callable[[Node], Value]] = {
    "node": lambda node: node.name,
    "flavor": lambda node: node.flavor,
    **_amounts(lambda node: node.capacity),
    "labels": lambda node: _pairs(node.labels),
    "taints": lambda node: _pairs(node.taints),
    "capabilities": lambda node: _capabilities(node.capabilities),
}
_QUEUE: Mapping[str, Callable[[Queue], Value]] = {
    "queue": lambda queue: queue.name,
    "weight": lambda queue: queue.weight,
    "priority": lambda queue: queue.priority,
    "discipline": lambda queue: queue.discipline.value,
    "max_live_jobs": lambda queue: queue.max_live_jobs,
    "cordoned": lambda queue: queue.cordoned,
    "quotas": lambda queue: _quotas(queue.quotas),
}
_SHAPE: Mapping[str, Callable[[tuple[str, Configuration]], Value]] = {
    "shape": lambda row: row[0],
    "flavor": lambda row: row[1].flavor,
    "replicas": lambda row: row[1].replicas,
    **_amounts(lambda row: row[1].demand),
    "throughput": lambda row: row[1].throughput,
    "declared": lambda row: row[1].declared,
}


def _job(shapes: _Shapes) -> Mapping[str, Callable[[tuple[str, Arrival]], Value]]:
    def of(read: Callable[[JobSpec], Value]) -> Callable[[tuple[str, Arrival]], Value]:
        return lambda row: read(row[1].spec)

    return {
        "job": lambda row: row[0],
        "submit_s": lambda row: row[1].time,
        "run_s": lambda row: row[1].duration,
        "queue": of(lambda spec: spec.queue),
        "expected_s": of(lambda spec: spec.expected_duration_seconds),
        "shape": of(lambda spec: shapes.name(spec.configurations)),
        "weight": of(lambda spec: spec.weight),
        "priority_class": of(lambda spec: spec.priority_class),
        "preemptible": of(lambda spec: spec.preemptible),
        "restart_cost_s": of(lambda spec: spec.restart_cost_seconds),
        "resizable": of(lambda spec: spec.resizable),
        "divisible": of(lambda spec: spec.divisible),
        "job_class": of(lambda spec: spec.job_class),
        "deadline_s": of(lambda spec: spec.deadline),
        "minimum_throughput": of(lambda spec: spec.minimum_throughput),
        "labels": of(lambda spec: _pairs(spec.labels)),
        "constraints": of(_constraints),
        "true_speed": lambda row: _LABELS(dict(row[1].true_speed)) if row[1].true_speed else "{}",
    }


def _constraints(spec: JobSpec) -> str:
    return "{}" if spec.constraints is UNCONSTRAINED else constraints_to_json(spec.constraints)


class _Shapes:
    """Names for ways to run; equal ones have the same."""

    def __init__(self) -> None:
        self._names: dict[tuple[Configuration, ...], str] = {}
        self._seen: dict[int, str] = {}

    def name(self, ways: tuple[Configuration, ...]) -> str:
        """Of ways that something keeps alive."""
        name = self._seen.get(id(ways))
        if name is None:
            name = self._seen[id(ways)] = self._names.setdefault(ways, f"s{len(self._names) + 1}")
        return name

    def rows(self) -> Iterator[tuple[str, Configuration]]:
        for ways, name in self._names.items():
            yield from ((name, way) for way in ways)


_DEFAULTS: Mapping[str, Value] = {"{}": "{}", "[]": "[]", "true": True, "false": False, "0": 0, "1": 1}


def _columns(
    table: str, members: Sequence[Any], readers: Mapping[str, Callable[[Any], Value]]
) -> dict[str, list[Value]]:
    """Whole columns, without those that say nothing. What a restart costs is always told: its default is an option."""
    found: dict[str, list[Value]] = {}
    for field in TABLES[table][0]:
        if field.name in readers:
            values = [readers[field.name](member) for member in members]
            if field.default is NEEDED or field.name == "restart_cost_s" or not _says_nothing(field, values):
                found[field.name] = values
    return found


def _says_nothing(field: Field, values: list[Value]) -> bool:
    default = _DEFAULTS.get(field.default or "", field.default)
    return all(value is None or value == default for value in values)


def _write_csv(file: Path, columns: dict[str, list[Value]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            table.writerow([_plain(value) for value in row])


def _plain(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def _write_parquet(file: Path, columns: dict[str, list[Value]], fields: Mapping[str, Field]) -> None:
    import pyarrow as pa  # noqa: PLC0415 - see require_pyarrow
    import pyarrow.parquet as pq  # noqa: PLC0415

    kinds: dict[str, Any] = {"number": pa.float64(), "integer": pa.int64(), "truth": pa.bool_()}
    schema, arrays = [], []
    for name, values in columns.items():
        field = fields[name]
        stored = pa.array(values, kinds.get(field.kind, pa.string()))
        arrays.append(stored)
        schema.append(pa.field(name, stored.type, metadata={"unit": field.unit, "meaning": field.meaning}))
    table = pa.Table.from_arrays(arrays, schema=pa.schema(schema))
    pq.write_table(table, file, compression="zstd", use_dictionary=True, row_group_size=1 << 17)
