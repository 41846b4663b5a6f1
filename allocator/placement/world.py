"""Everything that the kernels of a round work on: one bundle of arrays."""

from __future__ import annotations

from typing import NamedTuple

from allocator.placement.bounds import Bounds
from allocator.placement.space import Booleans, Floats, Integers, Kinds, Places, Space

OWED, SPARE = 0, 1
"""The two phases of a priority class: configurations with a share, and the others."""


class Jobs(NamedTuple):
    """The J live jobs. Those of the lower half change on the way."""

    priority: Integers
    """(J,) larger first."""
    credit: Floats
    """(J,) seconds owed."""
    share_steps: Integers
    """(J,) share of the optimum, in steps."""
    option_row: Integers
    """(J,) row of `Options`."""
    preemptible: Booleans
    """(J,)"""
    duration: Floats
    """(J,) expected seconds; inf if nobody knows."""
    particular: Booleans
    """(J,) whether it has bounds, or holds a part of its demand: what it finds tells nothing about its kind."""
    wish: Integers
    """(J,) column of its options that a running job should change to; -1 if it should stay as it is."""
    resizes: Booleans
    """(J,) whether it changes its replica count without a restart."""
    in_place: Booleans
    """(J,) whether it is where it was when the round began."""
    stoppable: Booleans
    """(J,) whether it may be stopped for somebody else at all."""
    evicted: Integers
    """(J,) why it lost its place: a code of `evictions`; 0 if it did not."""
    configuration: Integers
    """(J,) that it runs in; -1 without a place."""
    placed_at: Integers
    """(J,) counts new places in the order in which they are taken; -1 without one."""
    phase: Integers
    """(J,) OWED or SPARE: which turn comes next."""


class Options(NamedTuple):
    """What the jobs of a row may run as, the best first: n rows, W columns."""

    configuration: Integers
    """(n, W) index into the spec's."""
    kind: Integers
    """(n, W)"""
    owed: Booleans
    """(n, W) whether the optimum gave it a share."""
    choices: Integers
    """(n,) how many there are."""


class Stops(NamedTuple):
    """Whom to stop first: V candidates."""

    order: Integers
    """(V,) jobs by flavor, the lowest in order first."""
    starts: Integers
    """(F + 1,): those on flavor f are order[starts[f] : starts[f + 1]]."""
    enough: Floats
    """(J,) credit from which a job of the same class may stop this one; inf before it has run its minimum."""
    hysteresis: float
    """Seconds by which credits differ at least."""
    lifted: Integers
    """(V + 1,) scratch."""
    losers: Integers
    """(V + 1,) who lost their places in the last search; the last entry is how many."""


class Reservations(NamedTuple):
    """Of one round; at most `len(job)` of them."""

    lasting: Space
    """What would be free without the jobs that may be stopped; its `open` is everybody's."""
    empty: Space
    """What would be free without anybody."""
    reserved: Booleans
    """(N,) nodes that are kept for somebody."""
    nodes: Integers
    """(N + 1,) the same as a list; the last entry is how many."""
    job: Integers
    """(most,) for whom; -1 where nobody."""
    start: Floats
    """(1,) seconds from now until the first of them is expected to start."""
    ends: Floats
    """(N,) seconds from now until the last job on the node that nobody may stop is expected to end; inf if unknown."""
    owed: float
    """Seconds that a job must be owed to reserve,"""
    first: int
    """unless it is this one: the most owed of those who wait."""


class Scratch(NamedTuple):
    """Room to work in, and what is remembered within a round."""

    counts: Integers
    """(N,)"""
    fill: Integers
    """(N + 1, 2)"""
    freed: Integers
    """(N, R + G) what candidates would give back on each node: amounts, then milli-GPUs of each device."""
    reach: Integers
    """(K,) whether a kind would fit if everybody left who may be stopped: 0 not known, 1 no, 2 yes."""
    touched: Integers
    """(N + 1,) nodes with something in `freed`; the last entry is how many."""
    is_touched: Booleans
    """(N,)"""
    failed: Integers
    """(2, K) at which `grown` of its flavor a kind last failed to fit; -1 never. The second row: under reservations."""
    hopeless: Booleans
    """(K,) kinds that fit nowhere in this walk, whoever is stopped: later turns may stop fewer."""
    heap: Integers
    """(V + 1,) the turns of those who join the walk on the way; the last entry is how many."""
    joined: Booleans
    """(J,) whether it joined this walk on the way."""
    lost: Integers
    """(V + 1,) who lost its place to somebody, in any walk; the last entry is how many."""
    clock: Integers
    """(1,) how many new places were taken."""


class Allowances(NamedTuple):
    """What quotas allow; see `allowing`. Q queues, F flavors, R + 1 resources: milli-GPUs last; in integer units."""

    leaf: Integers
    """(J,) the queue that holds the job; -1 where no quota is about it or those above it."""
    parent: Integers
    """(Q,) -1 at the top."""
    used: Integers
    """(Q, F, R + 1) by unfinished replicas, those of queues below included. Changes on the way, as do the next two."""
    wanted: Integers
    """(Q, F, R + 1) what the queue uses, or those below it reserve."""
    reserved: Integers
    """(F, R + 1) by all queues."""
    most: Integers
    """(Q, F, R + 1) what it may use."""
    kept: Integers
    """(Q, F, R + 1) what it does not lend."""
    lends: Booleans
    """(F, R + 1) whether anybody keeps anything to itself."""
    capacity: Integers
    """(F, R + 1) of nodes that take new work."""
    stuck: Booleans
    """(Q, K) kinds for which the queue found nobody to stop in this walk, within its quotas."""


class World(NamedTuple):
    """All of it."""

    space: Space
    kinds: Kinds
    places: Places
    bounds: Bounds
    allowances: Allowances
    jobs: Jobs
    options: Options
    stops: Stops
    reservations: Reservations
    scratch: Scratch
