"""What the kernels of schedulers work on: nodes with what is free, live jobs, and where these are, as arrays.

What is free, what gangs need and who is where are those of `allocator.placement.space`. Jobs have numbers here that are
theirs for as long as they live, and somebody else's after that.
"""

from __future__ import annotations

from typing import NamedTuple

from allocator.placement.space import Booleans, Floats, Integers, Kinds, Places, Space

BY_COST, FIRST, AT_RANDOM = range(3)
"""How nodes are chosen among those that fit: as placement's policies do, in their order, or by lot."""
PLACED = 0
"""Entry of `Scene.out`: whether the last job that was tried has a place."""
SURVEYED = 5
"""Entry of `Scene.out`: 1 while `total` and `most` bound what is free in `space`."""
STARTED = 1
"""Entry of `Scene.out`: how many jobs have got a place since `Scene.started` was read."""


class Crowd(NamedTuple):
    """The live jobs: J numbers, some of which are nobody's."""

    shape: Integers
    """(J,) row of `Shapes`."""
    sequence: Integers
    """(J,) order of admission; 0 where there is no job."""
    waits: Booleans
    """(J,) whether it is there and has no place."""
    duration: Floats
    """(J,) seconds it is expected to run, from its start."""
    ends: Floats
    """(J,) when it is expected to end; inf of those without a place."""
    configuration: Integers
    """(J,) index into its spec's configurations; -1 without a place."""
    stoppable: Booleans
    """(J,) whether it may be stopped for others."""
    rank: Integers
    """(J,) smaller ranks matter more; what that means is up to each scheduler."""
    promised: Floats
    """(J,) start that was promised to it; inf where none was."""
    done: Floats
    """(J,) see `Job.work_done_seconds`; `counted` and `speed` are about the same."""
    counted: Floats
    """(J,) up to when; inf of those that wait by the facts."""
    speed: Floats
    """(J,) work per second since then, relative to its fastest configuration."""


class Shapes(NamedTuple):
    """The ways to run: S distinct lists of them, the fastest first, W columns."""

    kind: Integers
    """(S, W)"""
    configuration: Integers
    """(S, W) index into the spec's."""
    choices: Integers
    """(S,) how many there are; 0 for jobs that the nodes could not run if they were empty."""
    slowness: Floats
    """(S, W) how much longer a job takes than in its fastest configuration; at least 1."""


class Scene(NamedTuple):
    """Everything at once. `pool` goes beside it: it grows."""

    space: Space
    later: Space
    """Scratch: the same nodes at another time."""
    common: Space
    """Scratch: what is free at both times."""
    kinds: Kinds
    plain: Kinds
    """The same without costs, which are of `space` alone."""
    shapes: Shapes
    crowd: Crowd
    places: Places
    order: Integers
    """(N,) nodes in the order in which FIRST takes them, flavor by flavor."""
    rule: Integers
    """(2,) one of BY_COST, FIRST, AT_RANDOM; and a number to draw lots with."""
    counts: Integers
    """(N,) scratch."""
    fill: Integers
    """(N, 2) scratch: (node, replicas)."""
    total: Integers
    """(F, R + 1) at most so much is free on the nodes of a flavor together; idle devices last."""
    most: Integers
    """(F, R + 1) and on any one of them."""
    room: Integers
    """(W,) scratch: replicas by column of a shape."""
    hopeless: Integers
    """(S,) scratch: in which attempt a shape was seen not to fit."""
    lifted: Integers
    """(J,) who lost a place, in order."""
    home: Integers
    """(J, 2) scratch: kind and configuration of those in `lifted` before."""
    home_ends: Floats
    """(J,) scratch: the same of their expected ends."""
    started: Integers
    """(J,) who got a place, in order."""
    out: Integers
    """(8,) what kernels answer."""


KERNELS: tuple[()] = ()
"""None: but kernels are compiled with the numbers above, so they are other ones when these change."""
