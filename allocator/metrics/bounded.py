"""Keeps the number of values of a label bounded, whatever clients and operators name things.

First come, first kept: a value that got its own series keeps it while it exists, so graphs do not jump; values beyond
the limit share `names.OTHER` until one that is kept goes away.
"""

from __future__ import annotations

from collections.abc import Iterable

from allocator.metrics.names import OTHER


class BoundedLabel:
    """The values of one label that have series of their own, at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit}")
        self._limit = limit
        self._kept: set[str] = set()

    def of(self, value: str) -> str:
        """`value` if it has, or now gets, series of its own; `names.OTHER` otherwise."""
        if value in self._kept:
            return value
        if len(self._kept) < self._limit:
            self._kept.add(value)
            return value
        return OTHER

    def retain(self, existing: Iterable[str]) -> set[str]:
        """Forget the values that are not among `existing`; returns them, so that their series can be dropped."""
        gone = self._kept.difference(existing)
        self._kept -= gone
        return gone
