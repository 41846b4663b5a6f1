"""Facts as rows and back, exactly: what is read equals what was written, floats to the last bit. Jobs: `job_mapping`.

A row is a dictionary by column name. Nested parts are compact JSON with names, so that fields can be added later.
Equal texts are read as the same object.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from allocator.domain.applied_policy import AppliedPolicy, PolicyDocument
from allocator.domain.cluster import EngineCapability, Labels, Node, NodeAvailability, NodeHealth
from allocator.domain.errors import StoreUnavailable
from allocator.domain.estimates import Estimate
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Memory, QueueHistory, WorkKind
from allocator.intake.ports import Receipt
from allocator.policyfile import read as read_policy
from allocator.policyfile import written

Row = dict[str, Any]

_compact = json.JSONEncoder(separators=(",", ":"), check_circular=False)
write = _compact.encode
"""JSON without spaces, in ASCII."""
read = json.loads


@lru_cache(maxsize=4096)
def read_labels(text: str) -> Labels:
    """From JSON."""
    return pairs(read(text))


def pairs(parts: Sequence[Sequence[str]]) -> Labels:
    """From lists of two."""
    return tuple((key, value) for key, value in parts)


# --- queues and nodes ---------------------------------------------------------------------------------------------


def queue_row(queue: Queue) -> Row:
    return {
        "name": queue.name,
        "weight": queue.weight,
        "cordoned": queue.cordoned,
        "max_live_jobs": queue.max_live_jobs,
        "priority": queue.priority,
        "quotas": write([_quota_content(quota) for quota in queue.quotas]),
        "discipline": queue.discipline.value,
    }


def queue_from(row: Any) -> Queue:
    """From a row with the columns of `QueueRow` as attributes."""
    return Queue(
        name=row.name,
        weight=row.weight,
        cordoned=row.cordoned,
        max_live_jobs=row.max_live_jobs,
        priority=row.priority,
        quotas=tuple(Quota(**content) for content in read(row.quotas)),
        discipline=Discipline(row.discipline),
    )


def _quota_content(quota: Quota) -> Row:
    """A limit that there is not is left out."""
    limits = {"borrowing_limit": quota.borrowing_limit, "lending_limit": quota.lending_limit}
    stated = {name: limit for name, limit in limits.items() if limit is not None}
    return {"flavor": quota.flavor, "resource": quota.resource, "nominal": quota.nominal, **stated}


def node_row(node: Node) -> Row:
    return {
        "name": node.name,
        "flavor": node.flavor,
        "cpu_millicores": node.capacity.cpu_millicores,
        "gpu_millis": node.capacity.gpu_millis,
        "memory_bytes": node.capacity.memory_bytes,
        "bandwidth_bytes_per_second": node.capacity.bandwidth_bytes_per_second,
        "disk_bytes": node.capacity.disk_bytes,
        "extra": write(node.capacity.extra),
        "labels": write(node.labels),
        "availability": node.availability.value,
        "health": node.health.value,
        "simulated": node.simulated,
        "taints": write(node.taints),
        "capabilities": None if node.capabilities is None else write(sorted(each.value for each in node.capabilities)),
        "trouble": node.trouble or None,
    }


def node_from(row: Any) -> Node:
    """From a row with the columns of `NodeRow` as attributes."""
    capacity = Resources(
        row.cpu_millicores,
        row.gpu_millis,
        row.memory_bytes,
        row.bandwidth_bytes_per_second,
        row.disk_bytes,
        tuple((name, amount) for name, amount in read(row.extra)),
    )
    return Node(
        name=row.name,
        flavor=row.flavor,
        capacity=capacity,
        labels=read_labels(row.labels),
        availability=NodeAvailability(row.availability),
        health=NodeHealth(row.health),
        simulated=row.simulated,
        taints=read_labels(row.taints),
        capabilities=None if row.capabilities is None else frozenset(map(EngineCapability, read(row.capabilities))),
        trouble=row.trouble or "",
    )


# --- policies -----------------------------------------------------------------------------------------------------


def policy_row(applied: AppliedPolicy) -> Row:
    return {
        "version": applied.version,
        "time": applied.time,
        "content": write(written(PolicyDocument(applied.policy))),
        "text": write(applied.text),
        "author": write(applied.author),
        "comment": write(applied.comment),
    }


def policy_from(row: Any) -> AppliedPolicy:
    """From a row with the columns of `PolicyRow` as attributes."""
    reading = read_policy(read(row.content))
    if reading.document is None:
        raise StoreUnavailable(
            f"policy {row.version} of the database cannot be read by this program: {reading.mistakes[0]}"
        )
    policy = reading.document.policy
    return AppliedPolicy(row.version, row.time, policy, read(row.text), read(row.author), read(row.comment))


# --- receipts and memory ------------------------------------------------------------------------------------------


def receipt_row(receipt: Receipt) -> Row:
    return {
        "request_id": write(receipt.request_id),
        "digest": receipt.digest,
        "time": receipt.time,
        "answers": write(receipt.answers),
    }


def receipt_from(row: Any) -> Receipt:
    """From a row with the columns of `ReceiptRow` as attributes."""
    answers = tuple((kind, text) for kind, text in read(row.answers))
    return Receipt(read(row.request_id), row.digest, row.time, answers)


def estimate_name(name: Sequence[object]) -> str:
    """The key of an estimate's row."""
    return write(list(name))


def estimate_row(estimate: Estimate) -> Row:
    return {
        "name": estimate_name(estimate.name),
        "observations": estimate.count,
        "log_mean": estimate.log_mean,
        "log_squares": estimate.log_squares,
        "value": estimate.value,
        "time": estimate.time,
    }


def estimate_from(row: Any) -> Estimate:
    """From a row with the columns of `EstimateRow` as attributes."""
    queue, job_class, flavor, replicas = read(row.name)
    known = (row.observations, row.log_mean, row.log_squares, row.value, row.time)
    return Estimate(queue, job_class, flavor, replicas, *known)


def memory_row(memory: Memory) -> Row:
    """All columns but the key. What there is one of per job is binary: it is written every round."""
    content = {
        "time": memory.time,
        "prices": [(*name, price) for name, price in memory.prices.items()],
        "limit_prices": [(*name, price) for name, price in memory.limit_prices.items()],
        "work": [(kind.flavor, dict(kind.demand.items()), kind.popularity, kind.value) for kind in memory.work],
        "history": [(name, *history) for name, history in memory.history.items()],
    }
    columns = (memory.sequences, memory.credits, memory.pace)
    return {"content": write(content), "credits": b"".join([_little_endian(column) for column in columns])}


def memory_from(content: str, credits_and_pace: bytes | None, sequence_of: Callable[[str], int | None]) -> Memory:
    """From the columns of `MemoryRow`. Records from before there was a binary column name jobs by id:
    `sequence_of` tells their sequence, or None for those that live no more.
    """
    found = read(content)
    prices = {(flavor, resource): price for flavor, resource, price in found["prices"]}
    limit_prices = {
        (queue, flavor, resource): price
        for queue, flavor, resource, price in found.get("limit_prices", ())  # older records have none
    }
    work = tuple(
        WorkKind(flavor, Resources.of(demand), popularity, value)
        for flavor, demand, popularity, value in found.get("work", ())  # older records have none
    )
    history = {
        name: QueueHistory(*amounts)
        for name, *amounts in found.get("history", ())  # older records have none
    }
    if credits_and_pace is None:
        owed, pace = (_by_sequence(found[name], sequence_of) for name in ("credits", "pace"))
        return Memory.of(found["time"], owed, pace, prices, limit_prices, work, history)
    part = len(credits_and_pace) // 3
    columns = [credits_and_pace[at * part : (at + 1) * part] for at in range(3)]
    sequences = array("q", columns[0])
    credits_owed, pace_of_each = array("d", columns[1]), array("d", columns[2])
    for column in (sequences, credits_owed, pace_of_each):
        _swap_if_big_endian(column)
    return Memory(found["time"], sequences, credits_owed, pace_of_each, prices, limit_prices, work, history)


def _little_endian(column: array[Any]) -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        _swap_if_big_endian(column)
    return column.tobytes()


def _swap_if_big_endian(column: array[Any]) -> None:
    if sys.byteorder == "big":
        column.byteswap()


def _by_sequence(by_id: Mapping[str, float], sequence_of: Callable[[str], int | None]) -> dict[int, float]:
    found = ((sequence_of(job_id), value) for job_id, value in by_id.items())
    return {sequence: value for sequence, value in found if sequence is not None}
