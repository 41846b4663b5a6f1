"""A scheduler that takes time: between its look at the facts and the commit the world of a replay goes on.

What it decided for a world that is no more, the commit refuses, as it does in a data center.
"""

from __future__ import annotations

from collections.abc import Callable

from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory, Snapshot
from allocator.rounds.decide import Decider, Decision
from allocator.rounds.ports import Lap, Solver
from allocator.rounds.ruled import Ruled
from simulations.agenda import Agenda
from simulations.conditions import Conditions


class Thinker:
    """A Decider that decides as `decider` does, and lets the time pass that this takes. `look` is called with each
    snapshot before that: then the facts and the world are those of the same instant.
    """

    def __init__(
        self, decider: Decider, agenda: Agenda, conditions: Conditions, look: Callable[[Snapshot], None]
    ) -> None:
        self._decider = decider
        self._agenda = agenda
        self._conditions = conditions
        self._look = look

    def __call__(
        self, snapshot: Snapshot, memory: Memory, policy: Policy, solver: Solver, lap: Lap
    ) -> Decision | Ruled:
        """Decide, then wait."""
        self._look(snapshot)
        decision = self._decider(snapshot, memory, policy, solver, lap)
        if self._conditions.thinks:
            per_job = self._conditions.thinking_seconds_per_job * len(snapshot.jobs)
            until = self._agenda.now + self._conditions.thinking_seconds + per_job
            if self._agenda.run_until(until):
                self._agenda.plan(until, _nothing)  # facts are others than those it saw: another round follows
        return decision


def _nothing() -> None:
    """What happens."""
