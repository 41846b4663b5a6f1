"""Columns that grow value by value and are packed as they grow: what millions of rows repeat is kept once.

Every `BLOCK` values are put away exactly as they are, in the first of four forms that is shorter: runs of equal values,
integers of as few bytes as they need, each value once and which of them is where, or as they came. Text is packed where
few texts make up a block. What one row per round and queue takes falls to a fifth or less by this; nothing that is read
back differs by a bit.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

BLOCK = 1 << 17
"""Values that are packed together."""
_FEWER = 4
"""So many times fewer runs than values, or texts than rows, make the shorter form worth its while."""
_STRETCH = 1 << 12
"""Values that are looked at to tell whether they repeat."""
_SMALLER = (np.int8, np.int16, np.int32)


class _Runs:
    """Equal values in a row, each with how often it comes."""

    def __init__(self, values: NDArray[Any], lengths: NDArray[np.int32]) -> None:
        self._values = values
        self._lengths = lengths

    def unpacked(self) -> NDArray[Any]:
        return np.repeat(self._values, self._lengths)


class _Distinct:
    """Few values, in any order: each once, and which of them is where."""

    def __init__(self, values: NDArray[Any], which: NDArray[np.uint16]) -> None:
        self._values = values
        self._which = which

    def unpacked(self) -> NDArray[Any]:
        return self._values[self._which]


class _Narrow:
    """Integers that need fewer bytes than they came with."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values

    def unpacked(self) -> NDArray[Any]:
        return self._values.astype(np.int64)


class _Whole:
    """As they came."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values

    def unpacked(self) -> NDArray[Any]:
        return self._values


_Packed = _Runs | _Distinct | _Narrow | _Whole


def _packed(values: NDArray[Any]) -> _Packed:
    """`values` (n,) of 64 bits each, which are compared bit by bit: NaN is equal to itself, and -0 not to 0."""
    bits = values.view(np.int64)
    starts = np.flatnonzero(np.append(True, bits[1:] != bits[:-1])) if len(bits) else np.zeros(0, dtype=np.int64)
    if _FEWER * len(starts) <= len(bits):
        return _Runs(values[starts], np.diff(np.append(starts, len(bits))).astype(np.int32))
    if values.dtype == np.int64:
        least, most = values.min(), values.max()
        for kind in _SMALLER:
            if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max:
                return _Narrow(values.astype(kind))
    return _distinct(values, bits) or _Whole(values)


def _distinct(values: NDArray[Any], bits: Integers) -> _Distinct | None:
    """None if that would be no shorter. A stretch of them tells whether it is worthwhile to sort all."""
    middle = len(bits) // 2
    if _FEWER * len(np.unique(bits[middle : middle + _STRETCH])) > min(_STRETCH, len(bits) - middle):
        return None
    known, which = np.unique(bits, return_inverse=True)
    if len(known) > np.iinfo(np.uint16).max or _FEWER * len(known) > len(bits):
        return None
    return _Distinct(known.view(values.dtype), which.astype(np.uint16))


class Numbers:
    """One column of floats (`d`) or integers (`q`)."""

    def __init__(self, code: str) -> None:
        self._blocks: list[_Packed] = []
        self._tail = array(code)
        self._dtype = np.dtype(np.float64 if code == "d" else np.int64)
        self.append = self._tail.append
        """Adds one value; `pack` is to be called after every `BLOCK` of them."""

    def __len__(self) -> int:
        return BLOCK * len(self._blocks) + len(self._tail)

    def extend(self, values: NDArray[Any] | array[Any]) -> None:
        """Add many values."""
        found = np.ascontiguousarray(values, dtype=self._dtype)
        first = 0
        while len(found) - first >= BLOCK - len(self._tail):
            last = first + BLOCK - len(self._tail)
            self._tail.frombytes(found[first:last].tobytes())
            self.pack()
            first = last
        self._tail.frombytes(found[first:].tobytes())

    def pack(self) -> None:
        """Put the last `BLOCK` values away."""
        self._blocks.append(_packed(np.array(self._tail, dtype=self._dtype)))
        del self._tail[:]

    def blocks(self) -> Iterator[NDArray[Any]]:
        """All values, `BLOCK` at a time and then the rest; not to be changed."""
        for block in self._blocks:
            yield block.unpacked()
        if len(self._tail):
            yield np.array(self._tail, dtype=self._dtype)

    def unpacked(self, dtype: Any) -> NDArray[Any]:
        """(n,) a copy."""
        found = np.empty(len(self), dtype=dtype)
        for number, block in enumerate(self.blocks()):
            found[number * BLOCK : number * BLOCK + len(block)] = block
        return found


class _Few:
    """Texts that repeat: each once, and which of them is where."""

    def __init__(self, texts: tuple[str, ...], which: NDArray[Any]) -> None:
        self.texts = texts
        self.which = which

    def unpacked(self) -> list[str]:
        return list(map(self.texts.__getitem__, self.which.tolist()))

    def numbered(self, number: Mapping[str, int]) -> NDArray[np.int32]:
        found: NDArray[np.int32] = np.array([number[text] for text in self.texts], dtype=np.int32)[self.which]
        return found


class _Many:
    """Texts of which most are there once."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def unpacked(self) -> list[str]:
        return self.texts

    def numbered(self, number: Mapping[str, int]) -> NDArray[np.int32]:
        return np.fromiter(map(number.__getitem__, self.texts), dtype=np.int32, count=len(self.texts))


def _packed_texts(texts: list[str]) -> _Few | _Many:
    number: dict[str, int] = {}
    for text in texts:
        number.setdefault(text, len(number))
    if _FEWER * len(number) > len(texts):
        return _Many(texts)
    which = np.fromiter(map(number.__getitem__, texts), dtype=np.int64, count=len(texts))
    kind = next((kind for kind in _SMALLER if len(number) - 1 <= np.iinfo(kind).max), np.int64)
    return _Few(tuple(number), which.astype(kind))


class Texts:
    """One column of text."""

    def __init__(self) -> None:
        self._blocks: list[_Few | _Many] = []
        self._tail: list[str] = []
        self.append = self._tail.append
        """Adds one text; `pack` is to be called after every `BLOCK` of them."""

    def __len__(self) -> int:
        return BLOCK * len(self._blocks) + len(self._tail)

    def extend(self, texts: Sequence[str]) -> None:
        """Add many texts to a column that has none."""
        whole = len(texts) // BLOCK * BLOCK
        for first in range(0, whole, BLOCK):
            self._blocks.append(_packed_texts(list(texts[first : first + BLOCK])))
        self._tail.extend(texts[whole:])

    def pack(self) -> None:
        """Put the last `BLOCK` texts away."""
        self._blocks.append(_packed_texts(self._tail[:]))
        del self._tail[:]

    def unpacked(self) -> list[str]:
        """All texts, as a new list."""
        return list(chain(*(block.unpacked() for block in self._blocks), self._tail))

    def numbered(self) -> tuple[list[str], NDArray[np.int32]]:
        """(the texts, each once and in order of their first rows; (n,) which of them each row has)"""
        texts, blocks = self.numbered_blocks()
        which = np.empty(len(self), dtype=np.int32)
        for number, block in enumerate(blocks):
            which[number * BLOCK : number * BLOCK + len(block)] = block
        return texts, which

    def numbered_blocks(self) -> tuple[list[str], Iterator[NDArray[np.int32]]]:
        """`numbered`, the second part of it `BLOCK` rows at a time and then the rest."""
        number: dict[str, int] = {}
        blocks = [*self._blocks, _Many(self._tail)] if self._tail else self._blocks
        for block in blocks:
            for text in block.texts:
                number.setdefault(text, len(number))
        return list(number), (block.numbered(number) for block in blocks)
