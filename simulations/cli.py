"""`python -m simulations`: replay a trace or a made-up workload through the real rounds, and say how it went."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from allocator.domain.errors import AllocatorError, FailedPrecondition
from simulations.commands.capture import capture_command
from simulations.commands.compare import compare_command
from simulations.commands.convert import convert_command
from simulations.commands.decide import decide_command
from simulations.commands.fairness import fairness_command
from simulations.commands.lists import scenarios_command, schedulers_command
from simulations.commands.replay import replay_command
from simulations.commands.report import report_command
from simulations.commands.reproduce import reproduce_command
from simulations.commands.sources import sources_command
from simulations.commands.sweep import sweep_cell_command, sweep_command
from simulations.commands.validate import validate_command
from simulations.invariants import InvariantBroken
from simulations.output import MissingExtra
from simulations.traces.errors import TraceError


class ExitCode(IntEnum):
    """Stable; scripts may rely on them."""

    OK = 0
    BROKEN = 1
    """An invariant was broken: a defect of the program. Of `decide`: a captured round is decided differently."""
    BAD_INPUT = 2
    """Wrong usage, or a value that cannot mean anything."""
    BAD_TRACE = 3
    """The trace cannot be read; nothing of it was replayed."""
    OUTPUT = 4
    """The results cannot be written there, or pyarrow is missing."""
    INTERRUPTED = 130
    """Ctrl-C; nothing was written."""
    BROKEN_PIPE = 141
    """The reader of the output went away."""


app = typer.Typer(
    name="simulations",
    no_args_is_help=True,
    add_completion=False,
    help="Replay a trace, or a made-up workload, through the same rounds that the daemon runs.",
    epilog="Exit codes: 0 done; 1 an invariant was broken, or a captured round is decided differently; 2 wrong usage; "
    "3 the trace cannot be read; 4 the results cannot be written; 130 interrupted; 141 the reader of the output went "
    "away.",
)
app.command("replay")(replay_command)
app.command("compare")(compare_command)
app.command("report")(report_command)
app.command("reproduce")(reproduce_command)
app.command("fairness")(fairness_command)
app.command("validate")(validate_command)
app.command("sources")(sources_command)
app.command("convert")(convert_command)
app.command("capture")(capture_command)
app.command("decide")(decide_command)
app.command("sweep")(sweep_command)
app.command("sweep-cell", hidden=True)(sweep_cell_command)
app.command("scenarios")(scenarios_command)
app.command("schedulers")(schedulers_command)


def main() -> None:
    """Run, and turn what was refused into one line and an exit code."""
    sys.exit(run(app))


def run(command: Callable[[], Any]) -> int:
    """The exit code of `command`; errors go to standard error."""
    try:
        code = _run(command)
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads any more: let the interpreter's last flush go nowhere instead of failing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    return code


def _run(command: Callable[[], Any]) -> int:
    try:
        command()
    except BrokenPipeError:
        raise
    except TraceError as error:
        return _complain(error, ExitCode.BAD_TRACE)
    except (FailedPrecondition, MissingExtra, OSError) as error:
        return _complain(error, ExitCode.OUTPUT)
    except AllocatorError as error:
        return _complain(error, ExitCode.BAD_INPUT)
    except InvariantBroken as error:
        return _complain(f"invariant broken in {error}", ExitCode.BROKEN)
    except SystemExit as end:  # typer turns Ctrl-C into one of these, and so do typer and rich with a closed pipe
        if isinstance(end.__context__, BrokenPipeError):
            raise end.__context__ from None
        code = end.code if isinstance(end.code, int) else ExitCode.BAD_INPUT
        if code == ExitCode.INTERRUPTED:
            _complain("interrupted; nothing was written", ExitCode.INTERRUPTED)
        return code
    return ExitCode.OK


def _complain(error: object, code: ExitCode) -> int:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
    return code
