"""From what the options name to a workload with its faults, and how it is replayed unless told otherwise."""

from __future__ import annotations

import math
from pathlib import Path

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.policy import Policy
from allocator.policyfile import read as read_policy
from simulations.capture.workload import read_workload
from simulations.commands.options import CAPTURE, SYNTHETIC
from simulations.faults import Faults, ListedFaults, NoFaults
from simulations.replay import ReplayOptions
from simulations.scenario import load_scenario
from simulations.sizing import Sizing
from simulations.synthetic import generate, make_faults
from simulations.traces.formats import AS_IT_IS, FORMATS, Choices, TraceFormat
from simulations.traces.window import Window, seconds_into
from simulations.workload import Workload

RESTART_COST_SECONDS = 30.0
"""Of the jobs of a trace, unless told otherwise: no trace says it."""


def policy_file(path: Path) -> PolicyDocument:
    """Raises InvalidInput with every mistake."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput.of(str(path), f"cannot be read: {error}") from None
    reading = read_policy(text)
    if reading.document is None:
        raise InvalidInput(*(mistake.violation(str(path)) for mistake in reading.mistakes))
    return reading.document


def prepare(
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
    choices: Choices = AS_IT_IS,
) -> tuple[Workload, Faults, ReplayOptions]:
    """The workload with its faults, and how it is replayed unless told otherwise."""
    if trace == SYNTHETIC:
        for field, value in (("path", path), ("from", start), ("to", end)):
            if value is not None:
                raise InvalidInput.of(field, f"goes with a trace; {SYNTHETIC} takes --scenario")
        if choices.given:
            raise InvalidInput.of("trace", f"takes no {', '.join(choices.given)}; they go with some traces")
        made = sizing.applied_to(load_scenario(scenario or "small"))
        workload = generate(made, seed)
        if restart_cost is not None:
            workload = workload.with_restart_cost(restart_cost)
        options = ReplayOptions(policy=made.make_policy(), interval_seconds=made.interval_seconds, seed=seed)
        return workload, make_faults(made, workload, seed), options
    if trace == CAPTURE:
        for field, value in (("scenario", scenario), ("from", start), ("to", end)):
            if value is not None:
                raise InvalidInput.of(field, f"does not go with --trace {CAPTURE}, which is replayed whole")
        _require_nothing(CAPTURE, sizing, choices)
        return _captured(path, seed, restart_cost)
    trace_format = FORMATS.get(trace)
    if trace_format is None:
        raise InvalidInput.of("trace", f"must be one of {', '.join((*FORMATS, CAPTURE, SYNTHETIC))}; got {trace!r}")
    if path is None:
        raise InvalidInput.of("path", "must name the folder of the trace")
    if scenario is not None:
        raise InvalidInput.of("scenario", f"goes with --trace {SYNTHETIC}, not with {trace}")
    if sizing.given:
        what = f"goes with --trace {SYNTHETIC}, not with {trace}"
        raise InvalidInput(*(Violation(option, what) for option in sizing.given))
    window = _window(trace_format, path, start, end, carry_in=carry_in)
    cost = RESTART_COST_SECONDS if restart_cost is None else restart_cost
    workload = trace_format.workload(path, window, cost, choices)
    if not workload.arrivals and not workload.dropped and (start is not None or end is not None):
        raise InvalidInput.of("from" if end is None else "to", "leaves no jobs: the trace has none between from and to")
    if restart_cost is not None and trace_format.tells_restart_costs:
        workload = workload.with_restart_cost(restart_cost)
    options = ReplayOptions(policy=Policy(), interval_seconds=trace_format.interval_seconds, seed=seed)
    return workload, NoFaults(), options


def _captured(path: Path | None, seed: int, restart_cost: float | None) -> tuple[Workload, Faults, ReplayOptions]:
    """Nodes were out when they were, and the policy is the one that was in force at first."""
    if path is None:
        raise InvalidInput.of("path", "must name the file of a capture, or a folder of them")
    found = read_workload(path)
    workload = found.workload if restart_cost is None else found.workload.with_restart_cost(restart_cost)
    options = ReplayOptions(policy=found.policy, interval_seconds=found.interval_seconds, seed=seed)
    return workload, ListedFaults(found.outages), options


def _require_nothing(trace: str, sizing: Sizing, choices: Choices) -> None:
    """Raises InvalidInput for options that are for other traces."""
    given = (*sizing.given, *choices.given)
    if given:
        raise InvalidInput(*(Violation(option, f"does not go with --trace {trace}") for option in given))


def _window(trace_format: TraceFormat, path: Path, start: str | None, end: str | None, *, carry_in: bool) -> Window:
    default = trace_format.default_window
    if start is None and end is None:
        return Window(default.start, default.end, carry_in)
    origin = trace_format.origin_at(path)
    first = default.start if start is None else seconds_into(start, "from", origin)
    last = math.inf if end is None else seconds_into(end, "to", origin)
    return Window(first, last, carry_in)
