"""Columns that grow value by value and are packed as they grow: what millions of rows repeat is kept once.

Every `BLOCK` values are put away exactly as they are, in whichever of three forms is smallest: runs of equal values,
integers of as few bytes as they need, or as they came. Text is packed where few texts make up a block. What one row per
round and queue takes falls to a third or less by this; nothing that is read back differs by a bit.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

BLOCK = 1 << 17
"""Values that are packed together."""
_FEWER = 4
"""So many times fewer runs than values, or texts than rows, make the shorter form worth its while."""
_SMALLER = (np.int8, np.int16, np.int32)


class _Runs:
    """Equal values in a row, each with how often it comes."""

    def __init__(self, values: NDArray[Any], lengths: NDArray[np.int32]) -> None:
        self._values = values
        self._lengths = lengths

    def unpacked(self) -> NDArray[Any]:
        return np.repeat(self._values, self._lengths)


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


def _packed(values: NDArray[Any]) -> _Runs | _Narrow | _Whole:
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
    return _Whole(values)


class Numbers:
    """One column of floats (`d`) or integers (`q`)."""

    def __init__(self, code: str) -> None:
        self._blocks: list[_Runs | _Narrow | _Whole] = []
        self._tail = array(code)
        self._dtype = np.dtype(np.float64 if code == "d" else np.int64)
        self.append = self._tail.append
        """Adds one value; `pack` is to be called after every `BLOCK` of them."""

    def __len__(self) -> int:
        return BLOCK * len(self._blocks) + len(self._tail)

    def extend(self, values: NDArray[Any] | array[Any]) -> None:
        """Add many values to a column that has none."""
        found = np.ascontiguousarray(values, dtype=self._dtype)
        whole = len(found) // BLOCK * BLOCK
        for first in range(0, whole, BLOCK):
            self._blocks.append(_packed(found[first : first + BLOCK].copy()))
        self._tail.frombytes(found[whole:].tobytes())

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


class _Many:
    """Texts of which most are there once."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def unpacked(self) -> list[str]:
        return self._texts


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
        number: dict[str, int] = {}
        which = np.empty(len(self), dtype=np.int32)
        at = 0
        for block in (*self._blocks, _Many(self._tail)):
            if isinstance(block, _Few):
                here = np.array([number.setdefault(text, len(number)) for text in block.texts], dtype=np.int32)
                found = here[block.which]
            else:
                texts = block.unpacked()
                found = np.fromiter(
                    (number.setdefault(text, len(number)) for text in texts), dtype=np.int32, count=len(texts)
                )
            which[at : at + len(found)] = found
            at += len(found)
        return list(number), which
