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
    bound_alike: Integers
    """(J,) jobs with the same number have the same bounds, options and account: where one finds nobody to stop, the
    others need not look. -1: without bounds, with some about whom it must be near to, or divisible.
    """
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
    account: Integers
    """(J,) number of the jobs that quotas and side constraints treat alike; -1 where neither is about it."""
    home: Integers
    """(J,) kind that it ran as when the round began; its first piece and pieces stay noted until it has a new place."""
    home_configuration: Integers
    """(J,)"""


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
    codes: Integers
    """(V + 1,) why: codes of `evictions`."""
    rank: Integers
    """(J,) position in the order of all candidates, whatever their flavor."""
    listed: Integers
    """(V,) the candidates that quotas or side constraints are about, by account and flavor, in order."""
    list_starts: Integers
    """(A, F + 1): those of account a on flavor f are listed[list_starts[a, f] : list_starts[a, f + 1]]."""
    leaf: Integers
    """(A,) queue of each account; -1 where no quota is about it."""
    group: Integers
    """(A,) group of each account in `Limits`; -1 where no side constraint is about it."""
    heads: Integers
    """(A * F, 2) scratch: where some of the lists are read, and where they end."""


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
    stuck: Integers
    """(A, K) thousandths of the demand from which on jobs of an account found nobody to stop in this walk so that
    quotas and side constraints let them start; above 1000: none did.
    """
    dead_ends: Integers
    """(G, C) for each group of `Jobs.bound_alike` and column of its options: `Limits.released` when nobody whom it may
    stop made room for it, in this walk; -1 never. Later turns may stop fewer.
    """
    no_room: Integers
    """(2, G, C) for the same, `grown` of the flavor and `Limits.released` together when it last found no free place; -1
    never. The second row: under reservations.
    """
    unhindered: Booleans
    """(K,) kinds that would fit, whole, if all who may be stopped left: nothing needs to be reserved for them."""
    closed: Integers
    """(N + 1,) nodes that side constraints close for a moment; the last entry is how many."""
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
    full: Booleans
    """(Q,) scratch: which queues' own limits a job would be beyond."""


class Limits(NamedTuple):
    """What side constraints allow; see `limiting`. L rows, T terms, G groups of jobs and S signatures of nodes that
    terms select alike, F flavors, M sets of nodes by label, P prices: distinct (resource, per unit), A resources. What
    jobs take is in millionths of a row's unit.
    """

    used: Integers
    """(L,) by everything that runs. Changes on the way."""
    most: Integers
    """(L,)"""
    group: Integers
    """(J,) -1 where no term selects the job."""
    row: Integers
    """(T,)"""
    price: Integers
    """(T,)"""
    nodes: Integers
    """(T,) set of nodes that the term is about; -1: all."""
    sets: Booleans
    """(M, N)"""
    signature: Integers
    """(N,)"""
    here_starts: Integers
    """(G, S + 1): terms about group g on nodes with signature s are here[here_starts[g, s] : here_starts[g, s + 1]]."""
    here: Integers
    anywhere_starts: Integers
    """(G, F + 1): terms about group g on flavor f, whatever the node, by row."""
    anywhere: Integers
    local_starts: Integers
    """(G, F + 1): terms about group g on some nodes of flavor f, by row."""
    local: Integers
    member_starts: Integers
    """(M, F + 1): the nodes of flavor f in set m are member[member_starts[m, f] : member_starts[m, f + 1]]."""
    member: Integers
    whole: Integers
    """(P, K) what a replica takes."""
    numerator: Integers
    """(P,) millionths per integer unit of the resource, as a fraction;"""
    denominator: Integers
    """(P,)"""
    largest: Integers
    """(P,) amounts above count as this, which is more than any row allows: for the sake of 64 bits."""
    column: Integers
    """(P,) which of the amounts."""
    amount: Integers
    """(K, A) of one replica, in integer units."""
    tight: Booleans
    """(L,) scratch: rows that leave a job too little."""
    failed: Integers
    """(2, A, K) as `Scratch.failed` and `released` together, by account, where side constraints were in the way."""
    released: Integers
    """(1,) counts who left a row: what did not fit because of it does not fit until this changes."""
    hindered: Booleans
    """(1,) whether side constraints kept the last search from some nodes."""


class World(NamedTuple):
    """All of it."""

    space: Space
    kinds: Kinds
    places: Places
    bounds: Bounds
    allowances: Allowances
    limits: Limits
    jobs: Jobs
    options: Options
    stops: Stops
    reservations: Reservations
    scratch: Scratch
