"""The arrays of `scene` for so many jobs, empty; and small things about arrays."""

from __future__ import annotations

import math
import re
from typing import TypeVar

import numpy as np

from allocator.domain.placement import WHOLE
from allocator.formulation.nodes import NodeArrays
from allocator.placement.space import Integers, Places, Pool
from simulations.schedulers.scene import Crowd

Arrays = TypeVar("Arrays", Crowd, Places)


def in_natural_order(nodes: NodeArrays) -> Integers:
    """(N,) positions, flavor by flavor in order of names, in which numbers count as such: node2 is before node10."""
    keys = [
        [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name) if part]
        for name in nodes.names.tolist()
    ]
    flavor = nodes.flavor.tolist()
    return np.array(sorted(range(len(keys)), key=lambda node: (flavor[node], keys[node])), dtype=np.int64)


def strung(first: Integers, length: Integers) -> tuple[Integers, Integers]:
    """Lists that begin at `first`, laid one after another: where each begins then, and the old place of every entry."""
    starts = np.cumsum(length) - length
    return starts, np.repeat(first - starts, length) + np.arange(int(length.sum()))


def empty_pool() -> Pool:
    """Nobody is anywhere."""
    node, replicas, start, count, device = (np.zeros(64, dtype=np.int64) for _ in range(5))
    return Pool(node, replicas, start, count, device, np.zeros(2, dtype=np.int64))


def crowd_of(size: int) -> Crowd:
    """For so many jobs, none of which is there."""
    return Crowd(
        shape=np.zeros(size, dtype=np.int64),
        sequence=np.zeros(size, dtype=np.int64),
        waits=np.zeros(size, dtype=np.bool_),
        duration=np.zeros(size),
        ends=np.full(size, math.inf),
        configuration=np.full(size, -1, dtype=np.int64),
        stoppable=np.zeros(size, dtype=np.bool_),
        rank=np.zeros(size, dtype=np.int64),
        promised=np.full(size, math.inf),
        done=np.zeros(size),
        counted=np.full(size, math.inf),
        speed=np.zeros(size),
    )


def places_of(size: int) -> Places:
    """For so many jobs, none of which has one."""
    return Places(
        first=np.zeros(size, dtype=np.int64),
        pieces=np.zeros(size, dtype=np.int64),
        kind=np.full(size, -1, dtype=np.int64),
        millis=np.full(size, WHOLE, dtype=np.int64),
    )


def grown(old: Arrays, new: Arrays) -> Arrays:
    """`new`, which is larger, with what stands in `old`."""
    for before, after in zip(old, new, strict=True):
        after[: len(before)] = before
    return new
