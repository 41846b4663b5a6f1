"""What compiled kernels may assume of numbers, and what they may not do: add up in another order than is written.

With `fastmath=True` the compiler splits sums over as many lanes as the processor's registers have, and joins products
and sums where there is an instruction for that. The last bits would depend on the processor, and a last bit may decide
between equals. Without both, the same kernels take the same time: they wait for memory, roots and logarithms.
"""

from __future__ import annotations

IN_ORDER = {"nnan", "ninf", "nsz"}
"""`fastmath` of kernels: no NaN and no infinity comes in, and the sign of zero does not matter. That is enough for
minima and maxima in vector instructions, and leaves every sum as it is written. Whoever changes this has to change
each file that uses it, too: numba's cache looks at files alone.
"""
