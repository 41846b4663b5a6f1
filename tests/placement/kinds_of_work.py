"""Random nodes and workloads for the tests of scores, and what taking a replica's place leaves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from allocator.placement.fragmentation import Workload
from allocator.placement.space import Integers

RESOURCES, DEVICES, FLAVORS = 2, 3, 2


class Replica(NamedTuple):
    """What one replica takes of a node."""

    amount: Integers
    whole: int
    part: int


def workload(*kinds: tuple[tuple[int, ...], int, int, int, int], flavors: int = 1) -> Workload:
    """Of kinds (amounts, whole GPUs, part, popularity, value), each eligible everywhere."""
    amounts, devices, part, popularity, value = (list(column) for column in zip(*kinds, strict=True))
    everywhere = np.ones((len(kinds), flavors), np.bool_)
    return Workload(
        np.array(amounts, np.int64),
        np.array(devices, np.int64),
        np.array(part, np.int64),
        np.array(popularity, np.int64),
        np.array(value, np.int64),
        everywhere,
    )


def integers(*values: int) -> Integers:
    return np.array(values, np.int64)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Up to five kinds; some ask for whole GPUs, some for a part, some for none, some not on every flavor."""
    found = []
    for _ in range(draw(st.integers(1, 5))):
        gpus = draw(st.sampled_from(["none", "part", "whole"]))
        found.append(
            (
                tuple(draw(st.lists(st.integers(0, 12), min_size=RESOURCES, max_size=RESOURCES))),
                draw(st.integers(1, 2)) if gpus == "whole" else 0,
                draw(st.sampled_from([50, 190, 470, 500, 810, 999])) if gpus == "part" else 0,
                draw(st.integers(0, 5)),
                draw(st.integers(0, 3000)),
            )
        )
    chosen = workload(*found, flavors=FLAVORS)
    lists = st.lists(st.booleans(), min_size=len(found) * FLAVORS, max_size=len(found) * FLAVORS)
    return chosen._replace(eligible=np.array(draw(lists), np.bool_).reshape(len(found), FLAVORS))


@st.composite
def nodes_and_replicas(draw: st.DrawFn) -> tuple[Integers, Integers, Replica]:
    """A node's free amounts and devices, and a replica that fits it."""
    free = integers(*draw(st.lists(st.integers(0, 24), min_size=RESOURCES, max_size=RESOURCES)))
    left = st.sampled_from([0, 100, 190, 470, 530, 810, 1000, 1000, 1000])
    devices = integers(*draw(st.lists(left, min_size=DEVICES, max_size=DEVICES)))
    amount = integers(*(draw(st.integers(0, int(most))) for most in free))
    idle = int((devices == 1000).sum())
    most = int(devices.max())
    choices = ["none"] + ["whole"] * (idle > 0) + ["part"] * (most > 0)
    gpus = draw(st.sampled_from(choices))
    whole = draw(st.integers(1, idle)) if gpus == "whole" else 0
    part = draw(st.integers(1, min(most, 999))) if gpus == "part" else 0
    return free, devices, Replica(amount, whole, part)


def left_after(free: Integers, devices: Integers, replica: Replica, device: int) -> tuple[Integers, Integers]:
    """The node once the replica has its place, worked out without the code under test."""
    left = devices.copy()
    left[np.flatnonzero(left == 1000)[: replica.whole]] = 0
    if replica.part:
        left[device] -= replica.part
    return free - replica.amount, left
