"""Prints digits of pi, ten a line and a line a second: `python digits.py LINES`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import islice

_PAUSE_SECONDS = 1.0


def digits() -> Iterator[int]:
    """Of pi, one by one, without end. J. Gibbons, Unbounded Spigot Algorithms for the Digits of Pi (2006)."""
    q, r, t, k, n, width = 1, 0, 1, 1, 3, 3
    while True:
        if 4 * q + r - t < n * t:
            yield n
            q, r, n = 10 * q, 10 * (r - n * t), (10 * (3 * q + r)) // t - 10 * n
        else:
            q, r, t, k, n, width = (
                q * k,
                (2 * q + r) * width,
                t * width,
                k + 1,
                (q * (7 * k + 2) + r * width) // (t * width),
                width + 2,
            )


def main(lines: int) -> None:
    """So many lines, one a second."""
    every = digits()
    print(f"pi = {next(every)}.", flush=True)
    for line in range(lines):
        print(f"{10 * line:5d}  {''.join(map(str, islice(every, 10)))}", flush=True)
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main(int(sys.argv[1]))
