"""What queues had of what was scarce, and how that changes their weights: who was short is paid back.

Charged is what a queue's jobs really hold, at the prices of the round, in parts of what all there is costs. So only
what others wanted counts: who uses what would be idle is charged nothing. A queue is entitled, among its siblings of
the same priority, to its weight's part of what these have together, whether it wants anything or not. Both are
integrals over the past, in seconds, in which a second ago counts less the longer ago it was:

    had(t) = sum over past seconds s of pace(s) 2^(-(t - s) / half-life)

so that a pace of 1 for ever is a window of half-life / ln 2 seconds. Between two rounds paces are constant, and the
integral is exact however far apart they are.

A queue's weight is then multiplied by

    (had / entitled)^-strength,    had and entitled relative to its siblings that want something now,

at most by the policy's limit and at least by one over it. Of what is not remembered, because there was no queue or
nothing was scarce, everybody is taken to have had what the weights say, so that little history changes little. In a
fluid market in which everybody wants more this is a proportional controller: with strength 1 what is missing shrinks
with a time constant of half a window, and a queue that had nothing for long counts at most the limit's times its
weight, and nobody less than one over the limit.
(Decayed usage against shares is how Slurm's fair-share factor and KAI's time-based fair share pay back, too.)
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.snapshot import Memory, QueueHistory

_MOST_WEIGHT = 1e9

Paces = Mapping[str, tuple[float, float]]
"""By queue: what it has, and what it is entitled to, in parts of all there is."""


@dataclass(frozen=True, slots=True)
class Repayment:
    """Why a queue's weight counts more or less in this round."""

    had: float
    """Part of all there was, over the window, that it had of what was scarce."""
    entitled: float
    """The part that its weight entitled it to."""
    factor: float
    """By which its weight is multiplied, or would be if it wanted something."""


def window(half_life_seconds: float) -> float:
    """Seconds that a pace of 1 for ever adds up to."""
    return half_life_seconds / math.log(2.0)


def history_at(memory: Memory, now: float, half_life_seconds: float) -> dict[str, tuple[float, float]]:
    """By queue, what it had and was entitled to, in seconds."""
    elapsed = max(0.0, now - memory.time)
    whole = window(half_life_seconds)
    kept, added = math.exp(-elapsed / whole), -math.expm1(-elapsed / whole) * whole
    return {
        name: (past.had * kept + past.had_pace * added, past.entitled * kept + past.entitled_pace * added)
        for name, past in memory.history.items()
    }


def repayments(
    queues: Sequence[Queue], wanting: Collection[str], history: Mapping[str, tuple[float, float]], policy: Policy
) -> dict[str, Repayment]:
    """Of every queue. `wanting` have live jobs; with them, the queues above them want something."""
    whole = window(policy.usage_half_life_seconds)
    awake = _with_those_above(queues, wanting)
    parts = nominal_parts(queues)
    had, entitled = {}, {}
    for queue in queues:
        past_had, past_entitled = history.get(queue.name, (0.0, 0.0))
        forgotten = max(0.0, parts[queue.name] * whole - past_entitled)
        had[queue.name], entitled[queue.name] = past_had + forgotten, past_entitled + forgotten
    found = {}
    for siblings in _groups(queues).values():
        those = [queue.name for queue in siblings if queue.name in awake]
        all_had, all_entitled = sum(had[name] for name in those), sum(entitled[name] for name in those)
        for name in [queue.name for queue in siblings]:
            own_had, own_entitled = (0.0, 0.0) if name in awake else (had[name], entitled[name])
            together, due = all_had + own_had, all_entitled + own_entitled
            known = together > 0 and entitled[name] > 0
            factor = _factor(had[name] / entitled[name] * (due / together), policy) if known else 1.0
            past_had, past_entitled = history.get(name, (0.0, 0.0))
            found[name] = Repayment(past_had / whole, past_entitled / whole, factor)
    return found


def weighed(queues: Iterable[Queue], found: Mapping[str, Repayment]) -> tuple[Queue, ...]:
    """The queues with the weights of this round."""
    return tuple(
        queue if found[queue.name].factor == 1.0 else replace(queue, weight=queue.weight * found[queue.name].factor)
        for queue in queues
    )


def paces(queues: Sequence[Queue], charged: Mapping[str, float], worth: float) -> Paces:
    """By queue, from now on. `charged`: what the jobs in each queue hold costs; all there is costs `worth`."""
    if not worth > 0:
        return {queue.name: (0.0, 0.0) for queue in queues}
    has: dict[str, float] = {queue.name: 0.0 for queue in queues}
    for name, cost in charged.items():
        above: str | None = name
        while above in has:
            has[above] += cost / worth
            above = above.rpartition("/")[0]
    found: dict[str, tuple[float, float]] = {}
    for siblings in _groups(queues).values():
        together = sum(has[queue.name] for queue in siblings)
        weights = sum(_weight(queue) for queue in siblings)
        found |= {queue.name: (has[queue.name], together * (_weight(queue) / weights)) for queue in siblings}
    return found


def history_of(past: Mapping[str, tuple[float, float]], found: Paces) -> dict[str, QueueHistory]:
    """To remember, of the queues that there are."""
    return {name: QueueHistory(*past.get(name, (0.0, 0.0)), *pace) for name, pace in found.items()}


def nominal_parts(queues: Iterable[Queue]) -> dict[str, float]:
    """By queue, its part of everything by weights, were all awake: parts of 1 that flow down the tree."""
    known = {queue.name: queue for queue in queues}
    together: dict[str | None, float] = defaultdict(float)
    for queue in known.values():
        together[_parent(queue, known)] += _weight(queue)
    parts: dict[str, float] = {}
    for queue in sorted(known.values(), key=lambda queue: queue.name.count("/")):
        parent = _parent(queue, known)
        parts[queue.name] = (1.0 if parent is None else parts[parent]) * (_weight(queue) / together[parent])
    return parts


def _factor(ratio: float, policy: Policy) -> float:
    """Of a queue that had `ratio` times what it should have had, at least 0."""
    most = math.log(policy.weight_factor_limit)
    wanted = -policy.usage_strength * math.log(ratio) if ratio > 0 else most
    return math.exp(min(most, max(-most, wanted)))


def _with_those_above(queues: Iterable[Queue], wanting: Collection[str]) -> set[str]:
    known = {queue.name for queue in queues}
    found: set[str] = set()
    for name in wanting:
        above = name
        while above in known and above not in found:
            found.add(above)
            above = above.rpartition("/")[0]
    return found


def _groups(queues: Iterable[Queue]) -> dict[tuple[str | None, int], list[Queue]]:
    """Siblings of one priority, who share what those of higher ones leave."""
    known = {queue.name: queue for queue in queues}
    found: dict[tuple[str | None, int], list[Queue]] = defaultdict(list)
    for queue in known.values():
        found[_parent(queue, known), queue.priority].append(queue)
    return found


def _weight(queue: Queue) -> float:
    """Within what is accepted, and more: facts may hold anything."""
    return min(_MOST_WEIGHT, max(1 / _MOST_WEIGHT, queue.weight))


def _parent(queue: Queue, known: Mapping[str, Queue]) -> str | None:
    """None at the top and where the parent does not exist."""
    return queue.parent if queue.parent in known else None
