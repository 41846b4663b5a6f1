"""The kernels of placement, as they are and compiled: one source, the same answers.

On small clusters they run as they are written: nothing has to be compiled, and there is little to do. On large ones
they run compiled by numba, with a cache on disk; compiling takes about a minute once per machine
(`python -m allocator.rounds` does it ahead of time). They compute with integers, and with floats without reordering,
so both give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import FunctionType
from typing import Any

from allocator.formulation.kernels import cache_works
from allocator.placement import (
    bounds,
    fit,
    fragmentation,
    prospects,
    reserving,
    room,
    spending,
    starting,
    stopping,
    turns,
    walk,
)

COMPILED_NODES, COMPILED_JOBS = 200, 2000
"""From so many nodes or jobs on compiled kernels are worth loading."""

MODULES = (room, fragmentation, prospects, spending, fit, bounds, turns, stopping, reserving, starting, walk)
"""In order: kernels of each call only those of the same or earlier ones."""


CALLED = ("count_all", "choose", "take", "holds", "join_all", "load", "is_overfull", "walk")
"""Kernels that Python calls."""


class Kernels:
    """Every kernel as an attribute, by its name."""

    def __init__(self, functions: dict[str, Callable[..., Any]]) -> None:
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AttributeError(f"there is no kernel {name}")


def kernels_for(nodes: int, jobs: int) -> Kernels:
    """Those that serve a cluster of this size here."""
    large = nodes >= COMPILED_NODES or jobs >= COMPILED_JOBS
    return compiled() if large and cache_works() else plain()


def _version() -> str:
    """Of the kernels' sources together: numba's cache looks only at the file of each function, not at what it calls."""
    return sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in MODULES)).hexdigest()[:12]


@cache
def plain() -> Kernels:
    """The kernels as they are written."""
    return Kernels({kernel.__name__: kernel for module in MODULES for kernel in module.KERNELS})


@cache
def compiled() -> Kernels:
    """The same functions compiled; each calls the compiled others."""
    from numba import njit  # noqa: PLC0415 - takes half a second, which small clusters need not spend

    done: dict[str, Callable[..., Any]] = {}
    version = _version()
    for module in MODULES:
        for kernel in module.KERNELS:
            assert isinstance(kernel, FunctionType)
            names = {**kernel.__globals__, **done}
            twin = FunctionType(kernel.__code__, names, kernel.__name__, kernel.__defaults__, kernel.__closure__)
            twin.__module__ = kernel.__module__
            twin.__qualname__ = f"{kernel.__qualname__}_{version}"
            inner = kernel.__name__ not in CALLED  # no way in from Python: a third of the time to compile
            options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
            if inner:
                options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
            done[kernel.__name__] = njit(**options)(twin)
    return Kernels(done)
