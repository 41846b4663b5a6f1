"""Which of many are alike in several respects: groups by integer columns, without a loop over them in Python."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from allocator.placement.space import Integers

_MOST = 2**62


def alike_in(columns: Iterable[Integers]) -> tuple[Integers, Integers]:
    """(groups,) the position of the first of each group, and (n,) the group of each: members agree in all columns (n,).

    Columns are packed into one number as long as it holds them; then what was found so far is numbered anew.
    """
    packed: Integers | None = None
    size = 1
    for each in columns:
        column = each
        least, most = (int(column.min()), int(column.max())) if len(column) else (0, 0)
        if least == most and packed is not None:
            continue
        width = most - least + 1
        if packed is None:
            packed, size = column - least, width
            continue
        if size * width > _MOST:
            distinct, packed = np.unique(packed, return_inverse=True)
            size = len(distinct)
            if size * width > _MOST:
                levels, column = np.unique(column, return_inverse=True)
                least, width = 0, len(levels)
        packed, size = packed * width + (column - least), size * width
    assert packed is not None, "in no respect"
    _, first, group = np.unique(packed, return_index=True, return_inverse=True)
    return first, group
