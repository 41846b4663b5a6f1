"""What a node's free space will bring: the expected value of the work that will still fill it.

A placement costs what it makes unusable, valued at what work to come would pay for it. `fragmentation` asks what the
next arrival could not use; here the question is what the whole stream of arrivals will never use. Offline, from the
distribution of work alone, two tables are computed for each flavor:

1. Devices. A device with x milli-GPUs left is offered one random arrival after another; what fits is taken. Between two
   arrivals that fit it is forgotten with odds `FORGOTTEN`, because small work is too rare to fill every scrap. The
   milli-GPUs that it is expected to sell are, with p_s the popularity of parts (and whole devices) of size s,

       sold(x) = sum over s <= x of p_s (s + sold(x - s)) / (FORGOTTEN + sum over s <= x of p_s),

   and usable(x) = 1000 sold(x) / sold(1000): what is left of a device counted in whole devices. It is the same of the
   most that could be sold, where that is less: that first parts are surer to sell is no reason to begin a device.

2. Nodes. With c free of a resource and g usable milli-GPUs in all, what random arrivals bring until nothing fits is

       worth(c, g) = sum over kinds that fit of o_k (v_k + worth(c - c_k, g - g_k)) / sum over kinds that fit of o_k,

   at least worth of any lesser (c, g). The odds are o_k = popularity times value ** STEER: the scheduler steers, so
   space is more often taken by what is worth more (and whatever is worth nothing takes no room that something needs).

The prospect of a node is the least `worth` over its resources: the one that runs out first decides. The cost of a
placement is the prospect before less the prospect after. It is small where work fits what is left (the right size for
a device, the right cores per GPU for a node), and large where it strands something: work that asks for much processor
per GPU goes to nodes that have it, without being told of flavors.

Kernels compute with integers and look tables up by linear interpolation: the same answers interpreted and compiled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from allocator.formulation.problem import Floats, Integers
from allocator.placement.fragmentation import Workload, kinds_of

FORGOTTEN = 0.03
"""Odds that nobody looks at a device again, against those of an arrival of any kind."""
STEER = 2
"""How much oftener space goes to work that is worth more: odds grow with value to this power."""
STEPS = 128
"""Rows of a node table: the largest amount on the flavor in so many steps."""
DEVICE_STEP = 50
"""Milli-GPUs between columns of a node table."""

_GPU = 1000
_MICRO = 1000
"""Usable amounts are in thousandths of a milli-GPU."""
_BITS = 10
"""Of a fraction between two rows or columns."""
_LARGEST = 2**40
"""What the largest prospect is scaled to: two fractions more, and it is still an int64."""


class Prospects(NamedTuple):
    """The tables. F flavors, R resources without GPUs, D columns."""

    usable: Integers
    """(F, 1001) millionths of a device that one with so many milli-GPUs left is worth."""
    step: Integers
    """(F, R) amount of the resource between two rows; 0 where no work needs the resource."""
    worth: Integers
    """(F, R, STEPS + 1, D) expected value; D columns `DEVICE_STEP` apart."""
    scale: float
    """A value of 1 in the workload's unit is so much in `worth` and in costs."""


def prospects(workload: Workload, largest: Integers, most_devices: int) -> Prospects:
    """Tables for flavors whose largest node has `largest` (F, R), and nodes of at most `most_devices` GPUs.

    Time: F * R * STEPS array operations on T * D numbers; about 0.01 s for each flavor and resource with 150 kinds and
    8 devices. They change only with the distribution of work.
    """
    flavors, resources = largest.shape
    columns = most_devices * (_GPU // DEVICE_STEP) + 1
    usable = np.zeros((flavors, _GPU + 1), np.int64)
    step = np.zeros((flavors, resources), np.int64)
    worth = np.zeros((flavors, resources, STEPS + 1, columns))
    for flavor in range(flavors):
        here = kinds_of(workload, workload.eligible[:, flavor] & (workload.popularity > 0))
        usable[flavor] = _usable(here)
        needed = np.count_nonzero(here.amounts, axis=0)
        for resource in range(resources):
            if needed[resource] or (resource == 0 and not needed.any()):  # one table at least: GPUs alone count too
                step[flavor, resource] = max(1, -(-int(largest[flavor, resource]) // STEPS))
                worth[flavor, resource] = _worth(here, resource, int(step[flavor, resource]), columns)
    scale = _LARGEST / max(float(worth.max(initial=0.0)), 1e-300) if worth.any() else 1.0
    return Prospects(usable, step, np.rint(worth * scale).astype(np.int64), scale)


def _usable(workload: Workload) -> Integers:
    """(1001,) `usable` in millionths of a device."""
    popular = np.zeros(_GPU + 1)
    np.add.at(popular, workload.part, workload.popularity)
    np.add.at(popular, np.where(workload.devices > 0, _GPU, 0), workload.popularity * workload.devices)
    popular[0] = 0.0
    sizes = np.flatnonzero(popular)
    sold, full = np.zeros(_GPU + 1), np.zeros(_GPU + 1)
    if not len(sizes):
        return np.arange(_GPU + 1) * _MICRO
    odds = popular[sizes] / popular.sum()
    for left in range(int(sizes[0]), _GPU + 1):  # nothing fits in less
        fitting = int(np.searchsorted(sizes, left, side="right"))
        then = left - sizes[:fitting]
        sold[left] = np.sum(odds[:fitting] * (sizes[:fitting] + sold[then])) / (np.sum(odds[:fitting]) + FORGOTTEN)
        full[left] = np.max(sizes[:fitting] + full[then], initial=0.0)
    millionths: Integers = np.rint(np.minimum(sold / sold[_GPU], full / full[_GPU]) * _GPU * _MICRO).astype(np.int64)
    return millionths


def _worth(workload: Workload, resource: int, step: int, columns: int) -> Floats:
    """(STEPS + 1, columns) `worth` in the workload's unit of value."""
    valuable = workload.value > 0
    millis = (workload.devices * _GPU + workload.part)[valuable]
    tall = -(-workload.amounts[valuable, resource] // step)
    wide = np.where(millis > 0, np.maximum(1, (millis + DEVICE_STEP // 2) // DEVICE_STEP), 0)
    value = workload.value[valuable].astype(np.float64)
    odds = workload.popularity[valuable] * (value / value.max(initial=1.0)) ** STEER
    # A size is rounded to columns, and the value with it: or the cheapest way to be worth much would be to round down.
    value *= np.where(millis > 0, wide * DEVICE_STEP / np.maximum(millis, 1), 1.0)
    shapes, shape = np.unique(np.stack([tall, wide], axis=1), axis=0, return_inverse=True)
    weight, worth = np.zeros(len(shapes)), np.zeros(len(shapes))
    np.add.at(weight, shape, odds)
    np.add.at(worth, shape, odds * value)
    takes = shapes.any(axis=1)
    return _filled(shapes[takes, 0], shapes[takes, 1], weight[takes], worth[takes], columns)


def _filled(tall: Integers, wide: Integers, odds: Floats, worth: Floats, columns: int) -> Floats:
    """The table for shapes of so many rows and columns, with their odds, and their odds times their value."""
    small = (tall <= STEPS) & (wide < columns)
    tall, wide, odds, worth = tall[small], wide[small], odds[small], worth[small]
    if (tall > 0).all():
        return filled_by_rows(tall, wide, odds, worth, (STEPS + 1, columns))
    if (wide > 0).all():
        return filled_by_rows(wide, tall, odds, worth, (columns, STEPS + 1)).T
    return filled_by_diagonals(tall, wide, odds, worth, (STEPS + 1, columns))


def filled_by_rows(tall: Integers, wide: Integers, odds: Floats, worth: Floats, size: tuple[int, int]) -> Floats:
    """The table (rows, columns) where every shape leads from a row to a lower one, so that whole rows are computed."""
    rows, columns = size
    above, before = int(tall.max(initial=1)), int(wide.max(initial=1))
    filled = np.zeros((above + rows, before + columns))  # with a margin of zeros
    column = np.arange(columns)
    across, then_at = column >= wide[:, None], before + column - wide[:, None]
    fitting = -1
    for row in range(rows):
        fits = np.flatnonzero(tall <= row)
        if len(fits) != fitting:  # one more shape fits, and in all rows below
            fitting = len(fits)
            gains, chances, inside, at = worth[fits, None], odds[fits, None], across[fits], then_at[fits]
            weight = np.add.reduce(chances * inside, axis=0)
            some = weight > 0.0
        then = filled[(above + row - tall[fits])[:, None], at]
        total = np.add.reduce((gains + chances * then) * inside, axis=0)
        brings = np.divide(total, weight, out=np.zeros(columns), where=some)
        lesser = np.maximum(brings, filled[above + row - 1, before:])
        filled[above + row, before:] = np.maximum.accumulate(lesser)
    return filled[above:, before:]


def filled_by_diagonals(tall: Integers, wide: Integers, odds: Floats, worth: Floats, size: tuple[int, int]) -> Floats:
    """The same table. Every shape leads from a cell to one with a lower sum of row and column: diagonals are computed
    whole, in order.
    """
    rows, columns = size
    tall, wide, odds, worth = tall[:, None], wide[:, None], odds[:, None], worth[:, None]
    above, before = int(tall.max(initial=1)), int(wide.max(initial=1))
    filled = np.zeros((above + rows, before + columns))  # with a margin of zeros
    for diagonal in range(rows + columns - 1):
        row = np.arange(max(0, diagonal - columns + 1), min(diagonal, rows - 1) + 1)
        column = diagonal - row
        fits = (row >= tall) & (column >= wide)
        then = filled[above + row - tall, before + column - wide]
        weight = np.add.reduce(odds * fits, axis=0)
        total = np.add.reduce((worth + odds * then) * fits, axis=0)
        brings = np.divide(total, weight, out=np.zeros(len(row)), where=weight > 0.0)
        lesser = np.maximum(filled[above + row - 1, before + column], filled[above + row, before + column - 1])
        filled[above + row, before + column] = np.maximum(brings, lesser)
    return filled[above:, before:]


def usable_of(devices: Integers, flavor: int, tables: Prospects) -> int:
    """Millionths of a device that all devices (G,) of a node are worth together."""
    total = 0
    for device in range(len(devices)):
        total += tables.usable[flavor, devices[device]]
    return total


def worth_of(free: Integers, amount: Integers, times: int, usable: int, flavor: int, tables: Prospects) -> int:
    """The prospect with free - times * amount (R,) and `usable` millionths of a device."""
    across = DEVICE_STEP * _MICRO
    last = tables.worth.shape[3] - 1
    column = min(usable // across, last)
    beside = min(column + 1, last)
    part = ((usable - column * across) << _BITS) // across
    least = -1
    for resource in range(len(free)):
        step = tables.step[flavor, resource]
        if step == 0:
            continue
        left = free[resource] - times * amount[resource]
        row = min(left // step, STEPS)
        below = min(row + 1, STEPS)
        share = (min(left - row * step, step) << _BITS) // step
        table = tables.worth[flavor, resource]
        upper = (table[row, column] << _BITS) + part * (table[row, beside] - table[row, column])
        lower = (table[below, column] << _BITS) + part * (table[below, beside] - table[below, column])
        worth = ((upper << _BITS) + share * (lower - upper)) >> (2 * _BITS)
        if least < 0 or worth < least:
            least = worth
    return max(least, 0)


def prospect(free: Integers, devices: Integers, flavor: int, tables: Prospects) -> int:
    """What a node with `free` (R,) and `devices` (G,) milli-GPUs left will bring, in 1 / scale of the value's unit."""
    return worth_of(free, free, 0, usable_of(devices, flavor, tables), flavor, tables)


def worth_after(
    free: Integers,
    devices: Integers,
    flavor: int,
    amount: Integers,
    whole: int,
    part: int,
    usable: int,
    tables: Prospects,
) -> tuple[int, int]:
    """The prospect of a node once one replica that fits has its place, and the device to take the part of.

    `usable` is `usable_of` the node before. Who keeps that and `prospect` of every node looks up one cell a candidate.
    """
    lost = whole * tables.usable[flavor, _GPU]
    chosen = -1
    if part > 0:
        for device in range(len(devices)):
            left = devices[device]
            if left < part:
                continue
            loses = tables.usable[flavor, left] - tables.usable[flavor, left - part]
            if chosen < 0 or loses < lost or (loses == lost and left < devices[chosen]):
                chosen = device
                lost = loses
    return worth_of(free, amount, 1, usable - lost, flavor, tables), chosen


def spend(
    free: Integers, devices: Integers, flavor: int, amount: Integers, whole: int, part: int, tables: Prospects
) -> tuple[int, int]:
    """By how much one replica that fits lowers the prospect of a node, and the device to take the part of.

    The replica takes `amount` (R,), and `whole` idle devices or `part` milli-GPUs of one: the device that loses least
    by it, of equal ones the one with the least left, then the first. The device is -1 where no part is asked.
    """
    usable = usable_of(devices, flavor, tables)
    after, device = worth_after(free, devices, flavor, amount, whole, part, usable, tables)
    return worth_of(free, amount, 0, usable, flavor, tables) - after, device


KERNELS = (usable_of, worth_of, prospect, worth_after, spend)
"""In order: each calls only earlier ones."""
