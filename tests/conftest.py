"""For all tests."""

from __future__ import annotations

import fcntl
import signal
from pathlib import Path
from typing import Any

import pytest
from numba.core.caching import NullCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

# Shells start what is in the background with interrupts ignored, and so would be everything that tests start: but they
# interrupt some of it, and wait for it to end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Of several processes that need a kernel one compiles it, and the others find it in the cache on disk: compiling
    all of them takes about two minutes, and each process would do it.
    """
    if hasattr(config, "workerinput"):
        _compile_once(Path(config.getoption("basetemp")).parent)


def _compile_once(folder: Path) -> None:
    compile_here = Dispatcher.compile

    def compile_or_wait(kernel: Any, signature: Any) -> Any:
        if isinstance(kernel._cache, NullCache):
            return compile_here(kernel, signature)
        name = f"{kernel.py_func.__module__}.{kernel.__name__}.lock"
        with global_compiler_lock, (folder / name).open("w") as lock:  # another thread may be compiling what it calls
            fcntl.flock(lock, fcntl.LOCK_EX)
            return compile_here(kernel, signature)

    pytest.MonkeyPatch().setattr(Dispatcher, "compile", compile_or_wait)  # to the end
