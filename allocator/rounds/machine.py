"""What the bits of a decision may depend on besides its inputs: versions of libraries, and the machine.

The same inputs lead to the same decision; but a library of another version may add up in another order, and so may one
that chooses its code by the processor. Who compares decisions to the bit compares these first.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

LIBRARIES = ("numpy", "scipy", "clarabel", "numba")
_PROCESSOR = Path("/proc/cpuinfo")
_UNKNOWN = "unknown"


def machine() -> dict[str, str]:
    """By name, in words; nothing that tells one machine from another of its kind."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "blas": _blas(),
        "blas threads": os.environ.get("OPENBLAS_NUM_THREADS", "as it chooses"),
        "byte order": sys.byteorder,
    } | {library: _version(library) for library in LIBRARIES}


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """Its model's name, which decides on what instructions libraries use."""
    try:
        lines = _PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or _UNKNOWN
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(names, platform.processor() or _UNKNOWN)


def _blas() -> str:
    built: object = np.show_config(mode="dicts")
    try:
        blas = built["Build Dependencies"]["blas"]  # type: ignore[index] # what is there depends on the build
        return f"{blas['name']} {blas['version']}"
    except (KeyError, TypeError):
        return _UNKNOWN
