"""The composition root: settings become a running daemon. `serve(settings)` runs it, `config` loads the settings.

`Daemon` and `serve` are loaded when first asked for: the solver and the store take seconds to load, and the commands
that only talk to a daemon need neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allocator.daemon.app import Daemon, serve

__all__ = ["Daemon", "serve"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from allocator.daemon import app  # noqa: PLC0415 - see above

        return getattr(app, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
