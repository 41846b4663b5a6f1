"""Limits: linear rows over flavors, resources and jobs, and the arrays that a Problem keeps of them.

A limit counts every member by a *tariff*: how much of the limit a unit of each resource of each flavor takes. Most
limits have one tariff; where terms apply to some members only, one for each set of terms that anybody is counted by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from allocator.formulation.validation import float_array, integer_array, require_at_least, require_index

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Members = Sequence[int] | Integers
LimitTerm = tuple[int, int, float]
"""(flavor, resource, coefficient): for every unit of that resource held on that flavor, so much of the limit."""


class LimitPart(NamedTuple):
    """Terms that apply to some rows."""

    terms: tuple[LimitTerm, ...]
    members: Members


class Limit(NamedTuple):
    """At most `amount` of what `terms` count of the rows `members`, with what `more` counts, all together."""

    terms: tuple[LimitTerm, ...]
    amount: float
    members: Members
    more: tuple[LimitPart, ...] = ()
    """Further terms for other rows, or for some of the same: they add up."""

    @classmethod
    def of(cls, flavor: int, resource: int, amount: float, members: Members) -> Self:
        """At most `amount` of one resource of one flavor."""
        return cls(((flavor, resource, 1.0),), amount, members)

    @property
    def flavor(self) -> int:
        """Of the first term."""
        return self.terms[0][0]

    @property
    def resource(self) -> int:
        """Of the first term."""
        return self.terms[0][1]

    @property
    def parts(self) -> tuple[LimitPart, ...]:
        return (LimitPart(self.terms, self.members), *self.more)

    def among(self, place: Integers) -> Self:
        """The same limit where row i has become row place[i], or is there no more: -1."""
        parts = []
        for terms, members in self.parts:
            moved = place[np.asarray(members, dtype=np.int64)]
            parts.append(LimitPart(terms, moved[moved >= 0]))
        return self._replace(members=parts[0].members, more=tuple(parts[1:]))


@dataclass(frozen=True, slots=True, eq=False)
class LimitArrays:
    """L limits over the rows of a problem with F flavors; M memberships; B tariffs of T rates."""

    amount: Floats
    """(L,)"""
    starts: Integers
    """(L + 1,): limit l counts the rows members[starts[l] : starts[l + 1]]."""
    members: Integers
    """(M,) rows, ascending within a limit."""
    tariff: Integers
    """(M,) by which each member is counted."""
    tariff_limit: Integers
    """(B,) whose it is, ascending."""
    rate_starts: Integers
    """(B F + 1,): on flavor f tariff b has the rates from rate_starts[b F + f] to rate_starts[b F + f + 1]."""
    rate_resource: Integers
    """(T,) ascending within a tariff's flavor, each once."""
    rate: Floats
    """(T,) > 0, of the limit per unit of the resource."""

    @classmethod
    def of(cls, limits: Sequence[Limit], n: int, capacity_shape: tuple[int, ...]) -> Self:
        """Checked: ValueError names the limit and the term. `n` rows, `capacity_shape` (F, R)."""
        for position, limit in enumerate(limits):
            if not isinstance(limit, Limit):
                raise ValueError(  # noqa: TRY004 - like every other complaint about an argument
                    f"limits[{position}]: must be a Limit, got {type(limit).__name__}"
                )
        if not limits:
            return cls.none()
        amount = float_array("limits.amount", [limit.amount for limit in limits], (len(limits),))
        require_at_least("limits.amount", amount, 0)
        _require_terms(limits, capacity_shape)
        members, tariffs, tariff_limit = [], [], []
        tables: list[Sequence[LimitTerm]] = []
        for position, limit in enumerate(limits):
            rows, which, found = _counted(limit, position, n)
            members.append(rows)
            tariffs.append(which + len(tables))
            tariff_limit += [position] * len(found)
            tables += found
        flavors, resources = capacity_shape
        of_term = np.repeat(np.arange(len(tables)), [len(table) for table in tables]).astype(np.int64)
        table = np.array([term for table in tables for term in table], dtype=np.float64).reshape(-1, 3)
        key = (of_term * flavors + table[:, 0].astype(np.int64)) * resources + table[:, 1].astype(np.int64)
        keys, where = np.unique(key, return_inverse=True)
        rate = np.bincount(where.ravel(), weights=table[:, 2], minlength=keys.size).astype(np.float64)
        none = np.zeros(0, dtype=np.int64)
        cells = np.arange(len(tables) * flavors + 1)
        return cls(
            amount=amount,
            starts=np.cumsum([0, *(rows.size for rows in members)], dtype=np.int64),
            members=np.concatenate([none, *members]),
            tariff=np.concatenate([none, *tariffs]),
            tariff_limit=np.array(tariff_limit, dtype=np.int64),
            rate_starts=np.searchsorted(keys, cells * resources).astype(np.int64),
            rate_resource=keys % max(resources, 1),
            rate=rate,
        )

    @classmethod
    def none(cls) -> Self:
        """There are no limits."""
        nobody, nothing, start = np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(1, dtype=np.int64)
        return cls(
            amount=nothing,
            starts=start,
            members=nobody,
            tariff=nobody,
            tariff_limit=nobody,
            rate_starts=start,
            rate_resource=nobody,
            rate=nothing,
        )

    @property
    def flavor_count(self) -> int:
        """0 where there are no tariffs."""
        return (self.rate_starts.size - 1) // max(self.tariff_limit.size, 1)

    def terms(self, tariff: int) -> tuple[LimitTerm, ...]:
        """What a tariff has, by flavor and resource."""
        flavors = self.flavor_count
        cells = self.rate_starts[tariff * flavors : (tariff + 1) * flavors + 1]
        flavor = np.repeat(np.arange(flavors), np.diff(cells))
        here = slice(int(cells[0]), int(cells[-1]))
        return tuple(zip(flavor.tolist(), self.rate_resource[here].tolist(), self.rate[here].tolist(), strict=True))

    def limits(self, tariff: Integers, members: Integers) -> tuple[Limit, ...]:
        """The limits, if `members` (m,) are counted by `tariff` (m,) instead."""
        order = np.argsort(tariff, kind="stable")
        bounds = np.searchsorted(tariff[order], np.arange(self.tariff_limit.size + 1))
        parts: list[list[LimitPart]] = [[] for _ in self.amount]
        for number, limit in enumerate(self.tariff_limit.tolist()):
            rows = members[order[bounds[number] : bounds[number + 1]]]
            parts[limit].append(LimitPart(self.terms(number), rows))
        return tuple(
            Limit(found[0].terms, float(amount), found[0].members, tuple(found[1:]))
            for found, amount in zip(parts, self.amount, strict=True)
        )

    def entries(self, position: int, flavor: Integers, demand: Floats) -> tuple[Integers, Integers, Floats]:
        """(row, column, amount) of every member's column that limit `position` counts, given (n, K) and (n, K, R)."""
        here = slice(int(self.starts[position]), int(self.starts[position + 1]))
        rows = self.members[here]
        cell = self.tariff[here, None] * self.flavor_count + flavor[rows]
        first, last = self.rate_starts[cell], self.rate_starts[cell + 1]
        amount, counts = np.zeros(cell.shape), np.zeros(cell.shape, dtype=np.bool_)
        row, column = np.arange(rows.size)[:, None], np.arange(flavor.shape[1])
        for step in range(int((last - first).max(initial=0))):
            there = first + step < last
            rate = np.where(there, first + step, 0)
            need = np.where(there, demand[rows[row], column, self.rate_resource[rate]], 0.0)
            counts |= need > 0
            with np.errstate(over="ignore"):
                amount += need * self.rate[rate]
        member, column = np.nonzero(counts)
        return rows[member], column, amount[member, column]


def _counted(limit: Limit, position: int, n: int) -> tuple[Integers, Integers, list[Sequence[LimitTerm]]]:
    """The rows that a limit counts, which of its tariffs each is counted by, and the terms of these. One at least."""
    if not limit.more:
        rows = _rows(f"limits[{position}].members", limit.members, n)
        return rows, np.zeros(rows.size, dtype=np.int64), [limit.terms]
    names = ["members", *(f"more[{place}].members" for place in range(len(limit.more)))]
    found = [
        _rows(f"limits[{position}].{name}", part.members, n) for name, part in zip(names, limit.parts, strict=True)
    ]
    rows = np.unique(np.concatenate(found))
    if not rows.size:
        return rows, np.zeros(0, dtype=np.int64), [limit.terms]
    inside = np.zeros((rows.size, len(found)), dtype=np.bool_)
    for place, members in enumerate(found):
        inside[np.searchsorted(rows, members), place] = True
    sets, which = np.unique(inside, axis=0, return_inverse=True)
    numbers: dict[tuple[LimitTerm, ...], int] = {}
    for chosen in sets:
        numbers.setdefault(_added(limit, np.flatnonzero(chosen).tolist()), len(numbers))
    of_set = [numbers[_added(limit, np.flatnonzero(chosen).tolist())] for chosen in sets]
    return rows, np.array(of_set, dtype=np.int64)[which.ravel()], list(numbers)


def _added(limit: Limit, parts: list[int]) -> tuple[LimitTerm, ...]:
    """What these parts of a limit count together, in order."""
    total: dict[tuple[int, int], float] = {}
    for place in parts:
        for flavor, resource, coefficient in limit.parts[place].terms:
            total[flavor, resource] = total.get((flavor, resource), 0.0) + coefficient
    return tuple((flavor, resource, total[flavor, resource]) for flavor, resource in sorted(total))


def _rows(name: str, members: Members, n: int) -> Integers:
    rows = integer_array(name, members, (None,))
    require_index(name, rows, n, "an index of a row")
    if rows.size and not (np.diff(rows) > 0).all():
        rows, given = np.unique(rows), rows.size
        if rows.size != given:
            raise ValueError(f"{name}: must hold each row once")
    return rows


def _require_terms(limits: Sequence[Limit], capacity_shape: tuple[int, ...]) -> None:
    """ValueError for the first term that is wrong."""
    every = [term for limit in limits for part in limit.parts for term in part.terms]
    if not every or _all_right(every, capacity_shape):
        return
    flavors, resources = capacity_shape
    for position, limit in enumerate(limits):
        for place, part in enumerate(limit.parts):
            where = f"limits[{position}]" + (f".more[{place - 1}]" if place else "")
            for number, term in enumerate(part.terms):
                _require_term(f"{where}.terms[{number}]", term, flavors, resources)


def _all_right(terms: list[LimitTerm], capacity_shape: tuple[int, ...]) -> bool:
    """Whether nothing is wrong with any term, told at once: there may be thousands."""
    try:
        table = np.array(terms)
    except (ValueError, TypeError, OverflowError):
        return False
    if table.ndim != 2 or table.shape[1] != 3 or table.dtype.kind not in "if":
        return False
    index, coefficient = table[:, :2], table[:, 2]
    below = (index < np.array(capacity_shape)).all() and (index >= 0).all() and (index == np.rint(index)).all()
    return bool(below and np.isfinite(coefficient).all() and (coefficient > 0).all())


def _require_term(name: str, term: Any, flavors: int, resources: int) -> None:
    if not isinstance(term, tuple | list) or len(term) != 3:
        raise ValueError(f"{name}: must be (flavor, resource, coefficient), got {term!r}")
    for place, (what, length) in enumerate((("flavor", flavors), ("resource", resources))):
        value = float_array(f"{name}: {what}", [term[place]], (1,))[0]
        if value != np.rint(value) or not 0 <= value < length:
            axis = "rows" if place == 0 else "columns"
            right = f": 0 to {length - 1}" if length else ""
            raise ValueError(f"{name}: {what} must be an index into the {axis} of capacity{right}, got {term[place]}")
    coefficient = float_array(f"{name}: coefficient", [term[2]], (1,))[0]
    if not coefficient > 0:
        raise ValueError(f"{name}: coefficient must be a finite number above 0, got {term[2]}")
