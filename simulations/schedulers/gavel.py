"""Gavel's policies, taking turns by Gavel's mechanism: max-min fairness, with and without heterogeneity, and its FIFO.

D. Narayanan, K. Santhanam, F. Kazhamiaka, A. Phanishayee, M. Zaharia: Heterogeneity-Aware Cluster Scheduling Policies
for Deep Learning Workloads, OSDI 2020. Its numbers are of rounds of 360 s (`replay --interval 360`).
"""

from __future__ import annotations

from allocator.rounds.decide import Decider
from simulations.schedulers.by_turns import ByTurns
from simulations.schedulers.finish_times import finish_time, finish_time_by_throughput
from simulations.schedulers.occupancy import LOWEST, Occupancy
from simulations.schedulers.scheduler import Scheduler, SchedulerOptions
from simulations.schedulers.targets import Targets, first_come, max_min, max_min_by_throughput
from simulations.schedulers.turns import Mechanism

_PAPER = "Narayanan et al., Heterogeneity-Aware Cluster Scheduling Policies for Deep Learning Workloads, OSDI 2020"


def by_turns(
    name: str,
    about: str,
    source: str,
    targets: Targets,
    mechanism: Mechanism,
    *,
    knows_durations: bool = False,
    weighs: bool = True,
) -> Scheduler:
    """A scheduler by target shares and turns."""

    def make(options: SchedulerOptions) -> Decider:
        return ByTurns(Occupancy(name, options.placement or LOWEST, options.seed), targets, mechanism, options.seed)

    return Scheduler(
        name, about, source, make, knows_durations=knows_durations, by_rules=True, weighs=weighs, stops_jobs=True
    )


MAX_MIN = by_turns(
    "max-min",
    "Max-min fairness of time x size, as if all flavors were alike; jobs take turns.",
    f"{_PAPER}, section 4.1, without heterogeneity",
    max_min,
    Mechanism(in_drawn_order=True),
)
GAVEL_MAX_MIN = by_turns(
    "gavel-max-min",
    "Max-min fairness of throughput relative to an equal split of the machines; jobs take turns.",
    f"{_PAPER}, section 4.1",
    max_min_by_throughput,
    Mechanism(),
)
GAVEL_FIFO = by_turns(
    "gavel-fifo",
    "First come, first served, each on the flavor with room where it runs fastest; everybody may move every 1,920 s.",
    f"{_PAPER}, section 4.2",
    first_come,
    Mechanism(owed_only=True),
    weighs=False,
)
FINISH_TIME = by_turns(
    "finish-time",
    "Finish-time fairness as if all flavors were alike: the most delayed job is delayed as little as can be.",
    "Mahajan et al., Themis: Fair and Efficient GPU Cluster Scheduling, NSDI 2020, section 3",
    finish_time,
    Mechanism(in_drawn_order=True),
    knows_durations=True,
    weighs=False,
)
GAVEL_FINISH_TIME = by_turns(
    "gavel-finish-time",
    "Finish-time fairness with the throughputs that jobs have on each flavor; jobs take turns.",
    f"{_PAPER}, section 4.2",
    finish_time_by_throughput,
    Mechanism(),
    knows_durations=True,
    weighs=False,
)
