"""Quotas with a change made."""

from __future__ import annotations

from dataclasses import replace

from allocator.domain.quota import Quota
from allocator.explain.answers import Change, ChangeKind


def with_amounts(quotas: tuple[Quota, ...], change: Change) -> tuple[Quota, ...]:
    """The quotas of a queue after a change of its nominal quotas or limits, sorted."""
    found = {(quota.flavor, quota.resource): quota for quota in quotas}
    for resource, amount in change.amounts:
        key = (change.flavor, resource)
        before = found.get(key, Quota(change.flavor, resource))
        if change.kind is ChangeKind.NOMINAL_QUOTA:
            found[key] = replace(before, nominal=amount)
        elif change.kind is ChangeKind.BORROWING_LIMIT:
            found[key] = replace(before, borrowing_limit=amount)
        else:
            found[key] = replace(before, lending_limit=amount)
    return tuple(found[key] for key in sorted(found))
