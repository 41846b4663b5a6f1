"""Ours with other settings: what the presets set, and that they do what they are named for."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from allocator.domain.policy import Policy
from simulations.replay import ReplayOptions, replay
from simulations.schedulers import SCHEDULERS
from simulations.workload import Arrival, Workload
from tests.simulations.worlds import node, on, spec, workload

HOUR = 3600.0
PRESETS = ("allocator-short-first", "allocator-soonest")


def crowded(*, known: bool) -> Workload:
    """One queue has many short jobs, another a few long ones; two GPUs, and more to do than they can for a while."""
    dice = random.Random(5)
    arrivals = []
    for number in range(36):
        short = number % 6 != 0
        seconds = dice.uniform(300, 900) if short else dice.uniform(2, 5) * HOUR
        asked = spec(on(gpus=1), queue="short" if short else "long", restart_cost=30.0)
        if known:
            asked = replace(asked, expected_duration_seconds=seconds)
        arrivals.append(Arrival(dice.uniform(0, 3 * HOUR), asked, seconds))
    return workload([node("n1", gpus=2, cores=16, gib=64)], arrivals, queues=("long", "short"))


def mean_hours(work: Workload, scheduler: str) -> float:
    result = replay(work, ReplayOptions(scheduler=scheduler, interval_seconds=300.0, timings=False))
    assert result.summary["invariants"]["broken"] == 0
    return float(result.table("jobs").numbers("completion_s").mean() / HOUR)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_policies_and_keep_the_rest(name: str) -> None:
    given = Policy(placement="best-fit", gap=1e-3)
    policy = SCHEDULERS[name].policy(given)
    assert not policy.violations()
    assert (policy.placement, policy.gap) == ("best-fit", 1e-3)
    assert policy.fairness == (1.0 if name == "allocator-short-first" else 0.0)


def test_jobs_end_sooner_on_the_mean_than_in_order_or_by_queues_alone() -> None:
    work = crowded(known=False)
    others = [mean_hours(work, other) for other in ("allocator", "fifo")]
    assert mean_hours(work, "allocator-short-first") < 0.9 * min(others)


@pytest.mark.parametrize("name", PRESETS)
def test_knowing_how_long_jobs_run_is_worth_more_than_any_rule_without(name: str) -> None:
    others = [mean_hours(crowded(known=False), other) for other in ("las", "max-min")]
    assert mean_hours(crowded(known=True), name) < 0.9 * min(others)
