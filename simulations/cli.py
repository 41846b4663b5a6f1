"""`python -m simulations`: replay a trace or a made-up workload through the real rounds, and say how it went."""

from __future__ import annotations

import json
import math
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.errors import AllocatorError, FailedPrecondition, InvalidInput, Violation
from allocator.domain.objectives import objective_of
from allocator.domain.policy import Policy
from allocator.policyfile import read as read_policy
from simulations.comparison import compare, read_summary
from simulations.fairness_plot import fairness_plot
from simulations.faults import Faults, NoFaults, RandomFaults
from simulations.invariants import InvariantBroken
from simulations.output import (
    MissingExtra,
    read_table,
    require_free,
    require_pyarrow,
    summary_text,
    write_results,
)
from simulations.replay import ReplayOptions, replay
from simulations.scenario import load_scenario, scenario_names
from simulations.screen import ReplayBar, show_comparison, show_sharing, show_summary, show_timings
from simulations.sharing_summary import joined
from simulations.shrinking import on_every_nth_node
from simulations.sizing import Sizing
from simulations.synthetic import generate, make_faults
from simulations.traces.errors import TraceError
from simulations.traces.formats import FORMATS, TraceFormat
from simulations.traces.window import Window, seconds_into
from simulations.workload import Workload

SYNTHETIC = "synthetic"
HOUR = 3600.0
RESTART_COST_SECONDS = 30.0
"""Of the jobs of a trace, unless told otherwise: no trace says it."""


class ExitCode(IntEnum):
    """Stable; scripts may rely on them."""

    OK = 0
    BROKEN = 1
    """An invariant was broken: a defect of the program."""
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
    epilog="Exit codes: 0 done; 1 an invariant was broken; 2 wrong usage; 3 the trace cannot be read; "
    "4 the results cannot be written; 130 interrupted; 141 the reader of the output went away.",
)


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


def _page() -> Console:
    """Where answers go: as wide as the terminal, and never cut in a pipe."""
    console = Console(soft_wrap=True, highlight=False)
    return console if console.is_terminal else Console(soft_wrap=True, highlight=False, width=200)


TraceName = Annotated[str, typer.Option("--trace", help=f"{', '.join(FORMATS)} or {SYNTHETIC}.")]
TracePath = Annotated[
    Path | None,
    typer.Option("--path", help="Folder of the trace, or its list of jobs with the list of nodes beside it."),
]
ScenarioName = Annotated[
    str | None, typer.Option(help=f"For {SYNTHETIC}: {', '.join(scenario_names())}, or a .toml file.")
]
From = Annotated[
    str | None, typer.Option("--from", help="First arrival: days (109), seconds (9417600s) or a date (2017-10-01).")
]
To = Annotated[str | None, typer.Option("--to", help="Arrivals before this only; as --from.")]
CarryIn = Annotated[bool, typer.Option("--carry-in", help="Take along what by the trace ran at --from.")]
RestartCost = Annotated[
    float | None,
    typer.Option(min=0.0, help="Seconds of work any job loses when it is stopped; 30 in traces, as a scenario says."),
]
AllPreemptible = Annotated[bool, typer.Option("--all-preemptible", help="Take every job to be preemptible.")]
Seed = Annotated[int, typer.Option(min=0, help="For everything that is drawn at random.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many jobs.")]
EveryNth = Annotated[int, typer.Option("--every-nth-node", min=1, help="Keep only every N-th node of each flavor.")]
Load = Annotated[
    float, typer.Option(min=0.001, help="Jobs arrive so many times as close together; their run times stay.")
]
Nodes = Annotated[
    int | None, typer.Option(help=f"For {SYNTHETIC}: so many nodes, of each flavor in the scenario's proportion.")
]
JobsAtStart = Annotated[
    int | None, typer.Option(help=f"For {SYNTHETIC}: jobs that are there at time 0, such as 100000.")
]
ArrivalsPerHour = Annotated[float | None, typer.Option(help=f"For {SYNTHETIC}: further jobs per hour, on average.")]
ArrivalHours = Annotated[float | None, typer.Option(help=f"For {SYNTHETIC}: for how many hours they arrive.")]
DurationFactor = Annotated[float | None, typer.Option(help=f"For {SYNTHETIC}: multiplies all run times.")]
JobSpread = Annotated[
    float | None,
    typer.Option(
        help=f"For {SYNTHETIC}: how much the weights and throughputs of the jobs of one class differ (sigma of a "
        "log-normal factor, such as 0.3); 0 makes them alike, and a round's problem small."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command("replay")
def replay_command(
    trace: TraceName,
    out: Annotated[Path, typer.Option(help="Folder for jobs, rounds, queues (.parquet) and summary.json.")],
    path: TracePath = None,
    scenario: ScenarioName = None,
    nodes: Nodes = None,
    jobs_at_start: JobsAtStart = None,
    arrivals_per_hour: ArrivalsPerHour = None,
    arrival_hours: ArrivalHours = None,
    duration_factor: DurationFactor = None,
    job_spread: JobSpread = None,
    start: From = None,
    end: To = None,
    carry_in: CarryIn = False,
    restart_cost: RestartCost = None,
    all_preemptible: AllPreemptible = False,
    seed: Seed = 0,
    limit: Limit = None,
    every_nth_node: EveryNth = 1,
    load: Load = 1.0,
    interval: Annotated[float | None, typer.Option(help="Seconds between rounds; each trace has its default.")] = None,
    horizon: Annotated[float | None, typer.Option(help="End so many virtual hours after the start.")] = None,
    mean_up_hours: Annotated[
        float | None, typer.Option(help="Nodes fail: mean hours between repair and failure.")
    ] = None,
    mean_down_hours: Annotated[float, typer.Option(help="Mean hours until a failed node is back.")] = 1.0,
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A policy file, as `allocator policy apply` takes it: it is in force from the start, and its queues "
            "are over those of the workload. The options of single settings do not go with it.",
        ),
    ] = None,
    fairness: Annotated[
        str | None,
        typer.Option(help="The objective: proportional, throughput, min-delay, max-min, drf, or an alpha such as 0.5."),
    ] = None,
    minimum_run: Annotated[
        float | None, typer.Option(help="Seconds a job runs before others may take its place.")
    ] = None,
    hysteresis: Annotated[
        float | None, typer.Option(help="Seconds another job must be owed more than the runner.")
    ] = None,
    lag_tolerance: Annotated[
        float | None, typer.Option(help="A job is more patient from the age on of which this part is the hysteresis.")
    ] = None,
    placement_horizon: Annotated[float | None, typer.Option(help="Seconds a placement is expected to last.")] = None,
    credit_limit: Annotated[float | None, typer.Option(help="Bound on the seconds a job is owed.")] = None,
    gap: Annotated[float | None, typer.Option(help="What the solver aims for, relative to the total weight.")] = None,
    iterations: Annotated[int | None, typer.Option(help="The solver's budget.")] = None,
    placement: Annotated[
        str | None, typer.Option(help="Which node of those that fit: prospects, best-fit or fragmentation.")
    ] = None,
    usage_strength: Annotated[
        float | None, typer.Option(help="How strongly queues that had little are paid back; 0: not at all.")
    ] = None,
    usage_half_life: Annotated[
        float | None, typer.Option(help="Hours in which half of what queues had is forgotten.")
    ] = None,
    weighting: Annotated[
        str | None,
        typer.Option(help="What changes weights of jobs as they run: none, least-attained-service or finish-time."),
    ] = None,
    service: Annotated[
        float | None, typer.Option(help="Seconds of run time up to which a job has its full weight.")
    ] = None,
    aging: Annotated[float | None, typer.Option(help="Seconds of waiting in which a job's weight doubles.")] = None,
    weight_factor_limit: Annotated[
        float | None, typer.Option(help="How many times each of these may change a weight.")
    ] = None,
    timings: Annotated[
        bool,
        typer.Option(
            help="Write to rounds.parquet how long the stages of each round really took, such as solve_s. Without "
            "them the same command leaves the same bytes every time."
        ),
    ] = True,
    sharing: Annotated[
        bool,
        typer.Option(
            "--sharing",
            help="Compare each round with every queue having its part of the machines for itself; writes "
            "sharing.parquet. One more small solve per queue and round.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace earlier results in --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Replay a workload to its last job and write what happened."""
    require_pyarrow()
    require_free(out, force=force)
    sizing = Sizing(nodes, jobs_at_start, arrivals_per_hour, arrival_hours, duration_factor, job_spread)
    workload, faults, options = _prepare(
        trace, path, scenario, sizing, start, end, seed, carry_in=carry_in, restart_cost=restart_cost
    )
    workload = on_every_nth_node(workload, every_nth_node).limited_to(limit).with_load(load)
    if all_preemptible:
        workload = workload.all_preemptible()
    if mean_up_hours is not None:
        faults = RandomFaults(
            (node.name for node in workload.nodes),
            seed=(seed, 1),
            mean_up_seconds=mean_up_hours * HOUR,
            mean_down_seconds=mean_down_hours * HOUR,
        )
    alpha, utility = (None, None) if fairness is None else _objective(fairness)
    knobs = {
        "fairness": alpha,
        "utility": utility,
        "minimum_run_seconds": minimum_run,
        "hysteresis_seconds": hysteresis,
        "lag_tolerance": lag_tolerance,
        "horizon_seconds": placement_horizon,
        "credit_limit_seconds": credit_limit,
        "gap": gap,
        "iterations": iterations,
        "placement": placement,
        "usage_strength": usage_strength,
        "usage_half_life_seconds": None if usage_half_life is None else usage_half_life * HOUR,
        "weighting": weighting,
        "service_seconds": service,
        "aging_seconds": aging,
        "weight_factor_limit": weight_factor_limit,
    }
    given: dict[str, Any] = {name: value for name, value in knobs.items() if value is not None}
    options = replace(options, policy=replace(options.policy, **given), timings=timings, sharing=sharing)
    if policy is not None:
        if given:
            raise InvalidInput.of("policy", f"says everything: {', '.join(sorted(given))} cannot be given beside it")
        document = _policy_file(policy)
        options = replace(options, policy=document.policy, document=document)
    if interval is not None:
        options = replace(options, interval_seconds=interval)
    if horizon is not None:
        options = replace(options, horizon_seconds=horizon * HOUR)
    with ReplayBar(Console(stderr=True), workload.start) as bar:
        result = replay(workload, options, faults=faults, on_round=bar.show)
    write_results(out, result.tables, result.summary)
    if as_json:
        sys.stdout.write(summary_text(result.summary))
    else:
        console = _page()
        show_summary(console, result.summary)
        if sharing:
            show_sharing(console, result.summary["sharing"])
        show_timings(console, result.table("rounds"))
        console.print(f"\nwritten to {escape(str(out))}")


@app.command("compare")
def compare_command(
    before: Annotated[Path, typer.Argument(help="Folder of one replay's results.")],
    after: Annotated[Path, typer.Argument(help="Folder of another replay of the same workload.")],
    as_json: AsJson = False,
) -> None:
    """Put two replays of one workload side by side, such as one without hysteresis and one with it."""
    figures = compare(read_summary(before), read_summary(after))
    if as_json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        show_comparison(_page(), figures, (before.name, after.name))


@app.command("fairness")
def fairness_command(
    folder: Annotated[Path, typer.Argument(help="Folder of the results of a replay with --sharing.")],
    as_json: AsJson = False,
) -> None:
    """Plot how fair a replay was: writes fairness.svg beside its results, and says what was worst."""
    require_pyarrow()
    summary = read_summary(folder)
    if "sharing" not in summary:
        raise FailedPrecondition(str(folder), "holds no comparison with queues' parts; replay with --sharing")
    sharing, rounds, queues = (read_table(folder / f"{name}.parquet") for name in ("sharing", "rounds", "queues"))
    found = joined(sharing, rounds, queues, summary["run"]["end_s"])
    file = folder / "fairness.svg"
    file.write_text(fairness_plot(found, summary["workload"]["name"]), encoding="utf-8")
    if as_json:
        sys.stdout.write(json.dumps(summary["sharing"], indent=2, sort_keys=True) + "\n")
    else:
        console = _page()
        show_sharing(console, summary["sharing"])
        console.print(f"\nwritten to {escape(str(file))}")


@app.command("validate")
def validate_command(
    trace: TraceName,
    path: TracePath = None,
    scenario: ScenarioName = None,
    nodes: Nodes = None,
    jobs_at_start: JobsAtStart = None,
    arrivals_per_hour: ArrivalsPerHour = None,
    arrival_hours: ArrivalHours = None,
    duration_factor: DurationFactor = None,
    job_spread: JobSpread = None,
    start: From = None,
    end: To = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Read a workload, say what is in it and what is not replayed, and run nothing."""
    sizing = Sizing(nodes, jobs_at_start, arrivals_per_hour, arrival_hours, duration_factor, job_spread)
    workload, _, _ = _prepare(trace, path, scenario, sizing, start, end, seed)
    workload.require_valid()
    found = {
        "name": workload.name,
        "nodes": len(workload.nodes),
        "nodes_by_flavor": dict(sorted(Counter(node.flavor for node in workload.nodes).items())),
        "jobs": len(workload.arrivals),
        "jobs_by_queue": dict(sorted(Counter(arrival.spec.queue for arrival in workload.arrivals).items())),
        "dropped": dict(workload.dropped),
        "assumptions": list(workload.notes),
    }
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    console = _page()
    for name, value in found.items():
        if isinstance(value, dict):
            shown = ", ".join(f"{key} {count:,}" for key, count in value.items()) or "none"
        elif isinstance(value, list):
            shown = "".join(f"\n  - {line}" for line in value)
        else:
            shown = f"{value:,}" if isinstance(value, int) else str(value)
        console.print(f"[bold]{name.replace('_', ' ')}[/]: {escape(shown)}")


@app.command("scenarios")
def scenarios_command() -> None:
    """List the scenarios that come with the program."""
    console = _page()
    for name in scenario_names():
        console.print(f"[bold]{name}[/]: {escape(load_scenario(name).about)}")


def _policy_file(path: Path) -> PolicyDocument:
    """Raises InvalidInput with every mistake."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput.of(str(path), f"cannot be read: {error}") from None
    reading = read_policy(text)
    if reading.document is None:
        raise InvalidInput(*(mistake.violation(str(path)) for mistake in reading.mistakes))
    return reading.document


def _objective(text: str) -> tuple[float, str]:
    """(fairness, utility); what is wrong with it, by the name of the flag."""
    try:
        return objective_of(text)
    except ValueError as error:
        raise InvalidInput(Violation("fairness", str(error))) from error


def _prepare(
    trace: str,
    path: Path | None,
    scenario: str | None,
    sizing: Sizing,
    start: str | None,
    end: str | None,
    seed: int,
    *,
    carry_in: bool = False,
    restart_cost: float | None = None,
) -> tuple[Workload, Faults, ReplayOptions]:
    """The workload with its faults, and how it is replayed unless told otherwise."""
    if trace == SYNTHETIC:
        for field, value in (("path", path), ("from", start), ("to", end)):
            if value is not None:
                raise InvalidInput.of(field, f"goes with a trace; {SYNTHETIC} takes --scenario")
        made = sizing.applied_to(load_scenario(scenario or "small"))
        workload = generate(made, seed)
        if restart_cost is not None:
            workload = workload.with_restart_cost(restart_cost)
        options = ReplayOptions(policy=made.make_policy(), interval_seconds=made.interval_seconds, seed=seed)
        return workload, make_faults(made, workload, seed), options
    trace_format = FORMATS.get(trace)
    if trace_format is None:
        raise InvalidInput.of("trace", f"must be one of {', '.join((*FORMATS, SYNTHETIC))}; got {trace!r}")
    if path is None:
        raise InvalidInput.of("path", "must name the folder of the trace")
    if scenario is not None:
        raise InvalidInput.of("scenario", f"goes with --trace {SYNTHETIC}, not with {trace}")
    if sizing.given:
        what = f"goes with --trace {SYNTHETIC}, not with {trace}"
        raise InvalidInput(*(Violation(option, what) for option in sizing.given))
    window = _window(trace_format, start, end, carry_in=carry_in)
    cost = RESTART_COST_SECONDS if restart_cost is None else restart_cost
    workload = trace_format.read(path, window, restart_cost_seconds=cost)
    options = ReplayOptions(policy=Policy(), interval_seconds=trace_format.interval_seconds, seed=seed)
    return workload, NoFaults(), options


def _window(trace_format: TraceFormat, start: str | None, end: str | None, *, carry_in: bool) -> Window:
    default = trace_format.default_window
    first = default.start if start is None else seconds_into(start, "from", trace_format.origin)
    last = math.inf if end is None else seconds_into(end, "to", trace_format.origin)
    return Window(first, last, carry_in)
