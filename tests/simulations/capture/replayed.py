"""A small replay that is captured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from allocator.wire.recording import CaptureBegin
from simulations.capture.recording import recording
from simulations.faults import Faults
from simulations.replay import ReplayOptions, ReplayResult, replay
from simulations.scenario import load_scenario
from simulations.synthetic import generate, make_faults
from simulations.workload import Workload


def small(seed: int = 3, jobs: int = 30) -> tuple[Workload, Faults, ReplayOptions]:
    made = load_scenario("small")
    workload = generate(made, seed).limited_to(jobs)
    # Rounds in between whole seconds, so that times are no whole nanoseconds.
    options = ReplayOptions(policy=made.make_policy(), interval_seconds=60 + 1 / 3, seed=seed)
    return workload, make_faults(made, workload, seed), options


def captured(path: Path, workload: Workload, faults: Faults, options: ReplayOptions) -> ReplayResult:
    begin = CaptureBegin("", 0.0, options.interval_seconds, options.scheduler, options.seed)
    with recording(path, begin) as watching:
        return replay(workload, options, faults=faults, watching=watching)


def captured_small(path: Path, scheduler: str = "allocator", jobs: int = 30) -> ReplayResult:
    workload, faults, options = small(jobs=jobs)
    return captured(path, workload, faults, replace(options, scheduler=scheduler))
