"""`make bench`: measures, prints tables, asserts nothing. Machines differ: compare figures of one run only.

`python -m tests.bench [NAME ...]` runs them, or those named: intake, solver, round, placement, explain, replay,
enforcement, instant, agents, slurm (which takes half an hour, and is run only if it is named).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from rich.console import Console, RenderableType

from tests.bench import agents, enforcement, explain, instant, intake, placement, replay, rounds, slurm, solver

BENCHES: dict[str, Callable[[], RenderableType]] = {
    "intake": intake.measure,
    "solver": solver.measure,
    "round": rounds.measure,
    "placement": placement.measure,
    "explain": explain.measure,
    "replay": replay.measure,
    "enforcement": enforcement.measure,
    "agents": agents.measure,
    "instant": instant.measure,
    "slurm": slurm.measure,
}
LONG = frozenset(("slurm",))
"""Run only if they are named."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; all if none is given")
    names = parser.parse_args().names
    unknown = set(names) - BENCHES.keys()
    if unknown:
        parser.error(f"no such bench: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    console = Console()
    if not console.is_terminal:
        console.width = 200
    for name in names or [name for name in BENCHES if name not in LONG]:
        console.print(BENCHES[name]())


main()
