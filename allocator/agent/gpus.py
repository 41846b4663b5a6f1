"""GPUs of this machine, asked of NVIDIA's management library where it and its Python package are installed."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Gpus:
    """How many there are, what they are called, and why none are seen, if so."""

    count: int = 0
    model: str = ""
    memory_bytes: int = 0
    """Of one of them."""
    why_none: str = ""


def find() -> Gpus:
    """Never raises: a machine whose driver is broken has no GPUs for us."""
    try:
        library: Any = importlib.import_module("pynvml")
    except ImportError:
        return Gpus(why_none="the Python package nvidia-ml-py is not installed")
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        return Gpus(why_none=str(error))
    try:
        return _found(library)
    except library.NVMLError as error:
        return Gpus(why_none=str(error))
    finally:
        library.nvmlShutdown()


def _found(library: Any) -> Gpus:
    count = int(library.nvmlDeviceGetCount())
    if not count:
        return Gpus(why_none="the driver knows no GPU")
    first = library.nvmlDeviceGetHandleByIndex(0)
    name = library.nvmlDeviceGetName(first)
    model = name.decode() if isinstance(name, bytes) else str(name)
    return Gpus(count, model, int(library.nvmlDeviceGetMemoryInfo(first).total))


def flavor_of(model: str) -> str:
    """A name for nodes with GPUs of this model: lower case, words joined by dashes, without the maker."""
    words = [word for word in re.findall(r"[a-z0-9]+", model.lower()) if word != "nvidia"]
    return "-".join(words)[:63] or "gpu"
