"""The bounds that live jobs put on one another, as tables for the kernels; see `bounds`."""

from __future__ import annotations

import numpy as np

from allocator.domain.cluster import NODE_DOMAIN, Labels
from allocator.domain.constraints import AtMost, Near, carries
from allocator.formulation.live import Live
from allocator.placement.bounds import DECLARES, MEMBER, NEAR, Bounds
from allocator.placement.space import Booleans, Integers

_NO_LIMIT = 2**62


def tabulated_bounds(live: Live) -> Bounds:
    """Who has to do with which bounds. Nobody is anywhere yet: `bounds.join` counts those that are."""
    declared = _declared(live)
    count = len(live.jobs.jobs)
    if not declared:
        return _nothing(count)
    nodes = live.nodes
    domain = np.array([nodes.domains(bound.per) for bound in declared], dtype=np.int64).reshape(len(declared), -1)
    size = int(domain.max(initial=-1)) + 1
    starts, entries, combination = _roles(live, declared)
    return Bounds(
        domain=domain,
        most=np.array([b.replicas if isinstance(b, AtMost) else _NO_LIMIT for b in declared], dtype=np.int64),
        members=np.zeros((len(declared), size), dtype=np.int64),
        declarers=np.zeros((len(declared), size), dtype=np.int64),
        starts=starts,
        bound=np.array([bound for bound, _ in entries], dtype=np.int64),
        role=np.array([role for _, role in entries], dtype=np.int64),
        is_lone=np.array([bound.per == NODE_DOMAIN for bound in declared], dtype=np.bool_),
        is_wanted=np.array([isinstance(bound, Near) for bound in declared], dtype=np.bool_),
        combination=combination,
    )


def numbered_alike(bounds: Bounds, option_row: Integers, account: Integers, divisible: Booleans) -> Integers:
    """(J,) a number for each set of jobs that are bound alike, with the same options and account; -1 of those without
    bounds, with some about whom they must be near to (others' arrivals help them), and of divisible ones.
    """
    found = np.full(len(bounds.combination), -1)
    near = np.zeros(len(bounds.combination), dtype=np.bool_)
    if len(bounds.role):
        owner = np.repeat(np.arange(len(near)), np.diff(bounds.starts))
        near[owner[(bounds.role & NEAR) > 0]] = True
    some = np.flatnonzero((bounds.combination >= 0) & ~near & ~divisible)
    if len(some):
        keys = np.stack([bounds.combination[some], option_row[some], account[some]], axis=1)
        found[some] = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    return found


def _nothing(jobs: int) -> Bounds:
    none, table = np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=np.int64)
    return Bounds(
        table,
        none,
        table.copy(),
        table.copy(),
        np.zeros(jobs + 1, dtype=np.int64),
        none,
        none,
        np.zeros(0, dtype=np.bool_),
        np.zeros(0, dtype=np.bool_),
        np.full(jobs, -1, dtype=np.int64),
    )


def _declared(live: Live) -> list[AtMost | Near]:
    """Every distinct limit on labels, and every distinct affinity, in a fixed order."""
    found: set[AtMost | Near] = set()
    in_use = np.unique(live.shapes.kind[np.unique(live.shape)]).tolist() if len(live.jobs.jobs) else []
    for constraints in {live.kinds[kind].constraints for kind in in_use}:
        found.update(limit for limit in constraints.at_most if limit.of)
        found.update(constraints.near)
    return sorted(found, key=lambda b: (b.per, b.of, b.replicas if isinstance(b, AtMost) else -1))


def _roles(live: Live, declared: list[AtMost | Near]) -> tuple[Integers, list[tuple[int, int]], Integers]:
    """(J + 1,) starts, and for each job its (bound, role); (J,) numbers of combinations. Jobs come in few combinations
    of labels and constraints.
    """
    number = {bound: position for position, bound in enumerate(declared)}
    by_label: dict[tuple[str, str], list[int]] = {}
    for position, bound in enumerate(declared):
        by_label.setdefault(bound.of[0], []).append(position)
    known: dict[tuple[Labels, int], list[tuple[int, int]]] = {}
    numbers: dict[tuple[tuple[int, int], ...], int] = {(): -1}
    combination = np.empty(len(live.jobs.labels), dtype=np.int64)
    shape, first_kind = live.shape.tolist(), live.shapes.kind[:, 0].tolist()
    starts, entries = [0], []
    for job, labels in enumerate(live.jobs.labels.tolist()):
        key = (labels, shape[job])
        mine = known.get(key)
        if mine is None:
            roles = {
                position: MEMBER
                for label in labels
                for position in by_label.get(label, ())
                if carries(labels, declared[position].of)
            }
            constraints = live.kinds[first_kind[shape[job]]].constraints
            for limit in constraints.at_most:
                if limit.of:
                    roles[number[limit]] = roles.get(number[limit], 0) | DECLARES
            for near in constraints.near:
                roles[number[near]] = roles.get(number[near], 0) | NEAR
            mine = known[key] = sorted(roles.items())
        entries += mine
        starts.append(len(entries))
        combination[job] = numbers.setdefault(tuple(mine), len(numbers) - 1)
    return np.array(starts, dtype=np.int64), entries, combination
