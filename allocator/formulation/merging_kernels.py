"""Equal rows found in one pass: what matters of a row is packed, hashed, looked up and compared word by word. Compiled.

A packed row is one block of words per column, utility, flavor + 1 and demands, all 0 where the column is not eligible;
then the weight. Its fingerprint is a sum over the columns, so it does not depend on their order. It only says where to
look: a collision costs time and nothing else.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
_TILE = 64
"""Rows that are packed before they are looked up: enough for the words to have reached the cache."""


class Rows(NamedTuple):
    """A problem's rows, floats as the 64-bit words that they are: equal means the same bits."""

    utility: Array
    """(n, K)"""
    flavor: Array
    """(n, K)"""
    demand: Array
    """(n, K R)"""
    eligible: Array
    """(n, K)"""
    weight: Array
    """(n,)"""
    tariff_starts: Array
    """(n + 1,): row i is held by limits by tariffs[tariff_starts[i] : tariff_starts[i] + tariff_counts[i]]."""
    tariff_counts: Array
    """(n,), or of length 0 where there are no limits."""
    tariffs: Array


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _mix(state: Any, word: Any) -> Any:
    state = (state ^ word) * np.uint64(0x9E3779B97F4A7C15)
    return state ^ (state >> np.uint64(32))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _pack(
    utility: Array, flavor: Array, demand: Array, eligible: Array, weight: Array, i: int, words: Array, t: int
) -> Any:
    """Row i into words[t]; its fingerprint, limits left out."""
    width = eligible.shape[1]
    depth = demand.shape[1] // width
    total = weight[i] * np.uint64(0xD6E8FEB86659FD93)
    at = 0
    for k in range(width):
        if eligible[i, k]:
            gain, kind = utility[i, k], np.uint64(flavor[i, k] + 1)
            words[t, at], words[t, at + 1] = gain, kind
            state = _mix(kind, gain)
            for r in range(depth):
                need = demand[i, k * depth + r]
                words[t, at + 2 + r] = need
                state = _mix(state, need)
            total += _mix(state, np.uint64(1))
        else:
            for w in range(at, at + 2 + depth):
                words[t, w] = np.uint64(0)
        at += 2 + depth
    words[t, at] = weight[i]
    return _mix(total, np.uint64(1))


@njit(cache=True, nogil=True, error_model="numpy")
def _same_tariffs(starts: Array, counts: Array, tariffs: Array, i: int, j: int) -> bool:
    if counts[i] != counts[j]:
        return False
    for e in range(counts[i]):  # noqa: SIM110 - numba compiles no all() over a generator
        if tariffs[starts[i] + e] != tariffs[starts[j] + e]:
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _matches(words: Array, t: int, others: Array, j: int, place: Array, taken: Array) -> bool:
    """Whether the packed rows words[t] and others[j], of K columns, are equal but for the order of columns. Then
    place[k] (K,) is the column of the latter that column k of the former is, -1 where it is not eligible. Which of
    several equal columns is meant does not matter: the first that is not `taken` (K,) yet, from the same place on.
    """
    width = place.size
    block = (words.shape[1] - 1) // width
    if words[t, width * block] != others[j, width * block]:
        return False
    for k in range(width):
        taken[k] = others[j, k * block + 1] == np.uint64(0)
    for k in range(width):
        place[k] = -1
        if words[t, k * block + 1] == np.uint64(0):
            continue
        for step in range(width):
            column = k + step if k + step < width else k + step - width
            if taken[column]:
                continue
            apart = np.uint64(0)
            for w in range(block):
                apart |= words[t, k * block + w] ^ others[j, column * block + w]
            if apart == np.uint64(0):
                taken[column] = True
                place[k] = column
                break
        if place[k] < 0:
            return False
    return bool(taken.all())


@njit(cache=True, nogil=True, error_model="numpy")
def _pack_tile(
    rows: Rows, begin: int, chosen: Array, a: int, mask: Any, height: int, tile: Array, prints: Array
) -> None:
    utility, flavor, demand, eligible, weight = rows.utility, rows.flavor, rows.demand, rows.eligible, rows.weight
    starts, counts, tariffs = rows.tariff_starts, rows.tariff_counts, rows.tariffs
    for t in range(height):
        i = chosen[a + t] if chosen.size else begin + a + t
        fingerprint = _pack(utility, flavor, demand, eligible, weight, i, tile, t)
        if counts.size:
            for e in range(starts[i], starts[i] + counts[i]):
                fingerprint = _mix(fingerprint, np.uint64(tariffs[e] + 1))
        prints[t] = fingerprint & mask


@njit(cache=True, nogil=True, error_model="numpy")
def group(
    rows: Rows, begin: int, chosen: Array, tally: Array, mask: Any, most: int, label: Array
) -> tuple[Array, Array, bool]:
    """Group the rows `chosen`, or from `begin` on where nothing is chosen: label (m,) gets the number of each one's
    group. Groups are in order of their first row. `tally` (m,) is summed by group; only the bits `mask` of fingerprints
    count.

    (first, total, moved): the first row of each group, the sum of the group's tally, whether the columns of some row
    are in other places than its group's first row has them. Ends early when there are more than `most` groups.
    """
    starts, counts, tariffs = rows.tariff_starts, rows.tariff_counts, rows.tariffs
    m, width = tally.size, rows.eligible.shape[1]
    size = 2 * width + rows.demand.shape[1] + 1
    slots = 16
    while slots < 2 * min(m, most + 1):
        slots *= 2
    table = np.full(slots, -1, dtype=np.int32)
    first, total = np.empty(m, dtype=np.int64), np.empty(m, dtype=np.int64)
    prints, kept = np.empty(m, dtype=np.uint64), np.empty((min(m, most + 1), size), dtype=np.uint64)
    tile, tile_prints = np.empty((_TILE, size), dtype=np.uint64), np.empty(_TILE, dtype=np.uint64)
    place, taken = np.empty(width, dtype=np.int64), np.empty(width, dtype=np.bool_)
    groups, moved = 0, False
    for t in range(m):
        at = t % _TILE
        if at == 0:
            _pack_tile(rows, begin, chosen, t, mask, min(_TILE, m - t), tile, tile_prints)
        i = chosen[t] if chosen.size else begin + t
        slot: Any = np.int64(tile_prints[at] & np.uint64(slots - 1))
        while True:
            found: Any = np.int64(table[slot])
            if found < 0:
                break
            if prints[found] == tile_prints[at] and (
                counts.size == 0 or _same_tariffs(starts, counts, tariffs, i, first[found])
            ):
                apart = np.uint64(0)
                for w in range(size):
                    apart |= tile[at, w] ^ kept[found, w]
                if apart == 0:
                    break
                if _matches(tile, at, kept, found, place, taken):
                    moved = True
                    break
            slot = (slot + 1) & (slots - 1)
        if found < 0:
            if groups > most:
                break
            found = np.int64(groups)
            table[slot], first[groups], prints[groups], total[groups] = groups, i, tile_prints[at], 0
            kept[groups] = tile[at]
            groups += 1
        total[found] += tally[t]
        label[t] = found
    return first[:groups].copy(), total[:groups].copy(), moved


@njit(cache=True, nogil=True, error_model="numpy")
def relabel(label: Array, names: Array) -> None:
    """label = names[label]."""
    for t in range(label.size):
        label[t] = names[label[t]]


@njit(cache=True, nogil=True, error_model="numpy")
def spread(source: Array, label: Array, result: Array) -> None:
    """result[t] = source[label[t]], row by row."""
    for t in range(label.size):
        for k in range(source.shape[1]):
            result[t, k] = source[label[t], k]


@njit(cache=True, nogil=True, error_model="numpy")
def spread_matched(rows: Rows, begin: int, first: Array, source: Array, label: Array, result: Array) -> None:
    """The same where the columns of row begin + t may be in other places than those of first[label[t]]."""
    utility, flavor, demand, eligible, weight = rows.utility, rows.flavor, rows.demand, rows.eligible, rows.weight
    width = eligible.shape[1]
    words = np.empty((2, 2 * width + demand.shape[1] + 1), dtype=np.uint64)
    place, taken = np.empty(width, dtype=np.int64), np.empty(width, dtype=np.bool_)
    for t in range(label.size):
        _pack(utility, flavor, demand, eligible, weight, begin + t, words, 0)
        _pack(utility, flavor, demand, eligible, weight, first[label[t]], words, 1)
        _matches(words, 0, words, 1, place, taken)
        for k in range(width):
            result[t, k] = source[label[t], place[k]] if place[k] >= 0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def tariffs_by_row(
    rows: Rows, members: Array, tariff: Array, flavors: int, rate_starts: Array, resource: Array, into: Array,
    counts: Array, tariffs: Array,
) -> None:  # fmt: skip
    """Fill `counts` (n,), zeros, and `tariffs` from into[i] on with the tariffs, ascending, by which limits hold row i
    back: those of its memberships that count anything of one of its eligible columns.
    """
    width = rows.eligible.shape[1]
    depth = rows.demand.shape[1] // width
    for e in range(members.size):
        i = members[e]
        held = False
        for k in range(width):
            if rows.eligible[i, k]:
                cell = tariff[e] * flavors + rows.flavor[i, k]
                for rate in range(rate_starts[cell], rate_starts[cell + 1]):
                    held |= rows.demand[i, k * depth + resource[rate]] != 0
        if held:
            tariffs[into[i] + counts[i]] = tariff[e]
            counts[i] += 1
