"""`simulations scenarios` and `simulations schedulers`: what there is to choose from."""

from __future__ import annotations

import json
import sys

from rich.markup import escape

from simulations.commands.options import AsJson
from simulations.commands.page import page
from simulations.scenario import load_scenario, scenario_names
from simulations.schedulers import SCHEDULERS


def scenarios_command() -> None:
    """List the scenarios that come with the program."""
    console = page()
    for name in scenario_names():
        console.print(f"[bold]{name}[/]: {escape(load_scenario(name).about)}")


def schedulers_command(as_json: AsJson = False) -> None:
    """List the schedulers that a replay can be decided by, and where they come from."""
    if as_json:
        listed = [
            {"name": one.name, "about": one.about, "source": one.source, "knows_durations": one.knows_durations}
            for one in SCHEDULERS.values()
        ]
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
        return
    console = page()
    for one in SCHEDULERS.values():
        console.print(f"[bold]{one.name}[/]: {escape(one.about)} [dim]{escape(one.source)}[/]")
