"""Where commands print their answers."""

from __future__ import annotations

from rich.console import Console


def page() -> Console:
    """Where answers go: as wide as the terminal, and never cut in a pipe."""
    console = Console(soft_wrap=True, highlight=False)
    return console if console.is_terminal else Console(soft_wrap=True, highlight=False, width=200)
