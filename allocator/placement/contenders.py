"""What placement knows of each live job: what it could run as, how much it is owed, where it is.

Order among jobs, best first: priority class, then what they are owed, against their patience, then the share that the
optimum gives (in steps of 1/64, so that a solver's tolerance decides nothing), then admission.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.build import IN_PLACE, Formulation
from allocator.formulation.live import Live
from allocator.placement.space import Booleans, Floats, Integers
from allocator.placement.world import Options

SHARE_FLOOR = 1e-6
"""A smaller share is what an interior-point solver leaves behind where the optimum has none."""

_STEPS, _NEARLY_ALWAYS = 64, 0.9
LEFT_SHARE, ENTERED_SHARE = 0.05, 0.5
"""A job changes its configuration when the optimum gives its present one less than the first and another one more than
the second: far enough apart that the solver's tolerance decides nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Contenders:
    """The J live jobs of a round, in order of the snapshot, before anything is decided."""

    credit: Floats
    """(J,) seconds owed, within the policy's limit, times `scale`: what decides who comes before whom."""
    scale: Floats
    """(J,) what a second owed counts: less than 1 if the job is old, and so more patient."""
    share: Floats
    """(J,) of time that the optimum gives it, in all configurations together."""
    most: Floats
    """(J,) what a share of 1 is of its demand: less than 1 of who holds a part that its engine cannot change."""
    share_steps: Integers
    """(J,) `share` in steps, rounded up: 0 of those without one."""
    priority: Integers
    """(J,)"""
    preemptible: Booleans
    """(J,)"""
    pinned: Booleans
    """(J,)"""
    options: Options
    """Rows: those of the problem, then one per shape of jobs without a row, then one without options."""
    option_row: Integers
    """(J,)"""
    option_share: Floats
    """(rows, W)"""


def contenders(
    snapshot: Snapshot, formulation: Formulation, shares: Floats, memory: Memory, policy: Policy
) -> Contenders:
    """`shares` (n, K) as solved. Raises ValueError when they have another shape."""
    utility = formulation.problem.utility
    if shares.shape != utility.shape:
        raise ValueError(f"shares must have the shape of the problem {utility.shape}, got {shares.shape}")
    live = formulation.live
    options, option_share, option_row = _options(formulation, shares)
    row = formulation.row
    share = np.zeros(len(row))
    there = row >= 0
    share[there] = option_share.sum(axis=1)[row[there]]
    # Pinned jobs held their places all the time. Should they lose them, that is what they are owed: share 1.
    share[row == IN_PLACE] = 1.0
    most = np.ones(len(row))
    if formulation.most is not None:
        most[there] = formulation.most[row[there]]
    profile = live.jobs.profile
    scale = scale_of(live, snapshot.time, policy)
    return Contenders(
        credit=credits_now(memory, live, snapshot.time, policy) * scale + ahead_of(share, policy),
        scale=scale,
        share=share,
        most=most,
        share_steps=np.where(share > SHARE_FLOOR, np.ceil(share * _STEPS - 1e-6), 0.0).astype(np.int64),
        priority=live.profiles.priority[profile],
        preemptible=live.profiles.preemptible[profile],
        pinned=row == IN_PLACE,
        options=options,
        option_row=option_row,
        option_share=option_share,
    )


def credits_now(memory: Memory, live: Live, now: float, policy: Policy) -> Floats:
    """(J,) what each live job is owed, within the policy's limit."""
    limit = policy.credit_limit_seconds
    return np.minimum(limit, np.maximum(-limit, owed_now(memory, live, now)))


def owed_now(memory: Memory, live: Live, now: float) -> Floats:
    """(J,) what each live job is owed, without limit."""
    owed = np.zeros(len(live.jobs.jobs))
    known = np.frombuffer(memory.sequences, dtype=np.int64) if memory.sequences else np.zeros(0, dtype=np.int64)
    if len(known):
        place = np.minimum(np.searchsorted(known, live.jobs.sequence), len(known) - 1)
        there = known[place] == live.jobs.sequence
        since = max(0.0, now - memory.time)
        found = np.frombuffer(memory.credits) + np.frombuffer(memory.pace) * since
        owed = np.where(there, found[place], 0.0)
    return owed


def ahead_of(share: Floats, policy: Policy) -> Floats:
    """(J,) what counts as owed besides: the hysteresis, of who is to run all the time. That is there so that jobs do
    not take turns too often. Whoever is to run all the time takes none, and need not wait for it. It fades out below a
    share of 1: shares that differ by little must not make a job wait that is to run nearly all the time as well.
    """
    nearly = (share - _NEARLY_ALWAYS) / (1.0 - _NEARLY_ALWAYS)
    return np.minimum(1.0, np.maximum(0.0, nearly)) * policy.hysteresis_seconds


def scale_of(live: Live, now: float, policy: Policy) -> Floats:
    """(J,) what a second owed to each job counts: the hysteresis over its patience, which is the hysteresis or, of an
    old job, a part of its age, but little enough that credits within their limit can get that far apart. At most 1.
    """
    age = np.maximum(0.0, now - live.jobs.submitted)
    patience = np.minimum(policy.lag_tolerance * age, policy.credit_limit_seconds / 2)
    hysteresis = policy.hysteresis_seconds
    patient = (patience > hysteresis) & (hysteresis > 0)
    return np.where(patient, hysteresis / np.where(patient, patience, 1.0), 1.0)


def _options(formulation: Formulation, shares: Floats) -> tuple[Options, Floats, Integers]:
    """Per row: largest share first, then fastest, then first named; also configurations for which the problem has no
    room, but empty nodes would have.
    """
    live, row = formulation.live, formulation.row
    n, width = len(shares), live.shapes.kind.shape[1]
    first = np.zeros(n, dtype=np.int64)
    order = np.argsort(row, kind="stable")
    order = order[row[order] >= 0]
    if n:
        first = order[np.searchsorted(row[order], np.arange(n))]  # any job of the row has its shape
    outside = np.flatnonzero((row < 0) & _may_be_placed(formulation))
    outside_shapes, outside_row = outside, outside
    if outside.size:
        outside_shapes, outside_row = np.unique(live.shape[outside], return_inverse=True)
    shape = np.concatenate([live.shape[first], outside_shapes]).astype(np.int64)
    share = np.zeros((len(shape), width))
    speed = np.zeros((len(shape), width))
    inside, column = np.nonzero(formulation.index >= 0)
    share[inside, formulation.index[inside, column]] = shares[inside, column]
    speed[inside, formulation.index[inside, column]] = formulation.problem.utility[inside, column]
    share[share <= SHARE_FLOOR] = 0.0
    throughput = live.shapes.throughput[shape]
    share[n:] = 1.0
    speed[n:] = throughput[n:]
    kind = live.shapes.kind[shape]
    able = (throughput > 0) & live.fits[kind] if len(live.fits) else np.zeros(kind.shape, dtype=np.bool_)
    share = np.where(able, share, 0.0)
    by_speed = np.argsort(-np.where(able, speed, -np.inf), axis=1, kind="stable")
    ranked = np.where(able, share, -1.0)
    by_share = np.argsort(-np.take_along_axis(ranked, by_speed, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(by_speed, by_share, axis=1)
    count = able.sum(axis=1)
    option_row = np.where(row >= 0, row, len(shape))
    option_row[outside] = n + outside_row
    nobody = np.zeros((1, width), dtype=np.int64)
    share = np.take_along_axis(share, best, axis=1)
    return (
        Options(
            configuration=np.ascontiguousarray(np.concatenate([best, nobody]).astype(np.int64)),
            kind=np.ascontiguousarray(np.concatenate([np.take_along_axis(kind, best, axis=1), nobody])),
            owed=np.ascontiguousarray(np.concatenate([share, nobody]) > SHARE_FLOOR),
            choices=np.concatenate([count, [0]]).astype(np.int64),
        ),
        np.concatenate([share, nobody]),
        option_row,
    )


def _may_be_placed(formulation: Formulation) -> Booleans:
    """(J,) jobs without a row that placement may still find a place for: pinned ones that lose theirs, and those that
    the formulation left out because pinned jobs hold all of something. Those may be evicted here.
    """
    live = formulation.live
    if not len(live.fits):
        return np.zeros(len(formulation.row), dtype=np.bool_)
    possible = ((live.shapes.throughput > 0) & live.fits[live.shapes.kind]).any(axis=1)
    found: Booleans = np.asarray(possible)[live.shape]
    return found


def wishes(everybody: Contenders, formulation: Formulation, policy: Policy, now: float) -> tuple[Integers, Booleans]:
    """(J,) the option that each running job should change to, -1 if it should stay as it is; and whether it may do so
    without a restart.
    """
    live = formulation.live
    jobs, options = live.jobs, everybody.options
    row = everybody.option_row
    may = jobs.runs & ~everybody.pinned & everybody.preemptible & (options.choices[row] > 1)
    resizes = live.shapes.resizable[live.shape] if len(live.shapes.resizable) else np.zeros(len(row), dtype=np.bool_)
    running = np.flatnonzero(jobs.runs)
    if running.size and resizes.any():  # a gang of which some have finished is ending: it keeps its size
        standing = np.bincount(jobs.piece_owner, weights=jobs.piece_count, minlength=len(row))
        whole = np.array([kind.replicas for kind in live.kinds], dtype=np.int64)[live.kind_now(running)]
        resizes = resizes.copy()
        resizes[running] &= standing[running] == whole
        if formulation.fixed is not None:
            resizes &= ~formulation.fixed.size
    with np.errstate(invalid="ignore"):
        may &= resizes | (now - jobs.since >= policy.minimum_run_seconds)
    wish = np.full(len(row), -1, dtype=np.int64)
    asking = np.flatnonzero(may)
    if not asking.size:
        return wish, resizes
    rows = row[asking]
    best = everybody.option_share[rows, 0]
    same = options.configuration[rows] == jobs.configuration[asking][:, None]
    there = np.arange(options.configuration.shape[1]) < options.choices[rows][:, None]
    now_share = np.where(same & there, everybody.option_share[rows], 0.0).sum(axis=1)
    elsewhere = options.configuration[rows, 0] != jobs.configuration[asking]
    wanted = (best > ENTERED_SHARE) & (now_share < LEFT_SHARE) & elsewhere
    wish[asking[wanted]] = 0
    return wish, resizes
