"""`simulations replay`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.objectives import objective_of
from allocator.wire.recording import CaptureBegin
from simulations.capture.recording import recording
from simulations.commands.options import (
    AllPreemptible,
    ArrivalHours,
    ArrivalsPerHour,
    AsJson,
    CarryIn,
    DurationFactor,
    EveryNth,
    EveryNthJob,
    From,
    JobsAtStart,
    JobsPerHour,
    JobSpread,
    Limit,
    Load,
    Machines,
    Nodes,
    QueueBy,
    RestartCost,
    ScenarioName,
    Seed,
    To,
    TraceName,
    TracePath,
)
from simulations.commands.page import page
from simulations.commands.preparing import policy_file, prepare
from simulations.commands.world_options import (
    HOUR,
    DurationError,
    Durations,
    Interference,
    MeanDownHours,
    MeanUpHours,
    Outages,
    PushDelay,
    PushLoss,
    PushRepair,
    ThinkingTime,
    ThinkingTimePerJob,
    faults_of,
)
from simulations.conditions import Conditions
from simulations.output import require_free, require_pyarrow, summary_text, write_results
from simulations.replay import replay
from simulations.restarts import MeasuredCosts, read_costs
from simulations.schedulers import scheduler_named
from simulations.screen import ReplayBar, show_sharing, show_summary, show_timings
from simulations.shrinking import on_every_nth_node
from simulations.sizing import Sizing
from simulations.traces.formats import Choices

SHORTEST_INTERVAL = 0.001
"""Seconds; but 0 is allowed."""


def _known_scheduler(name: str) -> str:
    """As it is; what is wrong with it is told before anything is read, also by a sweep that would replay with it."""
    scheduler_named(name)
    return name


def _known_objective(text: str | None) -> str | None:
    if text is not None:
        _objective(text)
    return text


def replay_command(
    trace: TraceName,
    out: Annotated[Path, typer.Option(help="Folder for jobs, rounds, queues (.parquet) and summary.json.")],
    path: TracePath = None,
    jobs_per_hour: JobsPerHour = None,
    queue_by: QueueBy = None,
    machines: Machines = None,
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
    every_nth_job: EveryNthJob = 1,
    load: Load = 1.0,
    interval: Annotated[
        float | None,
        typer.Option(
            help="Seconds between rounds; each trace has its default. 0: a round right after each instant at which "
            "something happened, and no others."
        ),
    ] = None,
    horizon: Annotated[float | None, typer.Option(help="End so many virtual hours after the start.")] = None,
    mean_up_hours: MeanUpHours = None,
    mean_down_hours: MeanDownHours = 1.0,
    outages: Outages = None,
    durations: Durations = "estimated",
    duration_error: DurationError = 0.0,
    interference: Interference = 0.0,
    thinking_time: ThinkingTime = 0.0,
    thinking_time_per_job: ThinkingTimePerJob = 0.0,
    push_delay: PushDelay = 0.0,
    push_loss: PushLoss = 0.0,
    push_repair: PushRepair = 60.0,
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A policy file, as `allocator policy apply` takes it: it is in force from the start, and its queues "
            "are over those of the workload. The options of single settings do not go with it.",
        ),
    ] = None,
    scheduler: Annotated[
        str,
        typer.Option(help="Who decides: one of those that `simulations schedulers` lists.", callback=_known_scheduler),
    ] = "allocator",
    fairness: Annotated[
        str | None,
        typer.Option(
            help="The objective: proportional, throughput, min-delay, max-min, drf, or an alpha such as 0.5.",
            callback=_known_objective,
        ),
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
        str | None,
        typer.Option(
            help="Which node of those that fit: prospects, best-fit or fragmentation; with another --scheduler than "
            "ours also lowest (the first by name) or random."
        ),
    ] = None,
    usage_strength: Annotated[
        float | None, typer.Option(help="How strongly queues that had little are paid back; 0: not at all.")
    ] = None,
    usage_half_life: Annotated[
        float | None, typer.Option(help="Hours in which half of what queues had is forgotten.")
    ] = None,
    weighting: Annotated[
        str | None,
        typer.Option(
            help="What changes weights of jobs: none, least-attained-service, shortest-remaining or finish-time."
        ),
    ] = None,
    service: Annotated[
        float | None, typer.Option(help="Seconds of run time up to which a job has its full weight.")
    ] = None,
    aging: Annotated[float | None, typer.Option(help="Seconds of waiting in which a job's weight doubles.")] = None,
    weight_factor_limit: Annotated[
        float | None, typer.Option(help="How many times each of these may change a weight.")
    ] = None,
    crowd_strength: Annotated[
        float | None, typer.Option(help="How much jobs count for their queue's weight: 0 not at all, 1 each job alike.")
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
    capture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also keep every round, as `simulations capture` does; `simulations decide` reads it."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace earlier results in --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Replay a workload to its last job and write what happened."""
    require_pyarrow()
    require_free(out, force=force)
    costs = None if restart_cost is None else read_costs(restart_cost)
    conditions = Conditions(
        costs if isinstance(costs, MeasuredCosts) else None,
        interference,
        thinking_time,
        thinking_time_per_job,
        push_delay,
        push_loss,
        push_repair,
    )
    sizing = Sizing(nodes, jobs_at_start, arrivals_per_hour, arrival_hours, duration_factor, job_spread)
    workload, faults, options = prepare(
        trace,
        path,
        scenario,
        sizing,
        start,
        end,
        seed,
        carry_in=carry_in,
        restart_cost=costs.mean if isinstance(costs, MeasuredCosts) else costs,
        choices=Choices(jobs_per_hour, queue_by, machines),
    )
    workload = on_every_nth_node(workload.with_every_nth_job(every_nth_job), every_nth_node).limited_to(limit)
    workload = workload.with_load(load)
    if all_preemptible:
        workload = workload.all_preemptible()
    workload = workload.with_durations(durations, duration_error, seed)
    faults = faults_of(workload, faults, seed, mean_up_hours, mean_down_hours, outages)
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
        "placement": None if scheduler_named(scheduler).by_rules else placement,
        "usage_strength": usage_strength,
        "usage_half_life_seconds": None if usage_half_life is None else usage_half_life * HOUR,
        "weighting": weighting,
        "service_seconds": service,
        "aging_seconds": aging,
        "weight_factor_limit": weight_factor_limit,
        "crowd_strength": crowd_strength,
    }
    given: dict[str, Any] = {name: value for name, value in knobs.items() if value is not None}
    if scheduler_named(scheduler).by_rules:
        _refuse_settings_of_ours(given, scheduler)
    options = replace(options, policy=replace(options.policy, **given), timings=timings, sharing=sharing)
    options = replace(options, conditions=conditions)
    options = replace(options, scheduler=scheduler_named(scheduler).name)
    if placement is not None and scheduler_named(scheduler).by_rules:
        options = replace(options, placement=placement)
    if policy is not None:
        if given:
            raise InvalidInput.of("policy", f"says everything: {', '.join(sorted(given))} cannot be given beside it")
        document = policy_file(policy)
        options = replace(options, policy=document.policy, document=document)
    if interval is not None:
        if 0 < interval < SHORTEST_INTERVAL:  # times of real traces would no longer tell two rounds apart
            raise InvalidInput.of("interval", f"must be 0, or at least {SHORTEST_INTERVAL:g} s; got {interval:g}")
        options = replace(options, interval_seconds=interval)
    if horizon is not None:
        if not horizon > 0:
            raise InvalidInput.of("horizon", f"must be above 0 hours, got {horizon:g}")
        options = replace(options, horizon_seconds=horizon * HOUR)
    begin = CaptureBegin(
        "", workload.start, options.interval_seconds, options.scheduler, options.seed, placement=options.placement
    )
    with (
        ReplayBar(Console(stderr=True), workload.start) as bar,
        recording(capture, begin, force=force) as watching,
    ):
        result = replay(workload, options, faults=faults, on_round=bar.show, watching=watching)
    write_results(out, result.tables, result.summary)
    if as_json:
        sys.stdout.write(summary_text(result.summary))
    else:
        console = page()
        show_summary(console, result.summary)
        if sharing:
            show_sharing(console, result.summary["sharing"])
        show_timings(console, result.table("rounds"))
        console.print(f"\nwritten to {escape(str(out))}")


def _refuse_settings_of_ours(given: Iterable[str], scheduler: str) -> None:
    """A rule has no objective to set: an option that changes nothing would be believed to have changed something."""
    flags = {"utility": "fairness", "minimum_run_seconds": "minimum_run", "horizon_seconds": "placement_horizon"}
    for name in sorted(given):
        flag = flags.get(name, name.removesuffix("_seconds")).replace("_", "-")
        raise InvalidInput.of(flag, f"{scheduler} decides by a rule and has no such setting; leave it out")


def _objective(text: str) -> tuple[float, str]:
    """(fairness, utility); what is wrong with it, by the name of the flag."""
    try:
        return objective_of(text)
    except ValueError as error:
        raise InvalidInput(Violation("fairness", str(error))) from error
