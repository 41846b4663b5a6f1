"""`allocator` and `python -m allocator`: the client's commands and the daemon's, in one program."""

from __future__ import annotations

from allocator.cli import app
from allocator.daemon import commands, demo

commands.attach(app)
demo.attach(app)

__all__ = ["app", "main"]


def main() -> None:
    """Runs the command line and exits with the documented code."""
    app(prog_name="allocator")


if __name__ == "__main__":
    main()
