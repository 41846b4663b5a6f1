"""One round's convex problem as arrays: who wants what, how fast it would run there, and what there is.

    maximize    sum_i  c_i w_i phi_alpha(u_i),      u_i = sum_k (T_ik / Tref_i) x_ik
    subject to  sum_k x_ik <= 1                                        for each row i
                sum over (i, k) on flavor f of c_i d_ikr x_ik <= C_fr  for each flavor f, resource r
                sum over members (i, k) of a limit, and its terms for k's flavor, of
                    coefficient x c_i d_ikr x_ik <= its amount         for each limit
                x >= 0,  x_ik = 0 where the column is not eligible

phi_alpha(u) = u^(1-alpha) / (1-alpha), log u at alpha = 1. At alpha = inf the objective is max-min: min_i u_i / w_i.
A row stands for `count` identical jobs; x_ik is the share of each of them, which is exact because phi is concave.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from allocator.formulation.kernels import compiled
from allocator.formulation.limits import Booleans, Floats, Integers, Limit, LimitArrays
from allocator.formulation.validation import (
    fairness_value,
    float_array,
    integer_array,
    require_above,
    require_at_least,
    require_index,
)


class Entries(NamedTuple):
    """Of the coupling, one by one in its own order, as indices that need no conversion."""

    row: Integers
    """(entries,)"""
    column: Integers
    """(entries,) of the (i, k) in C order."""
    columns: Integers
    """Those that have any, ascending."""
    starts: Integers
    """Where the entries of each of them begin."""
    most: int
    """Of one row."""


@dataclass(frozen=True, eq=False)
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
    limit_arrays: LimitArrays
    eligible: Booleans = field(repr=False)
    """(n, K) throughput > 0, and every amount it needs has a capacity and limits above 0. Elsewhere shares are 0."""
    utility: Floats = field(repr=False)
    """(n, K) normalised throughput T / Tref; 0 where not eligible."""
    coupling: sp.csc_array[Any] = field(repr=False)
    """(F R + L, n K): `coupling @ shares.ravel()` is the use of every capacity, then of every limit. Only eligible
    columns have entries, each its own in ascending order of the coupling row; 32-bit indices where they fit."""
    available: Floats = field(repr=False)
    """(F R + L,): what `coupling @ shares.ravel()` must not exceed."""
    memo: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    """By name, what was worked out of everything but the weights: `weighted` hands it on."""

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
        copy: bool = True,
    ) -> Problem:
        """Check and keep; see the fields for shapes. `weight` and `count` default to ones, `reference` to the best
        eligible throughput of each row. With `copy` False, contiguous arrays of the right type are kept themselves: the
        caller must not write to them. Raises ValueError naming the array, the index and what would be right.
        """
        speed = float_array("throughput", throughput, (None, None), copy=copy)
        n, columns = speed.shape
        require_at_least("throughput", speed, 0)
        room = float_array("capacity", capacity, (None, None))
        require_at_least("capacity", room, 0)
        flavors, resources = room.shape
        if n and columns and flavors == 0:
            raise ValueError("capacity: must have a row for every flavor, has none")
        kind = integer_array("flavor", flavor, (n, columns), copy=copy)
        require_index("flavor", kind, flavors, "an index into the rows of capacity")
        need = float_array("demand", demand, (n, columns, resources), copy=copy)
        require_at_least("demand", need, 0)
        budget = np.ones(n) if weight is None else float_array("weight", weight, (n,), copy=copy)
        require_above("weight", budget, 0)
        multiplicity = np.ones(n, dtype=np.int64) if count is None else integer_array("count", count, (n,), copy=copy)
        require_at_least("count", multiplicity, 1)
        bounds = LimitArrays.of(limits, n, room.shape)
        derive = _derived_compiled if compiled(n) else _derived
        eligible, unit, utility, coupling = derive(speed, kind, need, room, multiplicity, bounds, reference)
        _require_finite(coupling, columns)
        return cls(
            throughput=speed,
            flavor=kind,
            demand=need,
            capacity=room,
            weight=budget,
            count=multiplicity,
            fairness=fairness_value(fairness),
            reference=unit,
            limit_arrays=bounds,
            eligible=eligible,
            utility=utility,
            coupling=coupling,
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
    def limit_amount(self) -> Floats:
        """(L,)"""
        return self.limit_arrays.amount

    @property
    def limit_starts(self) -> Integers:
        """(L + 1,): the members of limit l are limit_members[limit_starts[l] : limit_starts[l + 1]]."""
        return self.limit_arrays.starts

    @property
    def limit_members(self) -> Integers:
        """Row indices, ascending within a limit."""
        return self.limit_arrays.members

    def weighted(self, weight: Floats) -> Problem:
        """The same with `weight` (n,), which must be above 0 and is kept itself."""
        other = copy(self)
        other.__dict__.pop("total_weight", None)
        object.__setattr__(other, "weight", weight)
        return other

    @property
    def entries(self) -> Entries:
        """Of `coupling`: few of them are added up faster by themselves than through its own products."""
        if "entries" not in self.memo:
            self.memo["entries"] = self._entries()
        found: Entries = self.memo["entries"]
        return found

    def _entries(self) -> Entries:
        counts = np.diff(self.coupling.indptr)
        columns = np.flatnonzero(counts)
        row = self.coupling.indices.astype(np.int64)
        return Entries(
            row=row,
            column=np.repeat(np.arange(len(counts)), counts),
            columns=columns,
            starts=self.coupling.indptr[columns].astype(np.int64),
            most=int(np.bincount(row).max(initial=0)),
        )

    @cached_property
    def limits(self) -> tuple[Limit, ...]:
        """The limits as they were given, but for the order of terms, and of members that terms differ for."""
        return self.limit_arrays.limits(self.limit_arrays.tariff, self.limit_members)

    @cached_property
    def total_weight(self) -> float:
        """Sum of count x weight: what gaps are relative to."""
        return float(np.einsum("i,i->", self.weight, self.count))  # by one thread, without an array of products

    def utilities(self, shares: Floats) -> Floats:
        """(n,) u_i of each job of a row under `shares` (n, K)."""
        utilities: Floats = np.einsum("ik,ik->i", self.utility, shares)
        return utilities

    def coupled_usage(self, shares: Floats) -> Floats:
        """(F R + L,) what `shares` (n, K) use of every capacity, then of every limit; compare with `available`."""
        if compiled(self.row_count):
            return np.asarray(self.coupling @ shares.ravel(), dtype=np.float64)
        entries = self.entries
        used = np.bincount(
            entries.row, self.coupling.data * shares.ravel()[entries.column], minlength=self.available.size
        )
        return used.astype(np.float64, copy=False)

    def coupled_costs(self, prices: Floats) -> Floats:
        """(n, K) what all jobs of each row pay for a whole share of each column, at `prices` (F R + L,)."""
        if compiled(self.row_count):
            together = np.asarray(self.coupling.T @ prices, dtype=np.float64)
            return together.reshape(self.eligible.shape)
        entries = self.entries
        costs = np.bincount(entries.column, self.coupling.data * prices[entries.row], minlength=self.eligible.size)
        return costs.astype(np.float64, copy=False).reshape(self.eligible.shape)

    def usage(self, shares: Floats) -> Floats:
        """(F, R) what `shares` (n, K) use of every capacity."""
        return self.coupled_usage(shares)[: self.capacity.size].reshape(self.capacity.shape)

    def limit_usage(self, shares: Floats) -> Floats:
        """(L,) what `shares` (n, K) use of every limit."""
        return self.coupled_usage(shares)[self.capacity.size :]


def _require_finite(coupling: sp.csc_array[Any], columns: int) -> None:
    """ValueError for the first row whose demand times its count is beyond what floats hold."""
    if coupling.nnz and not np.isfinite(coupling.data.max()):
        place = int(np.argmax(~np.isfinite(coupling.data)))
        row = (int(np.searchsorted(coupling.indptr, place, side="right")) - 1) // columns
        raise ValueError(
            f"demand[{row}]: times count[{row}] must be a finite number, for limits also times their coefficients"
        )


def _derived(
    throughput: Floats,
    flavor: Integers,
    demand: Floats,
    capacity: Floats,
    count: Integers,
    limits: LimitArrays,
    reference: ArrayLike | None,
) -> tuple[Booleans, Floats, Floats, sp.csc_array[Any]]:
    """`eligible`, `reference`, `utility` and `coupling` of a Problem."""
    eligible = _eligible(throughput, flavor, demand, capacity, limits)
    _refuse_stuck(throughput, eligible)
    unit = _unit(np.where(eligible, throughput, 0.0).max(axis=1, initial=0.0), reference)
    utility = np.where(eligible, throughput, 0.0) / unit[:, None]
    return eligible, unit, utility, _coupling(flavor, demand, count, eligible, capacity.shape, limits)


def _derived_compiled(
    throughput: Floats,
    flavor: Integers,
    demand: Floats,
    capacity: Floats,
    count: Integers,
    limits: LimitArrays,
    reference: ArrayLike | None,
) -> tuple[Booleans, Floats, Floats, sp.csc_array[Any]]:
    """The same bits in two passes, without temporaries."""
    from allocator.formulation.fused_coupling import columns, utility_and_entries  # noqa: PLC0415 - loads numba

    found = columns(throughput, flavor, demand, capacity, limits)
    if not found.best.all():
        _refuse_stuck(throughput, found.eligible)
    unit = _unit(found.best, reference)
    utility, entries = utility_and_entries(found, throughput, flavor, demand, count, unit, len(capacity))
    shape = (capacity.size + limits.amount.size, throughput.size)
    return found.eligible, unit, utility, sp.csc_array(entries, shape=shape)


def _unit(best: Floats, reference: ArrayLike | None) -> Floats:
    unit = best if reference is None else float_array("reference", reference, best.shape)
    require_above("reference", unit, 0)
    return unit


def _eligible(throughput: Floats, flavor: Integers, demand: Floats, capacity: Floats, limits: LimitArrays) -> Booleans:
    """Columns that can carry any share at all."""
    eligible: Booleans = throughput > 0
    if capacity.size:
        eligible &= ~((demand > 0) & (capacity[flavor] == 0)).any(axis=2)
    for position in np.flatnonzero(limits.amount == 0):
        rows, columns, _ = limits.entries(int(position), flavor, demand)
        eligible[rows, columns] = False
    return eligible


def _refuse_stuck(throughput: Floats, eligible: Booleans) -> None:
    """ValueError for the first row that has no column."""
    stuck = np.flatnonzero(~eligible.any(axis=1))
    if stuck.size:
        row = int(stuck[0])
        why = (
            "every throughput is 0"
            if not (throughput[row] > 0).any()
            else "wherever its throughput is above 0 it needs a capacity or a limit that is 0"
        )
        raise ValueError(f"throughput[{row}]: must have a column in which the job can run; {why}: leave the row out")


def _coupling(
    flavor: Integers,
    demand: Floats,
    count: Integers,
    eligible: Booleans,
    capacity_shape: tuple[int, ...],
    limits: LimitArrays,
) -> sp.csc_array[Any]:
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
    rows, places, data = np.concatenate(into), np.concatenate(where), np.concatenate(amounts)
    if limits.amount.size:  # without, they are in order already; none is there twice
        order = np.argsort(places * shape[0] + rows, kind="stable")
        rows, places, data = rows[order], places[order], data[order]
    index = index_type(data.size, *shape)
    starts = np.zeros(shape[1] + 1, dtype=index)
    np.cumsum(np.bincount(places, minlength=shape[1]), out=starts[1:])
    return sp.csc_array((data, rows.astype(index), starts), shape=shape)


def index_type(*sizes: int) -> type[np.signedinteger[Any]]:
    """Of the coupling's indices: 32 bits where everything fits."""
    return np.int32 if max(sizes) < np.iinfo(np.int32).max else np.int64


__all__ = ["Booleans", "Floats", "Integers", "Limit", "LimitArrays", "Problem", "index_type"]
