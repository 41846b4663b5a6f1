"""One round's convex problem as arrays: who wants what, how fast it would run there, and what there is.

    maximize    sum_i  c_i w_i phi_alpha(u_i),      u_i = sum_k (T_ik / Tref_i) x_ik
    subject to  sum_k x_ik <= 1                                        for each row i
                sum over (i, k) on flavor f of c_i d_ikr x_ik <= C_fr  for each flavor f, resource r
                the same sum over the members of a limit <= its amount for each limit
                x >= 0,  x_ik = 0 where the column is not eligible

phi_alpha(u) = u^(1-alpha) / (1-alpha), log u at alpha = 1. At alpha = inf the objective is max-min: min_i u_i / w_i.
A row stands for `count` identical jobs; x_ik is the share of each of them, which is exact because phi is concave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from allocator.formulation.validation import (
    fairness_value,
    float_array,
    integer_array,
    require_above,
    require_at_least,
    require_index,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


class Limit(NamedTuple):
    """At most `amount` of one resource of one flavor for the rows `members` together."""

    flavor: int
    resource: int
    amount: float
    members: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Build with `from_arrays`, which checks everything; n rows, K columns, F flavors, R resources, L limits.

    Amounts are in any unit, the same in `demand`, `capacity` and limits (the daemon uses display units: cores, GPUs,
    GiB, GB/s), so prices are per that unit. Arrays are contiguous and must not be written to.
    """

    throughput: Floats
    """(n, K) work per second of the whole gang; 0 means "cannot run there"."""
    flavor: Integers
    """(n, K) index into the rows of `capacity`; ignored where the throughput is 0."""
    demand: Floats
    """(n, K, R) of the whole gang of one job."""
    capacity: Floats
    """(F, R)"""
    weight: Floats
    """(n,) > 0, of one job: its budget."""
    count: Integers
    """(n,) >= 1, how many identical jobs the row stands for."""
    fairness: float
    """alpha, 0 to inf."""
    reference: Floats
    """(n,) > 0, Tref: the throughput that counts as utility 1."""
    limit_flavor: Integers
    """(L,)"""
    limit_resource: Integers
    """(L,)"""
    limit_amount: Floats
    """(L,)"""
    limit_starts: Integers
    """(L + 1,): the members of limit l are limit_members[limit_starts[l] : limit_starts[l + 1]]."""
    limit_members: Integers
    """Row indices, ascending within a limit."""
    eligible: Booleans = field(repr=False)
    """(n, K) throughput > 0, and every amount it needs has a capacity and limits above 0. Elsewhere shares are 0."""
    utility: Floats = field(repr=False)
    """(n, K) normalised throughput T / Tref; 0 where not eligible."""
    coupling: sp.csr_array[Any] = field(repr=False)
    """(F R + L, n K): `coupling @ shares.ravel()` is the use of every capacity, then of every limit."""
    available: Floats = field(repr=False)
    """(F R + L,): what `coupling @ shares.ravel()` must not exceed."""

    @classmethod
    def from_arrays(
        cls,
        *,
        throughput: ArrayLike,
        flavor: ArrayLike,
        demand: ArrayLike,
        capacity: ArrayLike,
        weight: ArrayLike | None = None,
        count: ArrayLike | None = None,
        fairness: float = 1.0,
        reference: ArrayLike | None = None,
        limits: Sequence[Limit] = (),
    ) -> Problem:
        """Check and keep; see the fields for shapes. `weight` and `count` default to ones, `reference` to the best
        eligible throughput of each row. Raises ValueError naming the array, the index and what would be right.
        """
        speed = float_array("throughput", throughput, (None, None))
        n, columns = speed.shape
        require_at_least("throughput", speed, 0)
        room = float_array("capacity", capacity, (None, None))
        require_at_least("capacity", room, 0)
        flavors, resources = room.shape
        kind = integer_array("flavor", flavor, (n, columns))
        require_index("flavor", kind, flavors, "an index into the rows of capacity")
        need = float_array("demand", demand, (n, columns, resources))
        require_at_least("demand", need, 0)
        budget = float_array("weight", np.ones(n) if weight is None else weight, (n,))
        require_above("weight", budget, 0)
        multiplicity = integer_array("count", np.ones(n, dtype=np.int64) if count is None else count, (n,))
        require_at_least("count", multiplicity, 1)
        bounds = _LimitArrays.of(limits, n, room.shape)
        eligible = _eligible(speed, kind, need, room, bounds)
        best = np.where(eligible, speed, 0.0).max(axis=1, initial=0.0)
        unit = best if reference is None else float_array("reference", reference, (n,))
        require_above("reference", unit, 0)
        return cls(
            throughput=speed,
            flavor=kind,
            demand=need,
            capacity=room,
            weight=budget,
            count=multiplicity,
            fairness=fairness_value(fairness),
            reference=unit,
            limit_flavor=bounds.flavor,
            limit_resource=bounds.resource,
            limit_amount=bounds.amount,
            limit_starts=bounds.starts,
            limit_members=bounds.members,
            eligible=eligible,
            utility=np.where(eligible, speed, 0.0) / unit[:, None],
            coupling=_coupling(kind, need, multiplicity, eligible, room.shape, bounds),
            available=np.concatenate([room.ravel(), bounds.amount]),
        )

    @property
    def row_count(self) -> int:
        return len(self.throughput)

    @property
    def column_count(self) -> int:
        return int(self.throughput.shape[1])

    @property
    def flavor_count(self) -> int:
        return len(self.capacity)

    @property
    def resource_count(self) -> int:
        return int(self.capacity.shape[1])

    @property
    def limit_count(self) -> int:
        return len(self.limit_amount)

    @property
    def total_weight(self) -> float:
        """Sum of count x weight: what gaps are relative to."""
        return float(self.weight @ self.count)

    def utilities(self, shares: Floats) -> Floats:
        """(n,) u_i of each job of a row under `shares` (n, K)."""
        utilities: Floats = np.einsum("ik,ik->i", self.utility, shares)
        return utilities

    def coupled_usage(self, shares: Floats) -> Floats:
        """(F R + L,) what `shares` (n, K) use of every capacity, then of every limit; compare with `available`."""
        used: Floats = np.asarray(self.coupling @ shares.ravel(), dtype=np.float64)
        return used

    def usage(self, shares: Floats) -> Floats:
        """(F, R) what `shares` (n, K) use of every capacity."""
        return self.coupled_usage(shares)[: self.capacity.size].reshape(self.capacity.shape)

    def limit_usage(self, shares: Floats) -> Floats:
        """(L,) what `shares` (n, K) use of every limit."""
        return self.coupled_usage(shares)[self.capacity.size :]


@dataclass(frozen=True, slots=True)
class _LimitArrays:
    """Limits as the five arrays of a Problem."""

    flavor: Integers
    resource: Integers
    amount: Floats
    starts: Integers
    members: Integers

    @classmethod
    def of(cls, limits: Sequence[Limit], n: int, capacity_shape: tuple[int, ...]) -> _LimitArrays:
        flavors, resources = capacity_shape
        flavor = integer_array("limits.flavor", [limit.flavor for limit in limits], (len(limits),))
        require_index("limits.flavor", flavor, flavors, "an index into the rows of capacity")
        resource = integer_array("limits.resource", [limit.resource for limit in limits], (len(limits),))
        require_index("limits.resource", resource, resources, "an index into the columns of capacity")
        amount = float_array("limits.amount", [limit.amount for limit in limits], (len(limits),))
        require_at_least("limits.amount", amount, 0)
        members = []
        for position, limit in enumerate(limits):
            name = f"limits[{position}].members"
            rows = integer_array(name, limit.members, (None,))
            require_index(name, rows, n, "an index of a row")
            unique = np.unique(rows)
            if unique.size != rows.size:
                raise ValueError(f"{name}: must hold each row once")
            members.append(unique)
        starts = np.cumsum([0, *(rows.size for rows in members)], dtype=np.int64)
        together = np.concatenate([np.zeros(0, dtype=np.int64), *members])
        return cls(flavor, resource, amount, starts, together)

    def entries(self, position: int, flavor: Integers, demand: Floats) -> tuple[Integers, Integers, Floats]:
        """(row, column, demand) of every member's column that limit `position` counts."""
        rows = self.members[self.starts[position] : self.starts[position + 1]]
        amounts = demand[rows, :, self.resource[position]]
        member, column = np.nonzero((flavor[rows] == self.flavor[position]) & (amounts > 0))
        return rows[member], column, amounts[member, column]


def _eligible(throughput: Floats, flavor: Integers, demand: Floats, capacity: Floats, limits: _LimitArrays) -> Booleans:
    """Columns that can carry any share at all; ValueError for the first row that has none."""
    eligible: Booleans = throughput > 0
    if capacity.size:
        eligible &= ~((demand > 0) & (capacity[flavor] == 0)).any(axis=2)
    for position in np.flatnonzero(limits.amount == 0):
        rows, columns, _ = limits.entries(int(position), flavor, demand)
        eligible[rows, columns] = False
    stuck = np.flatnonzero(~eligible.any(axis=1))
    if stuck.size:
        row = int(stuck[0])
        why = (
            "every throughput is 0"
            if not (throughput[row] > 0).any()
            else "wherever its throughput is above 0 it needs a capacity or a limit that is 0"
        )
        raise ValueError(f"throughput[{row}]: must have a column in which the job can run; {why}: leave the row out")
    return eligible


def _coupling(
    flavor: Integers,
    demand: Floats,
    count: Integers,
    eligible: Booleans,
    capacity_shape: tuple[int, ...],
    limits: _LimitArrays,
) -> sp.csr_array[Any]:
    """Sparse rows of all capacities, then of all limits, over the columns (i, k) in C order."""
    resources = capacity_shape[1]
    size = capacity_shape[0] * resources
    columns = eligible.shape[1]
    row, column, resource = np.nonzero((demand > 0) & eligible[:, :, None])
    into = [flavor[row, column] * resources + resource]
    where = [row * columns + column]
    amounts = [demand[row, column, resource] * count[row]]
    for position in range(limits.amount.size):
        row, column, amount = limits.entries(position, flavor, demand)
        kept = eligible[row, column]
        row, column, amount = row[kept], column[kept], amount[kept]
        into.append(np.full(row.size, size + position))
        where.append(row * columns + column)
        amounts.append(amount * count[row])
    shape = (size + limits.amount.size, eligible.size)
    entries = (np.concatenate(amounts), (np.concatenate(into), np.concatenate(where)))
    return sp.csr_array(sp.coo_array(entries, shape=shape))
