"""The composition root: settings become a running daemon. `serve(settings)` runs it, `config` loads the settings."""

from allocator.daemon.app import Daemon, serve

__all__ = ["Daemon", "serve"]
