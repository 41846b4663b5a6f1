"""What a placement makes unusable: Fragmentation Gradient Descent over integer node states.

A free GPU is worth nothing to a kind of work that cannot have it: because the processor beside it is gone, because too
few devices are idle, because the device has too little left for the part that is asked, or because the flavor will not
do. Fragmentation is how much of a node's free GPUs is unusable in that sense, on average over the kinds of work that
come (Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent",
USENIX ATC 2023). The descent puts a replica where fragmentation grows least.

It looks one arrival ahead. `prospects` asks the same of all that is still to come.

Everything is an integer: amounts in units of the domain, GPUs in thousandths of a device, popularity in counts. So the
kernels give the same answers interpreted and compiled, and a cost is exactly the difference of two fragmentations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from allocator.formulation.problem import Booleans, Integers

_GPU = 1000


class Workload(NamedTuple):
    """The kinds of work that come, in any order: T kinds, R resources without GPUs, F flavors."""

    amounts: Integers
    """(T, R) of one replica, in the integer units of the nodes' free amounts."""
    devices: Integers
    """(T,) whole GPUs of one replica."""
    part: Integers
    """(T,) milli-GPUs of one device of one replica, below 1000; 0 where `devices` is positive."""
    popularity: Integers
    """(T,) how often it comes, in any unit; counts are good. At most about 2**30 in all."""
    value: Integers
    """(T,) what placing one replica is worth, in any unit: milli-GPUs of it, or its demand at current prices."""
    eligible: Booleans
    """(T, F) flavors that will do."""


def typical(workload: Workload, coverage: float = 0.95) -> Workload:
    """The most popular kinds, as many as it takes to cover that fraction of all that comes; the paper takes 0.95.

    Among equally popular kinds the first are taken.
    """
    order = np.argsort(-workload.popularity, kind="stable")
    covered = np.cumsum(workload.popularity[order])
    enough = 1 + int(np.searchsorted(covered, coverage * covered[-1] - 1e-9)) if len(order) else 0
    return kinds_of(workload, order[:enough])


def kinds_of(workload: Workload, rows: Integers | Booleans) -> Workload:
    """Those kinds alone."""
    return Workload(
        workload.amounts[rows],
        workload.devices[rows],
        workload.part[rows],
        workload.popularity[rows],
        workload.value[rows],
        workload.eligible[rows],
    )


def unusable_after(
    free: Integers,
    devices: Integers,
    flavor: int,
    amount: Integers,
    times: int,
    whole: int,
    device: int,
    part: int,
    workload: Workload,
) -> int:
    """`unusable` of a node (R,), (G,) from which `times` (0 or 1) times `amount`, the first `whole` idle devices, and
    `part` of the device `device` are taken away. -1: of none.
    """
    total = -part if device >= 0 else 0
    for index in range(len(devices)):
        total += devices[index]
    total -= _GPU * whole
    expected = 0
    for kind in range(len(workload.popularity)):
        wanted = workload.devices[kind]
        least = _GPU if wanted > 0 else workload.part[kind]
        fits = least > 0 and workload.eligible[kind, flavor]
        if fits:
            for resource in range(len(free)):
                if workload.amounts[kind, resource] > free[resource] - times * amount[resource]:
                    fits = False
        unusable = total
        if fits:
            enough = 0
            scraps = 0
            taken = 0
            for index in range(len(devices)):
                left = devices[index]
                if taken < whole and left == _GPU:
                    taken += 1
                    left = 0
                if index == device:
                    left -= part
                if left >= least:
                    enough += 1
                else:
                    scraps += left
            if enough >= max(wanted, 1):
                unusable = scraps
        expected += workload.popularity[kind] * unusable
    return expected


def unusable(free: Integers, devices: Integers, flavor: int, workload: Workload) -> int:
    """Fragmentation of a node: sum over kinds of popularity times the milli-GPUs that this kind cannot use.

    `free` (R,) and `devices` (G,) milli-GPUs left are the node's; places without a device are 0. A kind that fits (all
    its amounts, and enough devices with enough left, on a flavor that will do) cannot use the devices that have less
    left than it takes of one. A kind that does not fit, or needs no GPU, cannot use any of them.
    """
    return unusable_after(free, devices, flavor, free, 0, 0, -1, 0, workload)


def increase(
    free: Integers, devices: Integers, flavor: int, amount: Integers, whole: int, part: int, workload: Workload
) -> tuple[int, int]:
    """By how much one replica that fits makes `unusable` grow (it may fall), and the device to take the part of.

    The replica takes `amount` (R,), and the first `whole` idle devices or `part` of one device: the one where the
    result is least, the first of equal ones. The device is -1 where no part is asked.
    """
    before = unusable_after(free, devices, flavor, amount, 0, 0, -1, 0, workload)
    if part == 0:
        return unusable_after(free, devices, flavor, amount, 1, whole, -1, 0, workload) - before, -1
    best = 0
    chosen = -1
    for device in range(len(devices)):
        left = devices[device]
        if left < part:
            continue
        seen = False
        for earlier in range(device):
            if devices[earlier] == left:
                seen = True
        if seen:
            continue
        after = unusable_after(free, devices, flavor, amount, 1, 0, device, part, workload)
        if chosen < 0 or after < best:
            best = after
            chosen = device
    return best - before, chosen


KERNELS = (unusable_after, unusable, increase)
"""In order: each calls only earlier ones."""
