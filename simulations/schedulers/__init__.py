"""Schedulers that a replay can be decided by: ours, and those it is compared with, one small file each."""

from __future__ import annotations

from allocator.domain.errors import InvalidInput
from simulations.schedulers.conservative import CONSERVATIVE
from simulations.schedulers.drf import DRF
from simulations.schedulers.easy import EASY, EASY_PINNED
from simulations.schedulers.fifo import FIFO
from simulations.schedulers.gavel import FINISH_TIME, GAVEL_FIFO, GAVEL_FINISH_TIME, GAVEL_MAX_MIN, MAX_MIN
from simulations.schedulers.las import LAS
from simulations.schedulers.ours import ALLOCATOR
from simulations.schedulers.presets import SHORT_FIRST, SOONEST
from simulations.schedulers.random_order import RANDOM
from simulations.schedulers.scheduler import Scheduler
from simulations.schedulers.sjf import SJF

SCHEDULERS: dict[str, Scheduler] = {
    scheduler.name: scheduler
    for scheduler in (
        ALLOCATOR,
        SHORT_FIRST,
        SOONEST,
        FIFO,
        RANDOM,
        SJF,
        EASY,
        EASY_PINNED,
        CONSERVATIVE,
        LAS,
        DRF,
        MAX_MIN,
        GAVEL_MAX_MIN,
        GAVEL_FIFO,
        FINISH_TIME,
        GAVEL_FINISH_TIME,
    )
}
"""By name, in the order in which they are listed."""


def scheduler_named(name: str) -> Scheduler:
    """Raises InvalidInput with the names there are."""
    if name not in SCHEDULERS:
        raise InvalidInput.of("scheduler", f"must be one of {', '.join(SCHEDULERS)}; got {name!r}")
    return SCHEDULERS[name]
