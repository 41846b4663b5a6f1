"""Kernel: replicas come one after another, each is placed for good by a policy or dropped. See `openb_protocol`.

What a placement on a node would cost changes only when something is placed there, so costs are kept for each kind and
node, and computed again where a node has changed since.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allocator.placement import fragmentation, prospects
from allocator.placement.fragmentation import Workload, increase
from allocator.placement.prospects import Prospects, spend
from allocator.placement.space import Integers

RANDOM, BEST_FIT, DESCENT, PROSPECTS = range(4)
_GPU = 1000
_NEVER = 2**62


def fits(free: Integers, devices: Integers, flavor: int, kind: int, workload: Workload) -> bool:
    """Whether one replica of the kind fits the node."""
    if not workload.eligible[kind, flavor]:
        return False
    for resource in range(len(free)):
        if workload.amounts[kind, resource] > free[resource]:
            return False
    wanted = workload.devices[kind]
    least = _GPU if wanted > 0 else workload.part[kind]
    enough = 0
    for device in range(len(devices)):
        if devices[device] >= least:
            enough += 1
    return least == 0 or enough >= max(wanted, 1)


def tightest(devices: Integers, part: int) -> int:
    """The device with the least left that has the part; -1 where none is asked."""
    chosen = -1
    for device in range(len(devices)):
        if part > 0 and devices[device] >= part and (chosen < 0 or devices[device] < devices[chosen]):
            chosen = device
    return chosen


def best_fit(free: Integers, devices: Integers, amount: Integers, millis: int) -> int:
    """Percent of a node of 128 cores and 8 GPUs that would be left, their mean, rounded up as published."""
    left = 0
    for device in range(len(devices)):
        left += devices[device]
    percents = (free[0] - amount[0] + 16 * (left - millis)) // -2560
    return -int(percents)


def judge(
    policy: int,
    free: Integers,
    devices: Integers,
    flavor: int,
    kind: int,
    workload: Workload,
    typical: Workload,
    everybody: int,
    tables: Prospects,
) -> tuple[int, int]:
    """The cost of a replica that fits, and the device to take its part of."""
    amount, whole, part = workload.amounts[kind], workload.devices[kind], workload.part[kind]
    if policy == PROSPECTS:
        return spend(free, devices, flavor, amount, whole, part, tables)
    if policy == DESCENT:
        grows, device = increase(free, devices, flavor, amount, whole, part, typical)
        # As published: an integer percentage of the sigmoid of what it shrinks by, in GPUs. So what differs by less
        # than about 40 milli-GPUs is equal, and equal ones go to the first node: nodes fill one after another.
        return -math.floor(100.0 / (1.0 + math.exp(grows / (_GPU * everybody)))), device
    if policy == BEST_FIT:
        return best_fit(free, devices, amount, whole * _GPU + part), tightest(devices, part)
    return 0, -1


def take(free: Integers, devices: Integers, amount: Integers, whole: int, part: int, device: int) -> None:
    """Place it: the first whole idle devices, or the part of the device."""
    for resource in range(len(free)):
        free[resource] -= amount[resource]
    for index in range(len(devices)):
        if whole > 0 and devices[index] == _GPU:
            devices[index] = 0
            whole -= 1
    if part > 0:
        devices[device] -= part


def place_all(
    policy: int,
    free: Integers,
    devices: Integers,
    flavor: Integers,
    order: Integers,
    workload: Workload,
    typical: Workload,
    tables: Prospects,
    chances: NDArray[np.float64],
) -> Integers:
    """Node (A,) of each arrival in `order` (A,), -1 where it was dropped; `free` and `devices` are left as they end.

    `chances` (A, 2) in [0, 1) decide for RANDOM which of the nodes and of the devices that fit.
    """
    nodes, kinds = len(flavor), len(workload.part)
    cost = np.full((kinds, nodes), _NEVER)
    device = np.full((kinds, nodes), -1)
    seen = np.full((kinds, nodes), -1)
    version = np.zeros(nodes, np.int64)
    everybody = 0
    for kind in range(len(typical.popularity)):
        everybody += typical.popularity[kind]
    placed = np.full(len(order), -1)
    for arrival in range(len(order)):
        kind = order[arrival]
        best, chosen, fitting = _NEVER, -1, 0
        for node in range(nodes):
            if seen[kind, node] != version[node]:
                seen[kind, node] = version[node]
                cost[kind, node] = _NEVER
                if fits(free[node], devices[node], flavor[node], kind, workload):
                    cost[kind, node], device[kind, node] = judge(
                        policy, free[node], devices[node], flavor[node], kind, workload, typical, everybody, tables
                    )
            if cost[kind, node] < _NEVER:
                fitting += 1
                if cost[kind, node] < best:
                    best, chosen = cost[kind, node], node
        if chosen < 0:
            continue
        part = workload.part[kind]
        if policy == RANDOM:
            skip = int(chances[arrival, 0] * fitting)
            for node in range(nodes):
                if cost[kind, node] < _NEVER:
                    if skip == 0:
                        chosen = node
                    skip -= 1
            device[kind, chosen] = any_device(devices[chosen], part, chances[arrival, 1])
        take(free[chosen], devices[chosen], workload.amounts[kind], workload.devices[kind], part, device[kind, chosen])
        version[chosen] += 1
        placed[arrival] = chosen
    return placed


def any_device(devices: Integers, part: int, chance: float) -> int:
    """One of the devices that have the part."""
    fitting = 0
    for device in range(len(devices)):
        if devices[device] >= part:
            fitting += 1
    skip = int(chance * fitting)
    for device in range(len(devices)):
        if devices[device] >= part:
            if skip == 0:
                return device
            skip -= 1
    return -1


KERNELS = (*fragmentation.KERNELS, *prospects.KERNELS, fits, tightest, best_fit, judge, take, any_device, place_all)
"""In order: each calls only earlier ones."""


@cache
def compiled() -> dict[str, Callable[..., Any]]:
    """The same functions compiled, by name; not cached on disk, where placement keeps its own of the same functions."""
    from numba import njit  # noqa: PLC0415 - takes half a second, which other commands need not spend

    done: dict[str, Callable[..., Any]] = {}
    for kernel in KERNELS:
        assert isinstance(kernel, FunctionType)
        twin = FunctionType(kernel.__code__, {**kernel.__globals__, **done}, kernel.__name__)
        done[kernel.__name__] = njit(nogil=True, error_model="numpy")(twin)
    return done
