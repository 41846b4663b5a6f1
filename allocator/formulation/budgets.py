"""How the one unit of total weight reaches the jobs: down the queue tree, then split by job weight.

A queue's weight is relative to its siblings that want something now, that is, that have live jobs below them. So an
idle queue's part goes to its siblings, and adding jobs to a queue takes from that queue alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from allocator.domain.queue import Queue

_OWN_WEIGHT = 1.0
"""Weight, beside the children's, of jobs that sit in a queue with children. Intake refuses that; facts may hold it."""


def queue_budgets(queues: Iterable[Queue], live_weights: Mapping[str, float]) -> dict[str, float]:
    """Budget of the jobs in each queue of `live_weights`, summing to 1 (empty when there are none).

    `live_weights`: by queue name, the sum of the weights of its live jobs, above 0. A name that is not among `queues`
    counts as a root of weight 1; a job's own budget is its queue's times its part of the queue's live weight.
    """
    weights = {queue.name: queue.weight for queue in queues}
    parents = {queue.name: queue.parent for queue in queues}
    for name in live_weights:
        weights.setdefault(name, _OWN_WEIGHT)
        parents.setdefault(name, None)
    wanting: set[str] = set()
    for name in live_weights:
        above: str | None = name
        while above is not None and above not in wanting:
            wanting.add(above)
            above = _known(parents[above], weights)
    children: dict[str | None, list[str]] = {}
    for name in sorted(wanting):
        children.setdefault(_known(parents[name], weights), []).append(name)
    budgets: dict[str, float] = {}
    pending: list[tuple[str | None, float]] = [(None, 1.0)] if wanting else []
    while pending:
        name_above, budget = pending.pop()
        below = children.get(name_above, [])
        own = _OWN_WEIGHT if name_above in live_weights and below else 0.0
        together = own + sum(weights[name] for name in below)
        pending += [(name, budget * weights[name] / together) for name in below]
        if name_above is not None and name_above in live_weights:
            budgets[name_above] = budget * own / together if below else budget
    return budgets


def _known(parent: str | None, weights: Mapping[str, float]) -> str | None:
    """The parent, or None at the top and where the parent does not exist."""
    return parent if parent in weights else None
