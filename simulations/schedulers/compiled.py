"""The kernels of schedulers, as they are and compiled: see `allocator.placement.compiled`."""

from __future__ import annotations

from functools import cache

from allocator.formulation.kernels import cache_works
from allocator.placement import fit, fragmentation, laying_out, ordering, prospects, room, spending
from allocator.placement.compiled import COMPILED_JOBS, COMPILED_NODES, Kernels, as_written, compiled_of
from simulations.schedulers import backfilling, finding, preempting, promising, scene

MODULES = (
    room,
    ordering,
    fragmentation,
    prospects,
    spending,
    laying_out,
    fit,
    scene,
    finding,
    backfilling,
    preempting,
    promising,
)
"""In order: kernels of each call only those of the same or earlier ones."""
CALLED = (
    "take",
    "load",
    "lift_all",
    "start_one",
    "start_as",
    "start_each",
    "return_home",
    "holds",
    "serve",
    "backfill",
    "serve_stopping",
    "keep_promises",
)
"""Kernels that Python calls."""


def kernels_for(nodes: int, jobs: int) -> Kernels:
    """Those that serve a cluster of this size, with so many jobs at a time."""
    large = nodes >= COMPILED_NODES or jobs >= COMPILED_JOBS
    return compiled() if large and cache_works() else plain()


@cache
def plain() -> Kernels:
    """The kernels as they are written."""
    return as_written(MODULES)


@cache
def compiled() -> Kernels:
    """The same functions compiled."""
    return compiled_of(MODULES, CALLED)
