"""On what grounds jobs claim something, and what pinned ones hold already: the market's side of the problem."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from allocator.domain.placement import held
from allocator.domain.queue import Discipline, Queue
from allocator.domain.resources import Resources, display_unit
from allocator.formulation.budgets import queue_budgets
from allocator.formulation.live import Live
from allocator.formulation.problem import Booleans, Floats, Integers


@dataclass(frozen=True, slots=True, eq=False)
class RowClaims:
    """On what grounds each row (n,) claims something."""

    queue: Integers
    """Index into `Live.queues`."""
    weight: Floats
    """Of one job, relative to the others of its queue."""
    priority: Integers
    """Of the job's class."""
    turn: Integers
    """Order of service in a queue that serves in order: the position of the row's first job."""
    least: Floats | None = None
    """The utility that one job is promised; 0 of most. None: of all."""
    closed: Booleans | None = None
    """(n, K) configurations for which no node has room until pinned jobs end. None: there are none."""


def held_by_queues(live: Live, pinned: Booleans, flavors: tuple[str, ...], resources: tuple[str, ...]) -> Floats:
    """(queues, F, R) what the unfinished replicas of pinned jobs hold, wherever they are."""
    found = np.zeros((len(live.queues), len(flavors), len(resources)))
    if not pinned.any() or not found.size:
        return found
    there = np.flatnonzero(pinned[live.jobs.piece_owner] & (live.piece_node >= 0))
    owner = live.jobs.piece_owner[there]
    queue, kind = live.profiles.queue[live.jobs.profile[owner]], live.kind_now(owner)
    key = np.stack([queue, kind, live.jobs.millis[owner], live.nodes.flavor[live.piece_node[there]]], axis=1)
    distinct, which = np.unique(key, axis=0, return_inverse=True)
    counts = np.bincount(which.ravel(), weights=live.jobs.piece_count[there])
    row = {name: position for position, name in enumerate(flavors)}
    for (queue_number, kind_number, millis, flavor), count in zip(distinct.tolist(), counts.tolist(), strict=True):
        each = display_amounts(held(live.kinds[kind_number].asks, millis), resources)
        found[queue_number, row[live.nodes.flavors[flavor]]] += np.array(each) * count
    return found


def in_order(queues: Iterable[Queue], live: Live, candidates: Integers) -> tuple[Integers, Integers]:
    """(n,) profile of each candidate, and the profile that each of these numbers is like: jobs of queues that serve in
    order have a number each, because what they may spend differs.
    """
    profile = live.jobs.profile[candidates]
    alike = np.arange(len(live.profiles.shape))
    ordered = {queue.name for queue in queues if queue.discipline is Discipline.FIFO}
    if not ordered:
        return profile, alike
    serves_in_order = np.array([name in ordered for name in live.queues], dtype=np.bool_)
    single = np.flatnonzero(serves_in_order[live.profiles.queue[profile]])
    numbered = profile.copy()
    numbered[single] = len(alike) + np.arange(len(single))
    return numbered, np.concatenate([alike, profile[single]])


@dataclass(frozen=True, slots=True, eq=False)
class Claimants:
    """The candidates' profiles, with those apart whose claims differ; numbered anew (P')."""

    profile: Integers
    """(n,) number of each candidate."""
    alike: Integers
    """(P',) the live profile that each is like."""
    claim: Integers
    """(P',) the same number for the same queue, weight and priority class; jobs in queues that serve in order have one
    each.
    """
    steps: Integers
    """(P',) exponent of 2 by which their weights are multiplied."""


def claimants(queues: Iterable[Queue], live: Live, candidates: Integers, steps: Integers | None) -> Claimants:
    """`steps` (J,): exponents of 2 that the jobs' weights are multiplied by; None: they are not."""
    profile, alike = in_order(queues, live, candidates)
    known = len(live.profiles.shape)
    if steps is None:
        return Claimants(profile, alike, claim_numbers(live, alike, known), np.zeros(len(alike), dtype=np.int64))
    mine = steps[candidates]
    least = int(mine.min(initial=0))
    width = int(mine.max(initial=0)) - least + 1
    keys, numbered = np.unique(profile * width + mine - least, return_inverse=True)
    known = int(np.searchsorted(keys, known * width))
    alike, found = alike[keys // width], keys % width + least
    return Claimants(numbered.ravel().astype(np.int64), alike, claim_numbers(live, alike, known, found), found)


def claim_numbers(live: Live, alike: Integers, known: int, steps: Integers | None = None) -> Integers:
    """A number for each profile of `alike`: the same for the same queue, weight (times 2 to the power of `steps`) and
    priority class. Those from `known` on, of jobs in queues that serve in order, have one each.
    """
    profiles, first = live.profiles, alike[:known]
    weight = profiles.weight[first] if steps is None else np.ldexp(profiles.weight[first], steps[:known])
    key = np.stack([profiles.queue[first], weight.view(np.int64), profiles.priority[first]], axis=1)
    number = _numbered(key)
    many = len(alike) - len(number)
    return np.concatenate([number, len(number) + np.arange(many)])


def _numbered(key: Integers) -> Integers:
    """(n,) the same number for the same row of `key` (n, 3), in their order."""
    order = np.lexsort(key.T[::-1])
    differs = (key[order[1:]] != key[order[:-1]]).any(axis=1)
    number = np.zeros(len(key), dtype=np.int64)
    number[order[1:]] = np.cumsum(differs)
    return number


def plain_budgets(
    queues: Iterable[Queue], live: Live, candidates: Integers, pinned: Integers, steps: Integers | None = None
) -> Floats:
    """(P,) the budget of one job of each profile; pinned jobs claim their part. `steps` (J,) as in `claimants`: then
    budgets are of jobs whose weights are multiplied by 1.
    """
    profiles = live.profiles
    there = np.concatenate([candidates, pinned])
    profile = live.jobs.profile[there]
    claimed = profiles.weight[profile] if steps is None else np.ldexp(profiles.weight[profile], steps[there])
    weight = np.bincount(profiles.queue[profile], weights=claimed, minlength=len(live.queues))
    wanting = np.bincount(profiles.queue[profile], minlength=len(live.queues)) > 0
    live_weight = {live.queues[queue]: float(weight[queue]) for queue in np.flatnonzero(wanting).tolist()}
    budgets = queue_budgets(queues, live_weight)
    with np.errstate(all="ignore"):  # weights that differ by more than floats can tell apart: `group` puts them right
        per_unit = np.array([budgets[name] / live_weight[name] if name in live_weight else 0.0 for name in live.queues])
        found: Floats = per_unit[profiles.queue] * profiles.weight
    return found


def display_amounts(amounts: Resources, resources: tuple[str, ...]) -> list[float]:
    return [amounts.get(name) / display_unit(name)[1] for name in resources]
