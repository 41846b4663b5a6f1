"""Whether compiled kernels serve a problem: only where there are many rows, and a place to keep what was compiled."""

from __future__ import annotations

from functools import cache

COMPILED_ROWS = 2000
"""From so many rows on compiled kernels are worth loading: half a second once, then a tenth of the time."""


def compiled(rows: int) -> bool:
    """Whether problems of so many rows are served by compiled kernels, here."""
    return rows >= COMPILED_ROWS and cache_works()


def cache_works() -> bool:
    """Whether compiled kernels can be loaded, here."""
    return _load()


@cache
def _load() -> bool:
    """False where they cannot be loaded: without numba, or without a folder for its cache that can be written to."""
    try:
        from allocator.formulation import (  # noqa: PLC0415 - loads numba
            fused_bound,
            fused_coupling,
            fused_repair,
            merging_kernels,
        )
    except (ImportError, OSError, RuntimeError):
        return False
    return all((fused_bound, fused_coupling, fused_repair, merging_kernels))
