"""The kernels of placement, as they are and compiled: one source, the same answers.

On small clusters they run as they are written: nothing has to be compiled, and there is little to do. On large ones
they run compiled by numba, with a cache on disk; compiling takes about 20 s and 0.7 GB once per machine
(`python -m allocator.rounds` does it ahead of time). They compute with integers, and with floats without reordering,
so both give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from allocator.formulation.kernels import cache_works
from allocator.placement import (
    allowing,
    bounds,
    entering,
    fit,
    fragmentation,
    giving_way,
    laying_out,
    limiting,
    moving,
    ordering,
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

MODULES = (
    room,
    ordering,
    fragmentation,
    prospects,
    spending,
    laying_out,
    fit,
    bounds,
    turns,
    allowing,
    limiting,
    entering,
    stopping,
    giving_way,
    reserving,
    starting,
    moving,
    walk,
)
"""In order: kernels of each call only those of the same or earlier ones."""

CALLED = (
    "count_all",
    "choose",
    "take",
    "holds",
    "join_all",
    "load",
    "is_overfull",
    "count_all_runs",
    "take_parts",
    "move_aside",
    "which_may_start",
    "walk",
)
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


def _version(modules: Sequence[ModuleType]) -> str:
    """Of the kernels' sources together: numba's cache looks only at the file of each function, not at what it calls."""
    files = [Path(str(module.__file__)) for module in modules]
    files += [Path(__file__).with_name("bundles.py"), Path(__file__)]  # how they are compiled
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


@cache
def plain() -> Kernels:
    """The kernels as they are written."""
    return as_written(MODULES)


def as_written(modules: Sequence[ModuleType]) -> Kernels:
    """All of `KERNELS` of these modules."""
    return Kernels({kernel.__name__: kernel for module in modules for kernel in module.KERNELS})


@cache
def compiled() -> Kernels:
    """The same functions compiled, those that Python calls."""
    return compiled_of(MODULES, CALLED)


def compiled_of(modules: Sequence[ModuleType], called: Sequence[str]) -> Kernels:
    """The kernels of these modules that are `called` by Python, compiled; each calls the compiled others. Modules are
    in order: kernels call only those of the same or earlier ones. See `bundles`.
    """
    from numba import njit  # noqa: PLC0415 - takes half a second, which small clusters need not spend

    from allocator.placement.bundles import InnerCompiler, bundled  # noqa: PLC0415 - loads numba

    plainly: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    inside = plainly | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": InnerCompiler}
    done: dict[str, Callable[..., Any]] = {}
    version = _version(modules)
    for module in modules:
        for kernel in module.KERNELS:
            _check_calls(kernel, done)
            done[kernel.__name__] = njit(**inside)(_twin(kernel, done, kernel.__name__))
    ways_in: dict[str, Callable[..., Any]] = {}
    for name in called:
        names: dict[str, Callable[..., Any]] = {"bundled": bundled, "kernel": done[name]}
        ways_in[name] = njit(cache=True, **plainly)(_twin(_way_in, names, f"{name}_{version}"))
    return Kernels(ways_in)


def _check_calls(kernel: Callable[..., Any], done: dict[str, Callable[..., Any]]) -> None:
    """What it calls must be there already: numba would say so only when somebody's cluster is large."""
    assert isinstance(kernel, FunctionType)
    for name in kernel.__code__.co_names:
        if isinstance(kernel.__globals__.get(name), FunctionType) and name not in done and name != kernel.__name__:
            raise AssertionError(f"{kernel.__name__} calls {name}, which is no kernel of a module before its own")


def _twin(function: Callable[..., Any], names: dict[str, Callable[..., Any]], name: str) -> FunctionType:
    """The same code, in which `names` mean something else; a name of its own, by which the cache knows it."""
    assert isinstance(function, FunctionType)
    known = {**function.__globals__, **names}
    twin = FunctionType(function.__code__, known, name, function.__defaults__, function.__closure__)
    twin.__module__ = function.__module__
    twin.__qualname__ = name
    return twin


def _way_in(*given: Any) -> Any:
    """What Python calls instead of a kernel; compiled only, where both names mean something."""
    return kernel(*bundled(given))  # type: ignore[name-defined]  # noqa: F821 - see `compiled`
